//! Settings by tenant.

use std::fmt;
use std::sync::Arc;

use crate::TenantId;

/// A setting that may differ between tenants, and may change at any time.
pub struct OfTenant<T>(Arc<dyn Fn(&TenantId) -> T + Send + Sync>);

impl<T> OfTenant<T> {
    /// Calls a function, which must not block.
    pub fn new(find: impl Fn(&TenantId) -> T + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// The same for all tenants.
    pub fn all(value: T) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        Self::new(move |_| value.clone())
    }

    /// The value of a tenant now.
    pub fn of(&self, tenant: &TenantId) -> T {
        (self.0)(tenant)
    }
}

impl<T> Clone for OfTenant<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for OfTenant<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfTenant")
    }
}
