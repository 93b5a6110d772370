//! Starts the services in order of dependency, and stops them in the reverse one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use tactus_compactor::Compactor;
use tactus_config::{Config, Loaded};
use tactus_distributor::Distributor;
use tactus_ingester::Ingester;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::{ingester_server, querier_server};
use tactus_querier::Querier;
use tactus_query_frontend::{Frontend, Parts};
use tactus_receivers::{
    ReceiverMetrics, TraceSink, otlp_grpc::serve_otlp_grpc, otlp_http::serve_otlp_http,
};
use tactus_server::{
    grpc, health, http,
    listener::{self, BoundListener},
    observe::RequestMetrics,
    operational::{self as server_operational, ServiceState},
};
use tactus_storage::{Blocklist, Bucket};
use tactus_telemetry::{error_text, metrics::Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    banner::{self, Addresses},
    operational::{self, States},
    overrides::Overrides,
    polling, settings,
};

/// How long SIGTERM waits for blocks to reach object storage. What does not make it stays on local disk.
const FLUSH_GRACE: Duration = Duration::from_secs(25);

/// The services of the process as `/status/services` names them. None is running before all ports listen.
const SERVICES: [&str; 7] =
    ["compactor", "distributor", "ingester", "querier", "query-frontend", "server", "store"];

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// A setting, named in the text.
    #[error("{0}")]
    Setup(String),
    /// A port.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// The settings of the bucket.
    #[error(transparent)]
    Bucket(#[from] tactus::bucket::Error),
    /// The bucket.
    #[error("object storage")]
    Storage(#[from] tactus_storage::Error),
    /// The ingester.
    #[error("ingester")]
    Ingester(#[from] tactus_ingester::Error),
}

/// Runs until a signal or `/shutdown`.
pub(crate) async fn run(loaded: Loaded) -> Result<(), Error> {
    let config = &loaded.config;
    if !matches!(config.target.as_str(), "all" | "all-3.0") {
        return Err(Error::Setup(format!(
            "target {}: this version runs all services in one process only (target all)",
            config.target
        )));
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let stop = CancellationToken::new();
    let states = States::default();
    let bucket = open_bucket(config).await?;
    let blocklist = Arc::new(Blocklist::new());
    let registry = Registry::global();
    operational::register_build_info(registry);
    for service in SERVICES {
        states.set(service, ServiceState::Starting);
    }
    let signals = Signals::install()?;
    let ingester = Ingester::open(
        settings::ingester(config)?,
        bucket.clone(),
        Arc::clone(&blocklist),
        registry,
    )?;
    let ingester_service: Arc<dyn ingester_server::Ingester> = Arc::clone(&ingester) as _;
    let caches = settings::caches(config, registry)?;
    let querier: Arc<dyn querier_server::Querier> = Arc::new(Querier::new(
        settings::querier(config, &caches),
        bucket.clone(),
        Arc::clone(&blocklist),
        registry,
    ));
    let overrides = Overrides::load(config)?;
    let compactor = Compactor::new(
        settings::compactor(config, Arc::clone(&overrides))?,
        bucket.clone(),
        Arc::clone(&blocklist),
        // Until there is a ring, each compactor does everything.
        Arc::new(|_| true),
        registry,
    );
    let polling =
        polling::start(&config.storage.trace, bucket, Arc::clone(&blocklist), stop.clone()).await;
    let ingester_stop = CancellationToken::new();
    let ingester_task = {
        let (ingester, stop) = (Arc::clone(&ingester), ingester_stop.clone());
        let grace = if config.ingester.flush_all_on_shutdown { Duration::MAX } else { FLUSH_GRACE };
        tokio::spawn(async move { ingester.run(stop, grace).await })
    };
    let background = [
        tokio::spawn(overrides.watch(stop.clone())),
        start_compactor(config, Arc::clone(&compactor), stop.clone()),
    ];
    let frontend = tactus_query_frontend::router(Frontend::new(
        Parts {
            settings: settings::query_frontend(config, &caches)?,
            tenancy: settings::tenancy(config, config.query_frontend.multi_tenant_queries_enabled),
            limits: settings::query_limits(config),
            ingester: Arc::clone(&ingester_service),
            querier,
            blocklist: Arc::clone(&blocklist),
        },
        registry,
    ));
    let jobs = tactus_compactor::http::router(compactor, settings::tenancy(config, false));
    let api = frontend.merge(jobs);
    let listeners_stop = CancellationToken::new();
    let mut listeners =
        start_listeners(config, &states, api, &ingester, &stop, &listeners_stop).await?;
    let http_address = listeners[0].local_addr();
    let receivers_stop = CancellationToken::new();
    let sink: Arc<dyn TraceSink> =
        Arc::new(Distributor::new(settings::distributor(config), ingester_service, registry));
    let receivers = start_receivers(config, sink, &receivers_stop).await?;
    for service in SERVICES {
        states.set(service, ServiceState::Running);
    }
    announce(&loaded, http_address, &receivers);
    signals.wait_for_stop(&stop).await;
    tracing::info!("stopping");
    states.stop();
    tokio::time::sleep(config.shutdown_delay.as_std()).await;
    // Receivers first: what they take in must still find an ingester. The query ports last.
    receivers_stop.cancel();
    for (_, receiver) in receivers {
        receiver.stopped().await;
    }
    ingester_stop.cancel();
    if ingester_task.await.is_err() {
        tracing::error!("ingester task panicked");
    }
    listeners_stop.cancel();
    for listener in listeners.drain(..) {
        listener.stopped().await;
    }
    stop.cancel();
    let _ = polling.await;
    for task in background {
        let _ = task.await;
    }
    Ok(())
}

/// Opens the bucket. A bucket that cannot be reached now may be reachable later; one that refuses us will not.
async fn open_bucket(config: &Config) -> Result<Bucket, Error> {
    let bucket = Bucket::open(&settings::bucket(&config.storage.trace)?)?;
    match bucket.check().await {
        Ok(()) => {}
        Err(error) if error.is_retryable() => {
            let error = error_text(&error);
            tracing::error!(error, "object storage is not reachable; spans are kept on local disk");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(bucket)
}

/// Merges and deletes in the background, unless the configuration leaves that to others.
fn start_compactor(
    config: &Config,
    compactor: Arc<Compactor>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let runs = settings::runs_compactor(config);
    if !runs {
        tracing::info!("compactor.disabled: this process neither merges nor deletes blocks");
    }
    tokio::spawn(async move {
        if runs {
            compactor.run(stop).await;
        }
    })
}

/// The main HTTP port, then the gRPC port.
async fn start_listeners(
    config: &Config,
    states: &States,
    api: Router,
    ingester: &Arc<Ingester>,
    stop: &CancellationToken,
    listeners_stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let server = &config.server;
    let metrics = RequestMetrics::register(Registry::global());
    let endpoints = [
        "/api/traces/{traceID}",
        "/api/v2/traces/{traceID}",
        "/api/search",
        "/api/search/tags",
        "/api/v2/search/tags",
        "/api/search/tag/{tagName}/values",
        "/api/v2/search/tag/{tagName}/values",
        "/api/echo",
        "/api/jobs",
        "/api/jobs/{id}",
        "/api/status/buildinfo",
        "/ready",
        "/metrics",
        "/status",
        "/status/{endpoint}",
        "/flush",
        "/shutdown",
    ];
    let endpoints = endpoints.iter().map(|path| ((*path).to_owned(), (*path).to_owned())).collect();
    let operational = operational::state(config, states, endpoints);
    let actions = Router::new()
        .route("/flush", any(flush))
        .with_state(Arc::clone(ingester))
        .route("/shutdown", get(shutdown).post(shutdown).with_state(stop.clone()));
    let api = api.merge(server_operational::api_router(&operational.build));
    let router = http::with_path_prefix(&config.http_api_prefix, api)
        .merge(server_operational::router(operational))
        .merge(actions)
        .fallback(http::not_found);
    let socket =
        listener::bind(&address(&server.http_listen_address, server.http_listen_port)).await?;
    let main = http::serve_http(
        socket,
        settings::http(config),
        router,
        None,
        metrics.clone(),
        listeners_stop.clone(),
    )?;
    let (_serving, serving) = tokio::sync::watch::channel(true);
    let routes = tonic::service::Routes::new(health::health_service(serving));
    let socket =
        listener::bind(&address(&server.grpc_listen_address, server.grpc_listen_port)).await?;
    let grpc = grpc::serve_grpc(
        socket,
        settings::grpc(config),
        grpc::router(routes, metrics),
        listeners_stop.clone(),
    )?;
    Ok(vec![main, grpc])
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// All OTLP receivers, each with its name.
async fn start_receivers(
    config: &Config,
    sink: Arc<dyn TraceSink>,
    stop: &CancellationToken,
) -> Result<Vec<(&'static str, BoundListener)>, Error> {
    let metrics = ReceiverMetrics::register(Registry::global());
    let tenancy = settings::tenancy(config, false);
    let mut receivers = Vec::new();
    for (name, receiver) in &config.distributor.receivers.otlp {
        if let Some(grpc) = &receiver.protocols.grpc {
            let settings = settings::otlp_grpc(name, grpc, tenancy.clone())?;
            let bound =
                serve_otlp_grpc(settings, Arc::clone(&sink), &metrics, stop.clone()).await?;
            receivers.push(("OTLP gRPC", bound));
        }
        if let Some(http) = &receiver.protocols.http {
            let settings = settings::otlp_http(name, http, tenancy.clone())?;
            let bound =
                serve_otlp_http(settings, Arc::clone(&sink), &metrics, stop.clone()).await?;
            receivers.push(("OTLP HTTP", bound));
        }
    }
    Ok(receivers)
}

fn announce(loaded: &Loaded, http: SocketAddr, receivers: &[(&'static str, BoundListener)]) {
    tracing::info!(address = %http, version = crate::VERSION, "tactus is ready");
    if loaded.configless {
        let find = |wanted: &str| {
            let found = receivers.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, receiver)| receiver.local_addr().to_string())
        };
        let addresses = Addresses {
            http: http.to_string(),
            otlp_grpc: find("OTLP gRPC"),
            otlp_http: find("OTLP HTTP"),
            data: loaded.config.storage.trace.local.path.clone(),
        };
        println!("{}", banner::text(&addresses));
    }
}

/// SIGTERM and SIGINT, caught from the start on: a signal that comes before the ports listen stops in order, too.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Self, Error> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns at the first signal or when `stop` is cancelled. A second signal ends the process at once: what is not
    /// in object storage is on local disk.
    async fn wait_for_stop(mut self, stop: &CancellationToken) {
        tokio::select! {
            () = self.next() => {}
            () = stop.cancelled() => {}
        }
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: not waiting for flushes");
            std::process::exit(130);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Writes everything received so far to object storage; answers when it is there.
async fn flush(State(ingester): State<Arc<Ingester>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    let result = match parameters.find(|(key, _)| key == "tenant") {
        None => ingester.flush_all().await,
        Some((_, name)) => match TenantId::parse(&name) {
            Ok(tenant) if ingester.knows(&tenant) => ingester.flush_one(&tenant).await,
            _ => return http::error_line(StatusCode::NOT_FOUND, "tenant not found"),
        },
    };
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => http::error_line(StatusCode::INTERNAL_SERVER_ERROR, &error_text(&error)),
    }
}

async fn shutdown(State(stop): State<CancellationToken>) -> Response {
    stop.cancel();
    http::text(StatusCode::OK, "shutdown job acknowledged")
}

/// Asks a running process whether it is ready: a container's health check.
pub(crate) async fn probe(url: &str) -> Result<(), Error> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let invalid = || Error::Setup(format!("-health.url: not an http URL: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = tokio::net::TcpStream::connect(authority).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    if answer.ends_with(b"200") {
        return Ok(());
    }
    Err(Error::Setup(format!("{url} answers {}", String::from_utf8_lossy(&answer))))
}
