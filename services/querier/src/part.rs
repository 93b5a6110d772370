//! A querier as part of a process.

use std::sync::Arc;
use std::time::Duration;

use tactus_process::{Error, Part, Process, settings::max_condition_groups};
use tactus_proto::tactus::v1::{ingester_server, querier_server};
use tactus_query_jobs::{
    Querier, RecentData, RecentParts, Settings, Worker, dial_by, keep_resolving,
};
use tactus_rpc::jobs::JobServices;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::from_config;

/// When the process ends, reads that nobody waits for may take this long to finish.
const END_GRACE: Duration = Duration::from_secs(10);

/// The jobs that this process can run: on blocks, and on recent data. Other services in it call them directly.
///
/// `local`: the ingester in the same process. Errors: invalid settings; object storage that refuses us.
pub async fn jobs(
    process: &Process,
    local: Option<Arc<dyn ingester_server::Ingester>>,
) -> Result<JobServices, Error> {
    let config = process.config();
    let store = process.store().await?;
    let caches = process.caches().await?;
    let answer_memory = process.port_memory().bodies();
    let settings = Settings {
        answer_memory: Arc::clone(&answer_memory),
        query_memory: process.port_memory().queries(),
        max_condition_groups: max_condition_groups(config, process.overrides()),
        ..from_config::settings(config, &caches)
    };
    let querier = Querier::new(settings, store.bucket, store.blocklist, process.registry());
    let (ends, threads) = (process.background().clone(), querier.clone());
    process.spawn(async move {
        ends.cancelled().await;
        if tokio::time::timeout(END_GRACE, threads.end()).await.is_err() {
            tracing::warn!("reads of object storage take too long, the process ends without them");
        }
    });
    let querier: Arc<dyn querier_server::Querier> = Arc::new(querier);
    let cluster = process.cluster();
    let recent: Arc<dyn ingester_server::Ingester> = match local {
        // There are no other processes to ask.
        Some(local) if cluster.is_alone() => local,
        local => {
            let overrides = Arc::clone(process.overrides());
            let parts = RecentParts {
                section: config.querier.clone(),
                in_ingesters: from_config::in_ingesters(config),
                ring: cluster.ingesters().ring(),
                ingester_at: cluster.ingester_of(process.channels(), local),
                shard_size_of: Arc::new(move |tenant| {
                    overrides.of_name(tenant).ingestion.tenant_shard_size
                }),
                memory: answer_memory,
            };
            Arc::new(RecentData::new(parts, process.registry()))
        }
    };
    Ok(JobServices { querier, ingester: recent })
}

/// Takes jobs from the query-frontends of the cluster, or from those at the configured address.
///
/// A process without a cluster contains the only query-frontend, which needs no stream. Errors: invalid certificates.
pub fn part(process: &Process, services: JobServices) -> Result<Part, Error> {
    let config = process.config();
    if process.cluster().is_alone() {
        return Ok(Part::new("querier"));
    }
    let frontends = &config.querier.frontend_worker;
    let section = "querier.frontend_worker.grpc_client_config";
    let channels = process.channels_of(section, &frontends.grpc_client_config)?;
    let address = &frontends.frontend_address;
    let stop = CancellationToken::new();
    let addresses = if address.is_empty() {
        process.cluster().frontends()
    } else {
        let (known, addresses) = watch::channel(Vec::new());
        let every = frontends.dns_lookup_duration.as_std();
        process.spawn(keep_resolving(address.clone(), every, known, stop.clone()));
        addresses
    };
    let memory = process.port_memory().bodies();
    let section = config.querier.clone();
    let worker = Worker::new(section, services, memory, dial_by(channels), process.registry());
    let (started, mut running) = oneshot::channel();
    let (stopping, mut part) = (stop.clone(), Part::new("querier"));
    // Jobs come at once, and may need what another part of the process holds.
    part.start = Some(Box::pin(async move {
        let _ = started.send(tokio::spawn(worker.run(addresses, stop)));
        Ok(())
    }));
    part.stop = Some(Box::pin(async move {
        stopping.cancel();
        // A process that is told to end early starts no parts.
        let Ok(running) = running.try_recv() else { return };
        if running.await.is_err() {
            tracing::error!("querier task panicked");
        }
    }));
    Ok(part)
}

/// A process with only a querier.
///
/// Errors: as for [`jobs`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    let jobs = jobs(process, None).await?;
    Ok(vec![part(process, jobs)?])
}

/// Errors: certificates.
pub async fn check(process: &Process) -> Result<(), Error> {
    let client = &process.config().querier.frontend_worker.grpc_client_config;
    process.channels_of("querier.frontend_worker.grpc_client_config", client).map(drop)
}
