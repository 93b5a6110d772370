//! A token bucket of bytes per tenant.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;
use tactus_model::TenantId;

/// Limits the bytes that each tenant sends. Buckets start full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    bytes_per_second: u64,
    burst_bytes: u64,
    buckets: Mutex<HashMap<TenantId, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The limit that refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    bytes_per_second: u64,
    burst_bytes: u64,
}

impl RateLimiter {
    pub(crate) fn new(bytes_per_second: u64, burst_bytes: u64) -> Self {
        Self { bytes_per_second, burst_bytes, buckets: Mutex::default() }
    }

    /// Takes the bytes of one request out of the tenant's bucket, or nothing.
    pub(crate) fn take(&self, tenant: &TenantId, bytes: u64) -> Result<(), Exceeded> {
        self.take_at(tenant, bytes, Instant::now())
    }

    fn take_at(&self, tenant: &TenantId, bytes: u64, now: Instant) -> Result<(), Exceeded> {
        if self.bytes_per_second == 0 {
            return Ok(());
        }
        let burst = self.burst_bytes as f64;
        let mut buckets = self.buckets.lock();
        let bucket =
            buckets.entry(tenant.clone()).or_insert(Bucket { tokens: burst, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.bytes_per_second as f64).min(burst);
        bucket.filled = now;
        if bucket.tokens < bytes as f64 {
            let Self { bytes_per_second, burst_bytes, .. } = *self;
            return Err(Exceeded { bytes_per_second, burst_bytes });
        }
        bucket.tokens -= bytes as f64;
        Ok(())
    }
}

impl Exceeded {
    /// True for a request larger than a full bucket.
    pub(crate) fn never_passes(self, bytes: u64) -> bool {
        bytes > self.burst_bytes
    }

    /// What the client reads; log-based alerts of operators match on its beginning.
    pub(crate) fn message(self, tenant: &TenantId, bytes: u64) -> String {
        let Self { bytes_per_second: rate, burst_bytes: burst } = self;
        let limits = format!("(local: {rate} bytes/s, global: 0 bytes/s, burst: {burst} bytes)");
        if bytes > rate && bytes > burst {
            format!(
                "RATE_LIMITED: batch size ({bytes} bytes) exceeds ingestion limit {limits} while adding {bytes} bytes \
                 for user {tenant}. consider reducing batch size or increasing rate limit."
            )
        } else {
            format!(
                "RATE_LIMITED: ingestion rate limit {limits} exceeded while adding {bytes} bytes for user {tenant}. \
                 consider increasing the limit or reducing ingestion rate."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bucket_starts_full_and_fills_at_its_rate() {
        let limiter = RateLimiter::new(10, 20);
        let (tenant, start) = (TenantId::single(), Instant::now());
        assert!(limiter.take_at(&tenant, 20, start).is_ok());
        assert!(limiter.take_at(&tenant, 1, start).is_err());
        assert!(limiter.take_at(&tenant, 1, start + Duration::from_millis(100)).is_ok());
        let other = TenantId::parse("other").unwrap();
        assert!(limiter.take_at(&other, 20, start).is_ok());
    }

    #[test]
    fn oversized_request_never_passes() {
        let limiter = RateLimiter::new(10, 20);
        let refused = limiter.take(&TenantId::single(), 21).unwrap_err();
        assert!(refused.never_passes(21));
        assert!(refused.message(&TenantId::single(), 21).starts_with("RATE_LIMITED: batch size (21"));
    }
}
