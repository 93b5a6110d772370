//! The settings of the receivers.

use std::{sync::Arc, time::Duration};

use tactus_config::{
    Config, GoDuration,
    sections::receivers::{
        OtlpJsonFileReceiver, ReceiverGrpc, ReceiverHttp, ReceiverTls, ReceiverUdp, ZipkinReceiver,
    },
};
use tactus_model::TenantId;
use tactus_process::Error;
use tactus_receivers::{
    PortSettings,
    cors::CorsSettings,
    grpc_receiver::grpc_port_at,
    http_receiver::HttpReceiverSettings,
    jaeger_udp::{AgentPort, JaegerUdpSettings},
    otlp_file::{OtlpFileSettings, Pattern},
};
use tactus_server::{
    auth::Authenticator, bodies::Bodies, listener::ListenerSettings, tenancy::Tenancy,
};
use tactus_tls::{ALPN_GRPC, ALPN_HTTP, ServerTls};

/// Receivers that read files.
///
/// Errors: no pattern, or an invalid one; no tenant although there are several.
pub(crate) fn otlp_files(config: &Config) -> Result<Vec<OtlpFileSettings>, Error> {
    let receivers = &config.distributor.receivers.otlpjsonfile;
    let made = receivers.iter().map(|(name, receiver)| {
        otlp_file(receiver, config.multitenant())
            .map_err(|error| Error::Setup(format!("distributor.receivers.{name}.{error}")))
    });
    made.collect()
}

fn otlp_file(
    receiver: &OtlpJsonFileReceiver,
    multitenant: bool,
) -> Result<OtlpFileSettings, String> {
    let patterns = |key: &str, texts: &[String]| {
        let parsed: Result<Vec<_>, _> = texts.iter().map(|text| Pattern::parse(text)).collect();
        parsed.map_err(|error| format!("{key}: {error}"))
    };
    if receiver.include.is_empty() {
        return Err("include: no file is named".to_owned());
    }
    let tenant = match receiver.tenant.as_str() {
        _ if !multitenant => TenantId::single(),
        "" => return Err("tenant: is not set, and lines name none".to_owned()),
        name => TenantId::parse(name).map_err(|error| format!("tenant: {error}"))?,
    };
    Ok(OtlpFileSettings {
        tenant,
        include: patterns("include", &receiver.include)?,
        exclude: patterns("exclude", &receiver.exclude)?,
        from_beginning: match receiver.start_at.as_str() {
            "beginning" => true,
            "end" => false,
            other => return Err(format!("start_at: {other:?} is neither beginning nor end")),
        },
        poll_interval: receiver.poll_interval.non_zero().unwrap_or(Duration::from_millis(200)),
        replay: receiver.replay_file,
        max_line_bytes: usize::try_from(receiver.max_log_size.bytes()).unwrap_or(usize::MAX),
    })
}

/// The key of a Zipkin receiver's port in the configuration.
pub(crate) fn zipkin_key(name: &str, receiver: &ZipkinReceiver) -> String {
    match receiver.protocols.http {
        Some(_) => protocol_key(name, "http"),
        None => format!("distributor.receivers.{name}"),
    }
}

/// A UDP port of a Jaeger receiver. `key`: its key in the configuration.
///
/// Packets have neither a tenant nor credentials. If either is required, packets are dropped unless a tenant is configured
/// for the port.
pub(crate) fn jaeger_udp(
    key: &str,
    endpoint: &str,
    port: AgentPort,
    udp: &ReceiverUdp,
    access: &ReceiverAccess,
) -> Result<JaegerUdpSettings, Error> {
    let invalid = |error: String| Error::Setup(format!("{key}.tenant: {error}"));
    let configured = match udp.tenant.as_str() {
        "" => None,
        name => Some(TenantId::parse(name).map_err(|error| invalid(error.to_string()))?),
    };
    // The tenant of requests that name none. There is one only without multitenancy.
    let of_all = access.tenancy.write_tenant(&http::HeaderMap::new()).ok();
    let tenant = match (of_all, configured) {
        (Some(_), None) if access.auth.is_some() => None,
        (Some(of_all), _) => Some(of_all),
        (None, configured) => configured,
    };
    let positive = |value: i64| usize::try_from(value).unwrap_or(0);
    Ok(JaegerUdpSettings {
        tenant,
        queue_size: positive(udp.queue_size),
        max_packet_bytes: positive(udp.max_packet_size),
        workers: positive(udp.workers),
        socket_buffer_bytes: positive(udp.socket_buffer_size),
        ..JaegerUdpSettings::at(endpoint, port)
    })
}

/// Tenancy, authentication and the limit of memory, which are the same for all receivers.
#[derive(Clone)]
pub(crate) struct ReceiverAccess {
    pub(crate) tenancy: Tenancy,
    pub(crate) auth: Option<Arc<Authenticator>>,
    pub(crate) bodies: Arc<Bodies>,
}

/// Most connections of a port, unless the configuration sets a limit.
const DEFAULT_CONNECTIONS: usize = 10_000;

fn connections(configured: u32) -> usize {
    match configured {
        0 => DEFAULT_CONNECTIONS,
        connections => connections as usize,
    }
}

/// The key of a receiver's protocol in the configuration.
pub(crate) fn protocol_key(name: &str, protocol: &str) -> String {
    format!("distributor.receivers.{name}.protocols.{protocol}")
}

/// A gRPC port of a receiver. `key`: its key in the configuration.
pub(crate) fn grpc_port(
    key: &str,
    server: &ReceiverGrpc,
    access: &ReceiverAccess,
) -> Result<PortSettings, Error> {
    let built_in = grpc_port_at(&server.endpoint);
    let mut listener = ListenerSettings {
        tls: tls(key, server.tls.as_ref(), &ALPN_GRPC)?,
        max_connections: connections(server.max_connections),
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
    let max_body_bytes = match server.max_recv_msg_size_mib {
        0 => built_in.max_body_bytes,
        mebibytes => (mebibytes as usize).saturating_mul(1 << 20),
    };
    let ReceiverAccess { tenancy, auth, bodies } = access.clone();
    Ok(PortSettings { listener, tenancy, auth, bodies, max_body_bytes, ..built_in })
}

/// An HTTP port of a receiver. `key`: its key in the configuration.
pub(crate) fn http_port(
    key: &str,
    server: &ReceiverHttp,
    access: &ReceiverAccess,
) -> Result<HttpReceiverSettings, Error> {
    let built_in = HttpReceiverSettings::at(&server.endpoint);
    let mut response_headers = Vec::new();
    for (name, value) in &server.response_headers {
        let invalid = |_| Error::Setup(format!("{key}.response_headers: {name}"));
        let header =
            http::HeaderName::try_from(name).map_err(|error| invalid(error.to_string()))?;
        let text = http::HeaderValue::try_from(value.reveal());
        response_headers.push((header, text.map_err(|error| invalid(error.to_string()))?));
    }
    let cors = server.cors.as_ref().map_or_else(CorsSettings::default, |cors| CorsSettings {
        allowed_origins: cors.allowed_origins.clone(),
        allowed_headers: cors.allowed_headers.clone(),
        max_age_seconds: cors.max_age.max(0) as u64,
    });
    let encodings = encodings(key, &server.compression_algorithms, built_in.encodings)?;
    let max_body_bytes = match server.max_request_body_size {
        0 => built_in.port.max_body_bytes,
        bytes => bytes as usize,
    };
    let listener = ListenerSettings {
        tls: tls(key, server.tls.as_ref(), &ALPN_HTTP)?,
        max_connections: connections(server.max_connections),
        header_timeout: server.read_header_timeout.non_zero(),
        write_timeout: server.write_timeout.non_zero(),
        idle_timeout: server.idle_timeout.non_zero(),
        ..built_in.port.listener.clone()
    };
    let ReceiverAccess { tenancy, auth, bodies } = access.clone();
    let read_timeout = server.read_timeout.non_zero().or(built_in.port.read_timeout);
    let port = PortSettings {
        listener,
        tenancy,
        auth,
        bodies,
        max_body_bytes,
        read_timeout,
        ..built_in.port
    };
    Ok(HttpReceiverSettings { port, encodings, cors, response_headers })
}

/// The content encodings that a port accepts: the `named` ones, or all that are known. Errors: an unknown name.
fn encodings(key: &str, named: &[String], known: Vec<String>) -> Result<Vec<String>, Error> {
    if named.is_empty() {
        return Ok(known);
    }
    for name in named {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(Error::Setup(format!(
                "{key}.compression_algorithms: {name:?} is none of {known:?}"
            )));
        }
    }
    Ok(named.to_vec())
}

/// TLS of a receiver's port. Invalid settings are an error, because serving without encryption would be worse.
fn tls(
    key: &str,
    tls: Option<&ReceiverTls>,
    alpn: &[&str],
) -> Result<Option<Arc<ServerTls>>, Error> {
    let Some(tls) = tls else { return Ok(None) };
    let settings = tactus_tls::from_config::receiver(&format!("{key}.tls"), tls, alpn)?;
    Ok(Some(ServerTls::load(settings)?))
}

#[cfg(test)]
mod tests {
    use tactus_server::auth::AuthSettings;

    use super::*;

    /// The tenant of packets, for `tenant` of the port in the configuration.
    fn packet_tenant(tenancy: Tenancy, authenticated: bool, tenant: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "users: []").unwrap();
        let settings = AuthSettings::new(file.path(), tenancy.clone());
        let auth = authenticated.then(|| Authenticator::load(settings).unwrap());
        let udp = ReceiverUdp { tenant: tenant.to_owned(), ..ReceiverUdp::default() };
        let access = ReceiverAccess { tenancy, auth, bodies: Bodies::unbounded() };
        let port = AgentPort::Compact;
        jaeger_udp("key", "127.0.0.1:0", port, &udp, &access).unwrap().tenant.map(|t| t.to_string())
    }

    #[test]
    fn packets_have_a_tenant_only_where_none_is_asked_for_or_one_is_configured() {
        let (single, several) = (Tenancy::single(), Tenancy::by_header(false));
        let tenant = |name: &str| Some(name.to_owned());
        for (tenancy, authenticated, configured, expected) in [
            (&single, false, "", tenant("single-tenant")),
            (&single, true, "", None),
            (&single, true, "acme", tenant("single-tenant")),
            (&several, false, "", None),
            (&several, false, "acme", tenant("acme")),
            (&several, true, "", None),
            (&several, true, "acme", tenant("acme")),
        ] {
            let found = packet_tenant(tenancy.clone(), authenticated, configured);
            assert_eq!(found, expected, "{authenticated} {configured:?}");
        }
    }

    #[test]
    fn tenant_of_packets_must_be_a_tenant() {
        let bodies = Bodies::unbounded();
        let access = ReceiverAccess { tenancy: Tenancy::single(), auth: None, bodies };
        let udp = ReceiverUdp { tenant: "a|b".to_owned(), ..ReceiverUdp::default() };
        let error = jaeger_udp("key", ":0", AgentPort::Compact, &udp, &access).unwrap_err();
        assert!(error.to_string().starts_with("key.tenant: "), "{error}");
    }

    #[test]
    fn encodings_are_those_that_bodies_can_be_decoded_from() {
        let bodies = Bodies::unbounded();
        let access = ReceiverAccess { tenancy: Tenancy::single(), auth: None, bodies };
        let port = |names: &[&str]| {
            let compression_algorithms = names.iter().map(|name| (*name).to_owned()).collect();
            let server = ReceiverHttp { compression_algorithms, ..ReceiverHttp::default() };
            http_port("key", &server, &access).map(|settings| settings.encodings)
        };
        let known = port(&[]).unwrap();
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        assert_eq!(port(&all).unwrap(), known);
        assert_eq!(port(&["", "GZIP"]).unwrap(), ["", "GZIP"]);
        let error = port(&["gzip", "br"]).unwrap_err().to_string();
        let expected = r#"key.compression_algorithms: "br" is none of ["", "gzip", "#;
        assert!(error.starts_with(expected), "{error}");
    }
}
