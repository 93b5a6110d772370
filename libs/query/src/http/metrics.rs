//! TraceQL metrics and the service graph over HTTP. Answers are JSON, whatever the client accepts.

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, Uri};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use tactus_api::metrics::instant_response;
use tactus_api::request::{MetricsQuery, metrics_range};
use tactus_api::{Encoding, Error, Result, json};

use super::{Answer, Call, SERIES, Shared, answer};
use crate::frontend::unix_nanos_now;
use crate::metrics_query::SeriesAnswer;
use crate::offload::offload;
use crate::service_graph::{GraphWindow, response_json};
use crate::streaming::range_json;

/// Answers with more points are encoded away from the threads that serve connections.
const INLINE_POINTS: usize = 10_000;

/// Graphs with more edges are encoded away from the threads that serve connections.
const INLINE_EDGES: usize = 1_000;

/// `/api/metrics/query_range`.
pub(super) async fn range(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let limits = call.frontend.limits_of(&call.tenants);
        let limits = call.frontend.settings.metrics_limits(&limits);
        let now = unix_nanos_now();
        let query = call.parse(move |params| MetricsQuery::parse_range(params, &limits, now));
        let query = query.await?;
        series(call, query).await
    })
    .await
}

/// `/api/metrics/query`.
pub(super) async fn instant(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let limits = call.frontend.limits_of(&call.tenants);
        let limits = call.frontend.settings.metrics_limits(&limits);
        let now = unix_nanos_now();
        let query = call.parse(move |params| MetricsQuery::parse_instant(params, &limits, now));
        let query = query.await?;
        series(call, query).await
    })
    .await
}

/// `/api/metrics/summary`.
pub(super) async fn summary(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |_| -> Result<Answer> {
        Err(Error::NotImplemented("metrics summary not supported".to_owned()))
    })
    .await
}

async fn series(call: Call, query: MetricsQuery) -> Result<Response> {
    let compact = call.wants_compact_series && !query.is_instant;
    if call.wants_events {
        return Ok(call.events().metrics(query, compact));
    }
    let found = call.frontend.query_metrics(&call.tenants, &query).await?;
    let partial = found.partial;
    let points: usize = found.answer.series.iter().map(|series| series.points.len()).sum();
    let is_instant = query.is_instant;
    let body = offload(points > INLINE_POINTS, move || {
        if is_instant {
            let SeriesAnswer { answer, facts, explanation, .. } = found;
            json::instant_response(&instant_response(answer, facts), explanation.as_deref())
        } else {
            range_json(found, compact)
        }
    });
    let answer = Answer { body: body.await?, encoding: Encoding::Json, partial };
    let mut response = answer.into_response();
    if compact {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SERIES));
    }
    Ok(response)
}

/// `/api/service-graph`: `start` and `end`, or `since`, and a filter `q`.
pub(super) async fn service_graph(
    State(frontend): Shared,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let params = call.params();
        let (start_unix_nanos, end_unix_nanos) = metrics_range(&params, unix_nanos_now())?;
        let window = GraphWindow { start_unix_nanos, end_unix_nanos };
        let found = call.frontend.service_graph(&call.tenants, window, params.get("q")).await?;
        let partial = found.partial;
        let is_large = found.edges.len() > INLINE_EDGES;
        let body = offload(is_large, move || response_json(&found, window)).await??;
        Ok(Answer { body, encoding: Encoding::Json, partial })
    })
    .await
}
