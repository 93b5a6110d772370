//! Search of some row groups of a block.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tactus_api::job::SearchJob;
use tactus_api::search::to_message;
use tactus_block::read::{BlockReader, NumberColumn};
use tactus_cache::answer::AnswerScope;
use tactus_model::SpanBatch;
use tactus_proto::tactus::v1::{BlockPart, SearchRequest, SearchResponse};
use tactus_proto::tempopb::{SearchMetrics, TraceSearchMetadata};
use tactus_storage::BlockMeta;
use tactus_storage::meta::DedicatedColumn;
use tactus_traceql::eval::{Assembled, Matches, NewestTraces};

use crate::block_part::{needed_bytes, row_groups, scope_around, scope_of_any_time};
use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::explain::Phase;
use crate::joined::{JoinedReads, Wanted};
use crate::parts::{Start, for_each_part};
use crate::pool::Job;
use crate::prune::{Pruner, ToldRowGroups};

/// A search, ready to run on a block.
pub(crate) struct BlockSearch {
    search: SearchJob,
    pruner: Pruner,
    /// What the block's summary says about the query.
    told: ToldRowGroups,
    /// Traces that start before cannot get into the answer: unix nanoseconds, 0 as long as none is known. Only grows.
    oldest_start: AtomicU64,
}

/// The matches in a row group.
#[derive(Default)]
struct Found {
    traces: Assembled,
    inspected_traces: usize,
}

impl BlockSearch {
    /// Compiles the request for a block with these dedicated columns.
    pub(crate) fn compile(request: &SearchRequest, dedicated: &[DedicatedColumn]) -> Result<Self> {
        let search = SearchJob::compile(request, dedicated)?;
        let pruner = search.root.as_ref().map_or(Pruner::Unknown, Pruner::of);
        let told = ToldRowGroups::default();
        Ok(Self { search, pruner, told, oldest_start: AtomicU64::new(0) })
    }

    /// Runs on part of a block. May block.
    ///
    /// Row groups are searched in order until there are traces enough, or all of them for the newest traces; the
    /// traces found do not depend on the number of threads. Also, of which other requests this is the answer.
    pub(crate) fn run(
        mut self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<(SearchResponse, AnswerScope)> {
        if self.search.query.is_never() {
            let explanations = job.explanations(meta);
            let answer = SearchResponse { explanations, ..response(Vec::new(), 0, 0) };
            return Ok((answer, scope_of_any_time(0..0)));
        }
        self.told = ToldRowGroups::ask(&self.pruner, blocks, meta, job)?;
        if let Some(row_groups) = self.pruner.prunes_part(&self.told, part, job) {
            let answer = SearchResponse {
                explanations: job.explanations(meta),
                ..response(Vec::new(), 0, job.inspected_bytes())
            };
            return Ok((answer, scope_of_any_time(row_groups)));
        }
        let block = blocks.open(meta, job)?;
        let row_groups = row_groups(&block, part);
        // Every trace touches a range that starts before each ended, and ends after each started.
        let scope = scope_around(row_groups.clone(), |row_group| {
            let (_, last_start) = block.row_group_bounds(row_group, NumberColumn::TraceStart)?;
            let (first_end, _) = block.row_group_bounds(row_group, NumberColumn::TraceEnd)?;
            Some((first_end, last_start))
        });
        let limit = self.search.options.limit;
        let ends_early = limit > 0 && !self.search.most_recent;
        let reads = self.joined_reads(blocks, &block, row_groups.clone(), ends_early);
        let this = Arc::new(self);
        let mut found = NewestTraces::default();
        let mut inspected_traces = 0;
        let search = Arc::clone(&this);
        let run = move |row_group: usize, job: &Job| {
            let found = search.search_row_group(&reads, row_group, job);
            reads.end(row_group);
            found
        };
        let start = if ends_early { Start::Alone } else { Start::Together };
        for_each_part(job, row_groups, start, run, |part| {
            inspected_traces += part.inspected_traces;
            let is_empty = part.traces.len() == 0;
            part.traces.for_each(|trace| found.add(trace));
            if ends_early && found.count() >= limit {
                return Ok(ControlFlow::Break(()));
            }
            if !ends_early && !is_empty {
                let oldest_start = found.oldest_kept_start(limit).unwrap_or(0);
                this.oldest_start.store(oldest_start, Ordering::Relaxed);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let traces = found.finish(limit).into_iter().map(to_message).collect();
        let mut answer = response(traces, inspected_traces, job.inspected_bytes());
        answer.explanations = job.explanations(meta);
        Ok((answer, scope))
    }

    /// The block with the reads of what the row groups that may match are asked for joined.
    fn joined_reads(
        &self,
        blocks: &Blocks,
        block: &BlockReader,
        row_groups: Range<usize>,
        may_end: bool,
    ) -> JoinedReads {
        let query = &self.search.query;
        let (first, then) = (query.filter_projection(), Some(query.result_projection()));
        let may_match = |&row_group: &usize| {
            let is_unmet = || self.pruner.is_unmet_unread(block, row_group, &self.told);
            self.is_in_window(block, row_group) && !is_unmet()
        };
        blocks.joined_reads(block, row_groups.filter(may_match), Wanted { first, then, may_end })
    }

    fn search_row_group(&self, reads: &JoinedReads, row_group: usize, job: &Job) -> Result<Found> {
        let SearchJob { query, window, options, .. } = &self.search;
        let block = &reads.block;
        job.record(|recorder| recorder.part());
        if job.timed(Phase::Prune, || self.is_pruned(block, row_group, job))? {
            return Ok(Found::default());
        }
        let of_filter = needed_bytes(block, row_group, query.filter_projection());
        let of_results = needed_bytes(block, row_group, query.result_projection());
        job.hold_with_read(of_filter.max(of_results), reads.bytes_for(row_group))?;
        let mut steps = query.staged(*window, options.limit);
        let (batch, mut matches) = loop {
            job.check()?;
            let columns = steps.projection();
            let batch = job.timed(Phase::Filter, || block.read_row_group(row_group, columns))?;
            job.record(|recorder| recorder.filter_read(columns, &batch));
            job.check()?;
            if let Some(matches) = job.timed(Phase::Evaluate, || steps.advance(&batch))? {
                break (batch, matches);
            }
        };
        job.record(|recorder| recorder.spans(batch.len() as u64, matches.spans() as u64));
        let oldest_start = self.oldest_start.load(Ordering::Relaxed);
        matches.traces.retain(|trace| trace.start_unix_nanos >= oldest_start);
        let inspected_traces = batch.traces.ids.len();
        if matches.is_empty() {
            return Ok(Found { traces: Assembled::default(), inspected_traces });
        }
        job.check()?;
        let traces = job.timed(Phase::Results, || {
            let (batch, matches) = self.read_results(block, row_group, batch, matches, job)?;
            Ok::<_, Error>(query.assemble(&batch, &matches, options))
        })?;
        Ok(Found { traces, inspected_traces })
    }

    /// False if no trace of the row group touches the time range.
    fn is_in_window(&self, block: &BlockReader, row_group: usize) -> bool {
        let starts = block.row_group_bounds(row_group, NumberColumn::TraceStart);
        let ends = block.row_group_bounds(row_group, NumberColumn::TraceEnd);
        starts.zip(ends).is_none_or(|((first, start), (_, end))| {
            self.search.window.touches(first, end.max(start))
        })
    }

    /// True if the row group cannot have a trace of the answer.
    fn is_pruned(&self, block: &BlockReader, row_group: usize, job: &Job) -> Result<bool> {
        if !self.is_in_window(block, row_group) {
            job.pruned(|| "time range".to_owned());
            return Ok(true);
        }
        let starts = block.row_group_bounds(row_group, NumberColumn::TraceStart);
        let oldest_start = self.oldest_start.load(Ordering::Relaxed);
        if starts.is_some_and(|(_, last_start)| last_start < oldest_start) {
            job.pruned(|| "older than what was found".to_owned());
            return Ok(true);
        }
        let unmet = self.pruner.unmet(block, row_group, &self.told)?;
        if let Some(unmet) = unmet {
            job.pruned(|| unmet.evidence());
        }
        Ok(unmet.is_some())
    }

    /// The columns that the answer shows, with the matches' rows in them. `filtered` is the batch that was searched.
    fn read_results(
        &self,
        block: &BlockReader,
        row_group: usize,
        filtered: SpanBatch,
        mut matches: Matches,
        job: &Job,
    ) -> Result<(SpanBatch, Matches)> {
        let rows = matches.trace_rows();
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Err(Error::Internal("results of no match".to_owned()));
        };
        let spans_before = filtered.spans.trace.partition_point(|&trace| trace < first) as u32;
        drop(filtered);
        let projection = self.search.query.result_projection();
        let traces = block.row_groups().get(row_group).map_or(0, |group| group.traces);
        // Reading some rows means locating their pages in every column, which pays off only for a small part.
        let batch = if u64::from(last - first + 1) * 4 > traces {
            block.read_row_group(row_group, projection)?
        } else {
            for trace in &mut matches.traces {
                trace.trace -= first;
                for row in trace.span_sets.iter_mut().flat_map(|set| &mut set.rows) {
                    *row -= spans_before;
                }
            }
            block.read_rows(row_group, u64::from(first)..u64::from(last) + 1, projection)?
        };
        job.record(|recorder| recorder.results_read(projection, &batch));
        Ok((batch, matches))
    }
}

/// An answer; also that of a block which does not exist any more.
pub(crate) fn response(
    traces: Vec<TraceSearchMetadata>,
    inspected_traces: usize,
    inspected_bytes: u64,
) -> SearchResponse {
    let inspected_traces = u32::try_from(inspected_traces).unwrap_or(u32::MAX);
    let metrics = SearchMetrics { inspected_traces, inspected_bytes, ..SearchMetrics::default() };
    SearchResponse { traces, metrics: Some(metrics), ..SearchResponse::default() }
}
