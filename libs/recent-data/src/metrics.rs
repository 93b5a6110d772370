//! Metrics of the ingester, under Tempo's names.

use tactus_telemetry::metrics::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, Registry, exponential_buckets,
};

use crate::error::PushError;

mod tail_sampling;

pub(crate) use tail_sampling::TailSamplingMetrics;

tactus_telemetry::metrics! {
    /// Handles of all metrics; cheap to clone.
    #[derive(Debug, Clone)]
    pub(crate) struct Metrics {
        pub(crate) traces_created: CounterVec<1> = "tempo_ingester_traces_created_total", "Traces cut to segments per tenant.", ["tenant"];
        pub(crate) live_traces: GaugeVec<1> = "tempo_ingester_live_traces", "Traces in memory per tenant.", ["tenant"];
        pub(crate) live_trace_bytes: GaugeVec<1> = "tempo_ingester_live_trace_bytes",
            "Bytes of memory that live spans hold per tenant.", ["tenant"];
        pub(crate) bytes_received: CounterVec<2> = "tempo_ingester_bytes_received_total",
            "Bytes of spans received per tenant.", ["tenant", "data_type"];
        pub(crate) blocks_flushed: Counter = "tempo_ingester_blocks_flushed_total", "Blocks written to object storage.";
        pub(crate) failed_flushes: Counter = "tempo_ingester_failed_flushes_total",
            "Attempts to write a block that failed; each is repeated.";
        pub(crate) flush_retries: Counter = "tempo_ingester_flush_retries_total", "Attempts to write a block after one that failed.";
        pub(crate) flush_failed_retries: Counter = "tempo_ingester_flush_failed_retries_total", "Retried flushes that failed again.";
        pub(crate) flush_duration: Histogram = "tempo_ingester_flush_duration_seconds",
            "Time to build a block and write it to object storage.", &exponential_buckets(1.0, 2.0, 10);
        pub(crate) flush_size: Histogram = "tempo_ingester_flush_size_bytes",
            "Bytes of data of a block written to object storage.", &exponential_buckets(1024.0 * 1024.0, 2.0, 10);
        pub(crate) flush_queue_length: Gauge = "tempo_ingester_flush_queue_length", "Blocks that were begun and are not in object storage.";
        pub(crate) flushed_bytes: Counter = "tactus_ingester_flushed_bytes_total", "Bytes of data written to object storage.";
        pub(crate) blocks_cleared: Counter = "tempo_ingester_blocks_cleared_total",
            "Blocks whose local segments were deleted after the flush.";
        pub(crate) live_bytes: Gauge = "tactus_ingester_live_bytes", "Bytes of memory that live spans hold.";
        pub(crate) segments: Gauge = "tactus_ingester_segments", "Segments on disk that no block holds yet.";
        pub(crate) segment_bytes: Gauge = "tactus_ingester_segment_bytes", "Bytes of segments on disk that no block in storage has yet.";
        pub(crate) wal_bytes: Gauge = "tactus_ingester_wal_bytes", "Bytes of the write-ahead log.";
        pub(crate) directory_bytes: Gauge = "tactus_ingester_directory_bytes",
            "Bytes of all files of the ingester, what was set aside and what is unfinished among them.";
        pub(crate) disk_free_bytes: Gauge = "tactus_ingester_disk_free_bytes",
            "Bytes free on the disk of the write-ahead log; 0 if ingester.min_free_disk_bytes is.";
        pub(crate) disk_kept_bytes: Gauge = "tactus_ingester_disk_kept_bytes",
            "Free bytes below which pushes are refused: ingester.min_free_disk_bytes and what cutting the live spans takes.";
        pub(crate) replay_errors: CounterVec<1> = "tempo_ingester_replay_errors_total",
            "Segments and parts of the write-ahead log that could not be read. Of a part nobody knows the tenants: \
                 its tenant is empty.",
            ["tenant"];
        pub(crate) replay_dropped_bytes: Counter = "tactus_ingester_replay_dropped_bytes_total",
            "Bytes of the write-ahead log that could not be read at start.";
        pub(crate) replayed_frames: Counter = "tactus_ingester_replayed_pushes_total",
            "Pushes read back from the write-ahead log at start.";
        pub(crate) refused_pushes: CounterVec<1> = "tactus_ingester_refused_pushes_total",
            "Pushes refused as a whole, by reason.", ["reason"];
        pub(crate) warnings: CounterVec<2> = "tempo_warnings_total",
            "Spans stored with a warning. outside_ingestion_time_slack: a time further from the arrival than \
                 ingestion_time_range_slack, left out of the block's time range.",
            ["reason", "tenant"];
        pub(crate) duplicate_spans: Counter = "tactus_ingester_duplicate_spans_total",
            "Spans that were received more than once and stored once.";
        pub(crate) attributes_truncated: CounterVec<1> = "tempo_distributor_attributes_truncated_total",
            "Attribute keys and values cut to max_attribute_bytes, by each ingester that stores them.", ["tenant"];
        pub(crate) tails: Gauge = "tactus_ingester_live_tails", "Live tails that are open.";
        pub(crate) tail_skipped_spans: Counter = "tactus_ingester_live_tail_skipped_spans_total",
            "Spans that a live tail did not look at, because its buffer was full.";
        pub(crate) tail_sampling: TailSamplingMetrics;
    }
}

impl Metrics {
    /// Registers all metrics. Refusals begin at zero, so that a monitor sees the first one of each reason.
    pub(crate) fn new(registry: &Registry) -> Self {
        let metrics = Self::register(registry);
        for reason in PushError::REASONS {
            metrics.refused_pushes.with([reason]);
        }
        metrics
    }

    /// Creates a tenant's counter of replay errors at zero, so that a monitor can see it grow at the next start.
    pub(crate) fn show_replay_errors(&self, tenant: &str) {
        self.replay_errors.with([tenant]);
    }
}
