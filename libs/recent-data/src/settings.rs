//! The settings of an ingester.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tactus_config::sections::ingester::Ingester as IngesterSection;
use tactus_config::sections::storage::{Block, TraceStorage};
use tactus_model::OfTenant;
use tactus_storage::meta::{BlockVersion, DedicatedColumn};
use tactus_tail_sampling::Policies;
use tactus_wal::{Files, SystemFiles};
use tactus_work::memory::QueryMemory;

/// Longest pause before what failed is tried again.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(120);

/// Settings of an ingester: sections of the configuration, and what follows from others.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section `ingester`.
    pub ingester: IngesterSection,
    /// The section `storage.trace.block`, of which some is checked below.
    pub block: Block,
    /// The name of this ingester in the ring. It must be unique if spans are replicated.
    pub ingester_id: String,
    /// The directory of the write-ahead log, segments and manifests of blocks. Only one process may use it at a time.
    pub directory: PathBuf,
    /// What a crash of the machine may lose. `None`: all spans that are not in a segment yet. Zero: nothing. Otherwise:
    /// the spans of this duration. A crash of the process loses nothing that was acknowledged.
    pub fsync_interval: Option<Duration>,
    /// A growing batch is closed at this many spans. Queries can then read it without a lock.
    pub chunk_spans: usize,
    /// Live spans are cut into segments at this many bytes in memory.
    pub generation_bytes: usize,
    /// Creates the files of the log.
    pub log_files: Arc<dyn Files>,
    /// A row group is closed at this many spans. It has whole traces.
    pub row_group_spans: usize,
    /// Memory of running queries (`server.max_inflight_bytes`).
    pub query_memory: Arc<QueryMemory>,
    /// Most alternatives in the filter of a tag query. Queries with more are refused.
    pub max_condition_groups: OfTenant<usize>,
    /// How long spans are still served after their block is in object storage, until the readers of blocks know it.
    /// Zero if they share this process's block list.
    pub hold_flushed: Duration,
    /// The first pause after a failed flush. It doubles up to two minutes.
    pub retry_pause: Duration,
    /// Times of spans further from now than this are replaced by now in the time range of a block; zero: never.
    pub range_slack: Duration,
    /// Version of new blocks: vParquet4 or vParquet5.
    pub block_version: BlockVersion,
    /// Dedicated attribute columns of new blocks, already filtered for the block version.
    pub dedicated_columns: OfTenant<Vec<DedicatedColumn>>,
    /// New blocks have filters of values.
    pub value_filters: OfTenant<bool>,
    /// Limits of a tenant. They are read at its first push after each cut.
    pub limits: OfTenant<Limits>,
    /// Tail sampling; `None` keeps all traces. Equal settings must be the same allocation, because they are compared by
    /// address.
    pub tail_sampling: OfTenant<Option<Arc<TailSampling>>>,
}

/// Tail sampling of a tenant.
#[derive(Debug)]
pub struct TailSampling {
    /// What is kept. Not empty.
    pub policies: Arc<Policies>,
    /// Traces are decided this long after their spans arrived.
    pub decision_wait: Duration,
    /// Most traces that wait. If there are more, the oldest are decided early.
    pub num_traces: usize,
    /// How many decisions to keep a trace are remembered for late spans.
    pub sampled_cache_size: usize,
    /// How many decisions to drop a trace are remembered for late spans.
    pub non_sampled_cache_size: usize,
}

impl TailSampling {
    /// How often spans are cut into segments. Spans that were cut together are decided together, when the last of them
    /// has waited long enough.
    pub(crate) fn cut_period(&self) -> Duration {
        (self.decision_wait / 4).max(Duration::from_secs(1))
    }
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
    /// The pause before what failed is tried again, after so many earlier failures.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        let pause = self.retry_pause.saturating_mul(2u32.saturating_pow(failures.min(16)));
        pause.min(MAX_RETRY_PAUSE)
    }

    /// The defaults, below `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, ..Self::of(&IngesterSection::default(), &TraceStorage::default()) }
    }

    /// The settings of all tenants from the sections `ingester` and `storage.trace`.
    pub fn of(ingester: &IngesterSection, trace: &TraceStorage) -> Self {
        let fsync = trace.wal.fsync_interval;
        Self {
            ingester: ingester.clone(),
            block: trace.block.clone(),
            ingester_id: ingester.lifecycler.id.clone(),
            directory: PathBuf::from(&trace.wal.path),
            fsync_interval: (fsync.0 >= 0).then(|| fsync.as_std()),
            chunk_spans: 16 << 10,
            generation_bytes: (24 << 20).min(ingester.max_live_bytes as usize / 4),
            log_files: Arc::new(SystemFiles),
            row_group_spans: tactus_block::ROW_GROUP_SPANS,
            query_memory: QueryMemory::unbounded(),
            max_condition_groups: OfTenant::all(100),
            hold_flushed: Duration::ZERO,
            retry_pause: Duration::from_secs(1),
            range_slack: trace.wal.ingestion_time_range_slack.as_std(),
            block_version: BlockVersion::VParquet4,
            dedicated_columns: OfTenant::all(Vec::new()),
            value_filters: OfTenant::all(true),
            limits: OfTenant::all(Limits {
                max_bytes_per_trace: 5_000_000,
                max_live_traces: 10_000,
                max_attribute_bytes: 2048,
            }),
            tail_sampling: OfTenant::all(None),
        }
    }
}
