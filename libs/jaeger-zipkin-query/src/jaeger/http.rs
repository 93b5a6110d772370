//! Jaeger's HTTP API: v1, which the UI and scripts use, v3, and the metrics of its Monitor tab.

mod call;
mod metrics;
mod params;
mod v1;
mod v3;

use axum::Router;
use axum::routing::{any, get, post};
use tactus_server::http::{not_found, with_path_prefix};

use super::JaegerQueries;
use crate::call::in_turns;

/// The routes of Jaeger's HTTP API below a path.
///
/// A path below `api/` that does not exist is answered with 404; for any other the router has no fallback.
pub(crate) fn jaeger_router(queries: JaegerQueries, base_path: &str) -> Router {
    let routes = Router::new()
        .route("/api/services", get(v1::services))
        .route("/api/services/{service}/operations", get(v1::operation_names))
        .route("/api/operations", get(v1::operations))
        .route("/api/traces", get(v1::find_traces))
        .route("/api/traces/{id}", get(v1::trace))
        .route("/api/archive/{id}", post(v1::archive))
        .route("/api/transform", post(v1::transform))
        .route("/api/dependencies", get(v1::dependencies))
        .route("/api/deep-dependencies", get(v1::not_served))
        .route("/api/quality-metrics", get(v1::not_served))
        .route("/api/metrics/minstep", get(metrics::min_step))
        .route("/api/metrics/{kind}", get(metrics::metrics))
        .route("/api/v3/traces", get(v3::find_traces))
        .route("/api/v3/traces/{id}", get(v3::trace))
        .route("/api/v3/trace-summaries", get(v3::summaries))
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/dependencies", get(v3::dependencies))
        .route("/api", any(not_found))
        .route("/api/{*path}", any(not_found));
    let routes = in_turns(routes, &queries.frontend).with_state(queries);
    with_path_prefix(base_path, routes)
}
