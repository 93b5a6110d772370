//! A distributor as part of a process: its receivers, its place in the ring.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::StatusCode;
use tactus_config::Config;
use tactus_process::{Error, Part, Process, ShownAddresses, settings::tenancy};
use tactus_proto::tactus::v1::ingester_server;
use tactus_receivers::{
    ReceiverMetrics, TraceSink,
    otlp_grpc::{OtlpGrpcSettings, serve_otlp_grpc},
    otlp_http::{OtlpHttpSettings, serve_otlp_http},
};
use tactus_server::{auth::Authenticator, http::text, listener::BoundListener};
use tactus_telemetry::metrics::Registry;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{Distributor, Parts, from_config};

/// A distributor whose receivers open their ports when the part starts. `local`: the ingester in the same process.
///
/// Errors: settings that cannot be.
pub async fn part(
    process: &Process,
    local: Option<Arc<dyn ingester_server::Ingester>>,
) -> Result<Part, Error> {
    let config = Arc::clone(process.config());
    let cluster = process.cluster().clone();
    let (overrides, of_tenants) =
        (Arc::clone(process.overrides()), Arc::clone(process.overrides()));
    let section = config.distributor.clone();
    let parts = Parts {
        settings: from_config::settings(&config),
        limits: Arc::new(move |tenant| from_config::limits(&overrides.of(tenant), &section)),
        usage_limits: Arc::new(move |tenant| from_config::usage_limits(&of_tenants.of(tenant))),
        ingesters: cluster.ingester_ring(),
        ingester_of: cluster.ingester_of(process.channels(), local),
        distributors: cluster.distributor_ring(),
    };
    let distributor = Arc::new(Distributor::new(parts, process.registry()));
    let usage = distributor.usage();
    let sink: Arc<dyn TraceSink> = distributor;
    let mut part = Part::new("distributor");
    if let Some(usage) = usage {
        part.endpoints.push("/usage_metrics");
        part.status = Router::new().route(
            "/usage_metrics",
            get(move || async move { text(StatusCode::OK, usage.exposition()) }),
        );
    }
    let (stop, addresses) = (CancellationToken::new(), process.addresses());
    let auth = process.authenticator().cloned();
    let (bound, opened) = oneshot::channel();
    let (closing, leaving) = (stop.clone(), cluster.clone());
    part.start = Some(Box::pin(async move {
        cluster.join_distributors().await;
        let receivers = open_receivers(&config, auth, sink, &addresses, &closing).await?;
        let _ = bound.send(receivers);
        Ok(())
    }));
    part.stop = Some(Box::pin(async move {
        stop.cancel();
        for receiver in opened.await.unwrap_or_default() {
            receiver.stopped().await;
        }
        leaving.leave_distributors().await;
    }));
    Ok(part)
}

/// A process of one distributor.
///
/// Errors: as for [`part`].
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    Ok(vec![part(process, None).await?])
}

/// All OTLP receivers.
async fn open_receivers(
    config: &Config,
    auth: Option<Arc<Authenticator>>,
    sink: Arc<dyn TraceSink>,
    addresses: &ShownAddresses,
    stop: &CancellationToken,
) -> Result<Vec<BoundListener>, Error> {
    let metrics = ReceiverMetrics::register(Registry::global());
    let tenancy = tenancy(config, false);
    let mut receivers = Vec::new();
    for (name, receiver) in &config.distributor.receivers.otlp {
        if let Some(grpc) = &receiver.protocols.grpc {
            let settings = OtlpGrpcSettings {
                auth: auth.clone(),
                ..from_config::otlp_grpc(name, grpc, tenancy.clone())?
            };
            let bound =
                serve_otlp_grpc(settings, Arc::clone(&sink), &metrics, stop.clone()).await?;
            addresses.note("OTLP gRPC", bound.local_addr());
            receivers.push(bound);
        }
        if let Some(http) = &receiver.protocols.http {
            let settings = OtlpHttpSettings {
                auth: auth.clone(),
                ..from_config::otlp_http(name, http, tenancy.clone())?
            };
            let bound =
                serve_otlp_http(settings, Arc::clone(&sink), &metrics, stop.clone()).await?;
            addresses.note("OTLP HTTP", bound.local_addr());
            receivers.push(bound);
        }
    }
    Ok(receivers)
}
