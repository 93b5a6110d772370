//! Metrics of the queue, under the names that dashboards expect.

use std::sync::Weak;

use tactus_telemetry::metrics::{
    CounterVec, Histogram, Kind, OVERFLOW, Registry, exponential_buckets,
};

use super::Shared;

/// Tenants with a series of their own. The other tenants share one.
const MAX_SHOWN: usize = 1_000;

tactus_telemetry::metrics! {
    #[derive(Debug)]
    pub(super) struct Metrics {
        /// Seconds that jobs waited.
        pub(super) waited: Histogram = "tempo_query_frontend_queue_duration_seconds",
            "Time that jobs waited for a querier.", &exponential_buckets(0.000_1, 4.0, 10);
        /// Attempts of a job beyond the first.
        pub(super) retries: Histogram = "tempo_query_frontend_retries",
            "Attempts of jobs beyond the first.", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        /// Queries refused because their tenant runs as many as it may.
        pub(super) discarded: CounterVec<1> = "tempo_query_frontend_discarded_requests_total",
            "Queries refused because their tenant runs as many as it may.", ["user"];
    }
}

/// Shows how long the queues are and how many queriers are there, while the queue lives.
pub(super) fn show(registry: &Registry, queue: Weak<Shared>) {
    registry.register_collector(move |out| {
        let Some(queue) = queue.upgrade() else { return };
        let (lengths, workers) = {
            let state = queue.state.lock();
            (state.turns().lengths(), state.workers())
        };
        let help = "Jobs that wait for a querier.";
        out.family("tempo_query_frontend_queue_length", help, Kind::Gauge);
        let (shown, others) = lengths.split_at(lengths.len().min(MAX_SHOWN));
        for (tenant, length) in shown {
            out.sample(&[("user", tenant)], *length as f64);
        }
        if !others.is_empty() {
            let length: usize = others.iter().map(|(_, length)| length).sum();
            out.sample(&[("user", OVERFLOW)], length as f64);
        }
        let help = "Queriers that take jobs: streams, and the one in this process.";
        out.family("tempo_query_frontend_connected_clients", help, Kind::Gauge);
        out.sample(&[], workers as f64);
    });
}
