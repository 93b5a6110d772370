//! TraceQL metrics and the service graph over HTTP. Answers are JSON, whatever the client accepts.

use axum::extract::Extension;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tactus_api::request::{MetricsLimits, MetricsQuery, metrics_range};
use tactus_api::{Encoding, QueryParams, Result};
use tactus_clock::unix_nanos;

use super::call::{Answer, Answered, Asked, Call, SERIES};
use crate::metrics::METRICS;
use crate::offload::offload;
use crate::service_graph::{GraphWindow, response_json};
use crate::streaming::{instant_json, range_json};

/// A graph with more edges is encoded on a thread of its own, not on one that serves connections.
const INLINE_EDGES: usize = 1_000;

/// `/api/metrics/query_range`.
pub(super) async fn range(Extension(call): Asked) -> Answered<Response> {
    series(call, MetricsQuery::parse_range).await
}

/// `/api/metrics/query`.
pub(super) async fn instant(Extension(call): Asked) -> Answered<Response> {
    series(call, MetricsQuery::parse_instant).await
}

/// `/api/metrics/summary`, which Tempo 3 has no more: as an unknown path, but with a text that tells why.
pub(super) async fn summary() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "metrics summary not supported")
}

async fn series(
    call: Call,
    parse: fn(&QueryParams<'_>, &MetricsLimits, u64) -> Result<MetricsQuery>,
) -> Answered<Response> {
    let (limits, now) = (call.frontend.metrics_limits(&call.tenants), unix_nanos());
    let query = call.parse(move |params| parse(params, &limits, now)).await;
    let query = call.parsed(METRICS, query)?;
    let compact = call.wants_compact_series && !query.is_instant;
    if call.wants_events {
        return Ok(call.events().metrics(query, compact));
    }
    let found = call.frontend.query_metrics(&call.tenants, &query).await?;
    let (partial, is_instant) = (found.partial, query.is_instant);
    let write = move |found| match is_instant {
        true => instant_json(found),
        false => range_json(found, compact),
    };
    let body = found.written(&call.frontend.memory, write).await?;
    let content_type = if compact { SERIES } else { Encoding::Json.content_type() };
    Ok(Answer::of_type(content_type, body, partial).into_response())
}

/// `/api/service-graph`: `start` and `end`, or `since`, and a filter `q`.
pub(super) async fn service_graph(Extension(call): Asked) -> Answered {
    let params = call.params();
    let (start_unix_nanos, end_unix_nanos) = metrics_range(&params, unix_nanos())?;
    let window = GraphWindow { start_unix_nanos, end_unix_nanos };
    let found = call.frontend.service_graph(&call.tenants, window, params.get("q")).await?;
    let partial = found.partial;
    let is_large = found.edges.len() > INLINE_EDGES;
    let body = offload(is_large, move || response_json(&found, window)).await??;
    Ok(Answer::new(body, Encoding::Json, partial))
}
