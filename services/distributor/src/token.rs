//! Where a trace lies on the ring.

const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// FNV-1 of 32 bits over the tenant, ready to go on with trace ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenHasher(u32);

impl TokenHasher {
    pub(crate) fn new(tenant: &str) -> Self {
        Self(fnv1(OFFSET_BASIS, tenant.as_bytes()))
    }

    /// The token of the tenant's trace.
    #[inline]
    pub(crate) fn token(self, trace_id: &[u8]) -> u32 {
        fnv1(self.0, trace_id)
    }
}

#[inline]
fn fnv1(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |hash, &byte| hash.wrapping_mul(PRIME) ^ u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_fnv1_of_tenant_and_trace_id() {
        let id: [u8; 16] = std::array::from_fn(|i| i as u8 + 1);
        assert_eq!(TokenHasher::new("single-tenant").token(&id), 0x37a7_283a);
        assert_eq!(TokenHasher::new("single-tenant").token(&[0; 16]), 0x541f_f74a);
        assert_eq!(TokenHasher::new("tenant-a").token(&id), 0x0a5f_9477);
    }
}
