//! TraceQL metrics over HTTP. Answers are JSON, whatever the client accepts.

use ::http::{HeaderMap, Uri};
use axum::extract::State;
use axum::response::Response;
use tactus_api::metrics::{instant_response, range_response};
use tactus_api::request::MetricsQuery;
use tactus_api::{Encoding, Error, Result, json};

use super::{Answer, Call, Shared, answer};
use crate::frontend::unix_nanos_now;
use crate::metrics_query::SeriesAnswer;
use crate::trace_by_id::offload;

/// Answers with more points are encoded away from the threads that serve connections.
const INLINE_POINTS: usize = 10_000;

/// `/api/metrics/query_range`.
pub(super) async fn range(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let limits = call.frontend.limits_of(&call.tenants);
        let limits = call.frontend.settings.metrics_limits(&limits);
        let query = MetricsQuery::parse_range(&call.params(), &limits, unix_nanos_now())?;
        series(&call, &query).await
    })
    .await
}

/// `/api/metrics/query`.
pub(super) async fn instant(State(frontend): Shared, uri: Uri, headers: HeaderMap) -> Response {
    answer(frontend, uri, headers, async move |call: Call| {
        let limits = call.frontend.limits_of(&call.tenants);
        let limits = call.frontend.settings.metrics_limits(&limits);
        let query = MetricsQuery::parse_instant(&call.params(), &limits, unix_nanos_now())?;
        series(&call, &query).await
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

async fn series(call: &Call, query: &MetricsQuery) -> Result<Answer> {
    let found = call.frontend.query_metrics(&call.tenants, query).await?;
    let SeriesAnswer { answer, grid, facts, partial, explanation } = found;
    let points: usize = answer.series.iter().map(|series| series.points.len()).sum();
    let is_instant = query.is_instant;
    let body = offload(points > INLINE_POINTS, move || {
        let explanation = explanation.as_deref();
        if is_instant {
            json::instant_response(&instant_response(answer, facts), explanation)
        } else {
            json::range_response(&range_response(answer, &grid, facts), explanation)
        }
    });
    Ok(Answer { body: body.await?, encoding: Encoding::Json, partial })
}
