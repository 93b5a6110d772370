//! What the generator counts of itself, under Tempo's names. The engine and remote write count the rest.

use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, Registry};

/// What is counted for all tenants.
pub(crate) struct Metrics {
    spans: CounterVec<1>,
    bytes: CounterVec<1>,
    discarded: CounterVec<3>,
    update_failed: CounterVec<1>,
    collections: CounterVec<1>,
    collections_failed: CounterVec<2>,
    /// Pushes refused because too many bytes of others were being counted.
    pub(crate) overloads: Counter,
    /// Tenants that have an instance.
    pub(crate) tenants: Gauge,
}

/// What is counted for one tenant.
#[derive(Debug, Clone)]
pub(crate) struct TenantMetrics {
    /// Spans of pushes, late ones included.
    pub(crate) spans: Counter,
    /// Their bytes.
    pub(crate) bytes: Counter,
    /// Spans too far from now.
    pub(crate) outside: Counter,
    /// Times that all series were handed on, or could not be.
    pub(crate) collections: Counter,
    /// Collections that were lost.
    pub(crate) collection_failed: Counter,
    /// Times that the tenant's limits could not take effect.
    pub(crate) update_failed: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        Self {
            spans: registry.counter_vec(
                "tempo_metrics_generator_spans_received_total",
                "Spans received per tenant.",
                ["tenant"],
            ),
            bytes: registry.counter_vec(
                "tempo_metrics_generator_bytes_received_total",
                "Bytes of spans received per tenant.",
                ["tenant"],
            ),
            discarded: registry.counter_vec(
                "tempo_metrics_generator_spans_discarded_total",
                "Spans that a processor left out, by reason.",
                ["tenant", "reason", "processor"],
            ),
            update_failed: registry.counter_vec(
                "tempo_metrics_generator_active_processors_update_failed_total",
                "Times that a tenant's processors could not be changed as its limits say.",
                ["tenant"],
            ),
            collections: registry.counter_vec(
                "tempo_metrics_generator_registry_collections_total",
                "Collections of all series of a tenant.",
                ["tenant"],
            ),
            collections_failed: registry.counter_vec(
                "tempo_metrics_generator_registry_collections_failed_total",
                "Collections that could not be handed on.",
                ["tenant", "error_type"],
            ),
            overloads: registry.counter(
                "tactus_metrics_generator_overload_refusals_total",
                "Pushes refused because too many bytes of others were being counted.",
            ),
            tenants: registry
                .gauge("tactus_metrics_generator_tenants", "Tenants that series are kept for."),
        }
    }

    pub(crate) fn of_tenant(&self, tenant: &str) -> TenantMetrics {
        // Failures are there at 0 before the first, so that a rate sees it.
        TenantMetrics {
            update_failed: self.update_failed.with([tenant]),
            collection_failed: self.collections_failed.with([tenant, "other"]),
            spans: self.spans.with([tenant]),
            bytes: self.bytes.with([tenant]),
            outside: self.discarded.with([tenant, "outside_metrics_ingestion_slack", "all"]),
            collections: self.collections.with([tenant]),
        }
    }
}
