//! A query-frontend as part of a process.

use std::{sync::Arc, time::Duration};

use ::http::header::WWW_AUTHENTICATE;
use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use tactus_config::Config;
use tactus_jaeger_zipkin_query::WriteSpans;
use tactus_jaeger_zipkin_query::part as jaeger_and_zipkin;
use tactus_overrides::http::{change_router, read_router};
use tactus_process::{Error, Part, PlannedPort, Process, ReadyCheck, settings::tenancy};
use tactus_proto::DynLiveTail;
use tactus_proto::tactus::v1::{ingester_server, querier_server};
use tactus_query::{
    ENDPOINTS, Frontend, JobQueue, LiveTails, QueuedParts, TailSource, TailSources, lookup_service,
    mcp_router, policies_of, router, streaming_service, tail_sampling_router, ui_change_router,
    ui_router,
};
use tactus_server::auth::{Access, guard};
use tactus_server::bodies::NoMemory;
use tactus_server::cross_site::{Changes, refuse_cross_site};
use tokio_util::sync::CancellationToken;

use crate::from_config;

/// When the process stops, running queries may take this long.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// The services in the same process that queries call.
pub struct Local {
    /// Recent data.
    pub recent: Arc<dyn ingester_server::Ingester>,
    /// Blocks.
    pub querier: Arc<dyn querier_server::Querier>,
    /// Spans of this process's ingester as they are pushed.
    pub live_tail: Arc<DynLiveTail>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// A query-frontend. Its jobs are run by the queriers that connect to it, and by `local`. `write` stores the spans of a
/// Jaeger that uses this process as its storage; `None` if this process cannot store spans.
///
/// Errors: invalid settings; object storage that refuses us.
pub async fn part(
    process: &Process,
    local: Option<Local>,
    write: Option<WriteSpans>,
) -> Result<Part, Error> {
    let config = process.config();
    let store = process.store().await?;
    let caches = process.caches().await?;
    let settings = from_config::settings(config, &caches)?;
    let queue = JobQueue::new(&settings.section, process.registry());
    let memory = process.port_memory().bodies();
    let live_tail = local.map(|Local { recent, querier, live_tail }| {
        let slots = settings.querier_parallelism;
        queue.add_local_worker(querier, recent, slots, Arc::clone(&memory));
        live_tail
    });
    let frontend = Frontend::over_queue(
        QueuedParts {
            settings,
            tenancy: tenancy(config, config.query_frontend.multi_tenant_queries_enabled)
                .with_max_listed(config.query_frontend.max_tenants_per_query),
            limits: process.overrides().limits_of(),
            queue: queue.clone(),
            blocklist: store.blocklist,
            memory: Arc::clone(&memory),
            query_memory: process.port_memory().queries(),
        },
        process.registry(),
    );
    let mut part = Part::new("query-frontend");
    add_routes(&mut part, process, &frontend);
    let streaming = streaming_service(Arc::clone(&frontend));
    let lookup = lookup_service(Arc::clone(&frontend));
    part.public_grpc.push(Arc::new(move |routes| {
        routes.add_service(streaming.clone()).add_service(lookup.clone());
    }));
    let service = queue.service(config.server.grpc_server_max_recv_msg_size, memory);
    part.grpc.push(Arc::new(move |routes| {
        routes.add_service(service.clone());
    }));
    let ready = queue.clone();
    let ready: ReadyCheck = Arc::new(move || {
        ready
            .check_ready()
            .map_err(|reason| format!("Query Frontend not ready: not ready: {reason}"))
    });
    part.ready = Some(Arc::clone(&ready));
    let tails_end = CancellationToken::new();
    let tails = LiveTails::new(
        config.query_frontend.live_tail.clone(),
        tail_sources(process, live_tail),
        config.ingester.lifecycler.ring.replication_factor,
        tails_end.clone(),
    );
    let pages = pages(&frontend, tails, process);
    part.public = pages.clone();
    let queries = Arc::clone(&frontend);
    let closed = jaeger_and_zipkin::add_to(&mut part, process, frontend, pages, write, ready)?;
    if config.overrides.user_configurable_overrides.enabled {
        part.endpoints.push("/api/overrides");
    }
    part.stop = Some(Box::pin(async move {
        // A port closes when its last answer has ended.
        tails_end.cancel();
        closed.await;
        queue.stop(STOP_GRACE, || queries.has_queries()).await;
    }));
    Ok(part)
}

/// Adds the query API, the tools for language models, the API of limits and the dry run of tail sampling.
fn add_routes(part: &mut Part, process: &Process, frontend: &Arc<Frontend>) {
    let config = process.config();
    let overrides = || (Arc::clone(process.overrides()), tenancy(config, false));
    part.endpoints = ENDPOINTS.to_vec();
    let (limits, of) = overrides();
    let policies = policies_of(config, Arc::clone(process.overrides()));
    part.read = router(Arc::clone(frontend))
        .merge(read_router(limits, of))
        .merge(tail_sampling_router(Arc::clone(frontend), policies));
    if config.query_frontend.mcp_server.enabled {
        part.endpoints.push("/api/mcp");
        let routes = std::mem::take(&mut part.read);
        // A page of another site has no business there, whether a call only reads or not.
        let mcp = mcp_router(Arc::clone(frontend), process.registry());
        part.read = routes.merge(refuse_cross_site(mcp, Changes::Always));
    }
    let (limits, of) = overrides();
    part.change = change_router(limits, of);
}

/// The pages, which need no credentials, and their API, which does.
fn pages(frontend: &Arc<Frontend>, tails: LiveTails, process: &Process) -> Router {
    let cluster = process.cluster().clone();
    let api = ui_router(Arc::clone(frontend), tails, Arc::new(move || cluster.status_json()));
    let api = guard(api, Access::Read, process.authenticator());
    let change = ui_change_router(Arc::clone(frontend));
    let change = refuse_cross_site(change, Changes::ByMethod);
    let api = api.merge(guard(change, Access::Administer, process.authenticator()));
    // The pages ask for credentials themselves. At a challenge, browsers would open a dialog of their own.
    let api = api.layer(map_response(async |mut response: Response| {
        response.headers_mut().remove(WWW_AUTHENTICATE);
        response
    }));
    // These files are part of the program and take no memory of their own.
    let files = tactus_ui::router().layer(map_response(async |mut response: Response| {
        response.extensions_mut().insert(NoMemory);
        response
    }));
    files.merge(api)
}

/// The ingesters that live tails ask: those of the ring, or the only one.
fn tail_sources(process: &Process, local: Option<Arc<DynLiveTail>>) -> TailSources {
    let cluster = process.cluster();
    match local {
        Some(service) if cluster.is_alone() => {
            let only = TailSource { id: "local".to_owned(), service };
            Arc::new(move || vec![only.clone()])
        }
        local => {
            let (ring, of) =
                (cluster.ingesters().ring(), cluster.live_tail_of(process.channels(), local));
            Arc::new(move || {
                let view = ring.view();
                let alive = view.instances().iter().filter(|instance| instance.alive);
                alive
                    .map(|instance| TailSource {
                        id: instance.id.to_string(),
                        service: of(instance),
                    })
                    .collect()
            })
        }
    }
}

/// Errors: invalid settings.
pub async fn check(process: &Process) -> Result<(), Error> {
    let caches = process.caches().await?;
    from_config::settings(process.config(), &caches)?;
    ports(process.config()).map(drop)
}

/// The ports of the query APIs that are asked for. Errors: certificates.
pub fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    jaeger_and_zipkin::ports(config)
}

/// A process with only a query-frontend.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    Ok(vec![part(process, None, None).await?])
}
