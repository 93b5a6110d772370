//! Traces, found by their spans or by their ids.

use std::iter::once;

use ::http::StatusCode;
use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tactus_api::Result;
use tactus_model::SpanId;
use tactus_proto::otlp;
use tactus_query::{TraceLookup, TraceMemory, WholeTrace, WholeTraces};
use tactus_server::http::text;
use tactus_zipkin::spans_from_otlp;
use tactus_zipkin::v2::write_span;

use super::matching::traceql;
use super::params::{TracesQuery, USUAL_LENGTH, trace_id, trace_ids};
use super::{Answered, Call, Refused};
use crate::call::{Answer, limit_of, usual_length};

/// Traces of a search that does not say how many.
const USUAL_LIMIT: u32 = 10;

/// Tag of a trace's root that says why spans may be missing.
const WARNING: &[u8] = b"tactus.warning";

pub(super) async fn search(call: Call) -> Answered {
    let length = usual_length(USUAL_LENGTH, call.frontend(), &call.tenants);
    let query = TracesQuery::parse(&call.params(), tactus_clock::unix_nanos(), length)?;
    let max_limit = call.shared.settings.max_limit;
    let limit = limit_of(query.limit, USUAL_LIMIT, max_limit, call.frontend())?;
    let lookup = TraceLookup {
        query: traceql(&query.conditions),
        limit,
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
        answer => answer.map_err(Refused::Query).into_response(),
    }
}

async fn trace(call: &Call, id: &str) -> Result<Answer> {
    let trace = call.frontend().whole_trace(&call.tenants, trace_id(id)?).await?;
    let partial = trace.may_lack_spans();
    let to_send = call.to_send(std::slice::from_ref(&trace), TraceMemory::default()).await?;
    Ok(Answer::of_json(to_send.body(pieces_of_trace(trace)).await?).partial(partial))
}

pub(super) async fn many(call: Call) -> Answered {
    let ids = trace_ids(&call.params())?;
    call.check_limit(u32::try_from(ids.len()).unwrap_or(u32::MAX))?;
    let settings = &call.shared.settings.lookup;
    let found = call.frontend().whole_traces(&call.tenants, &ids, settings).await?;
    list_of_traces(&call, found).await
}

async fn list_of_traces(call: &Call, found: WholeTraces) -> Answered {
    let WholeTraces { traces, partial, decoding, .. } = found;
    let to_send = call.to_send(&traces, decoding).await?;
    let traces = traces.into_iter().enumerate().flat_map(|(number, trace)| {
        let comma = (number > 0).then(|| Ok(b",".to_vec()));
        comma.into_iter().chain(pieces_of_trace(trace))
    });
    let pieces = once(Ok(b"[".to_vec())).chain(traces).chain(once(Ok(b"]".to_vec())));
    Ok(Answer::of_json(to_send.body(pieces).await?).partial(partial))
}

/// The list of the spans of a trace. It has no place for what is to be known of all of them: the root says it, or the first
/// span where there is no root.
fn pieces_of_trace(trace: WholeTrace) -> Box<dyn Iterator<Item = Result<Vec<u8>>> + Send> {
    let resource_spans = match trace.decode() {
        Ok(data) => data.resource_spans,
        Err(error) => return Box::new(once(Err(error))),
    };
    let scopes = resource_spans.iter().flat_map(|group| &group.scope_spans);
    let mut spans = scopes.flat_map(|scope| &scope.spans);
    let is_root = |span: &otlp::Span| SpanId::from_slice(&span.parent_span_id).is_zero();
    let root = spans.position(is_root).unwrap_or(0);
    let spans = spans_from_otlp(resource_spans).enumerate().map(move |(number, mut span)| {
        if number == root && !trace.message.is_empty() {
            let tag = (Bytes::from_static(WARNING), Bytes::from(trace.message.clone()));
            let place = span.tags.partition_point(|(key, _)| key < &tag.0);
            span.tags.insert(place, tag);
        }
        let mut piece = if number > 0 { vec![b','] } else { Vec::new() };
        write_span(&span, &mut piece);
        Ok(piece)
    });
    Box::new(once(Ok(b"[".to_vec())).chain(spans).chain(once(Ok(b"]".to_vec()))))
}
