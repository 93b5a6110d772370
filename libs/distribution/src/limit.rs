//! A token bucket of bytes per tenant.

use std::{collections::HashMap, time::Instant};

use parking_lot::Mutex;
use tactus_model::TenantId;

/// Up to this many buckets are kept without checking which of them are full again.
const KEPT_BUCKETS: usize = 10_000;

/// What a tenant may send through this distributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The share of this distributor. 0: nothing after the burst.
    pub(crate) bytes_per_second: u64,
    pub(crate) burst_bytes: u64,
    /// The share of all members of the distributors' ring together; 0 if each distributor limits by itself.
    pub(crate) global_bytes_per_second: u64,
}

impl Rate {
    /// Each distributor limits by itself.
    pub(crate) fn local(bytes_per_second: u64, burst_bytes: u64) -> Self {
        Self { bytes_per_second, burst_bytes, global_bytes_per_second: 0 }
    }

    /// Divides a limit among the healthy ones of `members` distributors. The burst is not divided, because a client's
    /// connection ends at one of them.
    pub(crate) fn global(
        bytes_per_second: u64,
        burst_bytes: u64,
        healthy: usize,
        members: usize,
    ) -> Self {
        let share = match bytes_per_second {
            0 => 0,
            rate => (rate / healthy.max(1) as u64).max(1),
        };
        let global_bytes_per_second = share.saturating_mul(members as u64);
        Self { bytes_per_second: share, burst_bytes, global_bytes_per_second }
    }
}

/// Limits the bytes that each tenant sends. Buckets start full.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter {
    buckets: Mutex<Buckets>,
}

/// The buckets of tenants that sent something lately.
#[derive(Debug, Default)]
struct Buckets {
    by_tenant: HashMap<TenantId, Bucket>,
    /// When there are this many buckets, full ones are dropped. It is then set to twice the number that is left, so
    /// that new tenants rarely wait for this.
    prune_at: usize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    /// The limit at the last request. It may change at any time.
    rate: Rate,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        let tokens = self.tokens + passed * self.rate.bytes_per_second as f64;
        self.tokens = tokens.min(self.rate.burst_bytes as f64);
        self.filled = now;
    }
}

impl Buckets {
    /// If there are many buckets, drops those that are full, because a new bucket would be full, too.
    fn prune(&mut self, now: Instant) {
        if self.by_tenant.len() < self.prune_at.max(KEPT_BUCKETS) {
            return;
        }
        self.by_tenant.retain(|_, bucket| {
            bucket.refill(now);
            bucket.tokens < bucket.rate.burst_bytes as f64
        });
        self.prune_at = 2 * self.by_tenant.len();
        self.by_tenant.shrink_to(self.prune_at.max(KEPT_BUCKETS));
    }
}

/// The limit that refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded(Rate);

impl RateLimiter {
    /// Takes the bytes of a request out of the tenant's bucket, all or none.
    pub(crate) fn take(&self, tenant: &TenantId, bytes: u64, rate: Rate) -> Result<(), Exceeded> {
        self.take_at(tenant, bytes, rate, Instant::now())
    }

    fn take_at(
        &self,
        tenant: &TenantId,
        bytes: u64,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let mut buckets = self.buckets.lock();
        if !buckets.by_tenant.contains_key(tenant) {
            buckets.prune(now);
        }
        let full = Bucket { tokens: rate.burst_bytes as f64, filled: now, rate };
        let bucket = buckets.by_tenant.entry(tenant.clone()).or_insert(full);
        bucket.refill(now);
        bucket.rate = rate;
        bucket.tokens = bucket.tokens.min(rate.burst_bytes as f64);
        if bucket.tokens < bytes as f64 {
            return Err(Exceeded(rate));
        }
        bucket.tokens -= bytes as f64;
        Ok(())
    }
}

impl Exceeded {
    /// True if so many bytes exceed the limit whenever they come.
    pub(crate) fn is_never_met(self, bytes: u64) -> bool {
        bytes > self.0.burst_bytes || self.0.bytes_per_second == 0
    }

    /// What the client reads. Operators have alerts on logs that match its beginning.
    pub(crate) fn message(self, tenant: &TenantId, bytes: u64) -> String {
        let Rate { bytes_per_second: rate, burst_bytes: burst, global_bytes_per_second } = self.0;
        let limits = format!(
            "(local: {rate} bytes/s, global: {global_bytes_per_second} bytes/s, burst: {burst} bytes)"
        );
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

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    const RATE: Rate = Rate { bytes_per_second: 10, burst_bytes: 20, global_bytes_per_second: 0 };

    #[test]
    fn bucket_starts_full_and_fills_at_its_rate() {
        let limiter = RateLimiter::default();
        let (first, start) = (TenantId::single(), Instant::now());
        assert!(limiter.take_at(&first, 20, RATE, start).is_ok());
        assert!(limiter.take_at(&first, 1, RATE, start).is_err());
        assert!(limiter.take_at(&first, 1, RATE, start + Duration::from_millis(100)).is_ok());
        assert!(limiter.take_at(&tenant("other"), 20, RATE, start).is_ok());
    }

    #[test]
    fn changed_limits_hold_from_the_next_request() {
        let limiter = RateLimiter::default();
        let (tenant, start) = (TenantId::single(), Instant::now());
        assert!(limiter.take_at(&tenant, 20, RATE, start).is_ok());
        let faster = Rate { bytes_per_second: 100, burst_bytes: 200, ..RATE };
        assert!(limiter.take_at(&tenant, 5, faster, start).is_err());
        let later = start + Duration::from_secs(2);
        assert!(limiter.take_at(&tenant, 200, faster, later).is_ok());
        let smaller = Rate { burst_bytes: 5, ..RATE };
        assert!(limiter.take_at(&tenant, 6, smaller, later + Duration::from_secs(99)).is_err());
    }

    #[test]
    fn idle_buckets_are_dropped_and_busy_ones_stay() {
        let limiter = RateLimiter::default();
        let (busy, start) = (TenantId::single(), Instant::now());
        let later = start + Duration::from_secs(1);
        for number in 0..KEPT_BUCKETS - 1 {
            assert!(limiter.take_at(&tenant(&format!("idle-{number}")), 10, RATE, start).is_ok());
        }
        assert!(limiter.take_at(&busy, 20, RATE, later).is_ok());
        assert!(limiter.take_at(&tenant("new"), 10, RATE, later).is_ok());
        assert_eq!(limiter.buckets.lock().by_tenant.len(), 2);
        assert!(limiter.take_at(&busy, 1, RATE, later).is_err());
    }

    #[test]
    fn busy_buckets_are_looked_through_seldom() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        let take = |number: usize, at| {
            let tenant = tenant(&format!("tenant-{number}"));
            assert!(limiter.take_at(&tenant, 10, RATE, at).is_ok());
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
    fn global_rate_is_shared_by_the_healthy_and_the_burst_is_not() {
        let rate = Rate::global(15_000_000, 20_000_000, 3, 4);
        assert_eq!((rate.bytes_per_second, rate.burst_bytes), (5_000_000, 20_000_000));
        assert_eq!(rate.global_bytes_per_second, 20_000_000);
        assert_eq!(Rate::global(15, 20, 0, 0).bytes_per_second, 15);
        assert_eq!(Rate::global(0, 20, 3, 3).bytes_per_second, 0);
        assert_eq!(Rate::global(2, 20, 3, 3).bytes_per_second, 1);
    }

    #[test]
    fn rate_of_zero_refuses_everything_after_the_burst() {
        let (limiter, start) = (RateLimiter::default(), Instant::now());
        let take = |bytes, burst, at| {
            limiter.take_at(&TenantId::single(), bytes, Rate::local(0, burst), at)
        };
        assert!(take(20, 20, start).is_ok());
        let refused = take(1, 20, start + Duration::from_secs(3600)).unwrap_err();
        assert!(refused.is_never_met(1));
        assert!(take(1, 0, start).is_err());
    }

    #[test]
    fn request_larger_than_the_burst_is_told_so() {
        let limiter = RateLimiter::default();
        let refused = limiter.take(&TenantId::single(), 21, Rate::local(10, 20)).unwrap_err();
        assert!(refused.is_never_met(21) && !refused.is_never_met(20));
        assert_eq!(
            refused.message(&TenantId::single(), 21),
            "RATE_LIMITED: batch size (21 bytes) exceeds ingestion limit (local: 10 bytes/s, global: 0 bytes/s, \
             burst: 20 bytes) while adding 21 bytes for user single-tenant. consider reducing batch size or \
             increasing rate limit."
        );
    }

    #[test]
    fn burst_that_is_used_up_is_told_in_the_other_words() {
        let limiter = RateLimiter::default();
        let (rate, now) = (Rate::global(20, 20, 2, 3), Instant::now());
        assert!(limiter.take_at(&TenantId::single(), 20, rate, now).is_ok());
        let refused = limiter.take_at(&TenantId::single(), 5, rate, now).unwrap_err();
        assert_eq!(
            refused.message(&TenantId::single(), 5),
            "RATE_LIMITED: ingestion rate limit (local: 10 bytes/s, global: 30 bytes/s, burst: 20 bytes) exceeded \
             while adding 5 bytes for user single-tenant. consider increasing the limit or reducing ingestion rate."
        );
    }
}
