//! The gRPC port.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::bodies::{self, Bodies};
use crate::listener::{self, BoundListener, ListenerSettings, Protocols};
use crate::observe::{self, RequestMetrics};

/// Turns tonic services into a router with request metrics, for this port and for the HTTP port.
///
/// Limits of message sizes are set on each service: the default of tonic is 4 MiB for requests.
pub fn router(routes: Routes, metrics: RequestMetrics) -> Router {
    routes
        .prepare()
        .into_axum_router()
        .layer(middleware::from_fn_with_state(metrics, observe::observe_grpc))
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
