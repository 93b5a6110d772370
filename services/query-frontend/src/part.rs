//! A query-frontend as part of a process.

use std::{sync::Arc, time::Duration};

use tactus_overrides::http::{change_router, read_router};
use tactus_process::{Error, Part, Process, caches, settings::tenancy};
use tactus_proto::tactus::v1::{ingester_server, querier_server};

use crate::{Frontend, JobQueue, QueuedParts, from_config, router, streaming_service};

/// When the process stops, queries that run may take so long.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// The services in the same process that can run jobs.
pub struct Local {
    /// Recent data.
    pub recent: Arc<dyn ingester_server::Ingester>,
    /// Blocks.
    pub querier: Arc<dyn querier_server::Querier>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// A query-frontend whose jobs are run by queriers that come to it, and by `local`.
///
/// Errors: settings that cannot be; object storage that refuses us.
pub async fn part(process: &Process, local: Option<Local>) -> Result<Part, Error> {
    let config = process.config();
    let store = process.store().await?;
    let caches = caches::open(config, process.registry())?;
    let settings = from_config::settings(config, &caches)?;
    let queue = JobQueue::new(settings.queue(), process.registry());
    if let Some(Local { recent, querier }) = local {
        queue.add_local_worker(querier, recent, settings.querier_parallelism);
    }
    let overrides = Arc::clone(process.overrides());
    let frontend = Frontend::over_queue(
        QueuedParts {
            settings,
            tenancy: tenancy(config, config.query_frontend.multi_tenant_queries_enabled),
            limits: Arc::new(move |tenant| from_config::tenant_limits(&overrides.of(tenant))),
            queue: queue.clone(),
            blocklist: store.blocklist,
        },
        process.registry(),
    );
    let mut part = Part::new("query-frontend");
    part.endpoints = vec![
        "/api/traces/{traceID}",
        "/api/v2/traces/{traceID}",
        "/api/search",
        "/api/search/tags",
        "/api/v2/search/tags",
        "/api/search/tag/{tagName}/values",
        "/api/v2/search/tag/{tagName}/values",
        "/api/metrics/query",
        "/api/metrics/query_range",
        "/api/overrides",
    ];
    let overrides = || (Arc::clone(process.overrides()), tenancy(config, false));
    let (limits, of) = overrides();
    part.read = router(Arc::clone(&frontend)).merge(read_router(limits, of));
    let (limits, of) = overrides();
    part.change = change_router(limits, of);
    let streaming = streaming_service(frontend);
    part.public_grpc.push(Arc::new(move |routes| {
        routes.add_service(streaming.clone());
    }));
    let service = queue.service(config.server.grpc_server_max_recv_msg_size);
    part.grpc.push(Arc::new(move |routes| {
        routes.add_service(service.clone());
    }));
    let ready = queue.clone();
    part.ready = Some(Arc::new(move || {
        ready
            .check_ready()
            .map_err(|reason| format!("Query Frontend not ready: not ready: {reason}"))
    }));
    part.stop = Some(Box::pin(async move { queue.stop(STOP_GRACE).await }));
    Ok(part)
}

/// A process of one query-frontend.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    Ok(vec![part(process, None).await?])
}
