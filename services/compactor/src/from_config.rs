//! The settings of a compactor, from the configuration.

use std::sync::Arc;

use tactus_block::{BuilderSettings, WriterSettings};
use tactus_block_lifecycle::{
    Limits, RetentionPolicy, SelectionSettings, Settings, TenantLimits, check_policies,
};
use tactus_compaction::RewriteSettings;
use tactus_config::{
    Config,
    sections::overrides::{self, CompactionLimits},
};
use tactus_overrides::Overrides;
use tactus_process::{
    Error,
    blocks::{block_version, dedicated_columns},
    settings::poll_interval,
};
use tactus_storage::meta::{BlockVersion, DedicatedColumn, MAX_SOURCES};
use tactus_telemetry::error_text;

/// True if this process compacts and deletes. A poll interval of 0 means "no" to those who wrote the file for Tempo.
pub(crate) fn is_enabled(config: &Config) -> bool {
    !config.compactor.disabled && !config.storage.trace.blocklist_poll.is_zero()
}

/// The settings of the compactor. Errors: invalid dedicated columns.
pub fn settings(config: &Config, overrides: Arc<Overrides>) -> Result<Settings, Error> {
    let (compaction, trace) = (&config.compactor.compaction, &config.storage.trace);
    let version = block_version(trace)?;
    let builder = BuilderSettings {
        writer: WriterSettings {
            version,
            dedicated_columns: dedicated_columns(&trace.block.parquet_dedicated_columns, version)?,
            ..WriterSettings::default()
        },
        bloom_false_positive: trace.block.bloom_filter_false_positive,
        bloom_shard_bytes: trace.block.bloom_filter_shard_size_bytes as u32,
    };
    let retention = compaction.block_retention.as_std();
    let limits = TenantLimits::new(move |tenant| {
        let limits = overrides.of_name(tenant);
        Limits {
            compaction_disabled: limits.compaction.compaction_disabled,
            window: limits.compaction.compaction_window.non_zero(),
            retention: limits.compaction.block_retention.non_zero().unwrap_or(retention),
            policies: policies(&limits.compaction),
            max_bytes: limits.compaction.max_bytes,
            max_trace_bytes: limits.global.max_bytes_per_trace,
            dedicated_columns: own_columns(&limits, version),
            value_filter: !limits.storage.value_filters_disabled,
        }
    });
    Ok(Settings {
        cycle: compaction.compaction_cycle.as_std().max(std::time::Duration::from_millis(100)),
        max_time_per_tenant: compaction.max_time_per_tenant.as_std(),
        retention_interval: poll_interval(trace),
        selection: SelectionSettings {
            window: compaction.compaction_window.as_std(),
            min_inputs: compaction.min_input_blocks.max(2),
            max_inputs: compaction.max_input_blocks.clamp(2, MAX_SOURCES),
            max_objects: compaction.max_compaction_objects,
            max_bytes: compaction.max_block_bytes,
        },
        compacted_block_retention: compaction.compacted_block_retention.as_std(),
        retention_concurrency: compaction.retention_concurrency,
        max_bucket_bytes: compaction.max_bucket_bytes,
        orphan_age: compaction.orphan_age.non_zero(),
        adopt_block_settings: compaction.adopt_block_settings,
        rewrite: RewriteSettings {
            row_group_bytes: trace.block.parquet_row_group_size_bytes,
            memory_bytes: compaction.max_memory_bytes,
            ..RewriteSettings::new(builder)
        },
        job_watch_period: config.compactor.jobs.watch_period.as_std(),
        // Authentication keeps it to administrators.
        jobs_api_enabled: config.compactor.jobs.api_enabled || config.auth.enabled,
        max_open_jobs: config.compactor.jobs.max_open_per_tenant,
        limits,
    })
}

/// The columns that a tenant has instead of those of all blocks. The file of limits is refused with columns that cannot
/// be.
fn own_columns(limits: &overrides::Limits, version: BlockVersion) -> Option<Vec<DedicatedColumn>> {
    let columns = dedicated_columns(limits.storage.parquet_dedicated_columns.as_deref()?, version);
    columns
        .inspect_err(|error| {
            tactus_telemetry::log_limited!(error, error = error_text(error), "limits of a tenant");
        })
        .ok()
}

/// The retention policies of a tenant.
fn policies(limits: &CompactionLimits) -> Vec<RetentionPolicy> {
    let policy = |policy: &overrides::RetentionPolicy| RetentionPolicy {
        query: policy.query.clone(),
        retention: policy.retention.as_std(),
    };
    limits.retention_policies.iter().map(policy).collect()
}

/// What the configuration itself cannot know: the queries of retention policies must be TraceQL.
///
/// Errors: the first that is not.
pub fn check_limits(limits: &overrides::Limits) -> Result<(), String> {
    check_policies(&policies(&limits.compaction))
        .map_err(|error| format!("compaction.retention_policies: {}", error_text(&error)))
}
