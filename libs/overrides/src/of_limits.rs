//! Functions to look up limits, and a cache for values that are derived from them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_config::sections::overrides::Limits;
use tactus_model::TenantId;

/// Up to this many derived values are kept without checking which are still in use.
const KEPT: usize = 64;

/// The current limits of a tenant. Unchanged limits are the same allocation.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Arc<Limits> + Send + Sync>;

/// Values that are expensive to derive from limits. Each is computed once, as long as the limits stay the same.
#[derive(Debug)]
pub struct OfLimits<T>(Mutex<Made<T>>);

#[derive(Debug)]
struct Made<T> {
    /// By the address of the limits. The limits are kept too, so that no others can get this address.
    by_address: HashMap<usize, (Arc<Limits>, T)>,
    /// When there are this many values, those whose limits nobody else uses are dropped.
    look_at: usize,
}

impl<T> Default for OfLimits<T> {
    fn default() -> Self {
        Self(Mutex::new(Made { by_address: HashMap::new(), look_at: KEPT }))
    }
}

impl<T: Clone> OfLimits<T> {
    /// The value for these limits, which `make` computes if it is not there. Other callers wait meanwhile.
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
