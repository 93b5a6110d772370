//! Jaeger's HTTP API: v1, which the UI and scripts use, v3, and the metrics of its Monitor tab.

mod answer;
mod envelope;
mod metrics;
mod params;
mod transform;
mod v1;
mod v3;

use std::sync::Arc;

use ::http::{HeaderMap, Uri};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use tactus_api::QueryParams;
use tactus_model::TenantId;
use tactus_server::http::{not_found, with_path_prefix};

use super::error::Result;
use super::{JaegerQueries, JaegerSettings};
use answer::Answer;
use tactus_query::Frontend;

/// The routes of Jaeger's HTTP API below the base path of the settings.
///
/// A path below `api/` that does not exist is answered with 404; for any other the router has no fallback.
pub fn jaeger_router(frontend: Arc<Frontend>, settings: JaegerSettings) -> Router {
    let base_path = settings.base_path.clone();
    let shared =
        Shared { frontend: Arc::clone(&frontend), queries: JaegerQueries::new(frontend, settings) };
    let routes = Router::new()
        .route("/api/services", get(v1::services))
        .route("/api/services/{service}/operations", get(v1::operation_names))
        .route("/api/operations", get(v1::operations))
        .route("/api/traces", get(v1::find_traces))
        .route("/api/traces/{id}", get(v1::trace))
        .route("/api/archive/{id}", post(v1::archive))
        .route("/api/transform", post(transform::transform))
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
        .route("/api/{*path}", any(not_found))
        .with_state(shared);
    with_path_prefix(&base_path, routes)
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    frontend: Arc<Frontend>,
    queries: JaegerQueries,
}

/// What a handler starts with.
struct Call {
    queries: JaegerQueries,
    tenants: Vec<TenantId>,
    uri: Uri,
}

impl Call {
    fn params(&self) -> QueryParams<'_> {
        QueryParams::parse(self.uri.query().unwrap_or_default())
    }
}

/// How a version of the API says that a query failed.
type Refuse = fn(&super::JaegerError) -> Response;

/// Finds the tenants, runs a handler, and turns errors into answers.
async fn run<F: Future<Output = Result<Answer>>>(
    shared: Shared,
    (uri, headers): (Uri, HeaderMap),
    refuse: Refuse,
    handle: impl FnOnce(Call) -> F,
) -> Response {
    let Shared { frontend, queries } = shared;
    let tenants = match frontend.tenancy.read_tenants(&headers) {
        Ok(tenants) => tenants,
        Err(error) => return error.into_response(),
    };
    let url = uri.path_and_query().map_or("", |url| url.as_str());
    if let Err(error) = frontend.check_url(url) {
        return refuse(&error.into());
    }
    match handle(Call { queries, tenants, uri }).await {
        Ok(answer) => answer.into_response(),
        Err(error) => {
            let status = error.http_status();
            if status.is_server_error() && status != ::http::StatusCode::NOT_IMPLEMENTED {
                tracing::warn!(%error, %status, "jaeger query failed");
            }
            refuse(&error)
        }
    }
}
