//! A trace for its page: first the positions of all spans in time and in the tree, then the details of some spans.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use moka::sync::Cache;
use tactus_api::request::{TraceQuery, parse_trace_id};
use tactus_api::trace::{CombinedTrace, TraceFacts, WhenTooLarge};
use tactus_api::{Encoding, Error, Result};
use tactus_config::sections::query_frontend::OpenTraces as Settings;
use tactus_model::{SpanId, TraceId};
use tactus_traceql::eval::CompiledQuery;
use tactus_work::Held;

use super::find::{self, Finding, Found};
use super::layout::SpanHead;
use super::skeleton::Skeleton;
use crate::current_query::joined;
use crate::http::sent_trace::{Sent, TraceForm, send, written};
use crate::http::trace_forms::{JaegerForm, OtlpForm};
use crate::http::{Answer, Answered, Asked, Call};
use crate::offload::{hold, offload};
use crate::trace_by_id::{FoundTrace, Large, Limited, TraceMemory, malformed};

mod shown;

/// Spans of one request for details.
const MAX_IDS: usize = 200;

/// Traces that were read a moment ago, by tenants and id.
#[derive(Clone)]
pub(super) struct OpenTraces(Cache<(String, TraceId), Arc<FoundTrace>>);

impl OpenTraces {
    pub(super) fn new(settings: &Settings) -> Self {
        let weigher = |_: &(String, TraceId), found: &Arc<FoundTrace>| {
            u32::try_from(found.trace.bytes() + 256).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(settings.max_bytes).weigher(weigher);
        Self(cache.time_to_live(settings.keep_for.as_std()).build())
    }

    /// Reads a trace anew, of a large one a part, which is not kept. Errors: [`Error::NotFound`] if nobody has it,
    /// [`Error::Internal`] if that cannot be known.
    async fn read(&self, call: &Call, id: TraceId, large: Large) -> Result<Arc<FoundTrace>> {
        let (query, limits) = (TraceQuery::default(), (WhenTooLarge::Cut, large));
        let found = call.frontend.find_part(&call.tenants, id, query, limits).await?;
        self.keep(call, id, found)
    }

    /// Keeps a trace that was found, unless it is a part: then it has grown since it was kept. Errors: as of
    /// [`Self::read`].
    fn keep(&self, call: &Call, id: TraceId, mut found: FoundTrace) -> Result<Arc<FoundTrace>> {
        if found.trace.is_empty() && !found.is_part {
            return Err(match found.facts.partial {
                true => Error::Internal(found.facts.message),
                false => Error::NotFound,
            });
        }
        let key = (joined(&call.tenants), id);
        if found.is_part {
            self.0.invalidate(&key);
            return Ok(Arc::new(found));
        }
        // Traces that are kept have a bound of their own.
        found.memory = TraceMemory::default();
        let found = Arc::new(found);
        self.0.insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// Answers with the whole trace, a long one a piece at a time.
    async fn send(&self, call: &Call, id: TraceId, form: impl TraceForm) -> Answered<Response> {
        let (query, when_too_large) = (TraceQuery::default(), WhenTooLarge::Cut);
        let found = match self.known(call, id) {
            Some(found) => found,
            None => {
                let frontend = &call.frontend;
                match frontend.find_limited(&call.tenants, id, query, when_too_large, true).await? {
                    Limited::Whole(found) => self.keep(call, id, found)?,
                    Limited::TooLarge(bytes) => {
                        let large = Sent::Large { id, query, when_too_large, bytes };
                        return send(call, large, form, Encoding::Json.content_type()).await;
                    }
                }
            }
        };
        send_known(call, FoundTrace::clone(&found), form).await
    }

    fn known(&self, call: &Call, id: TraceId) -> Option<Arc<FoundTrace>> {
        self.0.get(&(joined(&call.tenants), id))
    }

    async fn find_or_read(
        &self,
        call: &Call,
        id: TraceId,
        large: Large,
    ) -> Result<Arc<FoundTrace>> {
        match self.known(call, id) {
            Some(found) => Ok(found),
            None => self.read(call, id, large).await,
        }
    }
}

/// Answers with a trace that is in memory, a long one a piece at a time.
pub(super) async fn send_known(
    call: &Call,
    mut found: FoundTrace,
    mut form: impl TraceForm,
) -> Answered<Response> {
    if found.trace.takes_long() {
        found.memory = found.memory.and(&call.frontend.memory, found.trace.bytes() as u64).await?;
        return send(call, Sent::Known(found), form, Encoding::Json.content_type()).await;
    }
    let body = written(&mut form, found.trace, &found.facts)?;
    Ok(Answer::new(body, Encoding::Json, found.facts.partial).into_response())
}

/// All spans as columns; see [`Skeleton`].
pub(super) async fn skeleton(
    State(open): State<OpenTraces>,
    Extension(call): Asked,
    Path(id): Path<String>,
) -> Answered {
    let id = parse_trace_id(&id)?;
    let found = open.read(&call, id, Large::Heads).await?;
    let partial = found.facts.partial;
    let is_long = found.trace.takes_long();
    let body = offload(is_long, move || {
        let FoundTrace { trace, facts, .. } = &*found;
        encode(id, trace, facts)
    });
    Ok(skeleton_answer(body.await??, partial))
}

pub(super) fn skeleton_answer(body: Vec<u8>, partial: bool) -> Answer {
    Answer::of_type("application/vnd.tactus.skeleton", body, partial)
}

pub(super) fn encode(id: TraceId, trace: &CombinedTrace, facts: &TraceFacts) -> Result<Vec<u8>> {
    Ok(Skeleton::of(trace).map_err(malformed)?.encode(id, facts))
}

/// The spans of these ids, or without `ids` all, as OTLP's JSON. Spans that share an id all come.
pub(super) async fn spans(
    State(open): State<OpenTraces>,
    Extension(call): Asked,
    Path(id): Path<String>,
) -> Answered<Response> {
    let id = parse_trace_id(&id)?;
    let Some(ids) = call.params().get("ids").map(span_ids).transpose()? else {
        return open.send(&call, id, OtlpForm::default()).await;
    };
    let mut found = open.find_or_read(&call, id, Large::Spans(ids.clone())).await?;
    if found.is_part && !shown::has_all(&found, &ids).await? {
        // Halves of a call that share an id are told apart among all spans alone.
        found = open.find_or_read(&call, id, Large::Heads).await?;
        if found.is_part {
            let found = shown::read(&call, id, found, ids).await?;
            return send_known(&call, found, OtlpForm::default()).await;
        }
    }
    let filtered = offload(found.trace.takes_long(), move || {
        let trace = found.trace.filtered(|span| has_id(span, &ids));
        FoundTrace {
            trace,
            facts: found.facts.clone(),
            is_part: true,
            memory: found.memory.clone(),
        }
    });
    send_known(&call, filtered.await?, OtlpForm::default()).await
}

/// `{spans, matched, rows}` of a TraceQL query on this trace: `rows` is a bitmap over the rows of its skeleton, in base64. Of a
/// text that is no query `{problem}`.
pub(super) async fn find(
    State(open): State<OpenTraces>,
    Extension(call): Asked,
    Path(id): Path<String>,
) -> Answered {
    let id = parse_trace_id(&id)?;
    let limit = call.frontend.settings.section.max_query_expression_size_bytes;
    let finding =
        call.parse(move |params| Ok(Finding::of(params.get("q").unwrap_or_default(), limit)));
    let query: Arc<CompiledQuery> = match finding.await? {
        Finding::Query(query) => query.into(),
        Finding::Problem(text) => return Ok(Answer::json(&find::problem(&text))),
    };
    let found = match open.known(&call, id) {
        Some(found) => found,
        None => {
            let params = call.params();
            let text = params.get("q").unwrap_or_default();
            let (frontend, tenants) = (&call.frontend, &call.tenants);
            match find::find_in(frontend, tenants, id, text, Arc::clone(&query)).await? {
                Found::Trace(found) => open.keep(&call, id, found)?,
                Found::Rows { value, partial, .. } => {
                    return Ok(Answer::json(&value).partial(partial));
                }
            }
        }
    };
    let (is_long, partial) = (found.trace.takes_long(), found.facts.partial);
    let value = async {
        // Its columns take about as much as the trace.
        let mut held = Held::default();
        hold(&mut held, found.trace.bytes()).await?;
        offload(is_long, move || find::rows(&found.trace, id, &query)).await?
    };
    let value = call.frontend.within_limits(&call.tenants, value).await?;
    Ok(Answer::json(&value).partial(partial))
}

fn span_ids(list: &str) -> Result<Vec<SpanId>> {
    let ids: Option<Vec<_>> = list.split(',').map(SpanId::from_hex).collect();
    match ids {
        Some(ids) if ids.len() <= MAX_IDS => Ok(ids),
        Some(_) => Err(Error::Invalid(format!("more than {MAX_IDS} span ids"))),
        None => Err(Error::Invalid("ids: a comma-separated list of span ids".to_owned())),
    }
}

fn has_id(span: &Bytes, ids: &[SpanId]) -> bool {
    SpanHead::read(span).is_ok_and(|(head, _)| ids.contains(&head.id))
}

/// The trace as Jaeger's JSON, which its UI opens.
pub(super) async fn jaeger(
    State(open): State<OpenTraces>,
    Extension(call): Asked,
    Path(id): Path<String>,
) -> Answered<Response> {
    let id = parse_trace_id(&id)?;
    open.send(&call, id, JaegerForm::new(id)).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::http::{Request, StatusCode};
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use prost::Message as _;
    use tactus_config::sections::overrides::Limits;
    use tactus_proto::opentelemetry::proto::trace::v1::{
        ResourceSpans, ScopeSpans, Span, TracesData,
    };
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::begin_calls;
    use crate::tests::doubles::RecentData;
    use crate::tests::frontend_within;

    const ID: TraceId = TraceId([7; 16]);

    fn api(open: &OpenTraces, max_query_cpu_time: Duration) -> Router {
        let span = |number: u64| Span {
            trace_id: ID.0.to_vec().into(),
            span_id: number.to_be_bytes().to_vec().into(),
            ..Span::default()
        };
        let spans = (1..=1_000).map(span).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        let recent = Arc::new(RecentData::default());
        *recent.trace.lock() = TracesData { resource_spans }.encode_to_vec().into();
        let mut limits = Limits::built_in();
        limits.read.max_query_cpu_time = max_query_cpu_time.into();
        let frontend = frontend_within(&recent, limits, u64::MAX, u64::MAX);
        let routes = Router::new()
            .route("/{id}/skeleton", get(skeleton))
            .route("/{id}/find", get(find))
            .with_state(open.clone());
        begin_calls(routes, &frontend)
    }

    async fn status(api: Router, path: &str) -> StatusCode {
        let path = format!("/{}{path}", ID.to_hex());
        let request = Request::get(path).body(Body::empty()).unwrap();
        api.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn query_in_a_trace_that_is_kept_ends_at_the_limits_of_a_query() {
        let (minute, nothing) = (Duration::from_secs(60), Duration::from_nanos(1));
        let open = OpenTraces::new(&Settings::default());
        assert_eq!(status(api(&open, minute), "/skeleton").await, 200);
        assert!(open.0.iter().next().is_some(), "it is kept");
        assert_eq!(status(api(&open, minute), "/find?q={}").await, 200);
        assert_eq!(status(api(&open, nothing), "/find?q={}").await, 422);
    }
}
