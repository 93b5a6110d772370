//! Metrics of the distributor, under Tempo's names.

use std::time::Duration;

use tactus_model::TenantId;
use tactus_telemetry::metrics::{
    Counter, CounterVec, DEFAULT_BUCKETS, Gauge, Histogram, OVERFLOW, exponential_buckets,
};

tactus_telemetry::metrics! {
    /// Everything that is counted. Series of tenants are looked up each time: the registry forgets those of idle tenants
    /// that nobody keeps a handle of.
    #[derive(Debug)]
    pub(crate) struct Metrics {
        spans_received: CounterVec<1> = "tempo_distributor_spans_received_total", "Spans received per tenant.", ["tenant"];
        bytes_received: CounterVec<1> = "tempo_distributor_bytes_received_total",
            "Bytes of export requests received per tenant.", ["tenant"];
        ingress_bytes: CounterVec<1> = "tempo_distributor_ingress_bytes_total",
            "Bytes of export requests per tenant, before any limit.", ["tenant"];
        discarded_spans: CounterVec<2> = "tempo_discarded_spans_total",
            "Spans that were not stored, by reason and tenant.", ["reason", "tenant"];
        appends: CounterVec<1> = "tempo_distributor_ingester_appends_total", "Pushes to each ingester.", ["ingester"];
        append_failures: CounterVec<1> = "tempo_distributor_ingester_append_failures_total",
            "Pushes to each ingester that failed or were not answered in time.", ["ingester"];
        pub(crate) ingester_clients: Gauge = "tempo_distributor_ingester_clients",
            "Ingesters that were pushed to, with some that left since.";
        pub(crate) traces_per_batch: Histogram = "tempo_distributor_traces_per_batch",
            "Traces in an export request, estimated.", &exponential_buckets(2.0, 2.0, 10);
        pub(crate) push_duration: Histogram = "tempo_distributor_push_duration_seconds",
            "Time from an export request to the answer of enough ingesters.", &DEFAULT_BUCKETS;
        pub(crate) inflight_bytes: Gauge = "tactus_distributor_inflight_bytes",
            "Bytes of requests in flight, with what calls to slow ingesters still hold.";
        pub(crate) overload_refusals: Counter = "tactus_distributor_overload_refusals_total",
            "Requests refused because too many bytes were in flight.";
        pub(crate) hedged_pushes: Counter = "tactus_distributor_hedged_pushes_total",
            "Pushes to an ingester that stood in for a slow or failed one.";
    }
}

impl Metrics {
    /// Counts a request before any limit.
    pub(crate) fn arrived(&self, tenant: &TenantId, bytes: u64) {
        self.ingress_bytes.with([tenant.as_str()]).inc_by(bytes);
    }

    /// Counts a request that passed the rate limit.
    pub(crate) fn received(&self, tenant: &TenantId, spans: u64, bytes: u64) {
        self.spans_received.with([tenant.as_str()]).inc_by(spans);
        self.bytes_received.with([tenant.as_str()]).inc_by(bytes);
    }

    /// Counts spans that are not stored.
    pub(crate) fn discard(&self, tenant: &TenantId, reason: &str, spans: u64) {
        if spans > 0 {
            self.discarded_spans.with([reason, tenant.as_str()]).inc_by(spans);
        }
    }

    /// Counts spans that are not stored, of tenants of which nothing is kept.
    pub(crate) fn discard_of_many(&self, reason: &str, spans: u64) {
        self.discarded_spans.with([reason, OVERFLOW]).inc_by(spans);
    }

    /// The appends of an ingester and those of them that failed.
    pub(crate) fn of_ingester(&self, address: &str) -> (Counter, Counter) {
        (self.appends.with([address]), self.append_failures.with([address]))
    }

    /// Drops the series of an ingester that left.
    pub(crate) fn forget_ingester(&self, address: &str) {
        self.appends.remove([address]);
        self.append_failures.remove([address]);
    }

    pub(crate) fn pushed(&self, traces: u64, duration: Duration) {
        self.traces_per_batch.observe(traces as f64);
        self.push_duration.observe_duration(duration);
    }
}
