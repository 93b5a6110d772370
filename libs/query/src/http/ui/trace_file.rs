//! Files with traces, shown as stored traces are.
//!
//! Nothing is kept between two requests: a page sends the file with each question about it.

use std::cmp::Reverse;

use axum::body::Body;
use axum::extract::Extension;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tactus_api::request::parse_trace_id;
use tactus_api::trace::{CombinedTrace, TraceFacts};
use tactus_api::{Error, QueryParams, Result};
use tactus_model::TraceId;

use super::find::{self, Finding};
use super::layout::NO_PARENT;
use super::skeleton::Skeleton;
use super::traces::{encode, send_known, skeleton_answer};
use crate::http::trace_forms::{JaegerForm, OtlpForm};
use crate::http::{Answer, Answered, Asked};
use crate::offload::offload;
use crate::trace_by_id::{FoundTrace, TraceMemory, malformed};
use crate::trace_files::{ReceivedFile, TraceFile, decode};

/// Traces of a file that are listed, the newest.
const LISTED: usize = 1_000;

/// What is asked of a file.
enum Question {
    /// Which traces it has.
    Traces,
    /// As of a stored trace, of one of its traces.
    Of(TraceId, Part),
}

enum Part {
    Skeleton,
    Otlp,
    Jaeger,
    Find(Finding),
}

impl Question {
    fn parse(params: &QueryParams<'_>, max_query_bytes: usize) -> Result<Self> {
        let Some(id) = params.get("trace") else { return Ok(Self::Traces) };
        let part = match params.get("as").unwrap_or("skeleton") {
            "skeleton" => Part::Skeleton,
            "spans" => Part::Otlp,
            "jaeger" => Part::Jaeger,
            "find" => {
                let text = params.get("q").unwrap_or_default();
                Part::Find(Finding::of(text, max_query_bytes))
            }
            other => {
                let known = "skeleton, spans, jaeger or find";
                return Err(Error::Invalid(format!("invalid as {other:?}: expected {known}")));
            }
        };
        Ok(Self::Of(parse_trace_id(id)?, part))
    }
}

/// The body is a file, which may be compressed by gzip. Without parameters `{format, spans, withoutTrace, traces}`, of
/// each trace `{traceId, service, name, start, duration, spans, errors}`, the newest first. With `trace`, an id, what
/// `as` says of it: `skeleton`, `spans` or `jaeger`, as of stored traces, or `find` with a query `q`.
pub(super) async fn trace_file(Extension(call): Asked, body: Body) -> Answered<Response> {
    let settings = &call.frontend.settings.section;
    let max_query_bytes = settings.max_query_expression_size_bytes;
    let question = call.parse(move |params| Question::parse(params, max_query_bytes)).await?;
    let max_spans = settings.trace_files.max_spans;
    let file = call.frontend.receive_file(body).await?;
    match offload(true, move || answer_to(question, &file, max_spans)).await?? {
        Reply::Answer(answer) => Ok(answer.into_response()),
        Reply::Otlp(trace) => send_known(&call, found(trace), OtlpForm::default()).await,
        Reply::Jaeger(id, trace) => send_known(&call, found(trace), JaegerForm::new(id)).await,
    }
}

/// An answer, or the trace to write as one.
enum Reply {
    Answer(Answer),
    Otlp(CombinedTrace),
    Jaeger(TraceId, CombinedTrace),
}

fn answer_to(question: Question, file: &ReceivedFile, max_spans: usize) -> Result<Reply> {
    let mut file = decode(&file.bytes, max_spans)?;
    let (id, part) = match question {
        Question::Traces => return Ok(Reply::Answer(Answer::json(&list(&file)?))),
        Question::Of(id, part) => (id, part),
    };
    let traces = &mut file.content.traces;
    let place = traces.iter().position(|(other, _)| *other == id).ok_or(Error::NotFound)?;
    let (_, trace) = traces.swap_remove(place);
    Ok(match part {
        Part::Skeleton => {
            let facts = TraceFacts::default();
            Reply::Answer(skeleton_answer(encode(id, &trace, &facts)?, false))
        }
        Part::Otlp => Reply::Otlp(trace),
        Part::Jaeger => Reply::Jaeger(id, trace),
        Part::Find(Finding::Query(query)) => {
            Reply::Answer(Answer::json(&find::rows(&trace, id, &query)?))
        }
        Part::Find(Finding::Problem(text)) => Reply::Answer(Answer::json(&find::problem(&text))),
    })
}

fn found(trace: CombinedTrace) -> FoundTrace {
    let (facts, memory) = (TraceFacts::default(), TraceMemory::default());
    FoundTrace { trace, facts, is_part: false, memory }
}

fn list(TraceFile { format, content }: &TraceFile) -> Result<Value> {
    let started = content.traces.iter().map(|(id, trace)| {
        let skeleton = Skeleton::of(trace).map_err(malformed)?;
        Ok((start_of(&skeleton), *id, trace))
    });
    let mut started = started.collect::<Result<Vec<_>>>()?;
    started.sort_by_key(|(start, ..)| Reverse(*start));
    // A file may have very many traces: only those that are shown are put into words.
    let shown = started.into_iter().take(LISTED).map(|(_, id, trace)| summary(id, trace));
    let shown = shown.collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "format": format,
        "spans": content.spans,
        "withoutTrace": content.without_trace,
        "more": content.traces.len() - shown.len(),
        "traces": shown,
    }))
}

/// The first nanosecond of a trace.
fn start_of(skeleton: &Skeleton) -> u64 {
    skeleton.rows().map(|row| row.span.start).min().unwrap_or_default()
}

/// A trace of the list.
fn summary(id: TraceId, trace: &CombinedTrace) -> Result<Value> {
    let skeleton = Skeleton::of(trace).map_err(malformed)?;
    let heads = || skeleton.rows().map(|row| row.span);
    let start = start_of(&skeleton);
    let end = heads().map(|head| head.end.max(head.start)).max().unwrap_or_default();
    let root = skeleton.rows().find(|row| row.parent == NO_PARENT);
    let (service, name) = root.map_or(("", ""), |row| (row.service, row.name));
    let errors = heads().filter(|head| head.is_error()).count();
    Ok(json!({
        "traceId": id.to_hex(),
        "service": service,
        "name": name,
        "start": start.to_string(),
        "duration": (end - start).to_string(),
        "spans": trace.spans(),
        "errors": errors,
    }))
}
