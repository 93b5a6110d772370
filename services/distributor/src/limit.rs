//! A token bucket of bytes per tenant.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;
use tactus_model::TenantId;

/// Buckets that are kept without a look at which of them are full again.
const KEPT_BUCKETS: usize = 10_000;

/// Limits the bytes that each tenant sends. Buckets start full.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    bytes_per_second: u64,
    burst_bytes: u64,
    buckets: Mutex<Buckets>,
}

/// The buckets of tenants that sent something lately.
#[derive(Debug, Default)]
struct Buckets {
    by_tenant: HashMap<TenantId, Bucket>,
    /// Buckets to look through when the next tenant comes. Twice as many as the last look left, so that a look costs
    /// each new tenant little.
    prune_at: usize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn refill(&mut self, bytes_per_second: f64, burst: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * bytes_per_second).min(burst);
        self.filled = now;
    }
}

impl Buckets {
    /// Drops buckets that are full, as a new one would be, once there are many.
    fn prune(&mut self, bytes_per_second: f64, burst: f64, now: Instant) {
        if self.by_tenant.len() < self.prune_at.max(KEPT_BUCKETS) {
            return;
        }
        self.by_tenant.retain(|_, bucket| {
            bucket.refill(bytes_per_second, burst, now);
            bucket.tokens < burst
        });
        self.prune_at = 2 * self.by_tenant.len();
        self.by_tenant.shrink_to(self.prune_at.max(KEPT_BUCKETS));
    }
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
        let (rate, burst) = (self.bytes_per_second as f64, self.burst_bytes as f64);
        let mut buckets = self.buckets.lock();
        if !buckets.by_tenant.contains_key(tenant) {
            buckets.prune(rate, burst, now);
        }
        let full = Bucket { tokens: burst, filled: now };
        let bucket = buckets.by_tenant.entry(tenant.clone()).or_insert(full);
        bucket.refill(rate, burst, now);
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
    fn idle_buckets_are_dropped_and_busy_ones_stay() {
        let limiter = RateLimiter::new(10, 20);
        let (busy, start) = (TenantId::single(), Instant::now());
        let later = start + Duration::from_secs(1);
        for number in 0..KEPT_BUCKETS - 1 {
            let tenant = TenantId::parse(&format!("idle-{number}")).unwrap();
            assert!(limiter.take_at(&tenant, 10, start).is_ok());
        }
        assert!(limiter.take_at(&busy, 20, later).is_ok());
        assert!(limiter.take_at(&TenantId::parse("new").unwrap(), 10, later).is_ok());
        assert_eq!(limiter.buckets.lock().by_tenant.len(), 2);
        assert!(limiter.take_at(&busy, 1, later).is_err());
    }

    #[test]
    fn busy_buckets_are_looked_through_seldom() {
        let limiter = RateLimiter::new(10, 20);
        let start = Instant::now();
        let take = |number: usize, at| {
            let tenant = TenantId::parse(&format!("tenant-{number}")).unwrap();
            assert!(limiter.take_at(&tenant, 10, at).is_ok());
        };
        (0..=KEPT_BUCKETS).for_each(|number| take(number, start));
        assert_eq!(limiter.buckets.lock().prune_at, 2 * KEPT_BUCKETS);
        let later = start + Duration::from_secs(1);
        (KEPT_BUCKETS + 1..2 * KEPT_BUCKETS).for_each(|number| take(number, later));
        assert_eq!(limiter.buckets.lock().by_tenant.len(), 2 * KEPT_BUCKETS);
        take(2 * KEPT_BUCKETS, later);
        assert_eq!(limiter.buckets.lock().by_tenant.len(), KEPT_BUCKETS);
    }

    #[test]
    fn oversized_request_never_passes() {
        let limiter = RateLimiter::new(10, 20);
        let refused = limiter.take(&TenantId::single(), 21).unwrap_err();
        assert!(refused.never_passes(21));
        assert!(
            refused.message(&TenantId::single(), 21).starts_with("RATE_LIMITED: batch size (21")
        );
    }
}
