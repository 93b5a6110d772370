//! A trace for its page: first where all spans lie in time and below each other, then what is shown of some.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use moka::sync::Cache;
use prost::Message as _;
use tactus_api::request::{TraceQuery, parse_trace_id};
use tactus_api::trace::{CombinedTrace, TraceFacts, WhenTooLarge};
use tactus_api::{Encoding, Error, Result};
use tactus_config::sections::query_frontend::OpenTraces as Settings;
use tactus_jaeger::json::{self, Envelope};
use tactus_model::{SpanId, TraceId};
use tactus_otlp_json::OtlpJson;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_traceql::eval::CompiledQuery;

use super::find::{self, Finding, Found};
use super::layout::SpanHead;
use super::skeleton::Skeleton;
use crate::current_query::joined;
use crate::http::{Answer, Answered, Asked, Call};
use crate::offload::offload;
use crate::trace_by_id::{FoundTrace, Large, TraceMemory, malformed};

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

    /// Keeps a trace that was found, unless it is a part. Errors: as of [`Self::read`].
    fn keep(&self, call: &Call, id: TraceId, mut found: FoundTrace) -> Result<Arc<FoundTrace>> {
        if found.trace.is_empty() && !found.is_part {
            return Err(match found.facts.partial {
                true => Error::Internal(found.facts.message),
                false => Error::NotFound,
            });
        }
        if found.is_part {
            return Ok(Arc::new(found));
        }
        // Traces that are kept have a bound of their own.
        found.memory = TraceMemory::default();
        let found = Arc::new(found);
        self.0.insert((joined(&call.tenants), id), Arc::clone(&found));
        Ok(found)
    }

    /// A trace as it was a moment ago, or read anew; a large one as a whole.
    async fn find(&self, call: &Call, id: TraceId) -> Result<Arc<FoundTrace>> {
        self.find_or_read(call, id, Large::Whole).await
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
) -> Answered {
    let id = parse_trace_id(&id)?;
    let ids = call.params().get("ids").map(span_ids).transpose()?;
    let large = ids.clone().map_or(Large::Whole, Large::Spans);
    let mut found = open.find_or_read(&call, id, large).await?;
    let wanted = ids.as_ref().map_or(0, Vec::len);
    if found.is_part && found.trace.spans() < wanted {
        // Halves of a call that share an id are told apart in the whole trace alone.
        found = open.find(&call, id).await?;
    }
    let partial = found.facts.partial;
    let is_long = found.trace.takes_long();
    let _held = match ids {
        Some(_) => TraceMemory::default(),
        None => messages_memory(&call, &found.trace).await?,
    };
    let body = offload(is_long, move || match ids {
        Some(ids) => otlp_json(&found.trace.filtered(|span| has_id(span, &ids))),
        None => otlp_json(&found.trace),
    });
    Ok(Answer::new(body.await??, Encoding::Json, partial))
}

/// `{spans, matched, rows}` of a TraceQL query on this trace: `rows` is a bitmap over the rows of its skeleton, in base64. Of a
/// text that is no query `{problem}`.
pub(super) async fn find(
    State(open): State<OpenTraces>,
    Extension(call): Asked,
    Path(id): Path<String>,
) -> Answered {
    let id = parse_trace_id(&id)?;
    let limit = call.frontend.settings.max_query_expression_size_bytes;
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
                Found::Rows(value, _) => return Ok(Answer::json(&value)),
            }
        }
    };
    let is_long = found.trace.takes_long();
    let value = offload(is_long, move || find::rows(&found.trace, id, &query));
    Ok(Answer::json(&value.await??))
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
) -> Answered {
    let id = parse_trace_id(&id)?;
    let found = open.find(&call, id).await?;
    let partial = found.facts.partial;
    let is_long = found.trace.takes_long();
    let _held = messages_memory(&call, &found.trace).await?;
    let body = offload(is_long, move || jaeger_json(id, &found.trace, &found.facts.message));
    Ok(Answer::new(body.await??, Encoding::Json, partial))
}

/// What it takes to write a trace as JSON by way of its messages.
async fn messages_memory(call: &Call, trace: &CombinedTrace) -> Result<TraceMemory> {
    let memory = &call.frontend.memory;
    let copied = TraceMemory::default().and(memory, trace.bytes() as u64).await?;
    copied.and_answer(memory, trace, Encoding::Json).await
}

fn traces_data(trace: &CombinedTrace) -> Result<TracesData> {
    TracesData::decode(Bytes::from(trace.to_protobuf_v1())).map_err(malformed)
}

/// `warning`: what is to be known of the trace as a whole, if it is not empty.
pub(super) fn jaeger_json(id: TraceId, trace: &CombinedTrace, warning: &str) -> Result<Vec<u8>> {
    let data = traces_data(trace)?;
    let warnings = Some(warning.to_owned()).filter(|warning| !warning.is_empty());
    let trace = json::trace(id, &data.resource_spans, warnings.into_iter().collect());
    serde_json::to_vec(&Envelope::new([trace], 0))
        .map_err(|error| Error::Internal(error.to_string()))
}

pub(super) fn otlp_json(trace: &CombinedTrace) -> Result<Vec<u8>> {
    let data = traces_data(trace)?;
    let mut body = b"{\"resourceSpans\":".to_vec();
    serde_json::to_writer(&mut body, &OtlpJson(&data.resource_spans))
        .map_err(|error| Error::Internal(error.to_string()))?;
    body.push(b'}');
    Ok(body)
}
