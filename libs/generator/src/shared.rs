//! What all tenants of a generator share.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use tactus_config::{
    Config,
    sections::overrides::{GeneratorLimits, Limits},
};
use tactus_model::{BuilderLimits, TenantId};
use tactus_overrides::Overrides;
use tactus_remote_write::RemoteWrite;
use tactus_telemetry::metrics::Registry;

use crate::{engine, metrics::Metrics, pool::Pool};

/// The least time between two collections, whatever is configured.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) overrides: Arc<Overrides>,
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    pub(crate) engine_metrics: engine::EngineMetrics,
    pub(crate) remote_write: Arc<RemoteWrite>,
}

tactus_telemetry::debug_of!(Shared { pool });

impl Shared {
    /// Checks the configuration of remote write, and reads its certificates.
    ///
    /// Errors: the first receiver that cannot be used.
    pub(crate) fn open(
        config: Arc<Config>,
        overrides: Arc<Overrides>,
        registry: &Registry,
    ) -> Result<Self, tactus_remote_write::Error> {
        Ok(Self {
            remote_write: RemoteWrite::open(&config.metrics_generator.storage, registry)?,
            pool: Pool::new(available_parallelism().map_or(1, usize::from)),
            metrics: Metrics::register(registry),
            engine_metrics: engine::EngineMetrics::register(registry),
            overrides,
            config,
        })
    }

    pub(crate) fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        self.overrides.of(tenant)
    }

    /// What a tenant's limits make of its series. Errors: in words for the operator.
    pub(crate) fn settings(
        &self,
        tenant: &TenantId,
        limits: &GeneratorLimits,
    ) -> Result<engine::Settings, String> {
        engine::Settings::resolve(&self.config.metrics_generator, limits, tenant.as_str())
    }

    /// How far from now the end of a span may be.
    pub(crate) fn slack(&self, limits: &GeneratorLimits) -> Duration {
        let own = limits.ingestion_time_range_slack.non_zero();
        own.unwrap_or(self.config.metrics_generator.metrics_ingestion_time_range_slack.as_std())
    }

    /// The time between two collections.
    pub(crate) fn interval(&self, limits: &GeneratorLimits) -> Duration {
        let own = limits.collection_interval.non_zero();
        let all = self.config.metrics_generator.registry.collection_interval.as_std();
        own.unwrap_or(all).max(MIN_INTERVAL)
    }

    /// As the ingester cuts attributes.
    pub(crate) fn builder_limits(&self, limits: &Limits) -> BuilderLimits {
        let max_attribute_bytes = match limits.ingestion.max_attribute_bytes {
            0 => self.config.distributor.max_attribute_bytes,
            bytes => bytes,
        };
        BuilderLimits { max_attribute_bytes }
    }

    /// Sends what was collected, within the deadline of the configuration.
    pub(crate) async fn flush(&self) {
        let storage = &self.config.metrics_generator.storage;
        self.remote_write.flush(storage.remote_write_flush_deadline.as_std()).await;
    }
}
