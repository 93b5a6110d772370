//! How many queries a tenant may have in flight.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_api::Error;

/// Counts queries in flight by tenant (for a query over several, their names joined by `|`).
#[derive(Debug, Default)]
pub(crate) struct Admission {
    in_flight: Arc<Mutex<HashMap<String, usize>>>,
    limit: usize,
}

/// A query in flight; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    in_flight: Arc<Mutex<HashMap<String, usize>>>,
    tenant: String,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { in_flight: Arc::default(), limit }
    }

    /// Lets a query in, or refuses it with [`Error::QueueFull`].
    pub(crate) fn admit(&self, tenant: &str) -> Result<Admitted, Error> {
        let mut in_flight = self.in_flight.lock();
        let count = in_flight.get(tenant).copied().unwrap_or(0);
        if count >= self.limit {
            return Err(Error::QueueFull);
        }
        in_flight.insert(tenant.to_owned(), count + 1);
        Ok(Admitted { in_flight: Arc::clone(&self.in_flight), tenant: tenant.to_owned() })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut in_flight = self.in_flight.lock();
        match in_flight.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(in_flight.remove(&self.tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_at_its_limit_is_refused_until_a_query_ends() {
        let admission = Admission::new(1);
        let first = admission.admit("a").unwrap();
        assert_eq!(admission.admit("a").unwrap_err(), Error::QueueFull);
        let other = admission.admit("b").unwrap();
        drop(first);
        drop(admission.admit("a").unwrap());
        drop(other);
        assert!(admission.in_flight.lock().is_empty());
        assert!(Admission::new(0).admit("a").is_err());
    }
}
