//! What the querier counts.

use std::sync::Arc;

use tactus_block::read::ColumnCache;
use tactus_telemetry::metrics::{
    Counter, CounterVec, Gauge, HistogramVec, Kind, Registry, exponential_buckets,
};

tactus_telemetry::metrics! {
    #[derive(Debug)]
    pub(crate) struct Metrics {
        /// Jobs by kind.
        pub(crate) jobs: CounterVec<1> = "tactus_querier_jobs_total", "Jobs run, by kind.", ["op"];
        /// Seconds a job took, by kind.
        pub(crate) job_seconds: HistogramVec<1> = "tactus_querier_job_duration_seconds",
            "Time of a job, waiting included.", ["op"], &exponential_buckets(0.001, 4.0, 8);
        /// Bytes of block data read, by kind of job.
        pub(crate) inspected_bytes: CounterVec<1> = "tactus_querier_inspected_bytes_total", "Bytes of blocks read by jobs.", ["op"];
        /// Jobs that met a damaged block.
        pub(crate) damaged_blocks: Counter = "tactus_querier_damaged_blocks_total", "Jobs that met a damaged block.";
        /// Jobs that met a block which had been deleted.
        pub(crate) deleted_blocks: Counter = "tactus_querier_deleted_blocks_total", "Jobs that met a block which was deleted meanwhile; their answers are marked as partial.";
        /// Jobs that wait for a slot or a thread.
        pub(crate) waiting: Gauge = "tempodb_work_queue_length", "Jobs on blocks that wait for a slot or a thread.";
    }
}

impl Metrics {
    /// Shows how many jobs run at a time.
    pub(crate) fn show_slots(registry: &Registry, slots: usize) {
        registry
            .gauge("tempodb_work_queue_max", "Jobs on blocks that run at a time.")
            .set(slots as f64);
    }

    /// Shows the cache of decoded columns as well.
    pub(crate) fn show_cache(registry: &Registry, cache: Arc<ColumnCache>) {
        registry.register_collector(move |out| {
            out.family(
                "tactus_querier_column_cache_hit_bytes_total",
                "Bytes of decoded columns that jobs found in the cache.",
                Kind::Counter,
            );
            out.sample(&[], cache.hit_bytes() as f64);
            out.family(
                "tactus_querier_column_cache_bytes",
                "Bytes of decoded columns in the cache.",
                Kind::Gauge,
            );
            out.sample(&[], cache.held_bytes() as f64);
        });
    }
}
