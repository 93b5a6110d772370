//! The settings of a query-frontend, from the configuration.

use tactus_cache::{Caches, Role};
use tactus_config::Config;
use tactus_config::sections::overrides::Limits;
use tactus_process::{Error, memory, settings::poll_interval};
use tactus_query::{ResultSettings, Settings, TenantLimits};

/// The query-frontend.
pub(crate) fn settings(config: &Config, caches: &Caches) -> Result<Settings, Error> {
    let frontend = &config.query_frontend;
    let mut url_deny_list = Vec::new();
    for pattern in &frontend.url_deny_list {
        let invalid = |error| Error::Setup(format!("query_frontend.url_deny_list: {error}"));
        url_deny_list.push(regex::Regex::new(pattern).map_err(invalid)?);
    }
    let mut settings = Settings {
        url_deny_list,
        blocklist_poll: poll_interval(&config.storage.trace),
        replicated: config.ingester.lifecycler.ring.replication_factor > 1,
        results: results(config, caches),
        querier_parallelism: config.querier.max_concurrent_queries.max(1),
        ..Settings::new(frontend)
    };
    if let Some(groups) = config.overrides.defaults.read.max_condition_groups_per_tag_query {
        settings.max_condition_groups_per_tag_query = groups as usize;
    }
    settings.streaming.max_request_bytes = config.server.grpc_server_max_recv_msg_size;
    settings.streaming.max_message_bytes = config.server.grpc_server_max_send_msg_size;
    if settings.trace_files.max_inflight_bytes == 0 {
        settings.trace_files.max_inflight_bytes = memory::request_bytes();
    }
    Ok(settings)
}

/// Limits of the queries of a tenant with these limits.
pub(crate) fn tenant_limits(limits: &Limits) -> TenantLimits {
    let read = &limits.read;
    let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    TenantLimits {
        max_bytes_per_trace: limits.global.max_bytes_per_trace,
        max_bytes_per_tag_values_query: read.max_bytes_per_tag_values_query,
        max_search_duration: read.max_search_duration.non_zero(),
        max_metrics_duration: read.max_metrics_duration.non_zero(),
        unsafe_query_hints: read.unsafe_query_hints,
        max_blocks_per_tag_values_query: count(read.max_blocks_per_tag_values_query),
        max_condition_groups_per_tag_query: read.max_condition_groups_per_tag_query.map(count),
        left_pad_trace_ids: read.left_pad_trace_ids,
        max_concurrent_queries: count(read.max_concurrent_queries),
        max_inspected_bytes: read.max_inspected_bytes,
        max_query_cpu_time: read.max_query_cpu_time.non_zero(),
    }
}

/// Kept answers of jobs.
fn results(config: &Config, caches: &Caches) -> ResultSettings {
    ResultSettings {
        max_bytes: memory::result_bytes(config.query_frontend.result_cache_bytes),
        shared: caches.of(Role::FrontendSearch).cloned(),
    }
}
