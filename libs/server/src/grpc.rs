//! The gRPC port.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use ::http::Request;
use axum::Router;
use axum::body::Body;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use crate::bodies::{self, Bodies};
use crate::listener::{self, BoundListener, ListenerSettings, Protocols};
use crate::observe::{self, RequestMetrics};

/// Turns tonic services into a router with request metrics, for this port and for the HTTP port.
///
/// Limits of message sizes are set on each service: the default of tonic is 4 MiB for requests.
pub fn router(routes: Routes, metrics: RequestMetrics) -> Router {
    observed(services(routes), metrics)
}

/// As [`router`], for layers that may refuse a call: [`observed`] comes around them.
pub fn services(routes: Routes) -> Router {
    routes
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn(say_too_large))
        .layer(middleware::from_fn(observe::note_reached))
}

/// Puts request metrics, and the log of requests, around [`services`] and the layers that they have.
pub fn observed(router: Router, metrics: RequestMetrics) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, observe::observe_grpc))
}

/// Middleware: a message above a service's limit gets the status that gRPC has for it. The library's is OUT_OF_RANGE,
/// after which clients of OTLP try again. Services of a cluster tell each other the library's: it is no lack of memory.
async fn say_too_large(request: Request<Body>, next: Next) -> Response {
    let is_internal = request.uri().path().starts_with("/tactus.");
    let response = next.run(request).await;
    let status = Status::from_header_map(response.headers()).filter(|_| !is_internal);
    match status.and_then(|status| too_large(&status)) {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// The status instead of the library's, if this is what it says.
fn too_large(status: &Status) -> Option<Status> {
    let said = status.message().strip_prefix("Error, decoded message length too large: found ")?;
    let (length, limit) = said.strip_suffix(" bytes")?.split_once(" bytes, the limit is: ")?;
    Some(Status::resource_exhausted(message_too_large(length, limit)))
}

/// What gRPC says of a message of this length, in bytes, above a limit.
pub fn message_too_large(length: impl Display, limit: impl Display) -> String {
    format!("grpc: received message larger than max ({length} vs. {limit})")
}

/// Counts the messages of calls until their answers begin. `streams`: paths of calls that send for hours. Of these a message is
/// counted until it is whole; from then on it is for the service to count. `max_message_bytes`: the largest message, compressed
/// or not, that a service takes.
pub fn with_counted_bodies(
    router: Router,
    bodies: Arc<Bodies>,
    streams: &'static [&'static str],
    max_message_bytes: usize,
) -> Router {
    let counting = bodies::Counting { bodies, streams, max_message_bytes };
    router.layer(middleware::from_fn_with_state(counting, bodies::count_grpc))
}

/// Serves gRPC over HTTP/2, by TLS if the settings have it, on a bound socket until `shutdown`.
///
/// `settings.protocols` is taken as HTTP/2. Errors: see [`listener::serve`].
pub fn serve_grpc(
    socket: TcpListener,
    settings: ListenerSettings,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    tracing::info!(address = %socket.local_addr()?, "gRPC server listens");
    serve_quietly(socket, settings, router, shutdown)
}

/// As [`serve_grpc`], for a port that the caller names in the log.
pub fn serve_quietly(
    socket: TcpListener,
    settings: ListenerSettings,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let settings = ListenerSettings { protocols: Protocols::Http2, ..settings };
    listener::serve(socket, settings, TowerToHyperService::new(router), shutdown)
}

#[cfg(test)]
mod tests;
