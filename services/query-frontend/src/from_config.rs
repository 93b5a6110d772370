//! The settings of a query-frontend, from the configuration.

use tactus_cache::{Caches, Role};
use tactus_config::Config;
use tactus_config::sections::overrides::Limits;
use tactus_config::sections::query_frontend::{Link, Slo};
use tactus_process::{Error, memory, settings::poll_interval};
use tactus_query::{
    LiveTailSettings, MetricsSettings, OpenTraceSettings, QueryLogSettings, ResultSettings,
    SearchSettings, ServiceLevel, ServiceLevels, Settings, StreamingSettings, TenantLimits,
    TraceByIdSettings, TraceFileSettings, WeightSettings,
};

/// The query-frontend.
pub(crate) fn settings(config: &Config, caches: &Caches) -> Result<Settings, Error> {
    let (frontend, built_in) = (&config.query_frontend, Settings::default());
    let mut url_deny_list = Vec::new();
    for pattern in &frontend.url_deny_list {
        let invalid = |error| Error::Setup(format!("query_frontend.url_deny_list: {error}"));
        url_deny_list.push(regex::Regex::new(pattern).map_err(invalid)?);
    }
    let (search, metrics) = (&frontend.search, &frontend.metrics);
    let groups = config.overrides.defaults.read.max_condition_groups_per_tag_query;
    Ok(Settings {
        max_retries: frontend.max_retries,
        max_outstanding_per_tenant: frontend.max_outstanding_per_tenant,
        weights: WeightSettings {
            request_with_weights: frontend.weights.request_with_weights,
            retry_with_weights: frontend.weights.retry_with_weights,
            max_traceql_conditions: frontend.weights.max_traceql_conditions.max(0) as usize,
            max_regex_conditions: frontend.weights.max_regex_conditions.max(0) as usize,
        },
        max_query_expression_size_bytes: frontend.max_query_expression_size_bytes,
        max_condition_groups_per_tag_query: groups
            .map_or(built_in.max_condition_groups_per_tag_query, |groups| groups as usize),
        query_end_cutoff: frontend.query_end_cutoff.as_std(),
        api_timeout: frontend.api_timeout.as_std(),
        max_query_cpu_time: frontend.max_query_cpu_time.as_std(),
        url_deny_list,
        blocklist_poll: poll_interval(&config.storage.trace),
        max_inspected_bytes: frontend.max_inspected_bytes,
        replicated: config.ingester.lifecycler.ring.replication_factor > 1,
        results: results(config, caches),
        querier_parallelism: config.querier.max_concurrent_queries.max(1),
        search: SearchSettings {
            default_result_limit: search.default_result_limit,
            max_result_limit: search.max_result_limit,
            max_duration: search.max_duration.as_std(),
            concurrent_jobs: search.concurrent_jobs,
            target_bytes_per_job: search.target_bytes_per_job,
            default_spans_per_span_set: search.default_spans_per_span_set,
            max_spans_per_span_set: search.max_spans_per_span_set,
            query_backend_after: search.query_backend_after.as_std(),
        },
        trace_by_id: TraceByIdSettings {
            query_shards: frontend.trace_by_id.query_shards.max(2) as usize,
            concurrent_shards: frontend.trace_by_id.concurrent_shards.max(0) as usize,
        },
        metrics: MetricsSettings {
            max_duration: metrics.max_duration.as_std(),
            max_intervals: metrics.max_intervals,
            max_exemplars: metrics.max_exemplars,
            max_response_series: u32::try_from(metrics.max_response_series).unwrap_or(u32::MAX),
            max_series_bytes: metrics.max_series_bytes,
            concurrent_jobs: metrics.concurrent_jobs,
            target_bytes_per_job: metrics.target_bytes_per_job,
        },
        streaming: StreamingSettings {
            interval: frontend.streaming_interval.as_std(),
            max_packet_bytes: frontend.max_grpc_streaming_packet_size,
            max_request_bytes: config.server.grpc_server_max_recv_msg_size,
            max_message_bytes: config.server.grpc_server_max_send_msg_size,
        },
        query_log: QueryLogSettings {
            slow_after: frontend.query_log.slow_after.as_std(),
            max_slow_queries: frontend.query_log.max_slow_queries,
        },
        open_traces: OpenTraceSettings {
            max_bytes: frontend.open_traces.max_bytes,
            keep_for: frontend.open_traces.keep_for.as_std(),
        },
        trace_files: TraceFileSettings {
            max_bytes: frontend.trace_files.max_bytes,
            max_spans: frontend.trace_files.max_spans,
            max_inflight_bytes: match frontend.trace_files.max_inflight_bytes {
                0 => memory::request_bytes(),
                bytes => bytes,
            },
        },
        links: frontend.links.iter().map(link).collect(),
        service_levels: ServiceLevels {
            traces: service_level(&frontend.trace_by_id.slo),
            search: service_level(&search.slo),
            metadata: service_level(&search.metadata_slo),
            metrics: service_level(&metrics.slo),
        },
    })
}

/// Live tails.
pub(crate) fn live_tail(config: &Config) -> LiveTailSettings {
    let live_tail = &config.query_frontend.live_tail;
    LiveTailSettings {
        max_tails_per_tenant: live_tail.max_tails_per_tenant,
        max_spans_per_second: live_tail.max_spans_per_second,
        max_buffered_spans: live_tail.max_buffered_spans,
        max_duration: live_tail.max_duration.as_std(),
    }
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

/// A link as the pages read it.
fn link(link: &Link) -> serde_json::Value {
    serde_json::json!({ "title": link.title, "url": link.url, "match": link.shown_with })
}

fn service_level(slo: &Slo) -> ServiceLevel {
    ServiceLevel { duration: slo.duration_slo.as_std(), throughput_bytes: slo.throughput_bytes_slo }
}

/// Kept answers of jobs.
fn results(config: &Config, caches: &Caches) -> ResultSettings {
    ResultSettings {
        max_bytes: memory::result_bytes(config.query_frontend.result_cache_bytes),
        shared: caches.of(Role::FrontendSearch).cloned(),
    }
}
