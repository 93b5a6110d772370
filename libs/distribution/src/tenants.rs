//! Limits how many tenants a distributor serves at a time.
//!
//! Any client can invent tenants, and each costs memory in every service. Tenants that sent something recently are
//! served. A further tenant beyond the limit is refused, and nothing is remembered about it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use tactus_model::TenantId;

/// A tenant that sent nothing for this long no longer counts.
const IDLE: Duration = Duration::from_secs(600);
/// Idle tenants are looked for this often at most.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Tenants that sent something lately.
#[derive(Debug)]
pub(crate) struct Tenants {
    /// 0: no limit.
    max: usize,
    started: Instant,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Seconds after the start, at the last request.
    last_seen: HashMap<TenantId, AtomicU64>,
    /// When idle ones were looked for.
    looked: Option<Duration>,
}

/// There are as many tenants as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "TOO_MANY_TENANTS: {max} other tenants sent spans in the last ten minutes, the limit distributor.max_tenants; \
     nothing of this tenant is stored"
)]
pub(crate) struct TooManyTenants {
    max: usize,
}

impl Tenants {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, started: Instant::now(), known: RwLock::default() }
    }

    /// Lets a request of the tenant in.
    pub(crate) fn admit(&self, tenant: &TenantId) -> Result<(), TooManyTenants> {
        self.admit_at(tenant, self.started.elapsed())
    }

    fn admit_at(&self, tenant: &TenantId, now: Duration) -> Result<(), TooManyTenants> {
        if self.max == 0 {
            return Ok(());
        }
        let refused = TooManyTenants { max: self.max };
        {
            let known = self.known.read();
            if let Some(last) = known.last_seen.get(tenant) {
                last.store(now.as_secs(), Ordering::Relaxed);
                return Ok(());
            }
            if known.last_seen.len() >= self.max && !known.may_look(now) {
                return Err(refused);
            }
        }
        let mut known = self.known.write();
        if known.last_seen.len() >= self.max && known.may_look(now) {
            known.looked = Some(now);
            known.last_seen.retain(|_, last| {
                now.as_secs() - last.load(Ordering::Relaxed).min(now.as_secs()) < IDLE.as_secs()
            });
        }
        if known.last_seen.len() >= self.max && !known.last_seen.contains_key(tenant) {
            return Err(refused);
        }
        known.last_seen.insert(tenant.clone(), AtomicU64::new(now.as_secs()));
        Ok(())
    }
}

impl Known {
    fn may_look(&self, now: Duration) -> bool {
        self.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    #[test]
    fn tenants_beyond_the_limit_are_refused_and_known_ones_are_not() {
        let (tenants, now) = (Tenants::new(3), Duration::from_secs(1));
        for number in 0..3 {
            assert_eq!(tenants.admit_at(&tenant(number), now), Ok(()));
        }
        for number in 3..100 {
            let refused = tenants.admit_at(&tenant(number), now).unwrap_err();
            assert!(refused.to_string().contains("3 other tenants"), "{refused}");
        }
        assert_eq!(tenants.admit_at(&tenant(0), now), Ok(()));
        assert_eq!(tenants.known.read().last_seen.len(), 3);
    }

    #[test]
    fn idle_tenants_make_room_and_busy_ones_stay() {
        let tenants = Tenants::new(2);
        let second = Duration::from_secs(1);
        tenants.admit_at(&tenant(0), second).unwrap();
        tenants.admit_at(&tenant(1), second).unwrap();
        tenants.admit_at(&tenant(1), IDLE).unwrap();
        assert!(tenants.admit_at(&tenant(2), IDLE).is_err());
        // Looked for a moment ago.
        assert!(tenants.admit_at(&tenant(2), IDLE + second).is_err());
        assert_eq!(tenants.admit_at(&tenant(2), IDLE + LOOK_AGAIN), Ok(()));
        assert_eq!(tenants.admit_at(&tenant(1), IDLE + LOOK_AGAIN), Ok(()));
        assert!(tenants.admit_at(&tenant(0), IDLE + LOOK_AGAIN * 2).is_err());
    }

    #[test]
    fn limit_of_zero_keeps_nothing() {
        let tenants = Tenants::new(0);
        (0..10).for_each(|number| tenants.admit(&tenant(number)).unwrap());
        assert!(tenants.known.read().last_seen.is_empty());
    }
}
