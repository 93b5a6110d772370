//! Metrics of the compactor, under Tempo's names.

use tactus_telemetry::metrics::{Counter, CounterVec, GaugeVec, Histogram, exponential_buckets};

tactus_telemetry::metrics! {
    /// Handles of all metrics; cheap to clone.
    #[derive(Debug, Clone)]
    pub(crate) struct Metrics {
        pub(crate) blocks: CounterVec<1> = "tempodb_compaction_blocks_total", "Blocks merged, by their level.", ["level"];
        pub(crate) objects_written: CounterVec<1> = "tempodb_compaction_objects_written_total", "Traces written by merges.", ["level"];
        pub(crate) objects_combined: CounterVec<1> = "tempodb_compaction_objects_combined_total",
            "Traces that stood in several inputs of a merge.", ["level"];
        pub(crate) bytes_written: CounterVec<1> = "tempodb_compaction_bytes_written_total", "Bytes written by merges.", ["level"];
        pub(crate) errors: Counter = "tempodb_compaction_errors_total", "Merges and rewrites that failed.";
        pub(crate) outstanding: GaugeVec<1> = "tempodb_compaction_outstanding_blocks", "Blocks that are due to be merged by this process.", ["tenant"];
        pub(crate) spans_combined: CounterVec<1> = "tempodb_compaction_spans_combined_total",
            "Spans that stood in several inputs of a merge.", ["replication_factor"];
        pub(crate) spans_deduped: CounterVec<1> = "tempodb_compaction_spans_deduped_total",
            "Spans that stood in several inputs of a merge.", ["replication_factor"];
        pub(crate) discarded_spans: CounterVec<2> = "tempo_discarded_spans_total",
            "Spans that were not kept, by reason.", ["reason", "tenant"];
        pub(crate) retention_duration: Histogram = "tempodb_retention_duration_seconds",
            "Time of one run of retention.", &exponential_buckets(0.25, 2.0, 6);
        pub(crate) retention_deleted: Counter = "tempodb_retention_deleted_total", "Blocks deleted from the bucket.";
        pub(crate) retention_marked: Counter = "tempodb_retention_marked_for_deletion_total",
            "Blocks marked because of their age or the size of all.";
        pub(crate) retention_errors: Counter = "tempodb_retention_errors_total", "Blocks that retention failed on.";
        pub(crate) expired_traces: CounterVec<1> = "tactus_compactor_expired_traces_total",
            "Traces taken out of blocks by a retention policy.", ["tenant"];
        pub(crate) orphans_deleted: Counter = "tactus_compactor_orphans_deleted_total",
            "Blocks that a killed writer never finished, deleted.";
        pub(crate) damaged_blocks: GaugeVec<1> = "tactus_compactor_damaged_blocks",
            "Blocks left out of merges because they cannot be read.", ["tenant"];
        pub(crate) too_large_blocks: GaugeVec<1> = "tactus_compactor_too_large_blocks",
            "Blocks left out of merges because a trace of theirs takes more memory than a merge has.", ["tenant"];
        pub(crate) jobs: GaugeVec<2> = "tactus_compactor_jobs", "Deletion and redaction jobs, by status.", ["tenant", "status"];
        pub(crate) job_changes: CounterVec<2> = "tactus_compactor_job_changes_total",
            "Traces deleted and attribute values redacted by jobs.", ["tenant", "kind"];
    }
}

impl Metrics {
    /// Forgets what was told of tenants that have no blocks any more.
    pub(crate) fn keep_tenants(&self, is_known: impl Fn(&str) -> bool) {
        for gauge in [&self.outstanding, &self.damaged_blocks, &self.too_large_blocks] {
            gauge.retain(|[tenant]| is_known(tenant));
        }
    }
}
