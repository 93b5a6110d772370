//! Rules of one component each.

use crate::sections::distributor::Forwarder;
use crate::sections::object_store::S3;
use crate::sections::receivers::{JaegerProtocols, OtlpProtocols, ReceiverUdp, Receivers};
use crate::sections::root::Config;
use crate::sections::server::ServerTls;
use crate::unsupported::{BACKENDS, KNOWN_BLOCKS, WRITABLE_BLOCKS};

fn ensure(condition: bool, text: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(text.to_owned()) }
}

pub(super) fn server(config: &Config) -> Result<(), String> {
    let server = &config.server;
    let level = &server.log_level;
    if !matches!(level.as_str(), "debug" | "info" | "warn" | "error") {
        return Err(format!("unrecognized log level {level:?}"));
    }
    let format = &server.log_format;
    if !matches!(format.as_str(), "logfmt" | "json") {
        return Err(format!("unrecognized log format {format:?}"));
    }
    for network in [&server.http_listen_network, &server.grpc_listen_network] {
        if !matches!(network.as_str(), "tcp" | "tcp4" | "tcp6") {
            return Err(format!("unknown listen network {network:?}"));
        }
    }
    let version = &server.tls_min_version;
    if !is_tls_version(version) {
        return Err(format!("TLS version {version:?} not recognized"));
    }
    server_tls(&server.http_tls_config)?;
    server_tls(&server.grpc_tls_config)
}

fn is_tls_version(version: &str) -> bool {
    matches!(version, "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" | "VersionTLS13")
}

fn server_tls(tls: &ServerTls) -> Result<(), String> {
    let verifies = match tls.client_auth_type.as_str() {
        ""
        | "NoClientCert"
        | "RequestClientCert"
        | "RequireClientCert"
        | "RequireAnyClientCert" => false,
        "VerifyClientCertIfGiven" | "RequireAndVerifyClientCert" => true,
        other => return Err(format!("invalid ClientAuth: {other}")),
    };
    let has_authorities = !tls.client_ca_file.is_empty() || !tls.client_ca.is_empty();
    ensure(
        !tls.enabled() || !has_authorities || verifies,
        "client CA's have been configured without a Client Auth Policy",
    )
}

pub(super) fn receivers(receivers: &Receivers) -> Result<(), String> {
    // Nobody would notice that nothing is read from there.
    if let Some(name) = receivers.kafka.keys().next() {
        return Err(format!(
            "distributor.receivers.{name}: this version does not read from Kafka; a collector with a Kafka receiver and an OTLP exporter does"
        ));
    }
    for (name, receiver) in &receivers.otlp {
        let OtlpProtocols { grpc, http } = &receiver.protocols;
        if grpc.is_none() && http.is_none() {
            return Err(format!(
                "{name}: must specify at least one protocol when using the OTLP receiver"
            ));
        }
    }
    for (name, receiver) in &receivers.jaeger {
        let JaegerProtocols {
            grpc,
            thrift_http,
            thrift_binary,
            thrift_compact,
            thrift_compact_legacy,
        } = &receiver.protocols;
        let udp = [
            ("thrift_binary", thrift_binary.as_ref().map(|protocol| &protocol.udp)),
            ("thrift_compact", thrift_compact.as_ref().map(|protocol| &protocol.udp)),
            ("thrift_compact_legacy", thrift_compact_legacy.as_ref().map(|protocol| &protocol.udp)),
        ];
        if grpc.is_none()
            && thrift_http.is_none()
            && udp.iter().all(|(_, protocol)| protocol.is_none())
        {
            return Err(format!(
                "{name}: must specify at least one protocol when using the Jaeger receiver"
            ));
        }
        for (protocol, udp) in udp {
            let Some(udp) = udp else { continue };
            packets(udp).map_err(|cause| format!("{name}.protocols.{protocol}: {cause}"))?;
        }
    }
    Ok(())
}

/// A UDP listener. A packet cannot be larger than its length field says.
fn packets(udp: &ReceiverUdp) -> Result<(), String> {
    ensure(udp.queue_size > 0, "queue_size must be positive")?;
    ensure((1..=65_535).contains(&udp.max_packet_size), "max_packet_size must be 1 to 65535")?;
    ensure((1..=10_000).contains(&udp.workers), "workers must be 1 to 10000")?;
    ensure(
        i32::try_from(udp.socket_buffer_size).is_ok_and(|bytes| bytes >= 0),
        "socket_buffer_size must be 0 to 2147483647",
    )
}

pub(super) fn forwarders(forwarders: &[Forwarder]) -> Result<(), String> {
    for (index, forwarder) in forwarders.iter().enumerate() {
        let cause = if forwarder.name.is_empty() {
            "name is empty".to_owned()
        } else if forwarder.backend != "otlpgrpc" {
            format!("{} backend is not supported", forwarder.backend)
        } else if !forwarder.otlpgrpc.tls.insecure && forwarder.otlpgrpc.tls.cert_file.is_empty() {
            "cert_file is empty".to_owned()
        } else if forwarders[..index].iter().any(|other| other.name == forwarder.name) {
            format!("forwarder with name {} already exists", forwarder.name)
        } else {
            continue;
        };
        return Err(format!("failed to validate config at index={index}: {cause}"));
    }
    Ok(())
}

pub(super) fn frontend(config: &Config) -> Result<(), String> {
    let frontend = &config.query_frontend;
    let (search, metrics) = (&frontend.search, &frontend.metrics);
    ensure(frontend.max_batch_size > 0, "max_batch_size must be positive")?;
    ensure(
        (2..=100_000).contains(&frontend.trace_by_id.query_shards),
        "frontend query shards should be between 2 and 100000 (both inclusive)",
    )?;
    ensure(
        search.concurrent_jobs > 0,
        "frontend search concurrent requests should be greater than 0",
    )?;
    ensure(
        search.target_bytes_per_job > 0,
        "frontend search target bytes per request should be greater than 0",
    )?;
    ensure(
        search.query_backend_after <= search.query_ingesters_until,
        "query backend after should be less than or equal to query ingester until",
    )?;
    ensure(search.most_recent_shards > 0, "most recent shards must be greater than 0")?;
    ensure(
        metrics.concurrent_jobs > 0,
        "frontend metrics concurrent requests should be greater than 0",
    )?;
    ensure(
        metrics.target_bytes_per_job > 0,
        "frontend metrics target bytes per request should be greater than 0",
    )?;
    ensure(metrics.interval.as_nanos() > 0, "frontend metrics interval should be greater than 0")?;
    let cutoff = frontend.query_end_cutoff;
    if !cutoff.is_zero() {
        for after in [search.query_backend_after, metrics.query_backend_after] {
            if after <= cutoff {
                return Err(format!(
                    "QueryBackendAfter ({after}) must be greater than query end cutoff ({cutoff})"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn querier(config: &Config) -> Result<(), String> {
    // Members of a cluster find its query-frontends by themselves.
    let gossips = config.ingester.lifecycler.ring.kvstore.store == "memberlist";
    let needs_address = config.target == "querier" && !gossips;
    ensure(
        !needs_address || !config.querier.frontend_worker.frontend_address.is_empty(),
        "frontend worker address not specified",
    )
}

pub(super) fn storage(config: &Config) -> Result<(), String> {
    let trace = &config.storage.trace;
    let backend = trace.backend.as_str();
    // An empty backend is an error only for components that need a store: theirs to report.
    if !backend.is_empty() && !BACKENDS.contains(&backend) {
        return Err(format!("unknown backend {backend}"));
    }
    ensure(!trace.wal.path.is_empty(), "please provide a path for the WAL")?;
    let block = &trace.block;
    if !KNOWN_BLOCKS.contains(&block.version.as_str()) {
        return Err(format!("{} is not a valid block version", block.version));
    }
    if !WRITABLE_BLOCKS.contains(&block.version.as_str()) {
        return Err(format!("{} is not a valid block version for creating blocks", block.version));
    }
    let rate = block.bloom_filter_false_positive;
    if !(rate > 0.0 && rate < 1.0) {
        return Err(format!("invalid bloom filter fp rate {rate}"));
    }
    ensure(
        block.bloom_filter_shard_size_bytes > 0,
        "positive value required for bloom-filter shard size",
    )?;
    ensure(
        block.parquet_row_group_size_bytes > 0,
        "positive value required for the size of a row group",
    )?;
    ensure(block.v2_index_downsample_bytes > 0, "positive index downsample required")?;
    ensure(block.v2_index_page_size_bytes > 0, "positive index page size required")?;
    super::dedicated_columns(&block.version, &block.parquet_dedicated_columns)?;
    s3(&trace.s3)?;
    ensure(!config.compactor.compaction.compaction_window.is_zero(), "compaction window can't be 0")
}

fn s3(s3: &S3) -> Result<(), String> {
    ensure(
        matches!(s3.sse.type_.as_str(), "" | "SSE-S3" | "SSE-KMS" | "SSE-C"),
        "unsupported S3 SSE type",
    )?;
    let tls = &s3.tls;
    if !is_tls_version(&tls.tls_min_version) {
        return Err(format!("unknown minimum TLS version: {:?}", tls.tls_min_version));
    }
    ensure(
        tls.tls_cert_path.is_empty() || !tls.tls_key_path.is_empty(),
        "certificate given but no key configured",
    )?;
    ensure(
        tls.tls_key_path.is_empty() || !tls.tls_cert_path.is_empty(),
        "key given but no certificate configured",
    )
}

pub(super) fn generator(config: &Config) -> Result<(), String> {
    let generator = &config.metrics_generator;
    let limiter = generator.limiter_type.as_str();
    if !matches!(limiter, "series" | "entity") {
        return Err(format!("invalid limiter type: {limiter}, valid values are series and entity"));
    }
    let codec = generator.codec.as_str();
    if !matches!(codec, "push-bytes" | "otlp") {
        return Err(format!("invalid codec: {codec}, valid choices are [push-bytes otlp]"));
    }
    for remote in &generator.storage.remote_write {
        if remote.url.is_empty() {
            return Err(format!(
                "invalid remote write config {:?}: url for remote_write is empty",
                remote.name
            ));
        }
    }
    Ok(())
}
