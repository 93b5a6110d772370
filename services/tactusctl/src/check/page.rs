//! The port of a checker: `/metrics` and `/ready`.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tactus_server::http::{HttpSettings, not_found, serve_http, text};
use tactus_server::listener::{self, BoundListener};
use tactus_server::observe::RequestMetrics;
use tactus_server::operational::metrics_page;
use tactus_telemetry::metrics::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Most connections at once. A Prometheus, a probe and a person need few.
const MAX_CONNECTIONS: usize = 32;

/// Serves until `stop`. Errors: the address cannot be listened at.
pub(crate) async fn serve(
    address: &str,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
) -> Result<BoundListener> {
    let failed = |error: std::io::Error| Error::Setup(format!("--listen: {error}"));
    let is_ready = async move || match *ready.borrow() {
        true => text(StatusCode::OK, "ready"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    let metrics =
        async |headers: HeaderMap| metrics_page(&headers, |accept| Registry::global().page(accept));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(is_ready))
        .fallback(not_found);
    let mut settings = HttpSettings::default();
    settings.listener.max_connections = MAX_CONNECTIONS;
    settings.listener.drain_timeout = std::time::Duration::from_secs(1);
    let socket = listener::bind(address).await.map_err(failed)?;
    // They have a registry of their own, because dashboards would take them for requests to the server.
    let requests = RequestMetrics::register(&Registry::new());
    serve_http(socket, settings, router, None, requests, stop).map_err(failed)
}
