//! What is counted on the way to the generators, under Tempo's names.

use tactus_model::TenantId;
use tactus_telemetry::metrics::{Counter, CounterVec, Gauge};

use crate::queue_metrics::QueueMetrics;

/// The value of the label `name` of queues.
const QUEUE: &str = "metrics-generator";

tactus_telemetry::metrics! {
    #[derive(Clone)]
    pub(super) struct Metrics {
        queues: QueueMetrics;
        pushes: CounterVec<1> = "tempo_distributor_metrics_generator_pushes_total",
            "Pushes to each metrics generator.", ["metrics_generator"];
        push_failures: CounterVec<1> = "tempo_distributor_metrics_generator_pushes_failures_total",
            "Pushes to each metrics generator that failed.", ["metrics_generator"];
        /// Generators known.
        pub(super) clients: Gauge = "tempo_distributor_metrics_generator_clients", "Metrics generators that spans are sent to.";
    }
}

/// What is counted for one tenant.
#[derive(Clone)]
pub(super) struct TenantMetrics {
    /// Requests that wait.
    pub(super) length: Gauge,
    /// Requests of which all generators took their part.
    pub(super) sent: Counter,
    /// Requests of which one did not.
    pub(super) failed: Counter,
}

impl Metrics {
    pub(super) fn offered(&self, tenant: &TenantId) {
        self.queues.offered(QUEUE, tenant.as_str());
    }

    pub(super) fn refused(&self, tenant: &TenantId) {
        self.queues.refused(QUEUE, tenant.as_str());
    }

    pub(super) fn of_tenant(&self, tenant: &TenantId) -> TenantMetrics {
        let tenant = tenant.as_str();
        TenantMetrics {
            length: self.queues.length(QUEUE, tenant),
            sent: self.queues.sent.with([tenant]),
            failed: self.queues.failed.with([tenant]),
        }
    }

    /// Gauges of a tenant without a queue.
    pub(super) fn forget_tenant(&self, tenant: &TenantId) {
        self.queues.forget_length(QUEUE, tenant.as_str());
    }

    /// Counts a push to a generator.
    pub(super) fn pushed(&self, address: &str, is_ok: bool) {
        self.pushes.with([address]).inc();
        // There at 0 before the first, so that a rate sees it.
        self.push_failures.with([address]).inc_by(u64::from(!is_ok));
    }

    /// Drops the series of generators that left.
    pub(super) fn keep_generators(&self, keep: impl Fn(&str) -> bool) {
        self.pushes.retain(|[address]| keep(address));
        self.push_failures.retain(|[address]| keep(address));
    }
}
