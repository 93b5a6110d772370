//! What an operator can set.

use std::{path::PathBuf, time::Duration};

use tactus_storage::meta::{BlockVersion, DedicatedColumn};

/// Settings of an ingester. Times and sizes as in Tempo's `ingester` and `storage.trace` sections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of the write-ahead log, segments and blocks in the making. One process at a time.
    pub directory: PathBuf,
    /// What a crash of the machine may lose: `None` all that is not yet a segment, zero nothing, else the spans of
    /// this long. A crash of the process loses nothing acknowledged, whatever is set.
    pub fsync_interval: Option<Duration>,
    /// A batch of arriving spans is closed at this many spans; then queries read it without a lock.
    pub chunk_spans: usize,
    /// Live spans are cut to segments at this many bytes in memory.
    pub generation_bytes: usize,
    /// Pushes are refused while live spans hold more than this many bytes.
    pub max_live_bytes: usize,
    /// Pushes are refused while the directory holds more than this many bytes; 0: no limit.
    pub max_directory_bytes: u64,
    /// Live spans are cut to segments once nothing arrived for this long.
    pub trace_idle_period: Duration,
    /// Live spans are cut to segments at this age.
    pub trace_live_period: Duration,
    /// How often ages are looked at.
    pub flush_check_period: Duration,
    /// Segments become a block at this age of the oldest.
    pub max_block_duration: Duration,
    /// Segments become a block at this size of all of a tenant.
    pub max_block_bytes: u64,
    /// A row group is closed at this many spans; whole traces.
    pub row_group_spans: usize,
    /// A row group is closed at about this many bytes before compression, if that comes first; see
    /// [`tactus_block::estimated_bytes`].
    pub row_group_bytes: u64,
    /// Blocks being built or uploaded at the same time.
    pub concurrent_flushes: usize,
    /// Queries that run at the same time.
    pub concurrent_queries: usize,
    /// Alternatives in the filter of a tag query; more are refused.
    pub max_condition_groups: usize,
    /// Limit of one upload.
    pub flush_op_timeout: Duration,
    /// First pause after a failed flush; doubles up to `max_retry_pause`.
    pub retry_pause: Duration,
    /// Longest pause after a failed flush.
    pub max_retry_pause: Duration,
    /// Block times further from now than this are clamped to now; zero: never clamped.
    pub range_slack: Duration,
    /// Bloom filter's false positive rate.
    pub bloom_false_positive: f64,
    /// Bloom filter's shard size.
    pub bloom_shard_bytes: u32,
    /// Version of new blocks: vParquet4 or vParquet5.
    pub block_version: BlockVersion,
    /// Dedicated attribute columns of new blocks, already filtered for the block version.
    pub dedicated_columns: Vec<DedicatedColumn>,
    /// Limits of every tenant.
    pub limits: Limits,
}

/// Limits of a tenant; 0 is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Encoded bytes of a trace.
    pub max_bytes_per_trace: u64,
    /// Traces that are live at the same time.
    pub max_live_traces: usize,
    /// Keys and string values are cut to this many bytes.
    pub max_attribute_bytes: usize,
}

impl Settings {
    /// The defaults, below `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            fsync_interval: Some(Duration::from_millis(100)),
            chunk_spans: 16 << 10,
            generation_bytes: 24 << 20,
            max_live_bytes: 160 << 20,
            max_directory_bytes: 0,
            trace_idle_period: Duration::from_secs(5),
            trace_live_period: Duration::from_secs(30),
            flush_check_period: Duration::from_secs(10),
            max_block_duration: Duration::from_secs(30 * 60),
            max_block_bytes: 500 << 20,
            row_group_spans: tactus_block::ROW_GROUP_SPANS,
            row_group_bytes: 100_000_000,
            concurrent_flushes: 1,
            concurrent_queries: 8,
            max_condition_groups: 100,
            flush_op_timeout: Duration::from_secs(5 * 60),
            retry_pause: Duration::from_secs(1),
            max_retry_pause: Duration::from_secs(120),
            range_slack: Duration::from_secs(120),
            bloom_false_positive: 0.01,
            bloom_shard_bytes: 100 << 10,
            block_version: BlockVersion::VParquet4,
            dedicated_columns: Vec::new(),
            limits: Limits {
                max_bytes_per_trace: 5_000_000,
                max_live_traces: 10_000,
                max_attribute_bytes: 2048,
            },
        }
    }
}
