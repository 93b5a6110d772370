//! Values by tenant, service and operation, within limits.

use std::collections::BTreeMap;

type Services<T> = BTreeMap<String, BTreeMap<String, T>>;

/// Operations that are kept at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OperationLimits {
    pub(crate) all: usize,
    pub(crate) per_tenant: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ByOperation<T> {
    tenants: BTreeMap<String, OfTenant<T>>,
    operations: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct OfTenant<T> {
    services: Services<T>,
    operations: usize,
}

impl<T> Default for ByOperation<T> {
    fn default() -> Self {
        Self { tenants: BTreeMap::new(), operations: 0 }
    }
}

impl<T> Default for OfTenant<T> {
    fn default() -> Self {
        Self { services: BTreeMap::new(), operations: 0 }
    }
}

impl<T> ByOperation<T> {
    pub(crate) fn get(&self, tenant: &str, service: &str, operation: &str) -> Option<&T> {
        self.tenants.get(tenant)?.services.get(service)?.get(operation)
    }

    fn get_mut(&mut self, tenant: &str, service: &str, operation: &str) -> Option<&mut T> {
        self.tenants.get_mut(tenant)?.services.get_mut(service)?.get_mut(operation)
    }

    pub(crate) fn contains(&self, tenant: &str, service: &str, operation: &str) -> bool {
        self.get(tenant, service, operation).is_some()
    }

    /// Operations of all tenants.
    pub(crate) fn len(&self) -> usize {
        self.operations
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Sets a value whatever the limits.
    pub(crate) fn insert(&mut self, tenant: &str, service: &str, operation: &str, value: T) {
        let of_tenant = self.tenants.entry(tenant.to_owned()).or_default();
        let operations = of_tenant.services.entry(service.to_owned()).or_default();
        if operations.insert(operation.to_owned(), value).is_none() {
            of_tenant.operations += 1;
            self.operations += 1;
        }
    }

    /// The value of an operation, which is created if there is none; `None` if that would exceed a limit.
    pub(crate) fn entry(
        &mut self,
        tenant: &str,
        service: &str,
        operation: &str,
        limits: OperationLimits,
    ) -> Option<&mut T>
    where
        T: Default,
    {
        if !self.contains(tenant, service, operation) {
            let of_tenant = self.tenants.get(tenant).map_or(0, |known| known.operations);
            if self.operations >= limits.all || of_tenant >= limits.per_tenant {
                return None;
            }
            self.insert(tenant, service, operation, T::default());
        }
        self.get_mut(tenant, service, operation)
    }

    /// Everything by tenant, service and operation, each in the order of its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str, &str, &T)> {
        self.tenants().flat_map(|(tenant, services)| {
            services.iter().flat_map(move |(service, operations)| {
                let entry = move |(operation, value)| {
                    let operation: &String = operation;
                    (tenant, service.as_str(), operation.as_str(), value)
                };
                operations.iter().map(entry)
            })
        })
    }

    /// The services of each tenant with their operations.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&str, &Services<T>)> {
        self.tenants.iter().map(|(tenant, known)| (tenant.as_str(), &known.services))
    }

    /// As nested maps, in which it is stored.
    pub(crate) fn into_maps(self) -> BTreeMap<String, Services<T>> {
        self.tenants.into_iter().map(|(tenant, known)| (tenant, known.services)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_a_tenant_and_for_all() {
        let limits = OperationLimits { all: 3, per_tenant: 2 };
        let mut counts: ByOperation<u32> = ByOperation::default();
        for (tenant, operation, fits) in [
            ("a", "1", true),
            ("a", "2", true),
            ("a", "3", false),
            ("a", "1", true),
            ("b", "1", true),
            ("b", "2", false),
        ] {
            let entry = counts.entry(tenant, "s", operation, limits);
            assert_eq!(entry.is_some(), fits, "{tenant} {operation}");
            entry.into_iter().for_each(|count| *count += 1);
        }
        assert_eq!(counts.len(), 3);
        let all: Vec<_> = counts.iter().map(|(t, _, o, count)| (t, o, *count)).collect();
        assert_eq!(all, [("a", "1", 2), ("a", "2", 1), ("b", "1", 1)]);
    }
}
