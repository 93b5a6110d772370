//! From the configuration to the settings of each service.

mod cache;
mod compactor;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tactus_cache::Caches;
use tactus_config::{
    Config, GoDuration,
    sections::{
        receivers::{OtlpGrpc, OtlpHttp},
        storage::{DedicatedColumn, TraceStorage},
    },
};
use tactus_ingester::Limits;
use tactus_query_frontend::{
    MetricsSettings, SearchSettings, TenantLimits, TenantLimitsOf, TraceByIdSettings,
};
use tactus_receivers::{
    cors::CorsSettings, otlp_grpc::OtlpGrpcSettings, otlp_http::OtlpHttpSettings,
};
use tactus_server::{
    http::HttpSettings,
    listener::{Http2Settings, ListenerSettings},
    tenancy::Tenancy,
};
use tactus_storage::{
    PollerSettings,
    meta::{self, BlockVersion, ColumnOption, ColumnScope},
};

use crate::memory;

use crate::app::Error;

pub(crate) use cache::caches;
pub(crate) use compactor::{compactor, runs_compactor};
pub(crate) use tactus::bucket::bucket;

/// How long a tenant has no blocks before it is deleted, where no age is given.
const EMPTY_TENANT_AGE: Duration = Duration::from_secs(12 * 3600);

/// How the block list is refreshed. Zeros are the built-in numbers.
pub(crate) fn poller(trace: &TraceStorage) -> PollerSettings {
    let (stale, built_in) = (trace.blocklist_poll_stale_tenant_index, PollerSettings::default());
    let or = |count: usize, built_in| if count == 0 { built_in } else { count };
    PollerSettings {
        meta_concurrency: or(trace.blocklist_poll_concurrency, built_in.meta_concurrency),
        tenant_concurrency: trace.blocklist_poll_tenant_concurrency.max(1),
        list_concurrency: tactus::bucket::list_concurrency(trace),
        fallback: trace.blocklist_poll_fallback,
        index_builders: or(trace.blocklist_poll_tenant_index_builders, built_in.index_builders),
        stale_index_after: stale.non_zero(),
        tolerate_consecutive_errors: trace.blocklist_poll_tolerate_consecutive_errors,
        tolerate_tenant_failures: trace.blocklist_poll_tolerate_tenant_failures,
        jitter: Duration::from_millis(trace.blocklist_poll_jitter_ms),
        empty_tenant_deletion: trace
            .empty_tenant_deletion_enabled
            .then(|| trace.empty_tenant_deletion_age.non_zero().unwrap_or(EMPTY_TENANT_AGE)),
    }
}

/// Pause between two polls of the block list.
pub(crate) fn poll_interval(trace: &TraceStorage) -> Duration {
    trace.blocklist_poll.non_zero().unwrap_or(Duration::from_secs(5 * 60))
}

/// The ingester.
pub(crate) fn ingester(config: &Config) -> Result<tactus_ingester::Settings, Error> {
    let (ingester, trace) = (&config.ingester, &config.storage.trace);
    let limits = &config.overrides.defaults;
    let max_attribute_bytes = match limits.ingestion.max_attribute_bytes {
        0 => config.distributor.max_attribute_bytes,
        bytes => bytes,
    };
    let fsync = trace.wal.fsync_interval;
    let built_in = tactus_ingester::Settings::new(PathBuf::from(&trace.wal.path));
    Ok(tactus_ingester::Settings {
        fsync_interval: (fsync.0 >= 0).then(|| fsync.as_std()),
        max_live_bytes: ingester.max_live_bytes as usize,
        max_directory_bytes: ingester.max_disk_bytes,
        generation_bytes: built_in.generation_bytes.min(ingester.max_live_bytes as usize / 4),
        trace_idle_period: ingester.trace_idle_period.as_std(),
        trace_live_period: ingester.trace_live_period.as_std(),
        flush_check_period: ingester.flush_check_period.as_std(),
        max_block_duration: ingester.max_block_duration.as_std(),
        max_block_bytes: ingester.max_block_bytes,
        concurrent_flushes: ingester.concurrent_flushes,
        flush_op_timeout: ingester.flush_op_timeout.as_std(),
        range_slack: trace.wal.ingestion_time_range_slack.as_std(),
        bloom_false_positive: trace.block.bloom_filter_false_positive,
        bloom_shard_bytes: trace.block.bloom_filter_shard_size_bytes as u32,
        row_group_bytes: trace.block.parquet_row_group_size_bytes,
        block_version: block_version(trace)?,
        dedicated_columns: dedicated_columns(
            &trace.block.parquet_dedicated_columns,
            block_version(trace)?,
        )?,
        limits: Limits {
            max_bytes_per_trace: limits.global.max_bytes_per_trace,
            max_live_traces: limits.ingestion.max_traces_per_user as usize,
            max_attribute_bytes,
        },
        ..built_in
    })
}

/// The version of the blocks that are written.
fn block_version(trace: &TraceStorage) -> Result<BlockVersion, Error> {
    let invalid = |error| Error::Setup(format!("storage.trace.block.version: {error}"));
    trace.block.version.parse().map_err(invalid)
}

/// The columns as a block of that version lists them.
fn dedicated_columns(
    columns: &[DedicatedColumn],
    version: BlockVersion,
) -> Result<Vec<meta::DedicatedColumn>, Error> {
    let invalid = |text: String| {
        Error::Setup(format!("storage.trace.block.parquet_dedicated_columns: {text}"))
    };
    let mut known = Vec::with_capacity(columns.len());
    for column in columns {
        let scope = match column.scope.as_str() {
            "span" => ColumnScope::Span,
            "resource" => ColumnScope::Resource,
            "event" => ColumnScope::Event,
            other => return Err(invalid(format!("unknown scope {other}"))),
        };
        let plain = match column.type_.as_str() {
            "" | "string" => meta::DedicatedColumn::string(scope, &column.name),
            "int" => meta::DedicatedColumn::int(scope, &column.name),
            other => return Err(invalid(format!("unknown type {other}"))),
        };
        let options = column.options.iter().map(|option| match option.as_str() {
            "array" => Ok(ColumnOption::Array),
            "blob" => Ok(ColumnOption::Blob),
            other => Err(invalid(format!("unknown option {other}"))),
        });
        let options = options.collect::<Result<_, _>>()?;
        known.push(meta::DedicatedColumn { options, ..plain });
    }
    meta::validate_columns(&known).map_err(|error| invalid(error.to_string()))?;
    Ok(match version {
        BlockVersion::VParquet5 => known,
        _ => meta::filter_for_vparquet4(&known),
    })
}

/// The distributor.
pub(crate) fn distributor(config: &Config) -> tactus_distributor::Settings {
    let ingestion = &config.overrides.defaults.ingestion;
    let built_in = tactus_distributor::Settings::default();
    let configured = config.distributor.retry_after_on_resource_exhausted;
    let hint = configured.non_zero().unwrap_or(built_in.retry_after);
    tactus_distributor::Settings {
        rate_limit_bytes: ingestion.rate_limit_bytes,
        burst_size_bytes: ingestion.burst_size_bytes,
        retry_after: if ingestion.retry_info_enabled { hint } else { Duration::ZERO },
    }
}

/// The querier.
pub(crate) fn querier(config: &Config, caches: &Caches) -> tactus_querier::Settings {
    let (querier, built_in) = (&config.querier, tactus_querier::Settings::default());
    let groups = config.overrides.defaults.read.max_condition_groups_per_tag_query;
    tactus_querier::Settings {
        max_concurrent_jobs: querier.max_concurrent_queries.max(1),
        threads: match querier.max_threads {
            0 => built_in.threads,
            threads => threads,
        },
        max_job_memory_bytes: querier.max_job_memory_bytes.max(1),
        column_cache_bytes: memory::cache_bytes(querier.column_cache_bytes),
        caches: caches.clone(),
        bloom_admission: cache::bloom_admission(config),
        search_timeout: querier.search.query_timeout.as_std(),
        trace_timeout: querier.trace_by_id.query_timeout.as_std(),
        max_condition_groups: groups
            .map_or(built_in.max_condition_groups, |groups| groups as usize),
        ..built_in
    }
}

/// The query-frontend.
pub(crate) fn query_frontend(
    config: &Config,
    caches: &Caches,
) -> Result<tactus_query_frontend::Settings, Error> {
    let (frontend, built_in) = (&config.query_frontend, tactus_query_frontend::Settings::default());
    let mut url_deny_list = Vec::new();
    for pattern in &frontend.url_deny_list {
        let invalid = |error| Error::Setup(format!("query_frontend.url_deny_list: {error}"));
        url_deny_list.push(regex::Regex::new(pattern).map_err(invalid)?);
    }
    let (search, metrics) = (&frontend.search, &frontend.metrics);
    let groups = config.overrides.defaults.read.max_condition_groups_per_tag_query;
    Ok(tactus_query_frontend::Settings {
        max_retries: frontend.max_retries,
        max_outstanding_per_tenant: frontend.max_outstanding_per_tenant,
        max_query_expression_size_bytes: frontend.max_query_expression_size_bytes,
        max_condition_groups_per_tag_query: groups
            .map_or(built_in.max_condition_groups_per_tag_query, |groups| groups as usize),
        query_end_cutoff: frontend.query_end_cutoff.as_std(),
        api_timeout: frontend.api_timeout.as_std(),
        url_deny_list,
        blocklist_poll: poll_interval(&config.storage.trace),
        max_inspected_bytes: frontend.max_inspected_bytes,
        results: cache::results(config, caches),
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
    })
}

/// Limits of every tenant's queries.
pub(crate) fn query_limits(config: &Config) -> TenantLimitsOf {
    let defaults = &config.overrides.defaults;
    let limits = TenantLimits {
        max_bytes_per_trace: defaults.global.max_bytes_per_trace,
        max_bytes_per_tag_values_query: defaults.read.max_bytes_per_tag_values_query,
        max_search_duration: defaults.read.max_search_duration.non_zero(),
        max_metrics_duration: defaults.read.max_metrics_duration.non_zero(),
        unsafe_query_hints: defaults.read.unsafe_query_hints,
    };
    Arc::new(move |_| limits)
}

/// How tenants are found.
pub(crate) fn tenancy(config: &Config, lists_allowed: bool) -> Tenancy {
    if config.multitenant() { Tenancy::by_header(lists_allowed) } else { Tenancy::single() }
}

/// The main HTTP port.
pub(crate) fn http(config: &Config) -> HttpSettings {
    let server = &config.server;
    HttpSettings {
        listener: ListenerSettings {
            max_connections: server.http_listen_conn_limit.max(0) as usize,
            drain_timeout: server.graceful_shutdown_timeout.as_std(),
            idle_timeout: server.http_server_idle_timeout.non_zero(),
            ..ListenerSettings::default()
        },
        request_timeout: server.http_server_write_timeout.non_zero(),
        ..HttpSettings::default()
    }
}

/// The main gRPC port.
pub(crate) fn grpc(config: &Config) -> ListenerSettings {
    let server = &config.server;
    ListenerSettings {
        max_connections: server.grpc_listen_conn_limit.max(0) as usize,
        drain_timeout: server.graceful_shutdown_timeout.as_std(),
        http2: Http2Settings {
            max_concurrent_streams: Some(server.grpc_server_max_concurrent_streams)
                .filter(|&n| n > 0),
            keepalive_interval: server.grpc_server_keepalive_time.non_zero(),
            keepalive_timeout: server.grpc_server_keepalive_timeout.as_std(),
            ..Http2Settings::default()
        },
        ..ListenerSettings::default()
    }
}

/// An OTLP gRPC receiver.
pub(crate) fn otlp_grpc(
    name: &str,
    receiver: &OtlpGrpc,
    tenancy: Tenancy,
) -> Result<OtlpGrpcSettings, Error> {
    let server = &receiver.server;
    no_tls(name, "grpc", server.tls.is_some(), &server.transport)?;
    let built_in = OtlpGrpcSettings::default();
    let mut listener = built_in.listener.clone();
    if server.max_concurrent_streams > 0 {
        listener.http2.max_concurrent_streams = Some(server.max_concurrent_streams);
    }
    if let Some(ages) = server.keepalive.as_ref().and_then(|k| k.server_parameters.as_ref()) {
        let positive = |duration: GoDuration| duration.non_zero();
        listener.max_connection_age = positive(ages.max_connection_age);
        listener.max_connection_age_grace = positive(ages.max_connection_age_grace);
        listener.http2.keepalive_interval =
            positive(ages.time).or(listener.http2.keepalive_interval);
        listener.http2.keepalive_timeout =
            positive(ages.timeout).unwrap_or(listener.http2.keepalive_timeout);
    }
    let max_message_bytes = match server.max_recv_msg_size_mib {
        0 => built_in.max_message_bytes,
        mebibytes => (mebibytes as usize).saturating_mul(1 << 20),
    };
    let address = server.endpoint.clone();
    Ok(OtlpGrpcSettings { address, listener, tenancy, max_message_bytes, ..built_in })
}

/// An OTLP HTTP receiver.
pub(crate) fn otlp_http(
    name: &str,
    receiver: &OtlpHttp,
    tenancy: Tenancy,
) -> Result<OtlpHttpSettings, Error> {
    let server = &receiver.server;
    no_tls(name, "http", server.tls.is_some(), &server.transport)?;
    let built_in = OtlpHttpSettings::default();
    let mut response_headers = Vec::new();
    for (key, value) in &server.response_headers {
        let invalid = |_| Error::Setup(format!("receiver {name}: response_headers: {key}"));
        let header = http::HeaderName::try_from(key).map_err(|error| invalid(error.to_string()))?;
        let text = http::HeaderValue::try_from(value.reveal());
        response_headers.push((header, text.map_err(|error| invalid(error.to_string()))?));
    }
    let cors = server.cors.as_ref().map_or_else(CorsSettings::default, |cors| CorsSettings {
        allowed_origins: cors.allowed_origins.clone(),
        allowed_headers: cors.allowed_headers.clone(),
        max_age_seconds: cors.max_age.max(0) as u64,
    });
    let encodings = match server.compression_algorithms.as_slice() {
        [] => built_in.encodings.clone(),
        named => named.to_vec(),
    };
    let max_body_bytes = match server.max_request_body_size {
        0 => built_in.max_body_bytes,
        bytes => bytes as usize,
    };
    let listener = ListenerSettings {
        idle_timeout: server.idle_timeout.non_zero(),
        ..built_in.listener.clone()
    };
    Ok(OtlpHttpSettings {
        address: server.endpoint.clone(),
        listener,
        tenancy,
        traces_path: receiver.traces_url_path.clone(),
        max_body_bytes,
        encodings,
        cors,
        response_headers,
        read_timeout: server.read_timeout.non_zero(),
    })
}

/// Plain TCP only: serving without the encryption that was asked for would be worse than not starting.
fn no_tls(name: &str, protocol: &str, tls: bool, transport: &str) -> Result<(), Error> {
    let key = format!("distributor.receivers.{name}.protocols.{protocol}");
    if tls {
        return Err(Error::Setup(format!("{key}.tls: TLS is not supported by this version")));
    }
    if !matches!(transport, "" | "tcp" | "tcp4" | "tcp6") {
        return Err(Error::Setup(format!("{key}.transport: {transport} is not supported")));
    }
    Ok(())
}
