//! Metrics of the distributor, under Tempo's names.

use tactus_model::TenantId;
use tactus_telemetry::metrics::{CounterVec, Registry};

pub(crate) struct Metrics {
    spans_received: CounterVec<1>,
    bytes_received: CounterVec<1>,
    discarded_spans: CounterVec<2>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            spans_received: registry.counter_vec(
                "tempo_distributor_spans_received_total",
                "Spans received per tenant.",
                ["tenant"],
            ),
            bytes_received: registry.counter_vec(
                "tempo_distributor_bytes_received_total",
                "Bytes of export requests received per tenant.",
                ["tenant"],
            ),
            discarded_spans: registry.counter_vec(
                "tempo_discarded_spans_total",
                "Spans that were not stored, by reason and tenant.",
                ["reason", "tenant"],
            ),
        }
    }

    pub(crate) fn received(&self, tenant: &TenantId, spans: u64, bytes: u64) {
        self.spans_received.with([tenant.as_str()]).inc_by(spans);
        self.bytes_received.with([tenant.as_str()]).inc_by(bytes);
    }

    pub(crate) fn discard(&self, tenant: &TenantId, reason: &str, spans: u64) {
        if spans > 0 {
            self.discarded_spans.with([reason, tenant.as_str()]).inc_by(spans);
        }
    }
}
