//! Every flag, the kind of its value and the key that it sets.

use crate::show::rows;
use std::collections::HashMap;
use std::sync::LazyLock;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Sets a key of the file.
    Key(String),
    /// Tells the process what to do; with its default and a line for the usage.
    Process(&'static str, &'static str),
    /// Accepted so that existing start scripts work.
    Ignored,
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) target: Target,
}

impl Flag {
    /// One line for the usage.
    pub(crate) fn meaning(&self) -> String {
        match &self.target {
            Target::Key(path) => format!("Sets {path}."),
            Target::Process(_, help) => (*help).to_owned(),
            Target::Ignored => "Accepted without effect.".to_owned(),
        }
    }
}

/// The flag of that name, or the family that it belongs to.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.kind != Kind::Unknown && flag.name == name).or_else(|| {
        FLAGS.iter().find(|flag| flag.kind == Kind::Unknown && name.starts_with(&flag.name))
    })
}

/// All flags. What stands for a key takes the values that the key does.
pub(crate) static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let kinds: HashMap<String, String> =
        rows().into_iter().map(|row| (row.path, row.kind)).collect();
    let mut flags = Vec::new();
    let mut add =
        |name: &str, kind, target| flags.push(Flag { name: name.to_owned(), kind, target });
    for (name, kind, default, help) in PROCESS {
        add(name, *kind, Target::Process(default, help));
    }
    for (name, kind) in IGNORED {
        add(name, *kind, Target::Ignored);
    }
    let alike = ALIKE.lines().map(|name| (name, name.replace('-', "_")));
    let renamed = RENAMED.lines().filter_map(|line| line.split_once(' '));
    for (name, key) in alike.chain(renamed.map(|(name, key)| (name, key.to_owned()))) {
        let kind = match kinds.get(&key).map(String::as_str) {
            Some("boolean") => Kind::Bool,
            Some("integer") => Kind::Int,
            Some("float") => Kind::Float,
            Some("duration" | "duration (Prometheus)") => Kind::Duration,
            Some("list of string") => Kind::List,
            _ => Kind::Text,
        };
        // The doubled word is what existing start scripts use; newer ones have it once.
        if let Some(rest) = name.strip_prefix("compactor.compaction.") {
            let doubled = format!("compactor.compaction.compaction.{rest}");
            add(&doubled, kind, Target::Key(key.clone()));
        }
        add(name, kind, Target::Key(key));
    }
    flags
});

/// What tells the process what to do: name, kind, default, line of the usage.
const PROCESS: &[(&str, Kind, &str, &str)] = &[
    ("config.file", Kind::Text, "", "Configuration file to load."),
    ("config.expand-env", Kind::Bool, "", "Expand ${VAR} in the configuration file."),
    (
        "config.verify",
        Kind::Bool,
        "",
        "Check the configuration and exit; 1 if anything is wrong or suspicious.",
    ),
    ("verify-config", Kind::Bool, "", "The same as -config.verify."),
    ("version", Kind::Bool, "", "Print the version and exit."),
    ("help", Kind::Bool, "", "Print this text and exit."),
    ("h", Kind::Bool, "", "The same as -help."),
    ("health", Kind::Bool, "", "Ask -health.url; exit 0 when it answers 200, else 1."),
    ("health.url", Kind::Text, "http://localhost:3200/ready", "Address that -health asks."),
];

/// What is accepted without effect.
const IGNORED: &[(&str, Kind)] = &[
    ("search.enabled", Kind::Bool),
    ("use-otel-tracer", Kind::Bool),
    ("autocomplete-filtering.enabled", Kind::Bool),
    ("mem-ballast-size-mbs", Kind::Int),
    ("mutex-profile-fraction", Kind::Int),
    ("block-profile-threshold", Kind::Int),
    ("reporting.backoff-", Kind::Unknown),
    ("ingest.", Kind::Unknown),
    ("block-builder.", Kind::Unknown),
    ("live-store.", Kind::Unknown),
    ("backend-worker.", Kind::Unknown),
    ("backend-scheduler", Kind::Unknown),
    ("ingester.partition-ring.", Kind::Unknown),
];

/// Flags that are called as their key is, but for dashes.
const ALIKE: &str = "\
target
http-api-prefix
shutdown-delay
enable-go-runtime-metrics
span-profiling
server.http-listen-port
server.grpc-listen-port
memberlist.bind-port
memberlist.message-history-buffer-bytes
distributor.log-received-spans.enabled
distributor.log-received-spans.filter-by-status-error
distributor.log-discarded-spans.enabled
distributor.log-discarded-spans.filter-by-status-error
ingester.trace-idle-period
ingester.max-block-duration
ingester.max-block-bytes
ingester.complete-block-timeout
query-frontend.mcp-server.enabled
compactor.disabled
compactor.compaction.block-retention
compactor.compaction.max-block-bytes
compactor.compaction.compaction-window
storage.trace.backend
storage.trace.blocklist_poll
storage.trace.wal.path
storage.trace.local.path
storage.trace.pool.max-workers
storage.trace.pool.queue-depth
storage.trace.block.v2-index-downsample-bytes
storage.trace.block.v2-index-page-size-bytes
storage.trace.s3.bucket
storage.trace.s3.prefix
storage.trace.s3.endpoint
storage.trace.s3.access_key
storage.trace.s3.secret_key
storage.trace.s3.session_token
storage.trace.s3.tls_min_version
storage.trace.s3.list_blocks_concurrency
storage.trace.s3.sse.type
storage.trace.s3.sse.kms-key-id
storage.trace.s3.sse.kms-encryption-context
storage.trace.s3.sse.encryption-key
storage.trace.gcs.prefix
storage.trace.gcs.list_blocks_concurrency
storage.trace.gcs.max_retries
storage.trace.azure.storage_account_name
storage.trace.azure.storage_account_key
storage.trace.azure.container_name
storage.trace.azure.prefix
storage.trace.azure.max_buffers";

/// Flags with another name than their key, and that key.
const RENAMED: &str = "\
multitenancy.enabled multitenancy_enabled
auth.enabled auth_enabled
log.level server.log_level
log.format server.log_format
memberlist.host-port memberlist.join_members
distributor.rate-limit-strategy overrides.defaults.ingestion.rate_strategy
distributor.ingestion-rate-limit-bytes overrides.defaults.ingestion.rate_limit_bytes
distributor.ingestion-burst-size-bytes overrides.defaults.ingestion.burst_size_bytes
ingester.max-traces-per-user overrides.defaults.ingestion.max_traces_per_user
ingester.max-global-traces-per-user overrides.defaults.ingestion.max_global_traces_per_user
ingester.max-bytes-per-trace overrides.defaults.global.max_bytes_per_trace
querier.max-bytes-per-tag-values-query overrides.defaults.read.max_bytes_per_tag_values_query
querier.max-blocks-per-tag-values-query overrides.defaults.read.max_blocks_per_tag_values_query
metrics-generator.native-histogram-bucket-factor overrides.defaults.metrics_generator.native_histogram_bucket_factor
metrics-generator.native-histogram-max-bucket-number overrides.defaults.metrics_generator.native_histogram_max_bucket_number
metrics-generator.native-histogram-min-reset-duration overrides.defaults.metrics_generator.native_histogram_min_reset_duration
config.per-user-override-config overrides.per_tenant_override_config
config.per-user-override-period overrides.per_tenant_override_period
config.enable-legacy-overrides overrides.enable_legacy_overrides
distributor.log-received-spans.include-attributes distributor.log_received_spans.include_all_attributes
distributor.log-discarded-spans.include-attributes distributor.log_discarded_spans.include_all_attributes
ingester.availability-zone ingester.lifecycler.availability_zone
generator.instance-id metrics_generator.instance_id
generator.instance-availability-zone metrics_generator.ring.instance_zone
querier.frontend-address querier.frontend_worker.frontend_address
compactor.compaction.max-objects-per-block compactor.compaction.max_compaction_objects
storage.trace.block.v2-bloom-filter-false-positive storage.trace.block.bloom_filter_false_positive
storage.trace.block.v2-bloom-filter-shard-size-bytes storage.trace.block.bloom_filter_shard_size_bytes
storage.trace.gcs.bucket storage.trace.gcs.bucket_name
storage.trace.azure.endpoint storage.trace.azure.endpoint_suffix
reporting.enabled usage_report.reporting_enabled";
