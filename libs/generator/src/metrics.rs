//! Metrics of the generator itself, under Tempo's names. The engine and remote write have their own.

use tactus_telemetry::metrics::{Counter, CounterVec, Gauge};

tactus_telemetry::metrics! {
    /// What is counted for all tenants.
    #[derive(Debug)]
    pub(crate) struct Metrics {
        spans: CounterVec<1> = "tempo_metrics_generator_spans_received_total", "Spans received per tenant.", ["tenant"];
        bytes: CounterVec<1> = "tempo_metrics_generator_bytes_received_total", "Bytes of spans received per tenant.", ["tenant"];
        discarded: CounterVec<3> = "tempo_metrics_generator_spans_discarded_total",
            "Spans that a processor left out, by reason.", ["tenant", "reason", "processor"];
        update_failed: CounterVec<1> = "tempo_metrics_generator_active_processors_update_failed_total",
            "Times that a tenant's processors could not be changed as its limits say.", ["tenant"];
        collections: CounterVec<1> = "tempo_metrics_generator_registry_collections_total",
            "Collections of all series of a tenant.", ["tenant"];
        collections_failed: CounterVec<2> = "tempo_metrics_generator_registry_collections_failed_total",
            "Collections that could not be handed on.", ["tenant", "error_type"];
        /// Pushes refused because too many bytes of others were being counted.
        pub(crate) overloads: Counter = "tactus_metrics_generator_overload_refusals_total",
            "Pushes refused because too many bytes of others were being counted.";
        /// Pushes of tenants that have no instance and get none.
        pub(crate) tenant_refusals: Counter = "tactus_metrics_generator_tenant_refusals_total",
            "Pushes refused because their tenant has no series yet, and there is no memory for it or there are too many tenants.";
        /// What series take.
        pub(crate) series_bytes: Gauge = "tactus_metrics_generator_series_bytes",
            "Estimated memory of the series of all tenants.";
        /// Tenants that have an instance.
        pub(crate) tenants: Gauge = "tactus_metrics_generator_tenants", "Tenants that series are kept for.";
    }
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

impl Metrics {
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
