//! What is counted on the way to the generators, under Tempo's names.

use tactus_model::TenantId;
use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, GaugeVec, Registry};

/// The value of the label `name` of queues.
const QUEUE: &str = "metrics-generator";

#[derive(Clone)]
pub(super) struct Metrics {
    length: GaugeVec<2>,
    offered: CounterVec<2>,
    refused: CounterVec<2>,
    sent: CounterVec<1>,
    failed: CounterVec<1>,
    pushes: CounterVec<1>,
    push_failures: CounterVec<1>,
    /// Generators known.
    pub(super) clients: Gauge,
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
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            length: registry.gauge_vec(
                "tempo_distributor_queue_length",
                "Requests that wait for a forwarder.",
                ["name", "tenant"],
            ),
            offered: registry.counter_vec(
                "tempo_distributor_queue_pushes_total",
                "Requests for a forwarder.",
                ["name", "tenant"],
            ),
            refused: registry.counter_vec(
                "tempo_distributor_queue_pushes_failures_total",
                "Requests for a forwarder that found its queue full.",
                ["name", "tenant"],
            ),
            sent: registry.counter_vec(
                "tempo_distributor_forwarder_pushes_total",
                "Requests sent by forwarders.",
                ["tenant"],
            ),
            failed: registry.counter_vec(
                "tempo_distributor_forwarder_pushes_failures_total",
                "Requests sent by forwarders that an endpoint did not take.",
                ["tenant"],
            ),
            pushes: registry.counter_vec(
                "tempo_distributor_metrics_generator_pushes_total",
                "Pushes to each metrics generator.",
                ["metrics_generator"],
            ),
            push_failures: registry.counter_vec(
                "tempo_distributor_metrics_generator_pushes_failures_total",
                "Pushes to each metrics generator that failed.",
                ["metrics_generator"],
            ),
            clients: registry.gauge(
                "tempo_distributor_metrics_generator_clients",
                "Metrics generators that spans are sent to.",
            ),
        }
    }

    pub(super) fn offered(&self, tenant: &TenantId) {
        self.offered.with([QUEUE, tenant.as_str()]).inc();
    }

    pub(super) fn refused(&self, tenant: &TenantId) {
        self.refused.with([QUEUE, tenant.as_str()]).inc();
    }

    pub(super) fn of_tenant(&self, tenant: &TenantId) -> TenantMetrics {
        let tenant = tenant.as_str();
        TenantMetrics {
            length: self.length.with([QUEUE, tenant]),
            sent: self.sent.with([tenant]),
            failed: self.failed.with([tenant]),
        }
    }

    /// Gauges of a tenant without a queue.
    pub(super) fn forget_tenant(&self, tenant: &TenantId) {
        self.length.remove([QUEUE, tenant.as_str()]);
    }

    /// Counts a push to a generator.
    pub(super) fn pushed(&self, address: &str, is_ok: bool) {
        self.pushes.with([address]).inc();
        if !is_ok {
            self.push_failures.with([address]).inc();
        }
    }

    /// Drops the series of generators that left.
    pub(super) fn keep_generators(&self, keep: impl Fn(&str) -> bool) {
        self.pushes.retain(|[address]| keep(address));
        self.push_failures.retain(|[address]| keep(address));
    }
}
