//! Traces, found by their spans or by their ids.

use ::http::StatusCode;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tactus_api::Result;
use tactus_query::{TraceLookup, WholeTrace, WholeTraces, offload};
use tactus_server::http::text;
use tactus_zipkin::spans_from_otlp;
use tactus_zipkin::v2::{Span, write_spans};

use super::matching::traceql;
use super::params::{TracesQuery, trace_id, trace_ids};
use super::{Answered, Call, Refused};
use crate::call::Answer;
use crate::long_work::takes_long;

/// Tag of a trace's root that says why spans may be missing.
const WARNING: &[u8] = b"tactus.warning";

pub(super) async fn search(call: Call) -> Answered {
    let query = TracesQuery::parse(&call.params(), tactus_clock::unix_nanos())?;
    call.check_limit(query.limit)?;
    let lookup = TraceLookup {
        query: traceql(&query.conditions),
        limit: query.limit,
        start: query.window.start,
        end: query.window.end,
    };
    let settings = &call.shared.settings.lookup;
    let found = call.frontend().find_whole_traces(&call.tenants, &lookup, settings).await?;
    list_of_traces(&call, found).await
}

pub(super) async fn one(Path(id): Path<String>, call: Call) -> Response {
    match trace(&call, &id).await {
        Err(error) if error.http_status() == StatusCode::NOT_FOUND => {
            text(StatusCode::NOT_FOUND, format!("{id} not found"))
        }
        answer => answer.map_err(Refused).into_response(),
    }
}

async fn trace(call: &Call, id: &str) -> Result<Answer> {
    let trace = call.frontend().whole_trace(&call.tenants, trace_id(id)?).await?;
    let partial = !trace.message.is_empty();
    let is_long = takes_long(&trace.data.resource_spans);
    let _held = call.memory_to_write([&trace.memory]).await?;
    let body = offload(is_long, move || write_spans(&spans_of(&trace)));
    Ok(Answer::of_json(body.await?).partial(partial))
}

pub(super) async fn many(call: Call) -> Answered {
    let ids = trace_ids(&call.params())?;
    call.check_limit(u32::try_from(ids.len()).unwrap_or(u32::MAX))?;
    let settings = &call.shared.settings.lookup;
    let found = call.frontend().whole_traces(&call.tenants, &ids, settings).await?;
    list_of_traces(&call, found).await
}

async fn list_of_traces(call: &Call, found: WholeTraces) -> Answered {
    let _held = call.memory_to_write(found.traces.iter().map(|trace| &trace.memory)).await?;
    let WholeTraces { traces, partial, .. } = found;
    let is_long = takes_long(traces.iter().flat_map(|trace| &trace.data.resource_spans));
    let body = offload(is_long, move || {
        let mut body = vec![b'['];
        for (number, trace) in traces.into_iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend(write_spans(&spans_of(&trace)));
        }
        body.push(b']');
        body
    });
    Ok(Answer::of_json(body.await?).partial(partial))
}

/// The spans as Zipkin has them. A list of spans has no place for what is to be known of all of them: the root says it,
/// or the first span where there is no root.
fn spans_of(trace: &WholeTrace) -> Vec<Span> {
    let mut spans = spans_from_otlp(&trace.data.resource_spans);
    let root = spans.iter().position(|span| span.parent_id.is_none()).unwrap_or(0);
    if let Some(span) = spans.get_mut(root).filter(|_| !trace.message.is_empty()) {
        let tag = (Bytes::from_static(WARNING), Bytes::from(trace.message.clone()));
        let place = span.tags.partition_point(|(key, _)| key < &tag.0);
        span.tags.insert(place, tag);
    }
    spans
}
