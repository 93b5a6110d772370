//! Limits as others look them up, and what they make of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_config::sections::overrides::Limits;
use tactus_model::TenantId;

/// Things that are kept without a look at which of them are used.
const KEPT: usize = 64;

/// The limits of a tenant as of now: the same allocation for as long as they are the same.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// Things that are costly to make of limits, each made once for as long as the limits stay the same.
#[derive(Debug)]
pub struct OfLimits<T>(Mutex<Made<T>>);

#[derive(Debug)]
struct Made<T> {
    /// By the address of the limits, which are kept with the thing so that no other ones can have it.
    by_address: HashMap<usize, (Arc<Limits>, T)>,
    /// Those of limits that nobody else has are released when there are this many.
    look_at: usize,
}

impl<T> Default for OfLimits<T> {
    fn default() -> Self {
        Self(Mutex::new(Made { by_address: HashMap::new(), look_at: KEPT }))
    }
}

impl<T: Clone> OfLimits<T> {
    /// What was made of these limits, or what `make` makes now. Others wait meanwhile.
    pub fn get_or_make(&self, limits: &Arc<Limits>, make: impl FnOnce() -> T) -> T {
        let address = Arc::as_ptr(limits) as usize;
        let mut made = self.0.lock();
        if let Some((_, known)) = made.by_address.get(&address) {
            return known.clone();
        }
        if made.by_address.len() >= made.look_at {
            made.by_address.retain(|_, (limits, _)| Arc::strong_count(limits) > 1);
            made.look_at = (2 * made.by_address.len()).max(KEPT);
        }
        let new = make();
        made.by_address.insert(address, (Arc::clone(limits), new.clone()));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_made_once_and_again_when_limits_change() {
        let of = OfLimits::default();
        let used: Arc<Limits> = Arc::default();
        assert_eq!(of.get_or_make(&used, || 1), 1);
        assert_eq!(of.get_or_make(&used, || 2), 1);
        for number in 0..1_000 {
            assert_eq!(of.get_or_make(&Arc::default(), || number), number);
        }
        assert_eq!(of.get_or_make(&used, || 3), 1);
        assert!(of.0.lock().by_address.len() <= KEPT, "those that are gone are forgotten");
    }

    #[test]
    fn limits_that_are_used_are_all_kept() {
        let of = OfLimits::default();
        let used: Vec<Arc<Limits>> = (0..500).map(|_| Arc::default()).collect();
        for round in 0..2 {
            for (number, limits) in used.iter().enumerate() {
                assert_eq!(of.get_or_make(limits, || (round, number)), (0, number));
            }
        }
    }
}
