//! The ports on which spans are received.

use std::{io, sync::Arc};

use axum::Router;
use tactus_config::{
    Config,
    sections::receivers::{JaegerReceiver, OtlpReceiver, Receivers, ZipkinReceiver},
};
use tactus_process::{Error, PlannedPort, ShownAddresses, settings::tenancy};
use tactus_receivers::{
    PortSettings, ReceiverMetrics, TraceSink,
    http_receiver::HttpReceiverSettings,
    jaeger_grpc::serve_jaeger_grpc,
    jaeger_http::serve_jaeger_http,
    jaeger_udp::{AgentPort, JaegerUdpSettings, serve_jaeger_udp},
    otlp_grpc::serve_otlp_grpc,
    otlp_http::{OtlpHttpSettings, serve_otlp_http},
    zipkin_http::{ZipkinHttpSettings, serve_zipkin_http},
};
use tactus_server::{
    bodies::Bodies,
    listener::{Advice, BoundListener},
};
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;

use crate::{
    from_config::{ReceiverAccess, grpc_port, http_port, jaeger_udp, protocol_key, zipkin_key},
    sampling::Sampling,
};

/// A receiver, with its name for people and the key of its address in the configuration.
struct Receiver {
    name: &'static str,
    key: String,
    port: ReceiverPort,
}

enum ReceiverPort {
    OtlpGrpc(PortSettings),
    OtlpHttp(OtlpHttpSettings),
    JaegerGrpc(PortSettings),
    JaegerHttp(HttpReceiverSettings),
    JaegerUdp(JaegerUdpSettings),
    Zipkin(ZipkinHttpSettings),
}

impl Receiver {
    /// `key`: of the protocol in the configuration.
    fn new(name: &'static str, key: String, port: ReceiverPort) -> Self {
        Self { name, key: format!("{key}.endpoint"), port }
    }

    fn planned(&self) -> PlannedPort {
        let (address, is_udp) = match &self.port {
            ReceiverPort::OtlpGrpc(port) | ReceiverPort::JaegerGrpc(port) => (&port.address, false),
            ReceiverPort::OtlpHttp(settings) => (&settings.http.port.address, false),
            ReceiverPort::JaegerHttp(http) => (&http.port.address, false),
            ReceiverPort::JaegerUdp(port) => (&port.address, true),
            ReceiverPort::Zipkin(settings) => (&settings.http.port.address, false),
        };
        PlannedPort { key: self.key.clone(), address: address.clone(), is_udp }
    }

    /// True if the process may start without this receiver when another program has its port. That is allowed for Jaeger's
    /// and Zipkin's ports if the configuration names no receivers.
    fn is_dispensable(&self, receivers: &Receivers) -> bool {
        let is_otlp = matches!(self.port, ReceiverPort::OtlpGrpc(_) | ReceiverPort::OtlpHttp(_));
        receivers.by_default && !is_otlp
    }
}

/// The port of an endpoint such as `0.0.0.0:4317`.
fn port_of(endpoint: &str) -> Option<u16> {
    endpoint.rsplit_once(':')?.1.parse().ok()
}

/// All receivers of the configuration. Errors: invalid settings.
fn plan(config: &Config, access: &ReceiverAccess) -> Result<Vec<Receiver>, Error> {
    let receivers = &config.distributor.receivers;
    let mut planned = Vec::new();
    for (name, receiver) in &receivers.otlp {
        planned.extend(otlp(name, receiver, access)?);
    }
    for (name, receiver) in &receivers.jaeger {
        planned.extend(jaeger(name, receiver, access)?);
    }
    for (name, receiver) in &receivers.zipkin {
        planned.push(zipkin(name, receiver, access)?);
    }
    Ok(planned)
}

fn otlp(
    name: &str,
    receiver: &OtlpReceiver,
    access: &ReceiverAccess,
) -> Result<Vec<Receiver>, Error> {
    let mut planned = Vec::new();
    let (grpc, http) = (&receiver.protocols.grpc, &receiver.protocols.http);
    let grpc_at = grpc.as_ref().and_then(|grpc| port_of(&grpc.server.endpoint));
    let http_at = http.as_ref().and_then(|http| port_of(&http.server.endpoint));
    if let Some(grpc) = grpc {
        let key = protocol_key(name, "grpc");
        let mut port = grpc_port(&key, &grpc.server, access)?;
        port.listener.advice = Advice::of("OTLP over gRPC").with("OTLP over HTTP", http_at);
        planned.push(Receiver::new("OTLP gRPC", key, ReceiverPort::OtlpGrpc(port)));
    }
    if let Some(http) = http {
        let key = protocol_key(name, "http");
        let traces_path = format!("/{}", http.traces_url_path.trim_start_matches('/'));
        let mut http = http_port(&key, &http.server, access)?;
        http.port.listener.advice = Advice::of("OTLP over HTTP").with("OTLP over gRPC", grpc_at);
        planned.push(Receiver::new(
            "OTLP HTTP",
            key,
            ReceiverPort::OtlpHttp(OtlpHttpSettings { http, traces_path }),
        ));
    }
    Ok(planned)
}

fn jaeger(
    name: &str,
    receiver: &JaegerReceiver,
    access: &ReceiverAccess,
) -> Result<Vec<Receiver>, Error> {
    let mut planned = Vec::new();
    let protocols = &receiver.protocols;
    let (grpc, http) = (&protocols.grpc, &protocols.thrift_http);
    let grpc_at = grpc.as_ref().and_then(|grpc| port_of(&grpc.server.endpoint));
    let http_at = http.as_ref().and_then(|http| port_of(&http.server.endpoint));
    if let Some(grpc) = grpc {
        let key = protocol_key(name, "grpc");
        let mut port = grpc_port(&key, &grpc.server, access)?;
        port.listener.advice =
            Advice::of("Jaeger's gRPC").with("Jaeger's Thrift over HTTP", http_at);
        planned.push(Receiver::new("Jaeger gRPC", key, ReceiverPort::JaegerGrpc(port)));
    }
    if let Some(http) = http {
        let key = protocol_key(name, "thrift_http");
        let mut http = http_port(&key, &http.server, access)?;
        http.port.listener.advice =
            Advice::of("Jaeger's Thrift over HTTP").with("Jaeger's gRPC", grpc_at);
        planned.push(Receiver::new("Jaeger Thrift HTTP", key, ReceiverPort::JaegerHttp(http)));
    }
    let compact = protocols.thrift_compact.as_ref();
    let binary = protocols.thrift_binary.as_ref();
    let legacy = protocols.thrift_compact_legacy.as_ref();
    let udp = [
        compact.map(|port| (AgentPort::Compact, "thrift_compact", &port.endpoint, &port.udp)),
        binary.map(|port| (AgentPort::Binary, "thrift_binary", &port.endpoint, &port.udp)),
        legacy.map(|port| (AgentPort::Zipkin, "thrift_compact_legacy", &port.endpoint, &port.udp)),
    ];
    for (port, protocol, endpoint, udp) in udp.into_iter().flatten() {
        let key = protocol_key(name, protocol);
        let settings = jaeger_udp(&key, endpoint, port, udp, access)?;
        planned.push(Receiver::new(settings.port.name(), key, ReceiverPort::JaegerUdp(settings)));
    }
    Ok(planned)
}

fn zipkin(
    name: &str,
    receiver: &ZipkinReceiver,
    access: &ReceiverAccess,
) -> Result<Receiver, Error> {
    let key = zipkin_key(name, receiver);
    let mut http = http_port(&key, receiver.listener(), access)?;
    http.port.listener.advice = Advice::of("Zipkin over HTTP");
    let parse_string_tags = receiver.parse_string_tags;
    let settings = ZipkinHttpSettings { http, parse_string_tags };
    Ok(Receiver::new("Zipkin HTTP", key, ReceiverPort::Zipkin(settings)))
}

/// The ports of the receivers that a process cannot do without. Errors: invalid settings.
pub(crate) fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    let access =
        ReceiverAccess { tenancy: tenancy(config, false), auth: None, bodies: Bodies::unbounded() };
    let mut planned = plan(config, &access)?;
    planned.retain(|receiver| !receiver.is_dispensable(&config.distributor.receivers));
    Ok(planned.iter().map(Receiver::planned).collect())
}

/// Opens all receivers of the configuration. `zipkin_query`: further routes for the ports of Zipkin receivers.
///
/// Errors: invalid settings, and ports that cannot be bound. It is no error if another program has a default port of Jaeger
/// or Zipkin that the configuration does not name.
pub(crate) async fn open_receivers(
    config: &Config,
    access: ReceiverAccess,
    sink: Arc<dyn TraceSink>,
    sampling: &Sampling,
    zipkin_query: Option<&Router>,
    addresses: &ShownAddresses,
    stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let metrics = &ReceiverMetrics::register(Registry::global());
    let mut opened = Vec::new();
    for receiver in plan(config, &access)? {
        let is_dispensable = receiver.is_dispensable(&config.distributor.receivers);
        let Receiver { name, port, .. } = receiver;
        let (sink, stop) = (Arc::clone(&sink), stop.clone());
        let bound = match port {
            ReceiverPort::OtlpGrpc(port) => serve_otlp_grpc(port, sink, metrics, stop).await,
            ReceiverPort::OtlpHttp(port) => serve_otlp_http(port, sink, metrics, stop).await,
            // Older clients ask for sampling strategies on Jaeger's ports.
            ReceiverPort::JaegerGrpc(mut port) => {
                port.others = Some(sampling.grpc_router());
                serve_jaeger_grpc(port, sink, metrics, stop).await
            }
            ReceiverPort::JaegerHttp(mut http) => {
                http.port.others = Some(sampling.collector_router());
                serve_jaeger_http(http, sink, metrics, stop).await
            }
            ReceiverPort::JaegerUdp(settings) => {
                // Of one that the file names, the warnings of the configuration tell.
                if settings.tenant.is_none() && config.distributor.receivers.by_default {
                    tracing::warn!(
                        receiver = name,
                        "UDP packets carry no tenant and no credentials: all are dropped unless the setting tenant is set"
                    );
                }
                serve_jaeger_udp(settings, sink, metrics, stop).await
            }
            ReceiverPort::Zipkin(mut settings) => {
                settings.http.port.others = zipkin_query.cloned();
                serve_zipkin_http(settings, sink, metrics, stop).await
            }
        };
        match bound {
            Ok(bound) => {
                addresses.note(name, bound.local_addr());
                opened.push(bound);
            }
            Err(error) if is_dispensable && error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(receiver = name, %error, "port is taken: starting without it");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(opened)
}
