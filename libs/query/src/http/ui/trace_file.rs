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
use tactus_work::{UNITS_OF_WRITTEN_SPAN, tick};

use super::find::{self, Finding};
use super::layout::{NO_PARENT, SpanHead};
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
    let reply = async { offload(true, move || answer_to(question, &file, max_spans)).await? };
    match call.frontend.within_limits(&call.tenants, reply).await? {
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
    let started = content.traces.iter().map(|(id, trace)| Ok((start_of(trace)?, *id, trace)));
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

/// The first nanosecond of a trace. Its resources are not read: a file may have a large one with very many traces.
fn start_of(trace: &CombinedTrace) -> Result<u64> {
    let mut messages = trace.spans_by_resource().flat_map(|(_, messages)| messages);
    messages.try_fold(u64::MAX, |first, message| {
        if tick(UNITS_OF_WRITTEN_SPAN) {
            return Err(Error::Cancelled);
        }
        let (head, _) = SpanHead::read(message).map_err(malformed)?;
        Ok(first.min(head.start))
    })
}

/// A trace of the list.
fn summary(id: TraceId, trace: &CombinedTrace) -> Result<Value> {
    if tick(u32::try_from(trace.bytes()).unwrap_or(u32::MAX)) {
        return Err(Error::Cancelled);
    }
    let skeleton = Skeleton::of(trace).map_err(malformed)?;
    let heads = || skeleton.rows().map(|row| row.span);
    let start = heads().map(|head| head.start).min().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ::http::Request;
    use axum::Router;
    use axum::routing::post;
    use tactus_config::sections::overrides::Limits;
    use tactus_work::{Over, Work, end};
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::begin_calls;
    use crate::tests::doubles::RecentData;
    use crate::tests::frontend_within;

    #[tokio::test]
    async fn query_in_a_file_ends_at_the_limits_of_a_query() {
        let trace = TraceId([7; 16]).to_hex();
        let spans: Vec<_> = (1..=1_000)
            .map(|number| json!({ "traceId": trace, "spanId": format!("{number:016x}") }))
            .collect();
        let file = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
        for (max_query_cpu_time, status) in
            [(Duration::from_secs(60), 200), (Duration::from_nanos(1), 422)]
        {
            let mut limits = Limits::built_in();
            limits.read.max_query_cpu_time = max_query_cpu_time.into();
            let recent = Arc::new(RecentData::default());
            let frontend = frontend_within(&recent, limits, u64::MAX, u64::MAX);
            let api = begin_calls(Router::new().route("/file", post(trace_file)), &frontend);
            let request = Request::post(format!("/file?trace={trace}&as=find&q={{}}"));
            let request = request.body(Body::from(file.clone())).unwrap();
            assert_eq!(api.oneshot(request).await.unwrap().status(), status);
        }
    }

    /// Traces of one span, which all have one resource.
    fn traces_of(resource: &Value, count: u64) -> TraceFile {
        let spans: Vec<_> = (1..=count)
            .map(|number| {
                let (trace, span) = (format!("{number:032x}"), "0000000000000001");
                json!({ "traceId": trace, "spanId": span, "startTimeUnixNano": number })
            })
            .collect();
        let file = json!({ "resourceSpans": [{
            "resource": resource,
            "scopeSpans": [{ "spans": spans }],
        }] });
        decode(&file.to_string().into(), 1_000_000).unwrap()
    }

    #[test]
    fn large_resource_is_read_only_for_the_traces_that_are_shown() {
        let attributes = vec![json!({ "key": "k", "value": { "stringValue": "v" } }); 1_000];
        let file = traces_of(&json!({ "attributes": attributes }), 20_000);
        let began = std::time::Instant::now();
        let listed = list(&file).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(listed["traces"].as_array().unwrap().len(), LISTED);
        assert_eq!(listed["more"], 19_000);
        assert_eq!(listed["traces"][0]["start"], "20000", "the newest is the first");
    }

    #[test]
    fn nothing_is_listed_once_nobody_waits() {
        let file = traces_of(&json!({}), 10);
        let mut listed = Ok(Value::Null);
        let ended = Work::default().run(|| {
            end(Over::Cancelled);
            listed = list(&file);
        });
        assert_eq!((listed, ended), (Err(Error::Cancelled), Err(Over::Cancelled)));
    }
}
