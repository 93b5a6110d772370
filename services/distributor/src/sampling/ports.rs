//! The ports of sampling, and sampling over gRPC.

use std::sync::Arc;

use axum::Router;
use tactus_config::Config;
use tactus_process::{Error, Port, ShownAddresses, address_of};
use tactus_proto::jaeger::api_v2::{
    SamplingStrategyParameters, SamplingStrategyResponse,
    sampling_manager_server::{SamplingManager, SamplingManagerServer},
};
use tactus_server::{
    bodies::Bodies,
    grpc as grpc_server,
    health::{health_service_of, serving_until},
    http::{self as http_server, HttpSettings, not_found},
    listener::{BoundListener, ConnectionInfo},
    observe::RequestMetrics,
};
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codec::CompressionEncoding, service::RoutesBuilder};

use super::{Answers, sampling_router};

const HTTP_PORT: u16 = 5778;
const GRPC_PORT: u16 = 5779;

/// The ports that are enabled.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) http: Option<Port>,
    pub(super) grpc: Option<Port>,
}

impl Ports {
    /// The ports of the configuration. Errors: invalid certificates.
    pub(super) fn of(config: &Config) -> Result<Self, Error> {
        let (section, server) = (&config.sampling, &config.server);
        let http = Port::new(
            ("Sampling HTTP", "sampling.http"),
            section.http.endpoint.as_deref(),
            Some(address_of(&server.http_listen_address, HTTP_PORT)),
        );
        let grpc = Port::new(
            ("Sampling gRPC", "sampling.grpc"),
            section.grpc.endpoint.as_deref(),
            Some(address_of(&server.grpc_listen_address, GRPC_PORT)),
        );
        let (http_tls, grpc_tls) = (section.http.tls.as_ref(), section.grpc.tls.as_ref());
        Ok(Self {
            http: http.map(|port| port.with_http_tls(http_tls, server)).transpose()?,
            grpc: grpc.map(|port| port.with_grpc_tls(grpc_tls, server)).transpose()?,
        })
    }
}

/// Binds the ports and serves them until `stop`. Errors: an address that is set cannot be bound.
pub(super) async fn open(
    ports: Ports,
    answers: Arc<Answers>,
    memory: Arc<Bodies>,
    addresses: &ShownAddresses,
    stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let metrics = RequestMetrics::register(Registry::global());
    let mut opened = Vec::new();
    if let Some(port) = ports.http
        && let Some(socket) = port.bind().await?
    {
        let router = sampling_router(Arc::clone(&answers)).fallback(not_found);
        let settings = HttpSettings { listener: port.listener.clone(), ..HttpSettings::default() };
        let (metrics, stop) = (metrics.clone(), stop.clone());
        let bound = http_server::serve_quietly(socket, settings, router, None, metrics, stop)?;
        port.note(bound.local_addr(), addresses);
        opened.push(bound);
    }
    if let Some(port) = ports.grpc
        && let Some(socket) = port.bind().await?
    {
        let router = grpc_router(answers, memory, metrics, stop.clone());
        let bound =
            grpc_server::serve_quietly(socket, port.listener.clone(), router, stop.clone())?;
        port.note(bound.local_addr(), addresses);
        opened.push(bound);
    }
    Ok(opened)
}

fn grpc_router(
    answers: Arc<Answers>,
    memory: Arc<Bodies>,
    metrics: RequestMetrics,
    stop: CancellationToken,
) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(sampling_service(answers));
    routes.add_service(health_service_of(serving_until(stop), &["jaeger.api_v2.SamplingManager"]));
    counted(grpc_server::router(routes.routes(), metrics), memory)
}

/// Largest request, which contains only the name of a service.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Answers over gRPC.
#[derive(Debug)]
pub(crate) struct Manager(Arc<Answers>);

/// `jaeger.api_v2.SamplingManager`.
pub(crate) fn sampling_service(answers: Arc<Answers>) -> SamplingManagerServer<Manager> {
    SamplingManagerServer::new(Manager(answers))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

/// The service as a router.
pub(super) fn service_router(answers: Arc<Answers>, memory: Arc<Bodies>) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(sampling_service(answers));
    counted(routes.routes().prepare().into_axum_router(), memory)
}

/// Questions count while they arrive: everybody may ask.
fn counted(router: Router, memory: Arc<Bodies>) -> Router {
    grpc_server::with_counted_bodies(router, memory, &[], MAX_REQUEST_BYTES)
}

#[tonic::async_trait]
impl SamplingManager for Manager {
    async fn get_sampling_strategy(
        &self,
        request: Request<SamplingStrategyParameters>,
    ) -> Result<Response<SamplingStrategyResponse>, Status> {
        let (metadata, extensions, parameters) = request.into_parts();
        let connection = extensions.get::<ConnectionInfo>();
        let headers = metadata.into_headers();
        let found = self.0.strategy(&headers, connection, &parameters.service_name).await;
        let strategy = found.map_err(|error| error.grpc_status())?;
        Ok(Response::new((*strategy).clone()))
    }
}
