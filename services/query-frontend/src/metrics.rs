//! What the frontend counts: the service levels that dashboards show.

use std::time::Instant;

use tactus_api::{Error, Result};
use tactus_telemetry::metrics::{CounterVec, HistogramVec, Registry, exponential_buckets};

/// Kinds of queries, as the label `op` names them.
pub(crate) const TRACES: &str = "traces";
pub(crate) const SEARCH: &str = "search";
pub(crate) const METRICS: &str = "metrics";
pub(crate) const METADATA: &str = "metadata";

#[derive(Debug)]
pub(crate) struct Metrics {
    queries: CounterVec<3>,
    within_slo: CounterVec<3>,
    inspected_bytes: CounterVec<2>,
    seconds: HistogramVec<1>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            queries: registry.counter_vec(
                "tempo_query_frontend_queries_total",
                "Queries per tenant, kind and result.",
                ["tenant", "op", "result"],
            ),
            within_slo: registry.counter_vec(
                "tempo_query_frontend_queries_within_slo_total",
                "Queries within the service level per tenant, kind and result.",
                ["tenant", "op", "result"],
            ),
            inspected_bytes: registry.counter_vec(
                "tempo_query_frontend_bytes_inspected_total",
                "Bytes read for queries per tenant and kind.",
                ["tenant", "op"],
            ),
            seconds: registry.histogram_vec(
                "tactus_query_frontend_query_duration_seconds",
                "Time of a query per kind.",
                ["op"],
                &exponential_buckets(0.001, 4.0, 9),
            ),
        }
    }

    /// Counts the bytes that a query read.
    pub(crate) fn inspected(&self, tenant: &str, op: &str, bytes: u64) {
        self.inspected_bytes.with([tenant, op]).inc_by(bytes);
    }

    /// Starts counting a query. It counts as canceled unless [`Watch::done`] is called.
    pub(crate) fn watch<'m>(&'m self, tenant: &'m str, op: &'static str) -> Watch<'m> {
        Watch { metrics: self, tenant, op, started: Instant::now(), done: false }
    }
}

/// A query that runs.
pub(crate) struct Watch<'m> {
    metrics: &'m Metrics,
    tenant: &'m str,
    op: &'static str,
    started: Instant,
    done: bool,
}

impl Watch<'_> {
    /// Counts the end of the query. Without a configured level, an answer that is no fault of ours is within it.
    pub(crate) fn done<T>(mut self, result: &Result<T>) {
        self.done = true;
        let (result, within) = match result {
            Ok(_) => ("completed", true),
            Err(Error::Cancelled) => ("canceled", true),
            Err(error) => ("completed", !error.http_status().is_server_error()),
        };
        self.count(result, within);
    }

    fn count(&self, result: &str, within: bool) {
        let labels = [self.tenant, self.op, result];
        self.metrics.queries.with(labels).inc();
        if within {
            self.metrics.within_slo.with(labels).inc();
        }
        self.metrics.seconds.with([self.op]).observe_duration(self.started.elapsed());
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.count("canceled", true);
        }
    }
}
