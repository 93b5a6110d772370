//! Metrics of the distributor, under Tempo's names, and of the queues for forwarders and metrics generators.

use std::time::Duration;

use tactus_model::{TenantId, mix_64};
use tactus_telemetry::log_limited;
use tactus_telemetry::metrics::{
    Counter, CounterVec, DEFAULT_BUCKETS, Gauge, GaugeVec, Histogram, OVERFLOW, exponential_buckets,
};

tactus_telemetry::metrics! {
    /// All metrics. Series of tenants are looked up each time, because the registry drops those of idle tenants only if
    /// nobody keeps a handle of them.
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
            "Ingesters that spans were pushed to, including some that have left since.";
        pub(crate) traces_per_batch: Histogram = "tempo_distributor_traces_per_batch",
            "Traces in an export request, estimated.", &exponential_buckets(2.0, 2.0, 10);
        pub(crate) push_duration: Histogram = "tempo_distributor_push_duration_seconds",
            "Time from an export request to the answer of enough ingesters.", &DEFAULT_BUCKETS;
        pub(crate) inflight_bytes: Gauge = "tactus_distributor_inflight_bytes",
            "Bytes of requests in flight, including those still held by calls to slow ingesters.";
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

    /// Counts spans that are not stored, for tenants that are not tracked because there are too many.
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

tactus_telemetry::metrics! {
    /// The counters of all queues. A counter of failures exists as soon as something can fail: if it began with the
    /// first failure, a rate would not include it.
    #[derive(Clone)]
    pub(crate) struct QueueMetrics {
        length: GaugeVec<2> = "tempo_distributor_queue_length", "Requests that wait for a forwarder.", ["name", "tenant"];
        offered: CounterVec<2> = "tempo_distributor_queue_pushes_total", "Requests for a forwarder.", ["name", "tenant"];
        refused: CounterVec<2> = "tempo_distributor_queue_pushes_failures_total",
            "Requests for a forwarder that found its queue full.", ["name", "tenant"];
        /// Requests that were taken, by tenant.
        pub(crate) sent: CounterVec<1> = "tempo_distributor_forwarder_pushes_total", "Requests of forwarders that an endpoint took.", ["tenant"];
        /// Those that were not taken.
        pub(crate) failed: CounterVec<1> = "tempo_distributor_forwarder_pushes_failures_total",
            "Requests of forwarders that an endpoint did not take.", ["tenant"];
    }
}

impl QueueMetrics {
    /// Counts a request of a tenant for the queue called `queue`.
    pub(crate) fn offered(&self, queue: &str, tenant: &str) {
        self.offered.with([queue, tenant]).inc();
        self.refused.with([queue, tenant]);
    }

    /// Counts and logs a request that found no room.
    pub(crate) fn refused(&self, queue: &str, tenant: &str) {
        self.refused.with([queue, tenant]).inc();
        log_limited!(
            warn,
            tenant,
            queue_name = queue,
            "failed to push data to queue: queue is full"
        );
    }

    /// Requests of the tenant that wait.
    pub(crate) fn length(&self, queue: &str, tenant: &str) -> Gauge {
        self.length.with([queue, tenant])
    }

    /// Nothing of the tenant waits any more.
    pub(crate) fn forget_length(&self, queue: &str, tenant: &str) {
        self.length.remove([queue, tenant]);
    }
}

/// Bits of the table. The estimate for a batch of a thousand traces is right within some percent.
const BITS: usize = 4096;

/// Estimates the number of distinct trace ids from how many bits of a table stay empty. That takes a few nanoseconds a
/// span and no allocation, and is exact enough for a histogram whose buckets double.
pub(crate) struct TraceCount {
    table: [u64; BITS / 64],
}

impl TraceCount {
    pub(crate) fn new() -> Self {
        Self { table: [0; BITS / 64] }
    }

    /// Sees the trace id of a span.
    #[inline]
    pub(crate) fn add(&mut self, trace_id: &[u8]) {
        let Some((_, tail)) = trace_id.split_last_chunk::<8>() else { return };
        // Ids need not be random.
        let bit = mix_64(u64::from_be_bytes(*tail)) >> 52;
        self.table[bit as usize / 64] |= 1 << (bit % 64);
    }

    /// The number of traces seen.
    pub(crate) fn estimate(&self) -> u64 {
        let set: u32 = self.table.iter().map(|word| word.count_ones()).sum();
        let empty = (BITS as f64 - f64::from(set)).max(1.0);
        (-(BITS as f64) * (empty / BITS as f64).ln()).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_is_near_the_number_of_distinct_ids() {
        for traces in [0u64, 1, 2, 10, 100, 1000, 4000] {
            let mut count = TraceCount::new();
            for trace in 0..traces {
                let id = u128::from(trace) | 7 << 100;
                count.add(&id.to_be_bytes());
                count.add(&id.to_be_bytes());
            }
            let error = count.estimate().abs_diff(traces);
            assert!(error <= traces / 10, "{traces}: {}", count.estimate());
        }
    }
}
