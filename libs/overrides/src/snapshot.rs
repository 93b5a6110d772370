//! All limits in effect at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tactus_config::PerTenantOverrides;
use tactus_config::sections::overrides::Limits;

use crate::user::{UserLimits, merge};

/// What one tenant set by the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) limits: UserLimits,
    /// The version of the object in the bucket.
    pub(crate) version: String,
    /// Size of the document.
    pub(crate) bytes: u64,
}

/// The entry of the file for tenants that have none.
const EVERY_TENANT: &str = "*";

/// Approximate memory of a tenant in addition to its document.
const TENANT_BYTES: u64 = 4 << 10;

impl Stored {
    /// The bytes that it counts towards what all tenants together may set.
    pub(crate) fn cost(&self) -> u64 {
        self.bytes.saturating_add(TENANT_BYTES)
    }
}

/// The layers of limits, and the limits that result from them.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) defaults: Arc<Limits>,
    pub(crate) file: Arc<PerTenantOverrides>,
    pub(crate) user: BTreeMap<String, Arc<Stored>>,
    /// The limits of the tenants that are named in a layer.
    merged: HashMap<Box<str>, Arc<Limits>>,
    /// The limits of all other tenants.
    rest: Arc<Limits>,
}

impl Snapshot {
    /// Merges the layers. Limits that are equal to those in `before` stay the same allocation, so that whoever derives
    /// something from limits can compare pointers.
    pub(crate) fn new(
        defaults: Arc<Limits>,
        file: Arc<PerTenantOverrides>,
        user: BTreeMap<String, Arc<Stored>>,
        before: Option<&Self>,
    ) -> Self {
        let rest = match file.get("*") {
            Some(every) => shared(before.map(|before| &before.rest), every.clone()),
            None => Arc::clone(&defaults),
        };
        let mut merged = HashMap::new();
        for tenant in
            file.entries().map(|(tenant, _)| tenant).chain(user.keys().map(String::as_str))
        {
            let runtime = file.get(tenant).unwrap_or(&defaults);
            let limits = match user.get(tenant) {
                Some(stored) => merge(runtime, &stored.limits),
                None => runtime.clone(),
            };
            let old = before.and_then(|before| before.merged.get(tenant));
            merged.insert(tenant.into(), shared(old, limits));
        }
        Self { defaults, file, user, merged, rest }
    }

    /// The same, after one tenant set its limits or, without any, has none of its own any more. The limits of the others are not
    /// merged again: a tenant may change its own as often as it likes.
    pub(crate) fn with_user(&self, tenant: &str, stored: Option<Arc<Stored>>) -> Self {
        let (mut user, mut merged) = (self.user.clone(), self.merged.clone());
        let limits = match (&stored, self.own_entry(tenant)) {
            (Some(stored), _) => Some(merge(self.runtime(tenant), &stored.limits)),
            (None, own) => own.cloned(),
        };
        match limits {
            Some(limits) => {
                let limits = shared(self.merged.get(tenant), limits);
                drop(merged.insert(tenant.into(), limits));
            }
            None => drop(merged.remove(tenant)),
        }
        match stored {
            Some(stored) => drop(user.insert(tenant.to_owned(), stored)),
            None => drop(user.remove(tenant)),
        }
        let (defaults, file) = (Arc::clone(&self.defaults), Arc::clone(&self.file));
        Self { defaults, file, user, merged, rest: Arc::clone(&self.rest) }
    }

    pub(crate) fn of(&self, tenant: &str) -> &Arc<Limits> {
        self.merged.get(tenant).unwrap_or(&self.rest)
    }

    /// The limits without those that the tenant set through the API.
    pub(crate) fn runtime(&self, tenant: &str) -> &Limits {
        self.file.get(tenant).unwrap_or(&self.defaults)
    }

    /// The tenant's own entry of the file.
    pub(crate) fn own_entry(&self, tenant: &str) -> Option<&Limits> {
        let found = self.file.get(tenant)?;
        let is_of_all = |every: &Limits| tenant != EVERY_TENANT && std::ptr::eq(every, found);
        (!self.file.get(EVERY_TENANT).is_some_and(is_of_all)).then_some(found)
    }
}

/// The new limits, or the old ones if they are the same.
fn shared(old: Option<&Arc<Limits>>, new: Limits) -> Arc<Limits> {
    match old {
        Some(old) if **old == new => Arc::clone(old),
        _ => Arc::new(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(forwarder: &str) -> Arc<Stored> {
        let limits =
            UserLimits { forwarders: Some(vec![forwarder.to_owned()]), ..UserLimits::default() };
        Arc::new(Stored { limits, version: String::new(), bytes: 0 })
    }

    #[test]
    fn change_of_one_tenant_gives_what_merging_all_would() {
        let text = "overrides: {a: {forwarders: [x]}, '*': {forwarders: [y]}, c: {}}";
        let file = PerTenantOverrides::parse(text, &tactus_config::Config::default()).unwrap();
        let file = Arc::new(file.overrides);
        let defaults: Arc<Limits> = Arc::default();
        let all = |user| Snapshot::new(Arc::clone(&defaults), Arc::clone(&file), user, None);
        let mut user = BTreeMap::new();
        let mut snapshot = all(user.clone());
        let changes = [
            ("a", Some("f")),
            ("b", Some("g")),
            ("*", Some("h")),
            ("c", None),
            ("a", None),
            ("b", None),
        ];
        for (tenant, forwarder) in changes {
            let set = forwarder.map(stored);
            match &set {
                Some(set) => drop(user.insert(tenant.to_owned(), Arc::clone(set))),
                None => drop(user.remove(tenant)),
            }
            let others = Arc::clone(snapshot.of("c"));
            snapshot = snapshot.with_user(tenant, set);
            let expected = all(user.clone());
            assert_eq!((&snapshot.user, &snapshot.merged), (&expected.user, &expected.merged));
            assert!(Arc::ptr_eq(snapshot.of("c"), &others), "{tenant}");
        }
        assert_eq!(snapshot.own_entry("a").map(|own| own.forwarders.len()), Some(1));
        assert!(snapshot.own_entry("*").is_some() && snapshot.own_entry("b").is_none());
    }
}
