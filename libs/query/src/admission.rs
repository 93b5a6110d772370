//! Limits how many queries a tenant may have in flight.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts queries in flight by name: that of a tenant, or those of several joined by `|`.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    in_flight: Arc<Mutex<HashMap<String, usize>>>,
}

/// A query in flight. It is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    in_flight: Arc<Mutex<HashMap<String, usize>>>,
    name: String,
}

impl Admission {
    /// Number of queries in flight under this name.
    pub(crate) fn in_flight(&self, name: &str) -> usize {
        self.in_flight.lock().get(name).copied().unwrap_or(0)
    }

    /// True if a query of any name is in flight.
    pub(crate) fn has_any(&self) -> bool {
        !self.in_flight.lock().is_empty()
    }

    /// Admits a query if fewer than `limit` of the name are in flight.
    pub(crate) fn admit(&self, name: &str, limit: usize) -> Option<Admitted> {
        let mut in_flight = self.in_flight.lock();
        let count = in_flight.get(name).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        in_flight.insert(name.to_owned(), count + 1);
        Some(Admitted { in_flight: Arc::clone(&self.in_flight), name: name.to_owned() })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        match in_flight.get_mut(&self.name) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(in_flight.remove(&self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_at_its_limit_is_refused_until_a_query_ends() {
        let admission = Admission::default();
        let first = admission.admit("a", 1).unwrap();
        assert!(admission.admit("a", 1).is_none());
        let other = admission.admit("b", 1).unwrap();
        drop(first);
        drop(admission.admit("a", 1).unwrap());
        drop(other);
        assert!(admission.in_flight.lock().is_empty());
        assert!(admission.admit("a", 0).is_none());
    }
}
