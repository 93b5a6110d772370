//! Metrics of the compactor, under Tempo's names.

use tactus_telemetry::metrics::{
    Counter, CounterVec, GaugeVec, Histogram, Registry, exponential_buckets,
};

/// Handles of all metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) blocks: CounterVec<1>,
    pub(crate) objects_written: CounterVec<1>,
    pub(crate) objects_combined: CounterVec<1>,
    pub(crate) bytes_written: CounterVec<1>,
    pub(crate) errors: Counter,
    pub(crate) outstanding: GaugeVec<1>,
    pub(crate) spans_combined: CounterVec<1>,
    pub(crate) spans_deduped: CounterVec<1>,
    pub(crate) discarded_spans: CounterVec<2>,
    pub(crate) retention_duration: Histogram,
    pub(crate) retention_deleted: Counter,
    pub(crate) retention_marked: Counter,
    pub(crate) retention_errors: Counter,
    pub(crate) expired_traces: CounterVec<1>,
    pub(crate) orphans_deleted: Counter,
    pub(crate) damaged_blocks: GaugeVec<1>,
    pub(crate) jobs: GaugeVec<2>,
    pub(crate) job_changes: CounterVec<2>,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let by_level = |name, help| registry.counter_vec(name, help, ["level"]);
        let metrics = Self {
            blocks: by_level("tempodb_compaction_blocks_total", "Blocks merged, by their level."),
            objects_written: by_level(
                "tempodb_compaction_objects_written_total",
                "Traces written by merges.",
            ),
            objects_combined: by_level(
                "tempodb_compaction_objects_combined_total",
                "Traces that stood in several inputs of a merge.",
            ),
            bytes_written: by_level(
                "tempodb_compaction_bytes_written_total",
                "Bytes written by merges.",
            ),
            errors: registry
                .counter("tempodb_compaction_errors_total", "Merges and rewrites that failed."),
            outstanding: registry.gauge_vec(
                "tempodb_compaction_outstanding_blocks",
                "Blocks that are due to be merged.",
                ["tenant"],
            ),
            spans_combined: registry.counter_vec(
                "tempodb_compaction_spans_combined_total",
                "Spans that stood in several inputs of a merge.",
                ["replication_factor"],
            ),
            spans_deduped: registry.counter_vec(
                "tempodb_compaction_spans_deduped_total",
                "Spans that stood in several inputs of a merge.",
                ["replication_factor"],
            ),
            discarded_spans: registry.counter_vec(
                "tempo_discarded_spans_total",
                "Spans that were not kept, by reason.",
                ["reason", "tenant"],
            ),
            retention_duration: registry.histogram(
                "tempodb_retention_duration_seconds",
                "Time of one run of retention.",
                &exponential_buckets(0.25, 2.0, 6),
            ),
            retention_deleted: registry
                .counter("tempodb_retention_deleted_total", "Blocks deleted from the bucket."),
            retention_marked: registry.counter(
                "tempodb_retention_marked_for_deletion_total",
                "Blocks marked because of their age or the size of all.",
            ),
            retention_errors: registry
                .counter("tempodb_retention_errors_total", "Blocks that retention failed on."),
            expired_traces: registry.counter_vec(
                "tactus_compactor_expired_traces_total",
                "Traces taken out of blocks by a retention policy.",
                ["tenant"],
            ),
            orphans_deleted: registry.counter(
                "tactus_compactor_orphans_deleted_total",
                "Blocks that a killed writer never finished, deleted.",
            ),
            damaged_blocks: registry.gauge_vec(
                "tactus_compactor_damaged_blocks",
                "Blocks left out of merges because they cannot be read.",
                ["tenant"],
            ),
            jobs: registry.gauge_vec(
                "tactus_compactor_jobs",
                "Deletion and redaction jobs, by status.",
                ["tenant", "status"],
            ),
            job_changes: registry.counter_vec(
                "tactus_compactor_job_changes_total",
                "Traces deleted and attribute values redacted by jobs.",
                ["tenant", "kind"],
            ),
        };
        // What alerts divide by must exist before it first happens.
        metrics.errors.inc_by(0);
        metrics
    }
}
