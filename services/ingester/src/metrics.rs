//! Metrics of the ingester, under Tempo's names.

use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, GaugeVec, Registry};

use crate::tail_sampling::TailSamplingMetrics;

/// Handles of all metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) traces_created: CounterVec<1>,
    pub(crate) live_traces: GaugeVec<1>,
    pub(crate) bytes_received: CounterVec<2>,
    pub(crate) blocks_flushed: Counter,
    pub(crate) failed_flushes: Counter,
    pub(crate) flush_size_bytes: Counter,
    pub(crate) blocks_cleared: Counter,
    pub(crate) live_bytes: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) segment_bytes: Gauge,
    pub(crate) wal_bytes: Gauge,
    pub(crate) replay_dropped_bytes: Counter,
    pub(crate) replayed_frames: Counter,
    pub(crate) refused_pushes: CounterVec<1>,
    pub(crate) duplicate_spans: Counter,
    pub(crate) attributes_truncated: CounterVec<1>,
    pub(crate) tail_sampling: TailSamplingMetrics,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            traces_created: registry.counter_vec(
                "tempo_ingester_traces_created_total",
                "Traces cut to segments per tenant.",
                ["tenant"],
            ),
            live_traces: registry.gauge_vec(
                "tempo_ingester_live_traces",
                "Traces in memory per tenant.",
                ["tenant"],
            ),
            bytes_received: registry.counter_vec(
                "tempo_ingester_bytes_received_total",
                "Bytes of spans received per tenant.",
                ["tenant", "data_type"],
            ),
            blocks_flushed: registry.counter(
                "tempo_ingester_blocks_flushed_total",
                "Blocks written to object storage.",
            ),
            failed_flushes: registry.counter(
                "tempo_ingester_failed_flushes_total",
                "Attempts to write a block that failed; each is repeated.",
            ),
            flush_size_bytes: registry.counter(
                "tactus_ingester_flushed_bytes_total",
                "Bytes of data written to object storage.",
            ),
            blocks_cleared: registry.counter(
                "tempo_ingester_blocks_cleared_total",
                "Blocks whose local segments were deleted after the flush.",
            ),
            live_bytes: registry
                .gauge("tactus_ingester_live_bytes", "Bytes of memory that live spans hold."),
            segments: registry
                .gauge("tactus_ingester_segments", "Segments on disk that no block holds yet."),
            segment_bytes: registry
                .gauge("tactus_ingester_segment_bytes", "Bytes of those segments."),
            wal_bytes: registry.gauge("tactus_ingester_wal_bytes", "Bytes of the write-ahead log."),
            replay_dropped_bytes: registry.counter(
                "tactus_ingester_replay_dropped_bytes_total",
                "Bytes of the write-ahead log that could not be read at start.",
            ),
            replayed_frames: registry.counter(
                "tactus_ingester_replayed_pushes_total",
                "Pushes read back from the write-ahead log at start.",
            ),
            refused_pushes: registry.counter_vec(
                "tactus_ingester_refused_pushes_total",
                "Pushes refused as a whole, by reason.",
                ["reason"],
            ),
            duplicate_spans: registry.counter(
                "tactus_ingester_duplicate_spans_total",
                "Spans that were received more than once and stored once.",
            ),
            attributes_truncated: registry.counter_vec(
                "tempo_distributor_attributes_truncated_total",
                "Attribute keys and values cut to max_attribute_bytes.",
                ["tenant"],
            ),
            tail_sampling: TailSamplingMetrics::new(registry),
        }
    }
}
