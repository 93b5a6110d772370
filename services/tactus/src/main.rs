//! The `tactus` binary: any service, or all of them in one process.
//!
//! It puts services together through the traits of the protocol and holds no logic of its own.

use std::{process::ExitCode, sync::Arc};

use futures_util::future::BoxFuture;
use tactus_distributor::part::ZipkinQueryApi;
use tactus_ingester::BlockWritten;
use tactus_process::{Error, Part, Process, Program};
use tactus_query_frontend::part::Local;

fn main() -> ExitCode {
    let check_limits = |limits: &_| {
        tactus_compactor::from_config::check_limits(limits)?;
        tactus_ingester::from_config::check_limits(limits)?;
        tactus_distributor::from_config::check_limits(limits)
    };
    tactus_process::main(Program { target: None, build, check_limits })
}

fn build(process: &Process) -> BoxFuture<'_, Result<Vec<Part>, Error>> {
    Box::pin(async {
        match process.config().target.as_str() {
            "all" | "all-3.0" | "scalable-single-binary" => all(process).await,
            "distributor" => tactus_distributor::part::alone(process).await,
            "ingester" => tactus_ingester::part::alone(process).await,
            "querier" => tactus_querier::part::alone(process).await,
            "query-frontend" => tactus_query_frontend::part::alone(process).await,
            "compactor" => tactus_compactor::part::alone(process).await,
            other => Err(Error::Setup(format!("target {other}: not part of this version"))),
        }
    })
}

/// Every service; they call each other without a network between them. In a cluster of such processes each also works
/// for the others.
async fn all(process: &Process) -> Result<Vec<Part>, Error> {
    let store = process.store().await?;
    let announcer = process.announcer();
    let written = BlockWritten::new(move |meta| {
        store.blocklist.add_block(meta.clone());
        announcer.tell(meta)
    });
    let (ingester, recent) = tactus_ingester::part::part(process, written).await?;
    let jobs = tactus_querier::part::jobs(process, Some(Arc::clone(&recent))).await?;
    let local = Local { recent: Arc::clone(&jobs.recent), querier: Arc::clone(&jobs.querier) };
    let zipkin_query = ZipkinQueryApi::default();
    let (distributor, store_spans) =
        tactus_distributor::part::part(process, Some(recent), Arc::clone(&zipkin_query)).await?;
    let frontend =
        tactus_query_frontend::part::part(process, Some(local), Some(store_spans)).await?;
    zipkin_query.get_or_init(|| frontend.zipkin.clone());
    let compactor = tactus_compactor::part::part(process).await?;
    // Stopped from the last to the first: what comes in must still find an ingester, and queries an answer.
    let querier = tactus_querier::part::part(process, jobs)?;
    Ok(vec![frontend, querier, compactor, ingester, distributor])
}
