//! Metrics of the frontend: the service levels that dashboards show.

use std::time::{Duration, Instant};

use tactus_api::{Error, Result};
use tactus_config::sections::query_frontend::Slo;
use tactus_telemetry::metrics::{CounterVec, HistogramVec, Registry, exponential_buckets};

use crate::Settings;

/// The kinds of queries: values of the label `op`.
pub(crate) const TRACES: &str = "traces";
pub(crate) const SEARCH: &str = "search";
pub(crate) const METRICS: &str = "metrics";
pub(crate) const METADATA: &str = "metadata";

tactus_telemetry::metrics! {
    #[derive(Debug)]
    struct Counted {
        queries: CounterVec<3> = "tempo_query_frontend_queries_total", "Queries per tenant, kind and result.", ["tenant", "op", "result"];
        within_slo: CounterVec<3> = "tempo_query_frontend_queries_within_slo_total",
            "Queries within the service level per tenant, kind and result.", ["tenant", "op", "result"];
        inspected_bytes: CounterVec<2> = "tempo_query_frontend_bytes_inspected_total",
            "Bytes read for queries per tenant and kind.", ["tenant", "op"];
        bytes_per_second: CounterVec<2> = "tempo_query_frontend_bytes_processed_per_second",
            "Sum over queries of the bytes read per second that each took, where throughput_bytes_slo is set.", ["tenant", "op"];
        seconds: HistogramVec<1> = "tactus_query_frontend_query_duration_seconds",
            "Time of a query per kind.", ["op"], &exponential_buckets(0.001, 4.0, 9);
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    counted: Counted,
    /// The service levels, by kind of query.
    levels: [(&'static str, Slo); 4],
}

impl Metrics {
    pub(crate) fn new(registry: &Registry, settings: &Settings) -> Self {
        Self {
            counted: Counted::register(registry),
            levels: [
                (TRACES, settings.section.trace_by_id.slo.clone()),
                (SEARCH, settings.section.search.slo.clone()),
                (METADATA, settings.section.search.metadata_slo.clone()),
                (METRICS, settings.section.metrics.slo.clone()),
            ],
        }
    }

    fn level(&self, op: &str) -> Option<&Slo> {
        self.levels.iter().find(|(of, _)| *of == op).map(|(_, slo)| slo)
    }

    /// Starts to count a query. It counts as canceled unless [`Watch::done`] is called.
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
    /// Counts the end of the query and the bytes that it read. An error that is not a fault of ours is within the
    /// service level.
    pub(crate) fn done(mut self, inspected_bytes: Result<u64, &Error>) {
        self.done = true;
        let time = self.started.elapsed();
        let (result, within) = match inspected_bytes {
            Ok(bytes) => {
                let per_second = bytes as f64 / time.as_secs_f64().max(1e-6);
                let labels = [self.tenant, self.op];
                self.metrics.counted.inspected_bytes.with(labels).inc_by(bytes);
                let level = self.metrics.level(self.op);
                if level.is_some_and(|level| level.throughput_bytes_slo > 0.0) {
                    self.metrics.counted.bytes_per_second.with(labels).inc_by(per_second as u64);
                }
                ("completed", level.is_none_or(|level| is_met(level, time, per_second)))
            }
            Err(Error::Cancelled | Error::Stopped) => ("canceled", true),
            Err(error) => ("completed", !error.http_status().is_server_error()),
        };
        self.count(result, within);
    }

    /// Counts nothing: what was asked is asked again in another way.
    pub(crate) fn leave_out(mut self) {
        self.done = true;
    }

    fn count(&self, result: &str, within: bool) {
        let labels = [self.tenant, self.op, result];
        self.metrics.counted.queries.with(labels).inc();
        if within {
            self.metrics.counted.within_slo.with(labels).inc();
        }
        self.metrics.counted.seconds.with([self.op]).observe_duration(self.started.elapsed());
    }
}

fn is_met(slo: &Slo, time: Duration, bytes_per_second: f64) -> bool {
    let Slo { duration_slo, throughput_bytes_slo } = *slo;
    (duration_slo.is_zero() && throughput_bytes_slo == 0.0)
        || time < duration_slo.as_std()
        || (throughput_bytes_slo > 0.0 && bytes_per_second >= throughput_bytes_slo)
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.count("canceled", true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_config::GoDuration;

    #[test]
    fn level_is_met_by_time_or_by_throughput() {
        let seconds = Duration::from_secs;
        for (duration, throughput_bytes, time, bytes_per_second, expected) in [
            (0, 0.0, 99, 0.0, true),
            (5, 0.0, 4, 0.0, true),
            (5, 0.0, 5, 1e9, false),
            (0, 100.0, 99, 100.0, true),
            (0, 100.0, 1, 99.0, false),
            (5, 100.0, 9, 100.0, true),
            (5, 100.0, 9, 99.0, false),
        ] {
            let duration_slo = GoDuration::seconds(duration);
            let level = Slo { duration_slo, throughput_bytes_slo: throughput_bytes };
            assert_eq!(is_met(&level, seconds(time), bytes_per_second), expected, "{level:?}");
        }
    }
}
