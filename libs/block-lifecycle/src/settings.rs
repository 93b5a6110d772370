//! The settings of the compactor.

use std::sync::Arc;
use std::time::Duration;

use tactus_compaction::RewriteSettings;
use tactus_config::sections::compactor::{Compaction, CompactorJobs};
use tactus_config::sections::overrides::CompactionLimits;
use tactus_storage::meta::DedicatedColumn;

/// Settings of a compactor.
#[derive(Clone)]
pub struct Settings {
    /// When blocks are merged, and when they are deleted.
    pub compaction: Compaction,
    /// How jobs are run, and who may make them over HTTP.
    pub jobs: CompactorJobs,
    /// Pause between two runs of retention.
    pub retention_interval: Duration,
    /// How blocks are written, and the memory for it.
    pub rewrite: RewriteSettings,
    /// Limits of each tenant.
    pub limits: LimitsOf,
}

tactus_telemetry::debug_of!(Settings { compaction, jobs });

/// Returns the limits of a tenant; called for each decision.
pub type LimitsOf = Arc<dyn Fn(&str) -> Limits + Send + Sync>;

/// What one tenant may keep, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The limits of merging and retention. `block_retention` is the one in effect, and 0 keeps spans for ever;
    /// `compaction_window` 0 stands for that of the compactor.
    pub compaction: CompactionLimits,
    /// A merge does not let a trace grow beyond this many bytes; 0: no limit.
    pub max_trace_bytes: u64,
    /// The columns of merged blocks if those of the configuration are adopted; `None`: those of the settings.
    pub dedicated_columns: Option<Vec<DedicatedColumn>>,
    /// Merged blocks have filters of values.
    pub value_filter: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            compaction: CompactionLimits {
                block_retention: Duration::from_secs(336 * 3600).into(),
                ..CompactionLimits::default()
            },
            max_trace_bytes: 5_000_000,
            dedicated_columns: None,
            value_filter: true,
        }
    }
}
