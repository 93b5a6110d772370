//! One trace out of recent data and blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_api::request::{TraceMode, TraceQuery};
use tactus_api::trace::{
    CombineError, CombinedTrace, SharedIds, TraceCombiner, TraceFacts, WhenTooLarge,
};
use tactus_api::{Encoding, Error, Result};
use tactus_model::{SpanId, TenantId, TraceId};
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tonic::Request;

use crate::blocks::select_from;
use crate::frontend::Frontend;
use crate::jobs::{Outcome, call};
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::query_log::{Asked, note_answer, note_blocks, note_jobs};
use crate::work::check_inspected;

/// Parts of more bytes are combined away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;

/// Traces as JSON take about so many times the bytes of their messages.
const JSON_EXPANSION: u64 = 2;

/// A trace, or what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTrace {
    /// The spans; empty if nobody has any.
    pub trace: CombinedTrace,
    /// What goes with it.
    pub facts: TraceFacts,
    /// It is too large to be given all at once, and this is the part of it that [`Large`] asked for.
    pub is_part: bool,
    /// What it takes.
    pub memory: TraceMemory,
}

/// Memory that a trace takes until it is sent; given back with the last clone. It says nothing of the trace: all are equal.
#[derive(Debug, Clone, Default)]
pub struct TraceMemory {
    held: Vec<Arc<AnswerMemory>>,
}

impl TraceMemory {
    /// With so many bytes more. A trace that is larger than the limit passes alone. Errors: [`Error::TooManyBytes`].
    pub(crate) async fn and(mut self, memory: &Arc<Bodies>, bytes: u64) -> Result<Self> {
        if let Some(own) = self.held.last_mut().and_then(Arc::get_mut) {
            own.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
            return Ok(self);
        }
        let mut more = AnswerMemory::of(memory);
        more.add(bytes).await.map_err(|NoRoom| Error::TooManyBytes)?;
        self.held.push(Arc::new(more));
        Ok(self)
    }

    /// What is needed besides to write traces down that take these: about as much again. Errors: [`Error::TooManyBytes`].
    pub async fn for_answer<'t>(
        memory: &Arc<Bodies>,
        traces: impl IntoIterator<Item = &'t Self>,
    ) -> Result<Self> {
        let held = traces.into_iter().flat_map(|trace| &trace.held);
        let bytes = held.map(|held| held.bytes()).sum();
        Self::default().and(memory, bytes).await
    }

    /// With what it takes besides to write such a trace down, before it is written. Errors: [`Error::TooManyBytes`].
    pub(crate) async fn and_answer(
        self,
        memory: &Arc<Bodies>,
        trace: &CombinedTrace,
        encoding: Encoding,
    ) -> Result<Self> {
        let expansion = if encoding == Encoding::Protobuf { 1 } else { JSON_EXPANSION };
        self.and(memory, trace.bytes() as u64 * expansion).await
    }
}

impl PartialEq for TraceMemory {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for TraceMemory {}

/// Of a trace with more spans in one place, an ingester or a block, a page is not given all at once: its attributes take
/// seconds to be read, hundreds of megabytes, and more than the memory for open traces.
pub(crate) const LARGE_SPANS: u64 = 100_000;

/// What is wanted of a large trace.
#[derive(Debug, Clone)]
pub enum Large {
    /// All, as of any other.
    Whole,
    /// All spans, without attributes; events and links as empty messages.
    Heads,
    /// The same of each trace, whether it is large or not: attributes are most of what is read.
    HeadsOfAny,
    /// Spans with these ids.
    Spans(Vec<SpanId>),
}

/// Everything that was found, not combined yet.
struct Parts {
    traces: Vec<Bytes>,
    memory: AnswerMemory,
    inspected_bytes: u64,
    damaged_blocks: u32,
    /// Too few ingesters answered.
    recent_partial: bool,
    is_part: bool,
    /// At least so many spans of the trace were never stored, because it was too large.
    refused_spans: u64,
    max_inspected_bytes: u64,
}

impl Frontend {
    /// Finds a trace of these tenants. A trace above the limit is refused or cut as `when_too_large` says.
    pub async fn find_trace(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        when_too_large: WhenTooLarge,
    ) -> Result<FoundTrace> {
        self.find_part(tenants, id, query, (when_too_large, Large::Whole)).await
    }

    /// As [`Self::find_trace`], but of a large trace what is said.
    pub async fn find_part(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        limits: (WhenTooLarge, Large),
    ) -> Result<FoundTrace> {
        let inspected = |found: &FoundTrace| found.facts.inspected_bytes;
        let run = self.run_find(tenants, id, query, limits);
        self.counted(tenants, TRACES, Asked::new(id.to_hex()), run, inspected).await
    }

    async fn run_find(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        limits: (WhenTooLarge, Large),
    ) -> Result<FoundTrace> {
        let _admitted = self.admit(tenants)?;
        self.find_admitted(tenants, id, query, limits).await
    }

    /// Finds a trace for a query that is let in already.
    pub(crate) async fn find_admitted(
        &self,
        tenants: &[TenantId],
        id: TraceId,
        query: TraceQuery,
        (when_too_large, large): (WhenTooLarge, Large),
    ) -> Result<FoundTrace> {
        let (large_spans, span_ids) = match large {
            Large::Whole => (0, Bytes::new()),
            Large::Heads => (LARGE_SPANS, Bytes::new()),
            Large::HeadsOfAny => (1, Bytes::new()),
            Large::Spans(ids) => (LARGE_SPANS, ids.iter().flat_map(|id| id.0).collect()),
        };
        let finds: Vec<_> = tenants
            .iter()
            .map(|tenant| FindTraceRequest {
                tenant: tenant.to_string(),
                trace_id: Bytes::copy_from_slice(&id.0),
                large_spans,
                span_ids: span_ids.clone(),
            })
            .collect();
        let limits = self.limits_of(tenants);
        let mut parts = Parts::new(&self.memory, limits.max_inspected_bytes);
        if matches!(query.mode, TraceMode::All | TraceMode::Ingesters) {
            self.find_recent(&finds, &mut parts).await?;
        }
        if matches!(query.mode, TraceMode::All | TraceMode::Blocks) {
            self.find_in_blocks(&finds, query, &mut parts).await?;
        }
        let max_bytes = limits.max_bytes_per_trace;
        let bytes: usize = parts.traces.iter().map(Bytes::len).sum();
        let shared_ids = query.shared_ids;
        let combined = move || combine(parts, max_bytes, when_too_large, shared_ids);
        offload(bytes > INLINE_BYTES, combined).await?
    }

    async fn find_recent(&self, finds: &[FindTraceRequest], parts: &mut Parts) -> Result<()> {
        note_jobs(finds.len());
        let outcomes = self.ask_ingesters(finds, |ingester, find| {
            Box::pin(async move { Ok(ingester.find_trace(Request::new(find)).await?.into_inner()) })
        });
        for outcome in outcomes.await? {
            match outcome {
                Outcome::Answer(FindTraceResponse {
                    trace,
                    inspected_bytes,
                    partial,
                    refused_spans,
                    is_part,
                }) => {
                    note_answer(inspected_bytes);
                    parts.is_part |= is_part;
                    parts.refused_spans = parts.refused_spans.max(refused_spans);
                    parts.inspected_bytes += inspected_bytes;
                    parts.recent_partial |= partial;
                    parts.add(trace).await?;
                }
                Outcome::Damaged => {
                    note_answer(0);
                    parts.damaged_blocks += 1;
                }
            }
            check_inspected(parts.inspected_bytes, parts.max_inspected_bytes)?;
        }
        Ok(())
    }

    /// Looks into the blocks that are in the list now, after the ingesters answered. All of them: spans of a trace
    /// may lie in several.
    async fn find_in_blocks(
        &self,
        finds: &[FindTraceRequest],
        query: TraceQuery,
        parts: &mut Parts,
    ) -> Result<()> {
        let settings = &self.settings.trace_by_id;
        let window = (query.start, query.end);
        let mut requests = Vec::new();
        let mut looked_into = 0;
        for find in finds {
            let known = self.blocklist.tenant(&find.tenant);
            let blocks = select_from(&known, window, self.settings.blocklist_poll);
            let id = TraceId::from_slice(&find.trace_id);
            for meta in blocks.iter().filter_map(|block| known.meta(block.block_id)) {
                // Replicas were sent the same spans, and each wrote a block.
                parts.refused_spans = parts.refused_spans.max(meta.cut_traces().spans(id));
            }
            looked_into += blocks.len();
            let per_shard = blocks.len().div_ceil(settings.query_shards.max(2) as usize).max(1);
            requests.extend(blocks.chunks(per_shard).map(|blocks| FindTraceInBlocksRequest {
                find: Some(find.clone()),
                block_ids: blocks.iter().map(|block| block.block_id.to_string()).collect(),
            }));
        }
        note_blocks(looked_into);
        note_jobs(requests.len());
        let concurrency = match settings.concurrent_shards {
            ..=0 => requests.len().max(1),
            limit => limit as usize,
        };
        let run = |request: FindTraceInBlocksRequest| {
            call(&self.querier, request, |querier, request| {
                Box::pin(async move {
                    let request = Request::new(request);
                    Ok(querier.find_trace_in_blocks(request).await?.into_inner())
                })
            })
        };
        let jobs: Vec<_> = requests.into_iter().map(run).collect();
        // In order, so that the same blocks give the same answer.
        let mut answers = stream::iter(jobs).buffered(concurrency);
        while let Some(outcome) = answers.next().await {
            match outcome? {
                Outcome::Answer(FindTraceInBlocksResponse {
                    traces,
                    inspected_bytes,
                    damaged_blocks,
                    is_part,
                }) => {
                    note_answer(inspected_bytes);
                    parts.is_part |= is_part;
                    for trace in traces {
                        parts.add(trace).await?;
                    }
                    parts.inspected_bytes += inspected_bytes;
                    parts.damaged_blocks += damaged_blocks;
                }
                Outcome::Damaged => {
                    note_answer(0);
                    parts.damaged_blocks += 1;
                }
            }
            check_inspected(parts.inspected_bytes, parts.max_inspected_bytes)?;
        }
        Ok(())
    }
}

impl Parts {
    fn new(memory: &Arc<Bodies>, max_inspected_bytes: u64) -> Self {
        Self {
            traces: Vec::new(),
            memory: AnswerMemory::of(memory),
            inspected_bytes: 0,
            damaged_blocks: 0,
            recent_partial: false,
            is_part: false,
            refused_spans: 0,
            max_inspected_bytes,
        }
    }

    /// Errors: [`Error::TooManyBytes`].
    async fn add(&mut self, trace: Bytes) -> Result<()> {
        let taken = self.memory.add(trace.len() as u64).await;
        taken.map_err(|NoRoom| Error::TooManyBytes)?;
        self.traces.push(trace);
        Ok(())
    }
}

/// A stored trace that cannot be read.
pub(crate) fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("malformed trace: {error}"))
}

/// What there is to say of a trace of which spans were not taken when they came.
fn refused_message(spans: u64) -> String {
    format!(
        "Trace exceeded its maximum size (max_bytes_per_trace) when it was received: \
         {spans} spans or more were refused, a partial trace is returned"
    )
}

fn combine(
    parts: Parts,
    max_bytes: u64,
    when_too_large: WhenTooLarge,
    shared_ids: SharedIds,
) -> Result<FoundTrace> {
    // What ingesters kept of a trace that they cut has about the limit, not counting resources and framing: it is
    // to be seen, not refused or cut once more.
    let slack = if parts.refused_spans > 0 { max_bytes / 4 } else { 0 };
    let mut combiner = TraceCombiner::new(max_bytes.saturating_add(slack), when_too_large);
    for part in &parts.traces {
        combiner.add(part).map_err(|error| match error {
            CombineError::TooLarge { .. } => Error::TraceTooLarge { max_bytes },
            error => Error::Internal(error.to_string()),
        })?;
    }
    let trace = combiner.finish_with(shared_ids);
    let mut messages = Vec::new();
    if trace.truncated {
        messages.push(format!(
            "Trace exceeds maximum size of {max_bytes} bytes, a partial trace is returned"
        ));
    }
    if parts.refused_spans > 0 && !trace.is_empty() {
        messages.push(refused_message(parts.refused_spans));
    }
    if parts.damaged_blocks > 0 {
        messages.push(format!("{} damaged blocks could not be read", parts.damaged_blocks));
    }
    if parts.recent_partial {
        messages.push("too few ingesters answered, recent spans may be missing".to_owned());
    }
    let facts = TraceFacts {
        inspected_bytes: parts.inspected_bytes,
        partial: !messages.is_empty(),
        message: messages.join("; "),
    };
    let memory = TraceMemory { held: vec![Arc::new(parts.memory)] };
    Ok(FoundTrace { trace, facts, is_part: parts.is_part, memory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_work::memory::Budget;

    #[tokio::test(start_paused = true)]
    async fn answer_counts_before_it_is_written_and_a_large_trace_passes_alone() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let trace = TraceMemory::default().and(&bodies, 400_000).await.unwrap();
        let other = TraceMemory::default().and(&bodies, 500_000).await.unwrap();
        let written = TraceMemory::for_answer(&bodies, [&trace]).await;
        assert_eq!(written.unwrap_err(), Error::TooManyBytes);
        assert_eq!(trace.clone().and(&bodies, 400_000).await.unwrap_err(), Error::TooManyBytes);
        drop(other);
        let written = TraceMemory::for_answer(&bodies, [&trace]).await.unwrap();
        assert_eq!(all.used(), 800_000);
        drop(written);
        let alone = trace.and(&bodies, 900_000).await.unwrap();
        assert_eq!(all.used(), 1_300_000);
        drop(alone);
        assert_eq!(all.used(), 0);
    }
}
