//! What sampling shows of itself.

use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, Registry};

/// Counts of files and calculations.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) last_reload_successful: Gauge,
    pub(crate) reload_failures: Counter,
    pub(crate) counted_spans: Counter,
    pub(crate) uncounted_spans: Counter,
    pub(crate) calculations: Counter,
    pub(crate) store_failures: CounterVec<1>,
    pub(crate) damaged_objects: Counter,
    pub(crate) is_leader: Gauge,
    pub(crate) operations: Gauge,
}

impl Metrics {
    /// Registers everything, so that it is there before anything happened.
    pub fn register(registry: &Registry) -> Self {
        let store_failures = registry.counter_vec(
            "tactus_sampling_store_failures_total",
            "Accesses of adaptive sampling to the bucket that failed, by what they were for.",
            ["operation"],
        );
        for operation in ["flush", "calculate", "refresh"] {
            store_failures.with([operation]);
        }
        let last_reload_successful = registry.gauge(
            "tactus_sampling_strategies_last_reload_successful",
            "0 if the file of sampling strategies could not be read the last time.",
        );
        last_reload_successful.set(1.0);
        Self {
            last_reload_successful,
            reload_failures: registry.counter(
                "tactus_sampling_strategies_reload_failures_total",
                "Attempts to read a file of sampling strategies that failed.",
            ),
            counted_spans: registry.counter(
                "tactus_sampling_counted_spans_total",
                "Root spans that adaptive sampling counted.",
            ),
            uncounted_spans: registry.counter(
                "tactus_sampling_uncounted_spans_total",
                "Root spans that adaptive sampling did not count: operations beyond the limits, names or parameters that cannot be.",
            ),
            calculations: registry.counter(
                "tactus_sampling_calculations_total",
                "Calculations of sampling probabilities by this process.",
            ),
            store_failures,
            damaged_objects: registry.counter(
                "tactus_sampling_damaged_objects_total",
                "Objects of adaptive sampling in the bucket that could not be read.",
            ),
            is_leader: registry.gauge(
                "tactus_sampling_leader",
                "1 if this process calculates sampling probabilities.",
            ),
            operations: registry.gauge(
                "tactus_sampling_operations",
                "Operations with a calculated sampling probability.",
            ),
        }
    }
}
