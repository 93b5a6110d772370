//! Rules of one component each.

use super::Invalid;
use crate::duration::GoDuration;
use crate::field::Opaque;
use crate::sections::root::Config;
use crate::sections::server::ServerTls;
use crate::suggest::any_of;
use crate::target::services_of;

/// Refuses a value that is none of `known`, and names these.
pub(super) fn expecting(
    key: &str,
    value: &str,
    known: &[&str],
    text: impl FnOnce() -> String,
) -> Result<(), Invalid> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(Invalid::new(key, format!("{}: expecting {}", text(), any_of(known))))
}

pub(super) fn ensure(key: &str, condition: bool, text: &str) -> Result<(), Invalid> {
    if condition { Ok(()) } else { Err(Invalid::new(key, text)) }
}

/// Refuses a time of 0, or below, that is not "no limit": everything would be too late. `then` is what that means.
fn ensure_time(key: &str, time: GoDuration, then: &str) -> Result<(), Invalid> {
    ensure(key, time.non_zero().is_some(), &format!("must be greater than 0: {then}"))
}

/// As Tempo names them.
pub(crate) const LOG_LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

pub(super) fn server(config: &Config) -> Result<(), Invalid> {
    let server = &config.server;
    let level = &server.log_level;
    expecting("server.log_level", level, &LOG_LEVELS, || {
        format!("unrecognized log level {level:?}")
    })?;
    let format = &server.log_format;
    expecting("server.log_format", format, &["logfmt", "json"], || {
        format!("unrecognized log format {format:?}")
    })?;
    for (key, network) in [
        ("server.http_listen_network", &server.http_listen_network),
        ("server.grpc_listen_network", &server.grpc_listen_network),
    ] {
        expecting(key, network, &["tcp", "tcp4", "tcp6"], || {
            format!("unknown listen network {network:?}")
        })?;
    }
    let version = &server.tls_min_version;
    if !version.is_empty() {
        expecting("server.tls_min_version", version, &TLS_VERSIONS, || {
            format!("TLS version {version:?} not recognized")
        })?;
    }
    let compatible = &server.compatible_version;
    let parts: Vec<&str> = compatible.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.parse::<u16>().is_err()) {
        let key = "server.compatible_version";
        let text = format!("{key}: {compatible:?} is not a version such as 2.10.8");
        return Err(Invalid::new(key, text));
    }
    server_tls("server.http_tls_config", &server.http_tls_config)?;
    server_tls("server.grpc_tls_config", &server.grpc_tls_config)?;
    let refused = "every connection by TLS would be refused";
    ensure_time("server.tls_handshake_timeout", server.tls_handshake_timeout, refused)?;
    let internal = &config.internal_server;
    if internal.enable {
        let server = &internal.server;
        server_tls("internal_server.http_tls_config", &server.http_tls_config)?;
        let key = "internal_server.tls_handshake_timeout";
        ensure_time(key, server.tls_handshake_timeout, refused)?;
    }
    Ok(())
}

pub(super) fn memberlist(config: &Config) -> Result<(), Invalid> {
    let memberlist = &config.memberlist;
    for (key, time) in [
        ("memberlist.packet_dial_timeout", memberlist.packet_dial_timeout),
        ("memberlist.packet_write_timeout", memberlist.packet_write_timeout),
        ("memberlist.stream_timeout", memberlist.stream_timeout),
    ] {
        ensure_time(key, time, "members could not reach each other")?;
    }
    Ok(())
}

/// What calls to other services may be compressed by.
const COMPRESSIONS: [&str; 3] = ["gzip", "snappy", "zstd"];

pub(super) fn clients(config: &Config) -> Result<(), Invalid> {
    let worker = &config.querier.frontend_worker.grpc_client_config;
    for (section, client) in [
        ("ingester_client", &config.ingester_client.grpc_client_config),
        ("metrics_generator_client", &config.metrics_generator_client.grpc_client_config),
        ("querier.frontend_worker", worker),
    ] {
        let compression = &client.grpc_compression;
        if compression.is_empty() {
            continue;
        }
        let key = format!("{section}.grpc_client_config.grpc_compression");
        expecting(&key, compression, &COMPRESSIONS, || {
            format!("unsupported compression type: {compression:?}")
        })?;
    }
    Ok(())
}

pub(super) const TLS_VERSIONS: [&str; 4] =
    ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"];

fn server_tls(key: &str, tls: &ServerTls) -> Result<(), Invalid> {
    let verifies = match tls.client_auth_type.as_str() {
        ""
        | "NoClientCert"
        | "RequestClientCert"
        | "RequireClientCert"
        | "RequireAnyClientCert" => false,
        "VerifyClientCertIfGiven" | "RequireAndVerifyClientCert" => true,
        other => {
            let key = format!("{key}.client_auth_type");
            let text = format!(
                "invalid ClientAuth: {other}: expecting NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            );
            return Err(Invalid::new(&key, text));
        }
    };
    let missing = match (tls.has_certificate(), tls.has_key()) {
        (true, false) if tls.cert_file.is_empty() => "key",
        (true, false) => "key_file",
        (false, true) if tls.key_file.is_empty() => "cert",
        (false, true) => "cert_file",
        _ => "",
    };
    if !missing.is_empty() {
        let key = format!("{key}.{missing}");
        let text = format!("{key} is not set: TLS needs both a certificate and its private key");
        return Err(Invalid::new(&key, text));
    }
    let has_authorities = !tls.client_ca_file.is_empty() || !tls.client_ca.is_empty();
    ensure(
        key,
        !tls.enabled() || !has_authorities || verifies,
        "client CA's have been configured without a Client Auth Policy",
    )
}

pub(super) fn overrides(config: &Config) -> Result<(), Invalid> {
    let defaults = &config.overrides.defaults;
    super::rate_strategy(defaults)
        .map_err(|text| Invalid::new("overrides.defaults.ingestion.rate_strategy", text))?;
    // A process alone keeps one copy.
    if config.ingester.lifecycler.ring.kvstore.store != "memberlist" {
        return Ok(());
    }
    super::shard_size(defaults, config)
        .map_err(|text| Invalid::new("overrides.defaults.ingestion.tenant_shard_size", text))
}

pub(super) fn frontend(config: &Config) -> Result<(), Invalid> {
    let frontend = &config.query_frontend;
    let (search, metrics) = (&frontend.search, &frontend.metrics);
    ensure(
        "query_frontend.max_outstanding_per_tenant",
        frontend.max_outstanding_per_tenant > 0,
        "must be greater than 0: every query would be refused",
    )?;
    ensure(
        "query_frontend.max_batch_size",
        frontend.max_batch_size > 0,
        "max_batch_size must be positive",
    )?;
    ensure(
        "query_frontend.trace_by_id.query_shards",
        (2..=100_000).contains(&frontend.trace_by_id.query_shards),
        "frontend query shards should be between 2 and 100000 (both inclusive)",
    )?;
    ensure(
        "query_frontend.search.concurrent_jobs",
        search.concurrent_jobs > 0,
        "frontend search concurrent requests should be greater than 0",
    )?;
    ensure(
        "query_frontend.search.target_bytes_per_job",
        search.target_bytes_per_job > 0,
        "frontend search target bytes per request should be greater than 0",
    )?;
    ensure(
        "query_frontend.search.query_backend_after",
        search.query_backend_after <= search.query_ingesters_until,
        "query backend after should be less than or equal to query ingester until",
    )?;
    ensure(
        "query_frontend.search.most_recent_shards",
        search.most_recent_shards > 0,
        "most recent shards must be greater than 0",
    )?;
    ensure(
        "query_frontend.metrics.concurrent_jobs",
        metrics.concurrent_jobs > 0,
        "frontend metrics concurrent requests should be greater than 0",
    )?;
    ensure(
        "query_frontend.metrics.target_bytes_per_job",
        metrics.target_bytes_per_job > 0,
        "frontend metrics target bytes per request should be greater than 0",
    )?;
    ensure(
        "query_frontend.metrics.interval",
        metrics.interval.as_nanos() > 0,
        "frontend metrics interval should be greater than 0",
    )?;
    let cutoff = frontend.query_end_cutoff;
    if !cutoff.is_zero() {
        for (key, after) in [
            ("query_frontend.search.query_backend_after", search.query_backend_after),
            ("query_frontend.metrics.query_backend_after", metrics.query_backend_after),
        ] {
            if after <= cutoff {
                return Err(Invalid::new(
                    key,
                    format!(
                        "QueryBackendAfter ({after}) must be greater than query end cutoff ({cutoff})"
                    ),
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn querier(config: &Config) -> Result<(), Invalid> {
    // Members of a cluster find its query-frontends by themselves. One that joins nobody would serve nobody, or itself only.
    let gossips = config.ingester.lifecycler.ring.kvstore.store == "memberlist";
    let joins = gossips && !config.memberlist.join_members.is_empty();
    let needs_address =
        !joins && matches!(config.target.as_str(), "querier" | "scalable-single-binary");
    ensure(
        "querier.frontend_worker.frontend_address",
        !needs_address || !config.querier.frontend_worker.frontend_address.is_empty(),
        "frontend worker address not specified",
    )?;
    ensure(
        "querier.max_job_memory_bytes",
        config.querier.max_job_memory_bytes > 0,
        "must be greater than 0: no block could be read",
    )?;
    let (search, by_id) = (&config.querier.search, &config.querier.trace_by_id);
    ensure_time("querier.search.query_timeout", search.query_timeout, "every search would fail")?;
    ensure_time(
        "querier.trace_by_id.query_timeout",
        by_id.query_timeout,
        "no trace would be found by its id",
    )
}

pub(super) fn compaction(config: &Config) -> Result<(), Invalid> {
    let compaction = &config.compactor.compaction;
    ensure(
        "compactor.compaction.compaction_window",
        !compaction.compaction_window.is_zero(),
        "compaction window can't be 0",
    )?;
    ensure(
        "compactor.compaction.max_block_bytes",
        compaction.max_block_bytes > 0,
        "must be greater than 0: nothing would be merged",
    )?;
    ensure(
        "compactor.compaction.max_compaction_objects",
        compaction.max_compaction_objects > 0,
        "must be greater than 0: nothing would be merged",
    )?;
    ensure(
        "compactor.compaction.min_input_blocks",
        compaction.min_input_blocks <= compaction.max_input_blocks.max(2),
        "must not be greater than max_input_blocks: nothing would be merged",
    )
}

pub(super) fn ingester(config: &Config) -> Result<(), Invalid> {
    ensure(
        "ingester.max_live_bytes",
        config.ingester.max_live_bytes > 0,
        "must be greater than 0: every push would be refused",
    )?;
    ensure(
        "ingester.lifecycler.num_tokens",
        config.ingester.lifecycler.num_tokens > 0,
        "must be greater than 0: every push would be refused",
    )?;
    let flush = config.ingester.flush_op_timeout;
    ensure_time("ingester.flush_op_timeout", flush, "no block would be written")?;
    let push = config.ingester_client.remote_timeout;
    ensure_time("ingester_client.remote_timeout", push, "every push would be refused")
}

/// Rings are kept by the processes themselves.
pub(super) fn rings(config: &Config) -> Result<(), Invalid> {
    let stores = [
        ("ingester.lifecycler.ring", &config.ingester.lifecycler.ring.kvstore),
        ("distributor.ring", &config.distributor.ring.kvstore),
        ("metrics_generator.ring", &config.metrics_generator.ring.ring.kvstore),
        ("compactor.ring", &config.compactor.ring.ring.kvstore),
    ];
    for (ring, kvstore) in stores {
        let key = format!("{ring}.kvstore.store");
        if let Some(text) = foreign_store(&key, &kvstore.store) {
            return Err(Invalid::new(&key, text));
        }
    }
    Ok(())
}

/// What to say of a store of a ring that there is not here.
pub(crate) fn foreign_store(key: &str, store: &str) -> Option<String> {
    let what = match store {
        "memberlist" | "inmemory" | "" => return None,
        "consul" | "etcd" | "multi" => format!("{store} is not supported"),
        _ => format!("invalid KV store type: {store}"),
    };
    Some(format!("{key}: {what}: rings are kept by memberlist, or inmemory by a process alone"))
}

pub(super) fn generator(config: &Config) -> Result<(), Invalid> {
    let generator = &config.metrics_generator;
    let limiter = generator.limiter_type.as_str();
    if !matches!(limiter, "series" | "entity") {
        let text = format!("invalid limiter type: {limiter}, valid values are series and entity");
        return Err(Invalid::new("metrics_generator.limiter_type", text));
    }
    let codec = generator.codec.as_str();
    if !matches!(codec, "push-bytes" | "otlp") {
        let text = format!("invalid codec: {codec}, valid choices are [push-bytes otlp]");
        return Err(Invalid::new("metrics_generator.codec", text));
    }
    for (key, text, concurrency) in [
        (
            "metrics_generator.ingest_concurrency",
            "ingest concurrency must be greater than zero",
            generator.ingest_concurrency,
        ),
        (
            "metrics_generator.processor.local_blocks.concurrency",
            "local blocks concurrency must be greater than zero",
            generator.processor.local_blocks.concurrency,
        ),
    ] {
        if concurrency <= 0 && !generator.storage.path.is_empty() {
            return Err(Invalid::new(key, text));
        }
    }
    let writes = services_of(&config.target).contains(&"metrics-generator");
    for (index, remote) in generator.storage.remote_write.iter().enumerate() {
        if remote.url.is_empty() {
            let key = format!("metrics_generator.storage.remote_write.{index}");
            return Err(Invalid::new(
                &key,
                format!(
                    "invalid remote write config {:?}: url for remote_write is empty",
                    remote.name
                ),
            ));
        }
        for (kind, settings) in [
            ("sigv4", &remote.sigv4),
            ("azuread", &remote.azuread),
            ("google_iam", &remote.google_iam),
        ] {
            if writes && settings != &Opaque::default() {
                let key = format!("metrics_generator.storage.remote_write.{index}.{kind}");
                let instead = "use basic_auth, authorization or oauth2, or a proxy that signs";
                let text = format!("{key} is not supported; {instead}");
                return Err(Invalid::new(&key, text));
            }
        }
    }
    Ok(())
}
