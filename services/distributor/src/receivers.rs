//! The ports that spans come in by.

use std::{io, sync::Arc};

use axum::Router;
use tactus_config::{
    Config,
    sections::receivers::{JaegerReceiver, OtlpReceiver, ZipkinReceiver},
};
use tactus_process::{Error, ShownAddresses, settings::tenancy};
use tactus_receivers::{
    ReceiverMetrics, TraceSink,
    jaeger_grpc::serve_jaeger_grpc,
    jaeger_http::serve_jaeger_http,
    jaeger_udp::{AgentPort, JaegerUdpSettings, serve_jaeger_udp},
    otlp_grpc::serve_otlp_grpc,
    otlp_http::serve_otlp_http,
    zipkin_http::serve_zipkin_http,
};
use tactus_server::{auth::Authenticator, listener::BoundListener};
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;

use crate::{
    from_config::{self, ReceiverAccess},
    sampling::Sampling,
};

/// Opens all receivers of the configuration. `zipkin_query`: what the ports of Zipkin receivers answer besides.
///
/// Errors: settings that cannot be, and ports that cannot be bound, but for those of Jaeger and
/// Zipkin that nobody asked for: they may be taken by another program that serves them.
pub(crate) async fn open_receivers(
    config: &Config,
    auth: Option<Arc<Authenticator>>,
    sink: Arc<dyn TraceSink>,
    sampling: &Sampling,
    zipkin_query: Option<&Router>,
    addresses: &ShownAddresses,
    stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let receivers = &config.distributor.receivers;
    let mut opening = Opening {
        access: ReceiverAccess { tenancy: tenancy(config, false), auth },
        sink,
        sampling,
        metrics: ReceiverMetrics::register(Registry::global()),
        addresses,
        stop,
        by_default: receivers.by_default,
        opened: Vec::new(),
    };
    for (name, receiver) in &receivers.otlp {
        opening.otlp(name, receiver).await?;
    }
    for (name, receiver) in &receivers.jaeger {
        opening.jaeger(name, receiver).await?;
    }
    for (name, receiver) in &receivers.zipkin {
        opening.zipkin(name, receiver, zipkin_query).await?;
    }
    Ok(opening.opened)
}

/// Ports while they are opened, one after the other.
struct Opening<'a> {
    access: ReceiverAccess,
    sink: Arc<dyn TraceSink>,
    /// Old clients ask on Jaeger's ports what to sample.
    sampling: &'a Sampling,
    metrics: ReceiverMetrics,
    addresses: &'a ShownAddresses,
    stop: &'a CancellationToken,
    /// Nobody named the receivers.
    by_default: bool,
    opened: Vec<BoundListener>,
}

impl Opening<'_> {
    async fn otlp(&mut self, name: &str, receiver: &OtlpReceiver) -> Result<(), Error> {
        if let Some(grpc) = &receiver.protocols.grpc {
            let settings = from_config::otlp_grpc(name, grpc, &self.access)?;
            let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
            self.keep("OTLP gRPC", serve_otlp_grpc(settings, sink, &self.metrics, stop).await?);
        }
        if let Some(http) = &receiver.protocols.http {
            let settings = from_config::otlp_http(name, http, &self.access)?;
            let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
            self.keep("OTLP HTTP", serve_otlp_http(settings, sink, &self.metrics, stop).await?);
        }
        Ok(())
    }

    async fn jaeger(&mut self, name: &str, receiver: &JaegerReceiver) -> Result<(), Error> {
        let protocols = &receiver.protocols;
        if let Some(grpc) = &protocols.grpc {
            let mut settings = from_config::jaeger_grpc(name, grpc, &self.access)?;
            settings.others = Some(self.sampling.grpc_router());
            let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
            let bound = serve_jaeger_grpc(settings, sink, &self.metrics, stop).await;
            self.keep_if_bound("Jaeger gRPC", bound)?;
        }
        if let Some(http) = &protocols.thrift_http {
            let mut settings = from_config::jaeger_http(name, http, &self.access)?;
            settings.others = Some(self.sampling.collector_router());
            let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
            let bound = serve_jaeger_http(settings, sink, &self.metrics, stop).await;
            self.keep_if_bound("Jaeger Thrift HTTP", bound)?;
        }
        let compact = protocols.thrift_compact.as_ref();
        let binary = protocols.thrift_binary.as_ref();
        let legacy = protocols.thrift_compact_legacy.as_ref();
        let udp = [
            compact.map(|port| (AgentPort::Compact, "thrift_compact", &port.endpoint, &port.udp)),
            binary.map(|port| (AgentPort::Binary, "thrift_binary", &port.endpoint, &port.udp)),
            legacy.map(|port| {
                (AgentPort::Zipkin, "thrift_compact_legacy", &port.endpoint, &port.udp)
            }),
        ];
        for (port, protocol, endpoint, udp) in udp.into_iter().flatten() {
            let key = from_config::protocol_key(name, protocol);
            let settings = from_config::jaeger_udp(&key, endpoint, port, udp, &self.access)?;
            self.jaeger_udp(settings).await?;
        }
        Ok(())
    }

    async fn zipkin(
        &mut self,
        name: &str,
        receiver: &ZipkinReceiver,
        query_api: Option<&Router>,
    ) -> Result<(), Error> {
        let settings = from_config::zipkin_http(name, receiver, &self.access, query_api.cloned())?;
        let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
        let bound = serve_zipkin_http(settings, sink, &self.metrics, stop).await;
        self.keep_if_bound("Zipkin HTTP", bound)
    }

    async fn jaeger_udp(&mut self, settings: JaegerUdpSettings) -> Result<(), Error> {
        let name = settings.port.name();
        if settings.tenant.is_none() {
            tracing::warn!(
                receiver = name,
                "packets name no tenant and show no credentials: without the setting tenant all are dropped"
            );
        }
        let (sink, stop) = (Arc::clone(&self.sink), self.stop.clone());
        let bound = serve_jaeger_udp(settings, sink, &self.metrics, stop).await;
        self.keep_if_bound(name, bound)
    }

    fn keep(&mut self, name: &'static str, bound: BoundListener) {
        self.addresses.note(name, bound.local_addr());
        self.opened.push(bound);
    }

    fn keep_if_bound(
        &mut self,
        name: &'static str,
        bound: io::Result<BoundListener>,
    ) -> Result<(), Error> {
        match bound {
            Ok(bound) => self.keep(name, bound),
            Err(error) if self.by_default && error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(receiver = name, %error, "port is taken: starting without it");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
