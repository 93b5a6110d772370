//! The settings of the compactor.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tactus_compaction::RewriteSettings;
use tactus_storage::meta::DedicatedColumn;

/// Settings of a compactor. Times and sizes as in Tempo's `compactor` section.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Pause between two rounds. A round handles one tenant.
    pub cycle: Duration,
    /// A tenant's round ends after this time. Its remaining merges wait for its next turn.
    pub max_time_per_tenant: Duration,
    /// Pause between two runs of retention.
    pub retention_interval: Duration,
    /// Which blocks become one.
    pub selection: SelectionSettings,
    /// Blocks are deleted this long after another one replaced them.
    pub compacted_block_retention: Duration,
    /// Tenants whose retention runs at the same time.
    pub retention_concurrency: usize,
    /// Live bytes of all tenants. Beyond that, the oldest blocks are deleted. 0: no limit.
    pub max_bucket_bytes: u64,
    /// Objects of a block without a meta are deleted at this age; `None`: never.
    pub orphan_age: Option<Duration>,
    /// Write merged blocks with the configured version and dedicated columns instead of those of their inputs.
    pub adopt_block_settings: bool,
    /// How blocks are written, and the memory for it.
    pub rewrite: RewriteSettings,
    /// How long a deletion job checks new blocks, because spans that were received before it may still appear in
    /// blocks.
    pub job_watch_period: Duration,
    /// Jobs may be made over HTTP.
    pub jobs_api_enabled: bool,
    /// Jobs of a tenant that are not done; 0 is no limit.
    pub max_open_jobs: usize,
    /// Limits of each tenant.
    pub limits: TenantLimits,
}

/// Which blocks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectionSettings {
    /// Blocks that end in the same window of this length are merged. A tenant may have a different length.
    pub window: Duration,
    /// Fewer blocks than this are left alone; at least 2.
    pub min_inputs: usize,
    /// Most blocks of one merge.
    pub max_inputs: usize,
    /// Most traces of the inputs together.
    pub max_objects: u64,
    /// Most bytes of the inputs together.
    pub max_bytes: u64,
}

/// What one tenant may keep, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Do not merge this tenant's blocks.
    pub compaction_disabled: bool,
    /// The tenant's window; `None`: that of the compactor.
    pub window: Option<Duration>,
    /// Spans are deleted at this age; zero: never.
    pub retention: Duration,
    /// Traces that are kept for a different time than `retention`: the first query that matches a trace decides.
    pub policies: Vec<RetentionPolicy>,
    /// Live bytes of the tenant. Beyond that, its oldest blocks are deleted. 0: no limit.
    pub max_bytes: u64,
    /// A merge does not let a trace grow beyond this many bytes; 0: no limit.
    pub max_trace_bytes: u64,
    /// The columns of merged blocks if those of the configuration are adopted; `None`: those of the settings.
    pub dedicated_columns: Option<Vec<DedicatedColumn>>,
    /// Merged blocks have filters of values.
    pub value_filter: bool,
}

/// How long traces that match a query are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// TraceQL that selects traces.
    pub query: String,
    /// Their retention; zero: for ever.
    pub retention: Duration,
}

/// Returns the limits of a tenant; called for each decision.
#[derive(Clone)]
pub struct TenantLimits(Arc<dyn Fn(&str) -> Limits + Send + Sync>);

impl TenantLimits {
    /// From a function of the tenant's id.
    pub fn new(limits: impl Fn(&str) -> Limits + Send + Sync + 'static) -> Self {
        Self(Arc::new(limits))
    }

    /// The limits of a tenant now.
    pub fn of(&self, tenant: &str) -> Limits {
        (self.0)(tenant)
    }
}

impl fmt::Debug for TenantLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantLimits")
    }
}

impl Default for SelectionSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            min_inputs: 2,
            max_inputs: 16,
            max_objects: 6_000_000,
            max_bytes: 100 << 30,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compaction_disabled: false,
            window: None,
            retention: Duration::from_secs(336 * 3600),
            policies: Vec::new(),
            max_bytes: 0,
            max_trace_bytes: 5_000_000,
            dedicated_columns: None,
            value_filter: true,
        }
    }
}
