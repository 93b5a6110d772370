//! The ports of a process: HTTP, gRPC, and the one for probes.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use http::StatusCode;
use tactus_config::Config;
use tactus_overrides::status as overrides_status;
use tactus_proto::tactus::v1::block_listener_server::BlockListenerServer;
use tactus_server::{
    addressee::refuse_others,
    auth::{Access, STANDARD_GRPC, guard, guard_grpc},
    cross_site::{Changes, refuse_cross_site},
    grpc, health,
    http::{self as http_server, HttpSettings, serve_http},
    listener::{self, Advice, Backlog, BoundListener},
    observe::RequestMetrics,
    operational as server_operational,
};
use tactus_telemetry::metrics::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding, service::RoutesBuilder};

use crate::{
    Error, Part, Process, Store, address_of, announce::Listener, memory::block_list_bytes,
    operational, part::AddGrpc, settings,
};

/// Routes below the prefix that every process has.
const COMMON_API: [&str; 3] = ["/api/echo", "/api/status/buildinfo", "/status/usage-stats"];

/// Other routes that every process has.
const COMMON: [&str; 9] = [
    "/ready",
    "/metrics",
    "/status",
    "/status/{endpoint}",
    "/status/overrides",
    "/status/overrides/{tenant}",
    "/log_level",
    "/shutdown",
    "/memberlist",
];

/// Calls that last as long as the process that makes them.
const LONG_CALLS: &[&str] = &["/tactus.v1.Frontend/Process", "/tactus.v1.Pushes/Stream"];

/// The ports while they listen.
pub(crate) struct Listeners {
    http_address: SocketAddr,
    bound: Vec<BoundListener>,
    serving: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Listeners {
    /// Takes the routes of the parts and opens the ports.
    pub(crate) async fn start(process: &Process, parts: &mut [Part]) -> Result<Self, Error> {
        let config = process.config();
        let requests = RequestMetrics::register(Registry::global());
        let metrics = requests.clone().with_log(settings::request_log("server", &config.server)?);
        let stop = CancellationToken::new();
        let (serving, is_serving) = watch::channel(true);
        let public: Vec<_> = parts.iter().flat_map(|part| part.public_grpc.clone()).collect();
        let internal = internal_services(process, parts);
        let health = health::health_service(is_serving);
        let own_port = config.server.internal_grpc();
        let on_grpc_port = match own_port {
            Some(_) => grpc_router(process, &public, &health, &metrics),
            None => {
                let all: Vec<_> = internal.iter().chain(&public).cloned().collect();
                grpc_router(process, &all, &health, &metrics)
            }
        };
        let on_http_port = config
            .stream_over_http_enabled
            .then(|| grpc_router(process, &public, &health, &metrics));
        let server = &config.server;
        let http_socket =
            listener::bind(&address_of(&server.http_listen_address, server.http_listen_port))
                .await?;
        let grpc_socket =
            listener::bind(&address_of(&server.grpc_listen_address, server.grpc_listen_port))
                .await?;
        let (router, for_probes) = http_routers(process, parts);
        let router = operational::closing_at_the_end(router, process.states());
        let (http_address, grpc_address) = (http_socket.local_addr()?, grpc_socket.local_addr()?);
        let mut http_settings = settings::http("server", server)?;
        http_settings.bodies = process.port_memory().bodies();
        http_settings.listener.advice = Advice::of("HTTP").with("gRPC", Some(grpc_address.port()));
        let main = serve_http(
            http_socket,
            http_settings,
            router,
            on_http_port,
            metrics.clone(),
            stop.clone(),
        )?;
        let backlog = match own_port {
            Some(_) => Backlog::of_process(),
            None => Backlog::of_services(),
        };
        let mut grpc_settings = settings::grpc(config, backlog)?;
        grpc_settings.advice = Advice::of("gRPC").with("HTTP", Some(http_address.port()));
        let grpc = grpc::serve_grpc(grpc_socket, grpc_settings, on_grpc_port, stop.clone())?;
        let mut bound = vec![main, grpc];
        if let Some((address, port)) = own_port {
            let router = grpc_router(process, &internal, &health, &metrics);
            let socket = listener::bind(&address_of(address, port)).await?;
            tracing::info!(address = %socket.local_addr()?, "internal gRPC server listens");
            let settings = settings::grpc(config, Backlog::of_services())?;
            bound.push(grpc::serve_quietly(socket, settings, router, stop.clone())?);
        }
        log_trust(config);
        if config.internal_server.enable {
            bound.push(serve_probes(process, for_probes, requests, stop.clone()).await?);
        }
        Ok(Self { http_address, bound, serving, stop })
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Tells those who ask the health service that the end has begun.
    pub(crate) fn not_serving(&self) {
        self.serving.send_replace(false);
    }

    /// Closes the ports; requests that run may end.
    pub(crate) async fn stop(self) {
        let Self { bound, serving, stop, .. } = self;
        stop.cancel();
        // Calls of the health service that watch last as long as this, and ports wait for calls.
        drop(serving);
        for listener in bound {
            listener.stopped().await;
        }
    }
}

/// Announced blocks take no more of the memory of the block list than one part in this many.
const ANNOUNCED_SHARE: u64 = 8;

/// The gRPC services that other processes call.
fn internal_services(process: &Process, parts: &[Part]) -> Vec<AddGrpc> {
    let mut services: Vec<AddGrpc> = parts.iter().flat_map(|part| part.grpc.clone()).collect();
    if let Some(Store { blocklist, bucket }) = process.opened_store() {
        let setting = process.config().storage.trace.blocklist_max_bytes;
        let max_bytes = block_list_bytes(setting) / ANNOUNCED_SHARE;
        let listener = BlockListenerServer::new(Listener { blocklist, bucket, max_bytes })
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        services.push(Arc::new(move |routes| {
            routes.add_service(listener.clone());
        }));
    }
    services
}

/// Opens the port for probes, `internal_server` of the configuration.
async fn serve_probes(
    process: &Process,
    router: Router,
    requests: RequestMetrics,
    stop: CancellationToken,
) -> Result<BoundListener, Error> {
    let server = &process.config().internal_server.server;
    let address = address_of(&server.http_listen_address, server.http_listen_port);
    let socket = listener::bind(&address).await?;
    let metrics = requests.with_log(settings::request_log("internal_server", server)?);
    let settings = HttpSettings {
        bodies: process.port_memory().bodies(),
        ..settings::http("internal_server", server)?
    };
    Ok(serve_http(socket, settings, router, None, metrics, stop)?)
}

/// Logs how callers and other services prove who they are.
fn log_trust(config: &Config) {
    let server = &config.server;
    let users = if config.auth.enabled { "auth.users_file" } else { "not authenticated" };
    let services = match (config.auth.enabled, config.auth.internal_token_file.is_empty()) {
        (false, _) => "not authenticated",
        (true, false) => "auth.internal_token_file",
        (true, true) => "client certificates",
    };
    tracing::info!(
        callers = users,
        services,
        services_apart = server.internal_grpc().is_some(),
        http_tls = server.http_tls_config.enabled(),
        grpc_tls = server.grpc_tls_config.enabled(),
        "how the ports authenticate callers and other services"
    );
}

/// The routes of the main port, and of the one for probes.
fn http_routers(process: &Process, parts: &mut [Part]) -> (Router, Router) {
    let config = process.config();
    let guarded = |router, access| guard(router, access, process.authenticator());
    let to_change = |router, access| refuse_cross_site(guarded(router, access), Changes::ByMethod);
    let prefix = config.http_api_prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    let mut endpoints: Vec<String> = COMMON.map(str::to_owned).to_vec();
    endpoints.extend(COMMON_API.map(|path| format!("{prefix}{path}")));
    let (mut public, mut read, mut change, mut admin, mut status) =
        (Router::new(), Router::new(), Router::new(), Router::new(), Router::new());
    let mut checks = Vec::new();
    for part in parts {
        endpoints.extend(part.endpoints.iter().map(|path| format!("{prefix}{path}")));
        endpoints.extend(part.operational_endpoints.iter().map(|&path| path.to_owned()));
        public = public.merge(std::mem::take(&mut part.public));
        read = read.merge(std::mem::take(&mut part.read));
        change = change.merge(std::mem::take(&mut part.change));
        admin = admin.merge(std::mem::take(&mut part.admin));
        status = status.merge(std::mem::take(&mut part.status));
        checks.extend(part.ready.clone());
    }
    let overrides = process.overrides();
    let limits = overrides_status::runtime_config(Arc::clone(overrides));
    let cluster = process.cluster();
    endpoints.extend(cluster.ring_names().map(|name| format!("/{name}/ring")));
    let operational = operational::state(config, process.states(), endpoints, checks, limits);
    let (shutdown, for_good) = (process.shutdown().clone(), process.leaves_for_good().clone());
    let stop = move || {
        for_good.set();
        shutdown.cancel();
        async { http_server::text(StatusCode::OK, "shutdown job acknowledged") }
    };
    let (shows, changes) = cluster.pages();
    let shutdown = Router::new().route("/shutdown", get(stop.clone()).post(stop));
    let admin = admin.merge(changes).merge(refuse_cross_site(shutdown, Changes::Always));
    let status = status
        .merge(shows)
        .merge(overrides_status::router(Arc::clone(overrides)))
        .merge(server_operational::router(operational.clone()));
    let api = public
        .merge(guarded(read, Access::Read))
        .merge(to_change(change, Access::Administer))
        .merge(guarded(server_operational::api_router(&operational.build), Access::Known));
    let router = http_server::with_path_prefix(&config.http_api_prefix, api)
        .merge(http_server::folder_of_prefix(&config.http_api_prefix))
        .merge(to_change(operational::never_in_frames(status), Access::Operate))
        .merge(to_change(admin, Access::Operate))
        .fallback(http_server::not_found);
    let internal = server_operational::internal_router(operational);
    (router, internal.fallback(http_server::not_found))
}

type Health = tactus_proto::grpc::health::v1::health_server::HealthServer<health::HealthService>;

fn grpc_router(
    process: &Process,
    services: &[AddGrpc],
    health: &Health,
    metrics: &RequestMetrics,
) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(health.clone());
    for add in services {
        add(&mut routes);
    }
    let services = grpc::services(routes.routes());
    // Within the guard: strangers do not learn who this process is.
    let addressed = refuse_others(services, process.cluster().addressee());
    let guarded = guard_grpc(addressed, STANDARD_GRPC, process.authenticator());
    // Pushes of one process to another may be twice as large.
    let max_bytes = process.config().server.grpc_server_max_recv_msg_size.saturating_mul(2);
    let memory = process.port_memory().bodies();
    let counted = grpc::with_counted_bodies(guarded, memory, LONG_CALLS, max_bytes);
    grpc::observed(counted, metrics.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn ports_do_not_wait_for_those_who_watch_the_health() {
        let (serving, mut watched) = watch::channel(true);
        // A port with such a call.
        let port = tokio::spawn(async move { while watched.changed().await.is_ok() {} });
        let http_address = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = vec![BoundListener::of_task(http_address, port)];
        let listeners = Listeners { http_address, bound, serving, stop: CancellationToken::new() };
        let stopped = tokio::time::timeout(Duration::from_secs(20), listeners.stop());
        assert!(stopped.await.is_ok());
    }
}
