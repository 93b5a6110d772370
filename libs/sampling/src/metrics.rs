//! Metrics of sampling.

use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, Registry};

tactus_telemetry::metrics! {
    /// Counts of files and calculations.
    #[derive(Debug, Clone)]
    pub struct Metrics {
        pub(crate) last_reload_successful: Gauge = "tactus_sampling_strategies_last_reload_successful",
            "0 if the file of sampling strategies could not be read the last time.";
        pub(crate) reload_failures: Counter = "tactus_sampling_strategies_reload_failures_total",
            "Attempts to read a file of sampling strategies that failed.";
        pub(crate) counted_spans: Counter = "tactus_sampling_counted_spans_total", "Root spans that adaptive sampling counted.";
        pub(crate) uncounted_spans: Counter = "tactus_sampling_uncounted_spans_total",
            "Root spans that adaptive sampling did not count: operations beyond the limits, names or parameters that cannot be.";
        pub(crate) calculations: Counter = "tactus_sampling_calculations_total", "Calculations of sampling probabilities by this process.";
        pub(crate) store_failures: CounterVec<1> = "tactus_sampling_store_failures_total",
            "Accesses of adaptive sampling to the bucket that failed, by what they were for.", ["operation"];
        pub(crate) damaged_objects: Counter = "tactus_sampling_damaged_objects_total",
            "Objects of adaptive sampling in the bucket that could not be read.";
        pub(crate) is_leader: Gauge = "tactus_sampling_leader", "1 if this process calculates sampling probabilities.";
        pub(crate) operations: Gauge = "tactus_sampling_operations", "Operations with a calculated sampling probability.";
    }
}

impl Metrics {
    /// Registers all metrics, so that they exist before anything is counted.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self::register(registry);
        for operation in ["flush", "calculate", "refresh"] {
            metrics.store_failures.with([operation]);
        }
        metrics.last_reload_successful.set(1.0);
        metrics
    }
}
