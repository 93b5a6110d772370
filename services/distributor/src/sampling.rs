//! Remote sampling: tells clients what to sample.
//!
//! Clients ask on ports of their own (HTTP 5778, gRPC 5779), and older ones on those of Jaeger's receivers.

mod answers;
mod ports;

use std::sync::Arc;

use axum::Router;
use tactus_config::Config;
use tactus_model::TenantId;
use tactus_process::{Error, PlannedPort, Process, ShownAddresses, settings::tenancy};
use tactus_ring::{Operation, RingView};
use tactus_sampling::{
    Adaptive, IsLeader, Metrics, Provider, Strategies, StrategyFile, StrategySet,
};
use tactus_server::{bodies::Bodies, listener::BoundListener};
use tokio_util::sync::CancellationToken;

pub(crate) use answers::{Answers, collector_router, sampling_router};
use ports::{Ports, open, service_router};

/// The ports that are asked for. Errors: certificates.
pub(crate) fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    let Ports { http, grpc } = Ports::of(config)?;
    Ok(http.iter().chain(&grpc).filter_map(PlannedPort::of).collect())
}

/// Remote sampling of a process.
pub(crate) struct Sampling {
    answers: Arc<Answers>,
    ports: Ports,
    /// Of requests over gRPC.
    memory: Arc<Bodies>,
    adaptive: Option<Arc<Adaptive>>,
}

impl Sampling {
    /// Reads the file of strategies, if there is one, and starts the background tasks.
    ///
    /// Errors: the file is missing or refused, certificates, the bucket that adaptive sampling needs.
    pub(crate) async fn start(process: &Process) -> Result<Self, Error> {
        let config = process.config();
        let section = &config.sampling;
        let ports = Ports::of(config)?;
        let metrics = Metrics::new(process.registry());
        let background = process.background().clone();
        // If the configuration has no such section, the built-in settings apply.
        let files = section.file.clone().unwrap_or_default();
        let mut adaptive = None;
        let provider = if section.file.is_some() {
            let file = StrategyFile::load(files.clone(), metrics.clone()).await;
            Provider::File(file.map_err(|error| Error::Setup(error.to_string()))?)
        } else if let Some(section) = &section.adaptive {
            let instance = config.distributor.ring.instance_id.clone();
            let bucket = process.bucket().await?;
            if config.storage.trace.backend == "local" && !process.cluster().is_alone() {
                tracing::warn!(
                    "sampling.adaptive: storage.trace.backend local is not shared, each distributor calculates by what it counts itself"
                );
            }
            let started = Adaptive::new(section.clone(), &instance, bucket, metrics.clone());
            process.spawn(Arc::clone(&started).run(leads(process, instance), background.clone()));
            adaptive = Some(Arc::clone(&started));
            Provider::Adaptive(started)
        } else {
            Provider::Uniform(Arc::new(StrategySet::uniform(files.default_sampling_probability)))
        };
        let overrides = Arc::clone(process.overrides());
        let file_of =
            move |tenant: &TenantId| overrides.of(tenant).sampling.strategies_file.clone();
        let strategies = Arc::new(Strategies::new(provider, Arc::new(file_of), &files, metrics));
        let watched = Arc::clone(&strategies);
        process.spawn(async move { watched.watch(background).await });
        let auth = process.authenticator().cloned();
        let answers = Arc::new(Answers::new(strategies, tenancy(config, false), auth));
        let memory = process.port_memory().bodies();
        Ok(Self { answers, ports, memory, adaptive })
    }

    /// Errors: the file of strategies is missing or refused, certificates.
    pub(crate) async fn check(process: &Process) -> Result<(), Error> {
        let config = process.config();
        if let Some(file) = config.sampling.file.clone() {
            let file = StrategyFile::load(file, Metrics::new(process.registry())).await;
            file.map_err(|error| Error::Setup(error.to_string()))?;
        }
        Ports::of(config).map(drop)
    }

    /// Counts spans for adaptive sampling; `None` if that is off.
    pub(crate) fn counter(&self) -> Option<Arc<Adaptive>> {
        self.adaptive.clone()
    }

    /// For the port of Jaeger's Thrift over HTTP.
    pub(crate) fn collector_router(&self) -> Router {
        collector_router(Arc::clone(&self.answers))
    }

    /// For the port of Jaeger's gRPC.
    pub(crate) fn grpc_router(&self) -> Router {
        service_router(Arc::clone(&self.answers), Arc::clone(&self.memory))
    }

    /// Opens the ports of its own. Errors: an address that is set cannot be bound.
    pub(crate) async fn open_ports(
        self,
        addresses: &ShownAddresses,
        stop: &CancellationToken,
    ) -> Result<Vec<BoundListener>, Error> {
        open(self.ports, self.answers, self.memory, addresses, stop).await
    }
}

/// True on the first healthy distributor of the ring, which calculates probabilities for all.
fn leads(process: &Process, instance: String) -> IsLeader {
    let ring = process.cluster().distributors().ring();
    Arc::new(move || is_first(&ring.view(), &instance))
}

fn is_first(view: &RingView, instance: &str) -> bool {
    let mut healthy = view.instances().iter().filter(|it| it.is_healthy(Operation::Write));
    healthy.next().is_some_and(|first| *first.id == *instance)
}

#[cfg(test)]
mod tests;
