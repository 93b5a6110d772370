//! The settings of a compactor, from the configuration.

use std::sync::Arc;

use tactus_block::{BuilderSettings, WriterSettings};
use tactus_block_lifecycle::{Limits, Settings, check_policies};
use tactus_compaction::RewriteSettings;
use tactus_config::{
    Config,
    sections::{compactor::CompactorJobs, overrides},
};
use tactus_overrides::Overrides;
use tactus_process::{
    Error,
    blocks::{block_version, dedicated_columns, own_columns},
    settings::poll_interval,
};
use tactus_telemetry::error_text;

/// True if this process compacts and deletes blocks. In a file written for Tempo, a poll interval of 0 turns this off.
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
    let of_all = compaction.block_retention.as_std();
    let limits = Arc::new(move |tenant: &str| {
        let limits = overrides.of_name(tenant);
        let mut compaction = limits.compaction.clone();
        compaction.block_retention = compaction.block_retention.non_zero().unwrap_or(of_all).into();
        Limits {
            compaction,
            max_trace_bytes: limits.global.max_bytes_per_trace,
            dedicated_columns: own_columns(tenant, &limits, version),
            value_filter: !limits.storage.value_filters_disabled,
        }
    });
    Ok(Settings {
        compaction: compaction.clone(),
        jobs: CompactorJobs {
            // Authentication keeps it to administrators.
            api_enabled: config.compactor.jobs.api_enabled || config.auth.enabled,
            ..config.compactor.jobs.clone()
        },
        retention_interval: poll_interval(trace),
        rewrite: RewriteSettings {
            row_group_bytes: trace.block.parquet_row_group_size_bytes,
            memory_bytes: compaction.max_memory_bytes,
            ..RewriteSettings::new(builder)
        },
        limits,
    })
}

/// Checks what the configuration cannot check by itself: the queries of retention policies must be TraceQL.
///
/// Errors: the first query that is not.
pub fn check_limits(limits: &overrides::Limits) -> Result<(), String> {
    check_policies(&limits.compaction.retention_policies)
        .map_err(|error| format!("compaction.retention_policies: {}", error_text(&error)))
}
