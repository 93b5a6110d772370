//! The ports of sampling.

use std::{io, sync::Arc};

use axum::Router;
use tactus_config::{Config, sections::receivers::ReceiverTls};
use tactus_process::{Error, ShownAddresses};
use tactus_server::{
    grpc as grpc_server,
    http::{self as http_server, HttpSettings, not_found},
    listener::{self, BoundListener, ListenerSettings},
    observe::RequestMetrics,
};
use tactus_telemetry::metrics::Registry;
use tactus_tls::{ALPN_GRPC, ALPN_HTTP, ServerTls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use super::{Answers, sampling_router, sampling_service};

const HTTP_PORT: u16 = 5778;
const GRPC_PORT: u16 = 5779;

/// The ports that are on.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: Option<Port>,
    pub(super) grpc: Option<Port>,
}

#[derive(Debug)]
pub(super) struct Port {
    /// For people, in the log.
    name: &'static str,
    /// Its section of the configuration.
    key: &'static str,
    pub(super) address: String,
    /// Whether the configuration names the address. If not, the port may be another's.
    pub(super) is_set: bool,
    listener: ListenerSettings,
}

impl Ports {
    /// Errors: certificates.
    pub(super) fn of(config: &Config) -> Result<Self, Error> {
        let (section, server) = (&config.sampling, &config.server);
        let http = Port {
            name: "Sampling HTTP",
            key: "sampling.http",
            ..port(&section.http.endpoint, &server.http_listen_address, HTTP_PORT)
        };
        let grpc = Port {
            name: "Sampling gRPC",
            key: "sampling.grpc",
            ..port(&section.grpc.endpoint, &server.grpc_listen_address, GRPC_PORT)
        };
        Ok(Self {
            http: http.with_tls(section.http.tls.as_ref(), &ALPN_HTTP)?,
            grpc: grpc.with_tls(section.grpc.tls.as_ref(), &ALPN_GRPC)?,
        })
    }
}

/// `host`: where the port is if the configuration does not say.
fn port(endpoint: &Option<String>, host: &str, port: u16) -> Port {
    let usual = || match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Port {
        name: "",
        key: "",
        address: endpoint.clone().unwrap_or_else(usual),
        is_set: endpoint.is_some(),
        listener: ListenerSettings::default(),
    }
}

impl Port {
    /// `None` if the port is off.
    fn with_tls(self, tls: Option<&ReceiverTls>, alpn: &[&str]) -> Result<Option<Self>, Error> {
        if self.address.is_empty() {
            return Ok(None);
        }
        let Some(tls) = tls else { return Ok(Some(self)) };
        let key = format!("{}.tls", self.key);
        let settings = tactus_tls::from_config::receiver(&key, tls, alpn)?;
        let listener =
            ListenerSettings { tls: Some(ServerTls::load(settings)?), ..self.listener.clone() };
        Ok(Some(Self { listener, ..self }))
    }

    /// `None`: nobody asked for the address, and it is another's.
    async fn bind(&self) -> Result<Option<TcpListener>, Error> {
        match listener::bind(&self.address).await {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if !self.is_set && error.kind() == io::ErrorKind::AddrInUse => {
                let (address, name) = (&self.address, self.name);
                tracing::warn!(address, key = self.key, "{name} is off: the port is in use");
                Ok(None)
            }
            Err(error) => Err(Error::Setup(format!("{}.endpoint: {error}", self.key))),
        }
    }
}

/// Binds the ports and serves them until `stop`. Errors: an address that is set cannot be bound.
pub(super) async fn open(
    ports: Ports,
    answers: Arc<Answers>,
    addresses: &ShownAddresses,
    stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let metrics = RequestMetrics::register(Registry::global());
    let mut opened = Vec::new();
    let mut keep = |name: &'static str, bound: BoundListener| {
        tracing::info!(address = %bound.local_addr(), "{name} listens");
        addresses.note(name, bound.local_addr());
        opened.push(bound);
    };
    if let Some(port) = ports.http
        && let Some(socket) = port.bind().await?
    {
        let router = sampling_router(Arc::clone(&answers)).fallback(not_found);
        let settings = HttpSettings { listener: port.listener, ..HttpSettings::default() };
        let (metrics, stop) = (metrics.clone(), stop.clone());
        let bound = http_server::serve_quietly(socket, settings, router, None, metrics, stop)?;
        keep(port.name, bound);
    }
    if let Some(port) = ports.grpc
        && let Some(socket) = port.bind().await?
    {
        let router = grpc_router(answers, metrics);
        let bound = grpc_server::serve_quietly(socket, port.listener, router, stop.clone())?;
        keep(port.name, bound);
    }
    Ok(opened)
}

fn grpc_router(answers: Arc<Answers>, metrics: RequestMetrics) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(sampling_service(answers));
    grpc_server::router(routes.routes(), metrics)
}
