//! What the pages must know of the server.

use axum::extract::Extension;
use serde_json::json;
use tactus_config::sections::query_frontend::Link;
use tactus_model::TenantId;

use crate::http::{Answer, Answered, Asked};

/// Version, tenants of the request, links, and the limits that its queries and files meet; times in seconds, 0 is no limit.
pub(super) async fn config(Extension(call): Asked) -> Answered {
    let limits = call.frontend.limits_of(&call.tenants);
    let search = call.frontend.settings.search_limits();
    let tenants: Vec<_> = call.tenants.iter().map(TenantId::as_str).collect();
    Ok(Answer::json(&json!({
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
}

fn link(link: &Link) -> serde_json::Value {
    json!({ "title": link.title, "url": link.url, "match": link.shown_with })
}
