//! The API of the pages, below `/ui/api/`: the query API, and what only pages ask.

mod check;
mod differences;
mod find;
mod layout;
mod queries;
mod skeleton;
mod status;
mod tail;
mod trace_file;
mod traces;
mod typical;

use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tactus_config::sections::query_frontend::Link;
use tactus_model::TenantId;

use super::{Answer, Answered, Asked, begin_calls, router};
use crate::frontend::Frontend;
use crate::live_tail::LiveTails;
pub use status::ClusterStatus;
use traces::OpenTraces;

/// The routes of the pages' API. Put behind authentication; it has no fallback.
pub fn ui_router(frontend: Arc<Frontend>, tails: LiveTails, cluster: ClusterStatus) -> Router {
    let open = OpenTraces::new(&frontend.settings.section.open_traces);
    let own = Router::new()
        .route("/api/config", get(config))
        .route("/api/check", get(check::check))
        .route("/api/tail", get(tail::tail).with_state(tails.clone()))
        .route("/api/status", get(status::status).with_state((cluster, tails)))
        .route("/api/queries", get(queries::list))
        .route("/api/typical", get(typical::typical))
        .route("/api/differences", get(differences::differences))
        .route("/api/trace-file", post(trace_file::trace_file))
        .route("/api/traces/{id}/skeleton", get(traces::skeleton))
        .route("/api/traces/{id}/spans", get(traces::spans))
        .route("/api/traces/{id}/find", get(traces::find))
        .route("/api/traces/{id}/jaeger", get(traces::jaeger))
        .with_state(open);
    let own = begin_calls(own, &frontend);
    Router::new().nest("/ui", router(frontend).merge(own))
}

/// The routes of the pages' API that change something of the tenant. Put behind authentication; it has no fallback.
pub fn ui_change_router(frontend: Arc<Frontend>) -> Router {
    let routes = Router::new().route("/ui/api/queries/{id}", delete(queries::stop));
    begin_calls(routes, &frontend)
}

/// Version, tenants of the request, links, and the limits that its queries and files meet; times in seconds, 0 is no limit.
async fn config(Extension(call): Asked) -> Answered {
    let limits = call.frontend.limits_of(&call.tenants);
    let search = call.frontend.settings.search_limits();
    let tenants: Vec<_> = call.tenants.iter().map(TenantId::as_str).collect();
    Ok(Answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "tenants": tenants,
        "links": call.frontend.settings.section.links.iter().map(link).collect::<Vec<_>>(),
        "limits": {
            "searchSeconds": limits.max_search_duration.as_secs(),
            "metricsSeconds": limits.max_metrics_duration.as_secs(),
            "traceBytes": limits.max_bytes_per_trace,
            "traces": search.max_limit,
            "defaultTraces": search.default_limit,
            "fileBytes": call.frontend.settings.section.trace_files.max_bytes,
        },
    })))
}

fn link(link: &Link) -> Value {
    json!({ "title": link.title, "url": link.url, "match": link.shown_with })
}
