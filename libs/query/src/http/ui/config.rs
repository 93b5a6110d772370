//! What the pages must know of the server.

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use tactus_config::sections::query_frontend::Link;
use tactus_model::TenantId;

use super::Shared;
use crate::http::answer;

/// Version, tenants of the request, links, and the limits that its queries and files meet; times in seconds, 0 is no limit.
pub(super) async fn config(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    answer(shared.frontend, uri, headers, async |call| {
        let limits = call.frontend.limits_of(&call.tenants);
        let search = call.frontend.settings.search_limits();
        let tenants: Vec<_> = call.tenants.iter().map(TenantId::as_str).collect();
        Ok(super::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "tenants": tenants,
            "links": call.frontend.settings.links.iter().map(link).collect::<Vec<_>>(),
            "limits": {
                "searchSeconds": limits.max_search_duration.as_secs(),
                "metricsSeconds": limits.max_metrics_duration.as_secs(),
                "traceBytes": limits.max_bytes_per_trace,
                "traces": search.max_limit,
                "defaultTraces": search.default_limit,
                "fileBytes": call.frontend.settings.trace_files.max_bytes,
            },
        })))
    })
    .await
}

fn link(link: &Link) -> serde_json::Value {
    json!({ "title": link.title, "url": link.url, "match": link.shown_with })
}
