//! Reads a trace slice by slice, if it has more bytes than a message between services may have.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tactus_api::request::{TraceMode, TraceQuery};
use tactus_api::trace::{SharedIds, WhenTooLarge};
use tactus_api::trace_job::max_part_bytes;
use tactus_api::{Error, Result};
use tactus_model::merge::SpanSlice;
use tactus_model::{TenantId, TraceId};
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
};

use super::parts::{Limit, Parts, combine};
use super::{FoundTrace, LARGE_SPANS, Large};
use crate::blocks::KnownBlocks;
use crate::frontend::Frontend;
use crate::jobs::{Outcome, ask};
use crate::offload::offload;
use crate::query_log::{note_answer, note_blocks, note_jobs};
use crate::work::check_inspected;

/// Most slices into which a slice is divided at a time, and most slices of a trace in all: beyond that, a single span
/// exceeds a message.
const MOST_CUTS: u64 = 64;
const MOST_SLICES: u32 = 1 << 16;

/// A trace of which slices are yet to be asked for.
pub(crate) struct Slices<'f> {
    frontend: &'f Frontend,
    find: FindTraceRequest,
    tenants: &'f [TenantId],
    query: TraceQuery,
    /// Bytes that the jobs may read, and what they read so far.
    max_inspected_bytes: u64,
    inspected_bytes: u64,
    waiting: VecDeque<SpanSlice>,
    /// Bytes of the spans that [`Self::next_trace`] gave so far.
    given_bytes: u64,
}

impl<'f> Slices<'f> {
    pub(super) fn new(
        frontend: &'f Frontend,
        tenants: &'f [TenantId],
        id: TraceId,
        query: TraceQuery,
        large: Large,
        max_part_bytes: u64,
    ) -> Self {
        let (large_spans, span_ids, text) = match large {
            Large::Whole => (0, Bytes::new(), String::new()),
            Large::Heads => (LARGE_SPANS, Bytes::new(), String::new()),
            Large::HeadsOfAny => (1, Bytes::new(), String::new()),
            Large::Spans(ids) => {
                (LARGE_SPANS, ids.iter().flat_map(|id| id.0).collect(), String::new())
            }
            Large::ReadBy(text) => (LARGE_SPANS, Bytes::new(), text),
        };
        let find = FindTraceRequest {
            trace_id: Bytes::copy_from_slice(&id.0),
            large_spans,
            span_ids,
            query: text,
            max_part_bytes,
            ..FindTraceRequest::default()
        };
        Self {
            frontend,
            find,
            tenants,
            query,
            max_inspected_bytes: frontend.limits_of(tenants).max_inspected_bytes,
            inspected_bytes: 0,
            waiting: VecDeque::from([SpanSlice::WHOLE]),
            given_bytes: 0,
        }
    }

    /// The same of a trace that is known to have about this many bytes: it is not asked for as a whole.
    pub(super) fn of_bytes(mut self, bytes: u64) -> Self {
        self.waiting.clear();
        self.wait_for(SpanSlice::WHOLE, bytes);
        self
    }

    /// What there is of the next slice, and which that is; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(SpanSlice, Parts)>> {
        self.next_below(u64::MAX).await
    }

    /// As [`Self::next`]. A slice that has more bytes than these is not cut: it comes without spans, and how many bytes it has.
    pub(super) async fn next_below(&mut self, most: u64) -> Result<Option<(SpanSlice, Parts)>> {
        while let Some(&slice) = self.waiting.front() {
            let is_last_cut = slice.number_of().1 > MOST_SLICES;
            // One that could not be had comes again.
            let parts = self.ask(slice, is_last_cut).await?;
            self.waiting.pop_front();
            let fits = parts.part_bytes <= max_part_bytes(&self.find);
            if fits || is_last_cut || parts.part_bytes > most {
                return Ok(Some((slice, parts)));
            }
            self.wait_for(slice, parts.part_bytes);
        }
        Ok(None)
    }

    /// Has a slice that is too large come in several.
    fn wait_for(&mut self, slice: SpanSlice, bytes: u64) {
        // A quarter more: slices are not all of one size.
        let bytes = bytes.saturating_add(bytes / 4);
        let cuts = bytes.div_ceil(max_part_bytes(&self.find)).clamp(2, MOST_CUTS) as u32;
        self.waiting.extend(slice.cut(cuts).into_iter().flatten());
    }

    /// The spans of the next slice, each once, as they are stored; of a trace that is not large all, as they are shown. What is
    /// above the limit of the trace, with the slices before, is refused or left out. A slice that could not be had is the next one
    /// again.
    pub(crate) async fn next_trace(
        &mut self,
        when_too_large: WhenTooLarge,
    ) -> Result<Option<FoundTrace>> {
        let Some((slice, parts)) = self.next().await? else { return Ok(None) };
        let is_part = parts.is_part || !slice.is_whole();
        let shared_ids = if is_part { SharedIds::Kept } else { self.query.shared_ids };
        let max_bytes = self.frontend.limits_of(self.tenants).max_bytes_per_trace;
        let limit = Limit { max_bytes, before: self.given_bytes, when_too_large };
        let found = offload(true, move || combine(parts, limit, shared_ids)).await.flatten();
        match &found {
            Ok(found) => self.given_bytes += found.trace.span_bytes() as u64,
            Err(_) => self.waiting.push_front(slice),
        }
        found.map(Some)
    }

    async fn ask(&mut self, slice: SpanSlice, of_any_size: bool) -> Result<Parts> {
        let (number, of) = slice.number_of();
        let find = |tenant: &TenantId| FindTraceRequest {
            tenant: tenant.to_string(),
            slices: if slice.is_whole() { 0 } else { of },
            slice: number,
            max_part_bytes: if of_any_size { 0 } else { self.find.max_part_bytes },
            ..self.find.clone()
        };
        let finds: Vec<_> = self.tenants.iter().map(find).collect();
        let mut parts = Parts::new(&self.frontend.memory, slice);
        match self.query.mode {
            TraceMode::Ingesters => self.find_recent(&finds, &mut parts).await?,
            TraceMode::Blocks => {
                self.find_in_blocks(&finds, &self.known_blocks(), &mut parts).await?;
            }
            TraceMode::External => {}
            TraceMode::All => {
                let known = self.known_blocks();
                let besides: Vec<_> = finds.iter().zip(&known).map(besides).collect();
                self.find_recent(&besides, &mut parts).await?;
                self.find_in_blocks(&finds, &known, &mut parts).await?;
                if parts.damaged_blocks > 0 {
                    // Ingesters may still have what is in them.
                    self.find_recent(&finds, &mut parts).await?;
                }
            }
        }
        if parts.is_of_old_release && (!slice.is_whole() || !self.find.query.is_empty()) {
            let text = "a part of the trace is with a process of an older release";
            return Err(Error::Internal(text.to_owned()));
        }
        Ok(parts)
    }

    fn inspected(&mut self, parts: &mut Parts, bytes: u64) {
        parts.inspected_bytes = parts.inspected_bytes.saturating_add(bytes);
        self.inspected_bytes = self.inspected_bytes.saturating_add(bytes);
    }

    async fn find_recent(&mut self, finds: &[FindTraceRequest], parts: &mut Parts) -> Result<()> {
        note_jobs(finds.len());
        for outcome in self.frontend.ask_all(finds).await? {
            match outcome {
                Outcome::Answer(FindTraceResponse {
                    trace,
                    inspected_bytes,
                    partial,
                    refused_spans,
                    is_part,
                    part_bytes,
                }) => {
                    note_answer(inspected_bytes);
                    parts.note_part(is_part, part_bytes, !trace.is_empty());
                    parts.refused_spans = parts.refused_spans.max(refused_spans);
                    self.inspected(parts, inspected_bytes);
                    parts.recent_partial |= partial;
                    parts.add(trace).await?;
                }
                Outcome::Damaged => {
                    note_answer(0);
                    parts.damaged_blocks += 1;
                }
            }
            check_inspected(self.inspected_bytes, self.max_inspected_bytes)?;
        }
        Ok(())
    }

    /// The blocks to look into of each tenant, as things stand. All of them: spans of a trace may lie in several.
    fn known_blocks(&self) -> Vec<KnownBlocks> {
        let window = (self.query.start, self.query.end);
        let known = |tenant: &TenantId| self.frontend.known_blocks(tenant.as_str(), window, 0);
        self.tenants.iter().map(known).collect()
    }

    /// Looks into the blocks that are in the list now, after the ingesters answered, and into those that ingesters were told of.
    async fn find_in_blocks(
        &mut self,
        finds: &[FindTraceRequest],
        known: &[KnownBlocks],
        parts: &mut Parts,
    ) -> Result<()> {
        let frontend = self.frontend;
        parts.list_gaps = frontend.list_gaps(self.tenants);
        let requests = self.block_requests(finds, known, parts);
        note_jobs(requests.len());
        let concurrency = match frontend.settings.section.trace_by_id.concurrent_shards {
            ..=0 => requests.len().max(1),
            limit => limit as usize,
        };
        let jobs: Vec<_> =
            requests.into_iter().map(|request| ask(&frontend.queue, request)).collect();
        // In order, so that the same blocks give the same answer.
        let mut answers = stream::iter(jobs).buffered(concurrency);
        while let Some(outcome) = answers.next().await {
            match outcome? {
                Outcome::Answer(FindTraceInBlocksResponse {
                    traces,
                    inspected_bytes,
                    damaged_blocks,
                    is_part,
                    part_bytes,
                }) => {
                    note_answer(inspected_bytes);
                    parts.note_part(is_part, part_bytes, !traces.is_empty());
                    for trace in traces {
                        parts.add(trace).await?;
                    }
                    self.inspected(parts, inspected_bytes);
                    parts.damaged_blocks += damaged_blocks;
                }
                Outcome::Damaged => {
                    note_answer(0);
                    parts.damaged_blocks += 1;
                }
            }
            check_inspected(self.inspected_bytes, self.max_inspected_bytes)?;
        }
        Ok(())
    }

    /// The jobs on the blocks that may have spans of the traces. Notes in `parts` the spans that blocks lack.
    fn block_requests(
        &self,
        finds: &[FindTraceRequest],
        known: &[KnownBlocks],
        parts: &mut Parts,
    ) -> Vec<FindTraceInBlocksRequest> {
        let frontend = self.frontend;
        let settings = &frontend.settings.section.trace_by_id;
        let mut requests = Vec::new();
        let mut looked_into = 0;
        for (find, known) in finds.iter().zip(known) {
            let blocks = frontend.blocks_left(known, false);
            let listed = frontend.blocklist.tenant(&find.tenant);
            let id = TraceId::from_slice(&find.trace_id);
            for meta in blocks.iter().filter_map(|block| listed.meta(block.block_id)) {
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
        requests
    }
}

/// The request to ingesters, which leave out what is in blocks that are looked into.
fn besides((find, known): (&FindTraceRequest, &KnownBlocks)) -> FindTraceRequest {
    FindTraceRequest { stored_block_ids: known.ids(), ..find.clone() }
}
