//! A distributor as part of a process: its receivers, its place in the ring.

use std::sync::{Arc, OnceLock};

use axum::{Router, routing::get};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use tactus_config::Config;
use tactus_distribution::{Distributor, Parts, UsageTracker};
use tactus_model::TenantId;
use tactus_process::{Error, Part, PlannedPort, Process, settings::tenancy};
use tactus_proto::{
    otlp::ExportTraceServiceResponse,
    tactus::v1::{ingester_server::Ingester, metrics_generator_server::MetricsGenerator},
};
use tactus_receivers::{ReceiverMetrics, TraceSink, otlp_file::read_otlp_files, otlp_grpc::export};
use tactus_server::operational::metrics_page;
use tactus_telemetry::metrics::Registry;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    from_config::{self, ReceiverAccess},
    receivers::{self, open_receivers},
    sampling::{self, Sampling},
};

/// Zipkin's query API of the same process, if it has one. The ports of Zipkin receivers serve it as well. Set it before the
/// process starts.
pub type ZipkinQueryApi = Arc<OnceLock<Router>>;

/// Stores an OTLP export request of a tenant, and returns the answer for its sender.
pub type StoreSpans = Arc<
    dyn Fn(TenantId, Bytes) -> BoxFuture<'static, Result<ExportTraceServiceResponse, Status>>
        + Send
        + Sync,
>;

/// Services in the same process, which are called directly.
#[derive(Default)]
pub struct Local {
    /// The ingester.
    pub ingester: Option<Arc<dyn Ingester>>,
    /// The metrics generator.
    pub generator: Option<Arc<dyn MetricsGenerator>>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ingester, generator } = self;
        let has = (ingester.is_some(), generator.is_some());
        f.debug_struct("Local").field("ingester", &has.0).field("generator", &has.1).finish()
    }
}

/// A distributor, whose receivers open their ports when the part starts, and the function by which others in the process
/// store spans.
///
/// Errors: invalid settings.
pub async fn part(
    process: &Process,
    local: Local,
    zipkin_query: ZipkinQueryApi,
) -> Result<(Part, StoreSpans), Error> {
    let config = Arc::clone(process.config());
    let cluster = process.cluster().clone();
    let parts = parts(process, local.ingester);
    let files = from_config::otlp_files(&config)?;
    let (rules, forwarders) = from_config::rules_and_forwarders(process)?;
    let generators = from_config::generators(process, local.generator, &parts.settings)?;
    let sampling = Sampling::start(process).await?;
    let distributor = Distributor::new(parts, process.registry())
        .with_rules(rules)
        .with_forwarders(forwarders.clone())
        .with_generators(generators.clone())
        .with_adaptive_sampling(sampling.counter());
    let distributor = Arc::new(distributor);
    let bodies = distributor.bodies();
    let mut part = Part::new("distributor");
    if let Some(usage) = distributor.usage() {
        add_usage_page(&mut part, usage);
    }
    let sink: Arc<dyn TraceSink> = distributor;
    let (stop, addresses) = (CancellationToken::new(), process.addresses());
    let auth = process.authenticator().cloned();
    let (bound, opened) = oneshot::channel();
    let (file_sink, store) = (Arc::clone(&sink), store_spans(&sink));
    let (closing, leaving) = (stop.clone(), cluster.clone());
    part.start = Some(Box::pin(async move {
        cluster.distributors().join().await;
        let mut receivers = open_receivers(
            &config,
            ReceiverAccess { tenancy: tenancy(&config, false), auth, bodies },
            sink,
            &sampling,
            zipkin_query.get(),
            &addresses,
            &closing,
        )
        .await?;
        receivers.extend(sampling.open_ports(&addresses, &closing).await?);
        let _ = bound.send(receivers);
        let metrics = ReceiverMetrics::register(Registry::global());
        for settings in files {
            let (sink, stop) = (Arc::clone(&file_sink), closing.clone());
            tokio::spawn(read_otlp_files(settings, sink, metrics.clone(), stop));
        }
        Ok(())
    }));
    if let Some(generators) = generators.clone() {
        tokio::spawn(generators.sweep());
    }
    part.stop = Some(Box::pin(async move {
        stop.cancel();
        for receiver in opened.await.unwrap_or_default() {
            receiver.stopped().await;
        }
        tokio::join!(forwarders.stop(), async {
            if let Some(generators) = generators {
                generators.stop().await;
            }
        });
        leaving.distributors().leave().await;
    }));
    Ok((part, store))
}

/// What the distributor works with: limits by tenant, and the ring of ingesters.
fn parts(process: &Process, local_ingester: Option<Arc<dyn Ingester>>) -> Parts {
    let (config, cluster) = (process.config(), process.cluster());
    Parts {
        settings: from_config::settings(config),
        limits: process.overrides().limits_of(),
        ingesters: cluster.ingesters().ring(),
        ingester_of: cluster.ingester_of(process.channels(), local_ingester),
        distributors: Some(cluster.distributors().ring()),
    }
}

/// Adds the page of cost attribution, which has metrics of its own.
fn add_usage_page(part: &mut Part, usage: Arc<UsageTracker>) {
    part.operational_endpoints.push("/usage_metrics");
    let registry = Arc::new(Registry::new());
    registry.register_collector(move |page| usage.collect(page));
    let page = get(move |headers: HeaderMap| async move {
        metrics_page(&headers, |accept| registry.page(accept))
    });
    part.status = Router::new().route("/usage_metrics", page);
}

fn store_spans(sink: &Arc<dyn TraceSink>) -> StoreSpans {
    let sink = Arc::clone(sink);
    Arc::new(move |tenant, request| {
        let sink = Arc::clone(&sink);
        Box::pin(async move { export(sink.as_ref(), tenant, request).await })
    })
}

/// Errors: invalid settings.
pub async fn check(process: &Process) -> Result<(), Error> {
    let config = process.config();
    from_config::otlp_files(config)?;
    from_config::rules_and_forwarders(process)?;
    from_config::generator_channels(process)?;
    Sampling::check(process).await?;
    ports(config).map(drop)
}

/// The ports of receivers and of remote sampling that are asked for. Errors: invalid settings.
pub fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    let mut ports = receivers::ports(config)?;
    ports.extend(sampling::ports(config)?);
    Ok(ports)
}

/// A process with only a distributor.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    let (distributor, _) = part(process, Local::default(), ZipkinQueryApi::default()).await?;
    Ok(vec![distributor])
}
