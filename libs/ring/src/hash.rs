//! The hashes that all processes of a cluster must agree on.

use md5::{Digest, Md5};
use tactus_model::{FNV_32_BASIS, fnv1_32, fnv1a_32, mix_64};

/// Token of a trace of a tenant in the ring: FNV-1 32 over the tenant's bytes, then the id's.
pub fn token_for(tenant: &str, trace_id: &[u8]) -> u32 {
    TokenHasher::new(tenant).token(trace_id)
}

/// [`token_for`] for many traces of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct TokenHasher(u32);

impl TokenHasher {
    /// Of a tenant.
    pub fn new(tenant: &str) -> Self {
        Self(fnv1_32(FNV_32_BASIS, tenant.as_bytes()))
    }

    /// The token of the tenant's trace.
    #[inline]
    pub fn token(self, trace_id: &[u8]) -> u32 {
        fnv1_32(self.0, trace_id)
    }
}

/// Hash of a job that one instance of a ring does: FNV-1a 32.
pub fn owns_hash(job: &str) -> u32 {
    fnv1a_32(job.as_bytes())
}

/// Seed of a tenant's shard, or of its shard in a zone: the first 8 bytes of an MD5, big-endian.
pub(crate) fn shuffle_seed(tenant: &str, zone: Option<&str>) -> i64 {
    let mut digest = Md5::new();
    digest.update(tenant.as_bytes());
    if let Some(zone) = zone {
        digest.update([0]);
        digest.update(zone.as_bytes());
    }
    let sum = digest.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&sum[..8]);
    i64::from_be_bytes(first)
}

/// SplitMix64. Tokens and shuffle shards follow from its sequence: changing it would move every
/// tenant and every instance that keeps its tokens as a seed.
///
/// Each step adds 0x9e3779b97f4a7c15 to the state; the value is [`mix_64`] of the state.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix_64(self.0)
    }

    /// The upper half of the next value.
    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

    #[test]
    fn trace_tokens_are_those_of_the_checks() {
        assert_eq!(token_for("single-tenant", &ID), 0x37a7_283a);
        assert_eq!(token_for("single-tenant", &[0; 16]), 0x541f_f74a);
        assert_eq!(token_for("tenant-a", &ID), 0x0a5f_9477);
    }

    #[test]
    fn owns_hash_is_fnv_1a() {
        assert_eq!(owns_hash("build-tenant-index-0-single-tenant"), 0x06a2_ce58);
        assert_eq!(owns_hash("single-tenant-0-478598-0"), 0xa259_8fda);
    }

    #[test]
    fn shuffle_seeds_are_those_of_the_checks() {
        assert_eq!(shuffle_seed("tenant-a", None), -3_380_867_882_834_763_730);
        assert_eq!(shuffle_seed("tenant-a", Some("zone-1")), -5_407_296_895_017_001_558);
        assert_eq!(shuffle_seed("single-tenant", None), -310_300_615_871_717_453);
    }

    #[test]
    fn split_mix_sequence_of_seed_zero_is_fixed() {
        let mut random = SplitMix64::new(0);
        assert_eq!(random.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next_u64(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(random.next_u32(), 0x06c4_5d18);
    }
}
