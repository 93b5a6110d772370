//! The `tactus` binary: any service, or all of them in one process.
//!
//! It connects the services through the traits of the protocol and has no logic of its own.

use std::{process::ExitCode, sync::Arc};

use futures_util::future::BoxFuture;
use tactus_config::{
    Config,
    target::{BACKEND_SCHEDULER, is_all},
};
use tactus_distributor::part::{Local as LocalToDistributor, ZipkinQueryApi};
use tactus_process::{Error, Part, PlannedPort, Process, Program};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_query_frontend::part::Local;
use tactus_recent_data::BlockWritten;

fn main() -> ExitCode {
    let check_limits = |config: &_, limits: &_| {
        tactus_compactor::from_config::check_limits(limits)?;
        tactus_ingester::from_config::check_limits(limits)?;
        tactus_metrics_generator::from_config::check_limits(config, limits)?;
        tactus_distributor::from_config::check_limits(limits)
    };
    tactus_process::main(Program { target: None, build, check, ports, check_limits })
}

fn check(process: &Process) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async {
        match process.config().target.as_str() {
            "distributor" => tactus_distributor::part::check(process).await,
            "ingester" => tactus_ingester::part::check(process).await,
            "querier" => tactus_querier::part::check(process).await,
            "query-frontend" => tactus_query_frontend::part::check(process).await,
            "compactor" => tactus_compactor::part::check(process).await,
            "metrics-generator" | "metrics-generator-no-local-blocks" => {
                tactus_metrics_generator::part::check_alone(process)
            }
            target if is_all(target) => {
                tactus_ingester::part::check(process).await?;
                tactus_querier::part::check(process).await?;
                tactus_distributor::part::check(process).await?;
                tactus_query_frontend::part::check(process).await?;
                tactus_metrics_generator::part::check(process)?;
                tactus_compactor::part::check(process).await
            }
            BACKEND_SCHEDULER => Ok(()),
            other => Err(unknown(other)),
        }
    })
}

fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    let mut ports = Vec::new();
    let target = config.target.as_str();
    if target == "distributor" || is_all(target) {
        ports.extend(tactus_distributor::part::ports(config)?);
    }
    if target == "query-frontend" || is_all(target) {
        ports.extend(tactus_query_frontend::part::ports(config)?);
    }
    Ok(ports)
}

fn unknown(target: &str) -> Error {
    Error::Setup(format!("target {target}: not part of this version"))
}

fn build(process: &Process) -> BoxFuture<'_, Result<Vec<Part>, Error>> {
    Box::pin(async {
        match process.config().target.as_str() {
            target if is_all(target) => all(process).await,
            "distributor" => tactus_distributor::part::alone(process).await,
            "ingester" => tactus_ingester::part::alone(process).await,
            "querier" => tactus_querier::part::alone(process).await,
            "query-frontend" => tactus_query_frontend::part::alone(process).await,
            "compactor" => tactus_compactor::part::alone(process).await,
            "metrics-generator" | "metrics-generator-no-local-blocks" => {
                tactus_metrics_generator::part::alone(process).await
            }
            BACKEND_SCHEDULER => {
                tracing::warn!("target {BACKEND_SCHEDULER} has no work: compactors share it out");
                Ok(Vec::new())
            }
            other => Err(unknown(other)),
        }
    })
}

/// Every service. They call each other directly, without a network. In a cluster of such processes, each also works for
/// the others.
async fn all(process: &Process) -> Result<Vec<Part>, Error> {
    let store = process.store().await?;
    let announcer = process.announcer();
    let written = BlockWritten::new(move |meta| {
        store.blocklist.add_block(meta.clone());
        announcer.tell(meta)
    });
    let (ingester, service) = tactus_ingester::part::part(process, written).await?;
    let recent: Arc<dyn Ingester> = Arc::clone(&service) as _;
    let jobs = tactus_querier::part::jobs(process, Some(Arc::clone(&recent))).await?;
    let to_queries = Local {
        recent: Arc::clone(&jobs.ingester),
        querier: Arc::clone(&jobs.querier),
        live_tail: service,
    };
    let zipkin_query = ZipkinQueryApi::default();
    let (generator, series) = tactus_metrics_generator::part::part(process).await?.unzip();
    let local = LocalToDistributor { ingester: Some(recent), generator: series };
    let (distributor, store_spans) =
        tactus_distributor::part::part(process, local, Arc::clone(&zipkin_query)).await?;
    let frontend =
        tactus_query_frontend::part::part(process, Some(to_queries), Some(store_spans)).await?;
    zipkin_query.get_or_init(|| frontend.zipkin.clone());
    let compactor = tactus_compactor::part::part(process).await?;
    // Parts are stopped from the last to the first, so that pushes still find an ingester and queries are still answered.
    let querier = tactus_querier::part::part(process, jobs)?;
    let mut parts = vec![frontend, querier, compactor, ingester];
    parts.extend(generator);
    parts.push(distributor);
    Ok(parts)
}
