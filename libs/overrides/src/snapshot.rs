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
    pub(crate) file: PerTenantOverrides,
    pub(crate) user: BTreeMap<String, Stored>,
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
        file: PerTenantOverrides,
        user: BTreeMap<String, Stored>,
        before: Option<&Self>,
    ) -> Self {
        let shared = |old: Option<&Arc<Limits>>, new: Limits| match old {
            Some(old) if **old == new => Arc::clone(old),
            _ => Arc::new(new),
        };
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

    pub(crate) fn of(&self, tenant: &str) -> &Arc<Limits> {
        self.merged.get(tenant).unwrap_or(&self.rest)
    }

    /// The limits without those that the tenant set through the API.
    pub(crate) fn runtime(&self, tenant: &str) -> &Limits {
        self.file.get(tenant).unwrap_or(&self.defaults)
    }

    /// The tenant's own entry of the file.
    pub(crate) fn own_entry(&self, tenant: &str) -> Option<&Limits> {
        self.file.entries().find(|(name, _)| *name == tenant).map(|(_, limits)| limits)
    }
}
