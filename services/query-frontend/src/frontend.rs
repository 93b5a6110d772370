//! The frontend itself, and what all its queries share.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tactus_api::{Result, WindowRules};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_server::tenancy::Tenancy;
use tactus_storage::Blocklist;
use tactus_telemetry::metrics::Registry;

use crate::admission::{Admission, Admitted};
use crate::metrics::Metrics;
use crate::settings::{Settings, TenantLimits, TenantLimitsOf, limits_of};

/// What a frontend is made of.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// How the tenants of a request are found.
    pub tenancy: Tenancy,
    /// Limits by tenant.
    pub limits: TenantLimitsOf,
    /// Recent data.
    pub ingester: Arc<dyn Ingester>,
    /// Blocks.
    pub querier: Arc<dyn Querier>,
    /// Which blocks there are.
    pub blocklist: Arc<Blocklist>,
}

/// A query-frontend. Its methods answer queries whose parameters are parsed; [`crate::router`] puts them behind HTTP.
pub struct Frontend {
    pub(crate) settings: Settings,
    pub(crate) tenancy: Tenancy,
    limits: TenantLimitsOf,
    pub(crate) ingester: Arc<dyn Ingester>,
    pub(crate) querier: Arc<dyn Querier>,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) metrics: Metrics,
    admission: Admission,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Frontend {
    /// A frontend over these services.
    pub fn new(parts: Parts, registry: &Registry) -> Arc<Self> {
        Arc::new(Self {
            admission: Admission::new(parts.settings.max_outstanding_per_tenant),
            metrics: Metrics::new(registry),
            settings: parts.settings,
            tenancy: parts.tenancy,
            limits: parts.limits,
            ingester: parts.ingester,
            querier: parts.querier,
            blocklist: parts.blocklist,
        })
    }

    pub(crate) fn limits_of(&self, tenants: &[TenantId]) -> TenantLimits {
        limits_of(&self.limits, tenants)
    }

    pub(crate) fn admit(&self, tenants: &[TenantId]) -> Result<Admitted> {
        self.admission.admit(&joined(tenants))
    }

    /// How ranges are completed now.
    pub(crate) fn window_rules(&self) -> WindowRules {
        WindowRules {
            now: unix_nanos_now(),
            default_length: self.settings.search.query_backend_after,
            end_cutoff: self.settings.query_end_cutoff,
        }
    }
}

/// The tenants as one label.
pub(crate) fn joined(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join("|")
}

pub(crate) fn unix_nanos_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
