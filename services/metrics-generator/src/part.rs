//! A metrics generator as part of a process.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use tactus_config::Config;
use tactus_generator::{Generator, Service};
use tactus_process::{Error, Part, Process, settings::tenancy};
use tactus_proto::{
    tactus::v1::metrics_generator_server::{MetricsGenerator, MetricsGeneratorServer},
    tempopb::metrics_generator_server::MetricsGeneratorServer as TempoServer,
};
use tactus_server::{http::error_line, tenancy::Tenancy};
use tactus_telemetry::error_text;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;

use crate::from_config;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A generator: the part of the process, and the service that others in the same process call directly.
pub type Built = (Part, Arc<dyn MetricsGenerator>);

/// Tries to write where the queues of tenants will be. Each is made with the tenant's first push, which would be too late to
/// say that nothing can be sent.
fn check_directory(path: &Path) -> Result<(), Error> {
    let probe = path.join(".probe");
    let tried = fs::create_dir_all(&probe).and_then(|()| fs::remove_dir(&probe));
    tried.map_err(|error| {
        let path = path.display();
        Error::Setup(format!("metrics_generator.storage.path: {path} cannot be written: {error}"))
    })
}

/// A generator; `None` if `metrics_generator.storage.path` is empty.
///
/// Errors: invalid settings; a directory that cannot be used.
pub async fn part(process: &Process) -> Result<Option<Built>, Error> {
    let config = process.config();
    if config.metrics_generator.storage.path.is_empty() {
        // The configuration warns if this is probably a mistake.
        tracing::info!(
            "no metrics_generator.storage.path configured, metrics generator will be disabled"
        );
        return Ok(None);
    }
    check_directory(Path::new(&config.metrics_generator.storage.path))?;
    let generator = from_config::generator(process)?;
    let service = Service { generator: Arc::clone(&generator), tenancy: tenancy(config, false) };
    let mut part = Part::new("metrics-generator");
    part.endpoints = vec!["/metrics/generated"];
    let page = Page { generator: Arc::clone(&generator), tenancy: tenancy(config, false) };
    part.read = Router::new().route("/metrics/generated", get(generated)).with_state(page);
    // A push has the spans of an export request, which has that limit, and some fields besides.
    let max_bytes = config.server.grpc_server_max_recv_msg_size.saturating_mul(2);
    let server = MetricsGeneratorServer::new(service.clone())
        .max_decoding_message_size(max_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    let tempo = TempoServer::new(service.clone())
        .max_decoding_message_size(max_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd);
    part.grpc.push(Arc::new(move |routes| {
        routes.add_service(server.clone());
        routes.add_service(tempo.clone());
    }));
    let cluster = process.cluster().clone();
    let (joining, readiness) = (cluster.clone(), cluster.clone());
    part.ready = Some(Arc::new(move || match readiness.generators().has_joined() {
        true => Ok(()),
        false => Err("metrics-generator check ready failed: not registered in the ring".to_owned()),
    }));
    let resuming = Arc::clone(&generator);
    part.start = Some(Box::pin(async move {
        resuming.resume().await;
        joining.generators().join().await;
        Ok(())
    }));
    // Sending the remaining samples may take long. Meanwhile other parts stop; the process waits for it at its end.
    let collected = CancellationToken::new();
    let (ended, background) = (Arc::clone(&generator), process.background().clone());
    let flushing = collected.clone();
    process.spawn(async move {
        tokio::select! {
            () = flushing.cancelled() => {}
            () = background.cancelled() => {}
        }
        ended.flush().await;
    });
    let sweeping = Arc::clone(&generator);
    process.spawn(async move { sweeping.sweep().await });
    part.stop = Some(Box::pin(async move {
        cluster.generators().leave().await;
        generator.stop().await;
        collected.cancel();
    }));
    Ok(Some((part, Arc::new(service))))
}

/// A process with only a generator.
///
/// Errors: as for [`part`], and no `metrics_generator.storage.path`.
pub async fn alone(process: &Process) -> Result<Vec<Part>, Error> {
    let Some((part, _)) = part(process).await? else {
        return Err(no_path(process.config()));
    };
    Ok(vec![part])
}

/// Errors: invalid settings; certificates that cannot be read.
pub fn check(process: &Process) -> Result<(), Error> {
    let config = process.config();
    if config.metrics_generator.storage.path.is_empty() {
        return Ok(());
    }
    from_config::check(config)
}

/// Errors: as for [`check`], and no `metrics_generator.storage.path`.
pub fn check_alone(process: &Process) -> Result<(), Error> {
    let config = process.config();
    if config.metrics_generator.storage.path.is_empty() {
        return Err(no_path(config));
    }
    check(process)
}

fn no_path(config: &Config) -> Error {
    Error::Setup(format!(
        "metrics_generator.storage.path is not set: target {} has nowhere to keep what it sends",
        config.target
    ))
}

#[derive(Clone)]
struct Page {
    generator: Arc<Generator>,
    tenancy: Tenancy,
}

/// The series of a tenant.
async fn generated(State(page): State<Page>, headers: HeaderMap) -> Response {
    let tenant = match page.tenancy.read_tenant(&headers) {
        Ok(tenant) => tenant,
        Err(error) => return error.into_response(),
    };
    match page.generator.page(&tenant).await {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            let status = match error {
                tactus_generator::Error::PageTooLarge => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            error_line(status, &error_text(&error))
        }
    }
}
