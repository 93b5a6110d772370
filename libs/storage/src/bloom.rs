//! Sharded bloom filters over trace ids: one `bloom-<n>` file per shard, all of the same size.
//!
//! File: big-endian u64 `m` (bits), `k` (hashes), `m` again, then `ceil(m / 64)` big-endian words.

use bytes::Bytes;
use tactus_config::MAX_BLOOM_SHARD_BYTES;
use tactus_model::{FNV_32_BASIS, fnv1_32};

use crate::error::{Error, Result};
use crate::hash::murmur3_x64_128;

/// The number of shards if the meta does not say.
const LEGACY_SHARDS: u32 = 10;
const MAX_SHARDS: u64 = 1000;
const HEADER_BYTES: usize = 24;
/// Bytes of a file.
pub(crate) const MAX_FILE_BYTES: u64 = MAX_BLOOM_SHARD_BYTES + HEADER_BYTES as u64;
/// A filter is folded as long as it keeps this many bits for each that is set.
const MIN_BITS_A_ONE: u64 = 3;
/// Larger numbers are taken for damage, because a query would spend minutes on them.
const MAX_HASHES: u64 = 1000;

/// How large the filter for some number of traces has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BloomEstimate {
    /// Bits over all shards (`M`).
    pub bits: u64,
    /// Hash functions (`k`).
    pub hashes: u64,
}

impl BloomEstimate {
    /// For `traces` expected traces (0 counts as 1) and a false positive rate in (0, 1).
    pub fn new(traces: u64, false_positive_rate: f64) -> Self {
        let traces = traces.max(1) as f64;
        let ln2 = std::f64::consts::LN_2;
        let bits = (-traces * false_positive_rate.ln() / (ln2 * ln2)).ceil();
        Self { bits: bits as u64, hashes: (ln2 * bits / traces).ceil() as u64 }
    }

    /// Shards of `shard_size_bytes` each that hold these bits: 1 to 1000.
    pub fn shards(&self, shard_size_bytes: u32) -> u32 {
        let shard_bits = u64::from(shard_size_bytes.max(1)) * 8;
        // In range: clamped to 1000.
        self.bits.div_ceil(shard_bits).clamp(1, MAX_SHARDS) as u32
    }
}

/// The shard of a trace id; `shards` as in the block meta, where 0 means 10.
pub fn shard_of(id: &[u8; 16], shards: u32) -> u32 {
    let shards = if shards == 0 { LEGACY_SHARDS } else { shards };
    fnv1_32(FNV_32_BASIS, id) % shards
}

/// The filters of one block while it is written.
///
/// Memory: `shards * shard_size_bytes`, allocated at once.
#[derive(Debug, Clone)]
pub struct BlockBloom {
    bits: u64,
    hashes: u64,
    shards: Vec<Vec<u64>>,
}

impl BlockBloom {
    /// Sized for `traces` traces. `Error::Invalid` for a rate outside (0, 1) or a zero size.
    pub fn new(false_positive_rate: f64, shard_size_bytes: u32, traces: u64) -> Result<Self> {
        if !(false_positive_rate > 0.0 && false_positive_rate < 1.0) {
            let reason = format!("{false_positive_rate} is not between 0 and 1");
            return Err(Error::invalid("bloom filter false positive rate", reason));
        }
        if shard_size_bytes == 0 || u64::from(shard_size_bytes) > MAX_BLOOM_SHARD_BYTES {
            let reason = format!("must be from 1 to {MAX_BLOOM_SHARD_BYTES}");
            return Err(Error::invalid("bloom filter shard size", reason));
        }
        let estimate = BloomEstimate::new(traces, false_positive_rate);
        let bits = u64::from(shard_size_bytes) * 8;
        let words = bits.div_ceil(64) as usize;
        let shards = vec![vec![0; words]; estimate.shards(shard_size_bytes) as usize];
        Ok(Self { bits, hashes: estimate.hashes, shards })
    }

    /// How many shards there are: the meta's `bloomShards`.
    pub fn shard_count(&self) -> u32 {
        self.shards.len() as u32
    }

    /// Adds a trace id to its shard.
    pub fn add(&mut self, id: &[u8; 16]) {
        let shard = shard_of(id, self.shard_count()) as usize;
        let words = &mut self.shards[shard];
        for bit in bit_positions(id, self.bits, self.hashes) {
            words[(bit >> 6) as usize] |= 1 << (bit & 63);
        }
    }

    /// The bytes of every `bloom-<n>` file, in order.
    pub fn encode(&self) -> Vec<Bytes> {
        self.shards.iter().map(|words| encode_shard(self.bits, self.hashes, words)).collect()
    }
}

fn encode_shard(bits: u64, hashes: u64, words: &[u64]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES + words.len() * 8);
    for value in [bits, hashes, bits].iter().chain(words) {
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.into()
}

/// One `bloom-<n>` file, tested in place without decoding its words.
#[derive(Debug, Clone)]
pub struct BloomShard {
    bits: u64,
    hashes: u64,
    /// Big-endian.
    words: Bytes,
}

impl BloomShard {
    /// Checks header and length; `Error::Corrupt` when they disagree.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let header = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        let (Some(bits), Some(hashes), Some(length)) = (header(0), header(8), header(16)) else {
            return Err(Error::corrupt("bloom filter header", bytes.len() as u64));
        };
        if bits == 0 || length < bits {
            return Err(Error::corrupt("bloom filter size", 0));
        }
        if hashes == 0 || hashes > MAX_HASHES {
            return Err(Error::corrupt("bloom filter hash count", 8));
        }
        let words = (bytes.len() - HEADER_BYTES) / 8;
        if length.div_ceil(64) > words as u64 {
            return Err(Error::corrupt("bloom filter words", bytes.len() as u64));
        }
        Ok(Self { bits, hashes, words: bytes.slice(HEADER_BYTES..) })
    }

    /// The same filter in less memory, if it has few ids. It still contains each of them. With the usual seven
    /// hashes, fewer than one in a thousand other ids match; if the filter cannot shrink, as many as before.
    ///
    /// A file has the same size however few traces its block has. A position is the remainder of a division by the
    /// number of bits, so the two halves of a filter with an even number of bits can be laid over each other.
    pub fn folded(&self) -> Self {
        let (words, _) = self.words.as_chunks::<8>();
        let (mut bits, mut length) = (self.bits, self.bits.div_ceil(64) as usize);
        let mut words: Vec<_> =
            words.iter().take(length).map(|word| u64::from_be_bytes(*word)).collect();
        let ones: u64 = words.iter().map(|word| u64::from(word.count_ones())).sum();
        while bits.is_multiple_of(128) && ones.saturating_mul(MIN_BITS_A_ONE) <= bits / 2 {
            (bits, length) = (bits / 2, length / 2);
            let (low, high) = words.split_at_mut(length);
            low.iter_mut().zip(high).for_each(|(low, high)| *low |= *high);
            words.truncate(length);
        }
        let words = words.into_iter().flat_map(u64::to_be_bytes).collect();
        Self { bits, hashes: self.hashes, words }
    }

    /// Estimated bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.words.len()
    }

    /// False when the block certainly does not hold the trace. The id must belong to this shard
    /// ([`shard_of`]).
    pub fn may_contain(&self, id: &[u8; 16]) -> bool {
        bit_positions(id, self.bits, self.hashes).all(|bit| {
            // Big-endian words: bit 0 of a word is in its last byte.
            let byte = ((bit >> 6) * 8 + (7 - ((bit & 63) >> 3))) as usize;
            self.words.get(byte).is_some_and(|value| value & (1 << (bit & 7)) != 0)
        })
    }
}

fn bit_positions(id: &[u8; 16], bits: u64, hashes: u64) -> impl Iterator<Item = u64> {
    let mut longer = [1u8; 17];
    longer[..16].copy_from_slice(id);
    let (h0, h1) = murmur3_x64_128(id);
    let (h2, h3) = murmur3_x64_128(&longer);
    (0..hashes).map(move |i| {
        let base = if i % 2 == 0 { h0 } else { h1 };
        let step = if (i + i % 2) % 4 < 2 { h2 } else { h3 };
        base.wrapping_add(i.wrapping_mul(step)) % bits
    })
}

#[cfg(test)]
mod tests;
