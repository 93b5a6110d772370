//! The settings of a distributor and of its receivers, from the configuration.

use std::sync::Arc;

use tactus_config::{
    Config, GoDuration,
    sections::{
        distributor::Distributor as DistributorSection,
        overrides,
        receivers::{OtlpGrpc, OtlpHttp, ReceiverTls},
    },
};
use tactus_process::{Error, memory};
use tactus_receivers::{
    cors::CorsSettings, otlp_grpc::OtlpGrpcSettings, otlp_http::OtlpHttpSettings,
};
use tactus_server::{listener::ListenerSettings, tenancy::Tenancy};
use tactus_tls::{ALPN_GRPC, ALPN_HTTP, ServerTls};

use crate::{Limits, Settings, UsageLimits, UsageSettings};

/// The distributor.
pub(crate) fn settings(config: &Config) -> Settings {
    let (distributor, built_in) = (&config.distributor, Settings::default());
    let usage = &distributor.usage.cost_attribution;
    Settings {
        retry_after: distributor
            .retry_after_on_resource_exhausted
            .non_zero()
            .unwrap_or(built_in.retry_after),
        remote_timeout: config
            .ingester_client
            .remote_timeout
            .non_zero()
            .unwrap_or(built_in.remote_timeout),
        hedging_delay: distributor.hedging_delay.as_std(),
        max_inflight_bytes: match distributor.max_inflight_bytes {
            0 => memory::request_bytes(),
            bytes => bytes,
        },
        extend_writes: distributor.extend_writes,
        usage: usage.enabled.then(|| UsageSettings {
            max_series: usage.max_cardinality,
            stale_after: usage
                .stale_duration
                .non_zero()
                .unwrap_or(UsageSettings::default().stale_after),
        }),
    }
}

/// The limits of a tenant.
pub(crate) fn limits(limits: &overrides::Limits, distributor: &DistributorSection) -> Limits {
    let ingestion = &limits.ingestion;
    Limits {
        rate_limit_bytes: ingestion.rate_limit_bytes,
        burst_size_bytes: ingestion.burst_size_bytes,
        global_rate: ingestion.rate_strategy == "global",
        retry_info_enabled: ingestion.retry_info_enabled,
        tenant_shard_size: ingestion.tenant_shard_size,
        artificial_delay: ingestion
            .artificial_delay
            .unwrap_or(distributor.artificial_delay)
            .as_std(),
    }
}

/// By what a tenant's usage is told apart.
pub(crate) fn usage_limits(limits: &overrides::Limits) -> UsageLimits {
    UsageLimits {
        max_series: limits.cost_attribution.max_cardinality,
        dimensions: limits.cost_attribution.dimensions.clone(),
    }
}

/// An OTLP gRPC receiver.
pub(crate) fn otlp_grpc(
    name: &str,
    receiver: &OtlpGrpc,
    tenancy: Tenancy,
) -> Result<OtlpGrpcSettings, Error> {
    let server = &receiver.server;
    let built_in = OtlpGrpcSettings::default();
    let mut listener = ListenerSettings {
        tls: tls(name, "grpc", server.tls.as_ref(), &server.transport, &ALPN_GRPC)?,
        ..built_in.listener.clone()
    };
    if server.max_concurrent_streams > 0 {
        listener.http2.max_concurrent_streams = Some(server.max_concurrent_streams);
    }
    if let Some(ages) = server.keepalive.as_ref().and_then(|k| k.server_parameters.as_ref()) {
        let positive = |duration: GoDuration| duration.non_zero();
        listener.idle_timeout = positive(ages.max_connection_idle);
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
        tls: tls(name, "http", server.tls.as_ref(), &server.transport, &ALPN_HTTP)?,
        header_timeout: server.read_header_timeout.non_zero(),
        write_timeout: server.write_timeout.non_zero(),
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
        read_timeout: server.read_timeout.non_zero().or(built_in.read_timeout),
        ..built_in
    })
}

/// TLS of a receiver's port. Serving without the encryption that was asked for would be worse than not starting.
pub(crate) fn tls(
    name: &str,
    protocol: &str,
    tls: Option<&ReceiverTls>,
    transport: &str,
    alpn: &[&str],
) -> Result<Option<Arc<ServerTls>>, Error> {
    let key = format!("distributor.receivers.{name}.protocols.{protocol}");
    if !matches!(transport, "" | "tcp" | "tcp4" | "tcp6") {
        return Err(Error::Setup(format!("{key}.transport: {transport} is not supported")));
    }
    let Some(tls) = tls else { return Ok(None) };
    let settings = tactus_tls::from_config::receiver(&format!("{key}.tls"), tls, alpn)?;
    Ok(Some(ServerTls::load(settings)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tactus_config::sections::overrides::IngestionLimits;

    #[test]
    fn defaults_leave_room_for_requests_and_hedge() {
        let settings = settings(&Config::default());
        assert_eq!(settings.remote_timeout, Duration::from_secs(5));
        assert_eq!(settings.hedging_delay, Duration::from_millis(250));
        assert!(settings.max_inflight_bytes > 0 && settings.extend_writes);
        assert_eq!(settings.usage, None);
    }

    #[test]
    fn limits_are_those_of_the_tenant_where_it_has_any() {
        let mut config = Config::default();
        config.distributor.artificial_delay = GoDuration::seconds(1);
        let ingestion = IngestionLimits {
            rate_strategy: "global".to_owned(),
            rate_limit_bytes: 7,
            ..IngestionLimits::default()
        };
        let mut of_tenant = overrides::Limits { ingestion, ..overrides::Limits::default() };
        let found = limits(&of_tenant, &config.distributor);
        assert!(found.global_rate);
        assert_eq!((found.rate_limit_bytes, found.artificial_delay), (7, Duration::from_secs(1)));
        of_tenant.ingestion.artificial_delay = Some(GoDuration::ZERO);
        assert!(limits(&of_tenant, &config.distributor).artificial_delay.is_zero());
    }
}
