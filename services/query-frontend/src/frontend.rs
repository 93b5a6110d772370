//! The frontend itself, and what all its queries share.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tactus_api::{Error, Result, WindowRules};
use tactus_model::TenantId;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_server::tenancy::Tenancy;
use tactus_storage::Blocklist;
use tactus_telemetry::metrics::Registry;

use crate::admission::{Admission, Admitted};
use crate::metrics::Metrics;
use crate::results::Results;
use crate::settings::{QueryLimits, Settings, TenantLimitsOf};

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
    pub(crate) results: Arc<Results>,
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
            results: Arc::new(Results::new(&parts.settings.results, registry)),
            settings: parts.settings,
            tenancy: parts.tenancy,
            limits: parts.limits,
            ingester: parts.ingester,
            querier: parts.querier,
            blocklist: parts.blocklist,
        })
    }

    /// The limits of a query over these tenants.
    pub(crate) fn limits_of(&self, tenants: &[TenantId]) -> QueryLimits {
        let limits = tenants.iter().map(|tenant| (self.limits)(tenant));
        QueryLimits::strictest(limits, &self.settings)
    }

    /// Runs a query within the time that a call may take, and counts it. `inspected`: the bytes read for an answer.
    ///
    /// The limit is in here, not around it: a query that is dropped counts as one whose client left.
    pub(crate) async fn counted<T>(
        &self,
        tenants: &[TenantId],
        op: &'static str,
        query: impl Future<Output = Result<T>>,
        inspected: impl Fn(&T) -> u64,
    ) -> Result<T> {
        let label = joined(tenants);
        let watch = self.metrics.watch(&label, op);
        let time_limit = self.settings.api_timeout;
        let result = if time_limit.is_zero() {
            query.await
        } else {
            tokio::time::timeout(time_limit, query).await.unwrap_or(Err(Error::ApiTimeout))
        };
        if let Ok(answer) = &result {
            self.metrics.inspected(&label, op, inspected(answer));
        }
        watch.done(&result);
        result
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
