//! Health and metrics, as Jaeger's collector shows them.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tactus_process::ReadyCheck;
use tactus_server::auth::{Access, Authenticator, guard};
use tactus_server::operational::metrics_page;
use tactus_telemetry::metrics::Registry;

/// `/`: whether the process answers queries, for probes. `/metrics`: everything that is counted, for operators.
pub(super) fn router(ready: ReadyCheck, authenticator: Option<&Arc<Authenticator>>) -> Router {
    let health = get(move || async move { health(ready().is_ok()) });
    let metrics = get(|headers: HeaderMap| async move {
        metrics_page(&headers, |accept| Registry::global().page(accept))
    });
    guard(Router::new().route("/metrics", metrics), Access::Operate, authenticator)
        .route("/", health)
}

fn health(is_ready: bool) -> Response {
    let (status, text) = if is_ready {
        (StatusCode::OK, r#"{"status":"Server available"}"#)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"Server not available"}"#)
    };
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}
