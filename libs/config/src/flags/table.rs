//! Every flag, the kind of its value and the key that it sets.

/// What a flag's value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Duration,
    Text,
    /// Comma separated; adds to what is there.
    List,
    /// A whole family, known by its prefix: `name` ends where the family's names differ.
    Unknown,
}

/// What a flag does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Sets a key of the file.
    Key(&'static str),
    /// Tells the process what to do; with its default.
    Process(&'static str),
    /// Accepted so that existing start scripts work.
    Ignored,
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    help: &'static str,
}

impl Flag {
    /// One line for the usage.
    pub(crate) fn meaning(&self) -> String {
        match self.target {
            Target::Key(path) => format!("Sets {path}."),
            Target::Process(_) => self.help.to_owned(),
            Target::Ignored => "Accepted without effect.".to_owned(),
        }
    }
}

/// The flag of that name, or the family that it belongs to.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.kind != Kind::Unknown && flag.name == name).or_else(|| {
        FLAGS.iter().find(|flag| flag.kind == Kind::Unknown && name.starts_with(flag.name))
    })
}

const fn key(name: &'static str, kind: Kind, path: &'static str) -> Flag {
    Flag { name, kind, target: Target::Key(path), help: "" }
}

const fn process(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, target: Target::Process(default), help }
}

const fn ignored(name: &'static str, kind: Kind) -> Flag {
    Flag { name, kind, target: Target::Ignored, help: "" }
}

use Kind::{Bool, Duration, Float, Int, List, Text, Unknown};

/// All flags.
pub(crate) const FLAGS: &[Flag] = &[
    process("config.file", Text, "", "Configuration file to load."),
    process("config.expand-env", Bool, "", "Expand ${VAR} in the configuration file."),
    process("config.verify", Bool, "", "Check the configuration and exit; 1 on any finding."),
    process("verify-config", Bool, "", "The same as -config.verify."),
    process("version", Bool, "", "Print the version and exit."),
    process("help", Bool, "", "Print this text and exit."),
    process("h", Bool, "", "The same as -help."),
    process("health", Bool, "", "Ask -health.url; exit 0 when it answers 200, else 1."),
    process("health.url", Text, "http://localhost:3200/ready", "Address that -health asks."),
    key("target", Text, "target"),
    key("http-api-prefix", Text, "http_api_prefix"),
    key("multitenancy.enabled", Bool, "multitenancy_enabled"),
    key("auth.enabled", Bool, "auth_enabled"),
    key("shutdown-delay", Duration, "shutdown_delay"),
    key("enable-go-runtime-metrics", Bool, "enable_go_runtime_metrics"),
    key("span-profiling", Bool, "span_profiling"),
    ignored("mem-ballast-size-mbs", Int),
    ignored("mutex-profile-fraction", Int),
    ignored("block-profile-threshold", Int),
    key("log.level", Text, "server.log_level"),
    key("log.format", Text, "server.log_format"),
    key("server.http-listen-port", Int, "server.http_listen_port"),
    key("server.grpc-listen-port", Int, "server.grpc_listen_port"),
    key("memberlist.host-port", List, "memberlist.join_members"),
    key("memberlist.bind-port", Int, "memberlist.bind_port"),
    key("memberlist.message-history-buffer-bytes", Int, "memberlist.message_history_buffer_bytes"),
    key("distributor.rate-limit-strategy", Text, "overrides.defaults.ingestion.rate_strategy"),
    key(
        "distributor.ingestion-rate-limit-bytes",
        Int,
        "overrides.defaults.ingestion.rate_limit_bytes",
    ),
    key(
        "distributor.ingestion-burst-size-bytes",
        Int,
        "overrides.defaults.ingestion.burst_size_bytes",
    ),
    key("ingester.max-traces-per-user", Int, "overrides.defaults.ingestion.max_traces_per_user"),
    key(
        "ingester.max-global-traces-per-user",
        Int,
        "overrides.defaults.ingestion.max_global_traces_per_user",
    ),
    key("ingester.max-bytes-per-trace", Int, "overrides.defaults.global.max_bytes_per_trace"),
    key(
        "querier.max-bytes-per-tag-values-query",
        Int,
        "overrides.defaults.read.max_bytes_per_tag_values_query",
    ),
    key(
        "querier.max-blocks-per-tag-values-query",
        Int,
        "overrides.defaults.read.max_blocks_per_tag_values_query",
    ),
    key(
        "metrics-generator.native-histogram-bucket-factor",
        Float,
        "overrides.defaults.metrics_generator.native_histogram_bucket_factor",
    ),
    key(
        "metrics-generator.native-histogram-max-bucket-number",
        Int,
        "overrides.defaults.metrics_generator.native_histogram_max_bucket_number",
    ),
    key(
        "metrics-generator.native-histogram-min-reset-duration",
        Duration,
        "overrides.defaults.metrics_generator.native_histogram_min_reset_duration",
    ),
    key("config.per-user-override-config", Text, "overrides.per_tenant_override_config"),
    key("config.per-user-override-period", Duration, "overrides.per_tenant_override_period"),
    key("config.enable-legacy-overrides", Bool, "overrides.enable_legacy_overrides"),
    key("distributor.log-received-spans.enabled", Bool, "distributor.log_received_spans.enabled"),
    key(
        "distributor.log-received-spans.include-attributes",
        Bool,
        "distributor.log_received_spans.include_all_attributes",
    ),
    key(
        "distributor.log-received-spans.filter-by-status-error",
        Bool,
        "distributor.log_received_spans.filter_by_status_error",
    ),
    key("distributor.log-discarded-spans.enabled", Bool, "distributor.log_discarded_spans.enabled"),
    key(
        "distributor.log-discarded-spans.include-attributes",
        Bool,
        "distributor.log_discarded_spans.include_all_attributes",
    ),
    key(
        "distributor.log-discarded-spans.filter-by-status-error",
        Bool,
        "distributor.log_discarded_spans.filter_by_status_error",
    ),
    key("ingester.trace-idle-period", Duration, "ingester.trace_idle_period"),
    key("ingester.max-block-duration", Duration, "ingester.max_block_duration"),
    key("ingester.max-block-bytes", Int, "ingester.max_block_bytes"),
    key("ingester.complete-block-timeout", Duration, "ingester.complete_block_timeout"),
    key("ingester.availability-zone", Text, "ingester.lifecycler.availability_zone"),
    key("generator.instance-id", Text, "metrics_generator.instance_id"),
    key("generator.instance-availability-zone", Text, "metrics_generator.ring.instance_zone"),
    key("querier.frontend-address", Text, "querier.frontend_worker.frontend_address"),
    key("query-frontend.mcp-server.enabled", Bool, "query_frontend.mcp_server.enabled"),
    key("compactor.disabled", Bool, "compactor.disabled"),
    // The doubled word is what existing start scripts use; newer ones have it once.
    key(
        "compactor.compaction.compaction.block-retention",
        Duration,
        "compactor.compaction.block_retention",
    ),
    key("compactor.compaction.block-retention", Duration, "compactor.compaction.block_retention"),
    key(
        "compactor.compaction.compaction.max-objects-per-block",
        Int,
        "compactor.compaction.max_compaction_objects",
    ),
    key(
        "compactor.compaction.max-objects-per-block",
        Int,
        "compactor.compaction.max_compaction_objects",
    ),
    key(
        "compactor.compaction.compaction.max-block-bytes",
        Int,
        "compactor.compaction.max_block_bytes",
    ),
    key("compactor.compaction.max-block-bytes", Int, "compactor.compaction.max_block_bytes"),
    key(
        "compactor.compaction.compaction.compaction-window",
        Duration,
        "compactor.compaction.compaction_window",
    ),
    key(
        "compactor.compaction.compaction-window",
        Duration,
        "compactor.compaction.compaction_window",
    ),
    key("storage.trace.backend", Text, "storage.trace.backend"),
    key("storage.trace.blocklist_poll", Duration, "storage.trace.blocklist_poll"),
    key("storage.trace.wal.path", Text, "storage.trace.wal.path"),
    key("storage.trace.local.path", Text, "storage.trace.local.path"),
    key("storage.trace.pool.max-workers", Int, "storage.trace.pool.max_workers"),
    key("storage.trace.pool.queue-depth", Int, "storage.trace.pool.queue_depth"),
    key(
        "storage.trace.block.v2-bloom-filter-false-positive",
        Float,
        "storage.trace.block.bloom_filter_false_positive",
    ),
    key(
        "storage.trace.block.v2-bloom-filter-shard-size-bytes",
        Int,
        "storage.trace.block.bloom_filter_shard_size_bytes",
    ),
    key(
        "storage.trace.block.v2-index-downsample-bytes",
        Int,
        "storage.trace.block.v2_index_downsample_bytes",
    ),
    key(
        "storage.trace.block.v2-index-page-size-bytes",
        Int,
        "storage.trace.block.v2_index_page_size_bytes",
    ),
    key("storage.trace.s3.bucket", Text, "storage.trace.s3.bucket"),
    key("storage.trace.s3.prefix", Text, "storage.trace.s3.prefix"),
    key("storage.trace.s3.endpoint", Text, "storage.trace.s3.endpoint"),
    key("storage.trace.s3.access_key", Text, "storage.trace.s3.access_key"),
    key("storage.trace.s3.secret_key", Text, "storage.trace.s3.secret_key"),
    key("storage.trace.s3.session_token", Text, "storage.trace.s3.session_token"),
    key("storage.trace.s3.tls_min_version", Text, "storage.trace.s3.tls_min_version"),
    key(
        "storage.trace.s3.list_blocks_concurrency",
        Int,
        "storage.trace.s3.list_blocks_concurrency",
    ),
    key("storage.trace.s3.sse.type", Text, "storage.trace.s3.sse.type"),
    key("storage.trace.s3.sse.kms-key-id", Text, "storage.trace.s3.sse.kms_key_id"),
    key(
        "storage.trace.s3.sse.kms-encryption-context",
        Text,
        "storage.trace.s3.sse.kms_encryption_context",
    ),
    key("storage.trace.s3.sse.encryption-key", Text, "storage.trace.s3.sse.encryption_key"),
    key("storage.trace.gcs.bucket", Text, "storage.trace.gcs.bucket_name"),
    key("storage.trace.gcs.prefix", Text, "storage.trace.gcs.prefix"),
    key(
        "storage.trace.gcs.list_blocks_concurrency",
        Int,
        "storage.trace.gcs.list_blocks_concurrency",
    ),
    key("storage.trace.gcs.max_retries", Int, "storage.trace.gcs.max_retries"),
    key(
        "storage.trace.azure.storage_account_name",
        Text,
        "storage.trace.azure.storage_account_name",
    ),
    key("storage.trace.azure.storage_account_key", Text, "storage.trace.azure.storage_account_key"),
    key("storage.trace.azure.container_name", Text, "storage.trace.azure.container_name"),
    key("storage.trace.azure.prefix", Text, "storage.trace.azure.prefix"),
    key("storage.trace.azure.endpoint", Text, "storage.trace.azure.endpoint_suffix"),
    key("storage.trace.azure.max_buffers", Int, "storage.trace.azure.max_buffers"),
    key("reporting.enabled", Bool, "usage_report.reporting_enabled"),
    ignored("reporting.backoff-", Unknown),
    ignored("ingest.", Unknown),
    ignored("block-builder.", Unknown),
    ignored("live-store.", Unknown),
    ignored("backend-worker.", Unknown),
    ignored("backend-scheduler", Unknown),
    ignored("ingester.partition-ring.", Unknown),
];
