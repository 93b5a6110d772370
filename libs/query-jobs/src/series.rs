//! Series of a TraceQL metrics query from some row groups of a block.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use tactus_api::job::MetricsJob;
use tactus_api::metrics::to_message;
use tactus_block::read::{BlockReader, NumberColumn};
use tactus_cache::answer::AnswerScope;
use tactus_proto::tactus::v1::{BlockPart, MetricsRequest, MetricsResponse};
use tactus_proto::tempopb::SearchMetrics;
use tactus_storage::{BlockMeta, Uuid};
use tactus_traceql::eval::Bitmap;
use tactus_traceql::metrics::{MetricsCollector, MetricsError};

use crate::block_part::{needed_bytes, row_groups, scope_around, scope_of_any_time};
use crate::blocks::Blocks;
use crate::error::Result;
use crate::explain::Phase;
use crate::joined::{JoinedReads, Wanted};
use crate::parts::{Start, for_each_part};
use crate::pool::Job;
use crate::prune::{Pruner, ToldRowGroups};

/// A metrics query, ready to run on a block.
pub(crate) struct BlockSeries {
    metrics: MetricsJob,
    pruner: Pruner,
    /// What the block's summary says about the query.
    told: ToldRowGroups,
    max_series_bytes: usize,
    /// Blocks whose spans are counted by other jobs.
    counted_blocks: Vec<Uuid>,
    /// One collector for each thread that has counted.
    collectors: Mutex<Vec<MetricsCollector>>,
}

impl BlockSeries {
    /// Compiles the request. `max_bytes`: memory for series, if the request does not ask for less.
    pub(crate) fn compile(
        mut request: MetricsRequest,
        counted_blocks: Vec<Uuid>,
        max_bytes: u64,
    ) -> Result<Self> {
        let wanted = Some(request.max_series_bytes).filter(|&bytes| bytes > 0);
        request.max_series_bytes = wanted.map_or(max_bytes, |wanted| wanted.min(max_bytes));
        let metrics = MetricsJob::compile(&request)?;
        let pruner = Pruner::of_metrics(&metrics.root);
        let max_series_bytes = usize::try_from(request.max_series_bytes).unwrap_or(usize::MAX);
        let collectors = Mutex::default();
        let told = ToldRowGroups::default();
        Ok(Self { metrics, pruner, told, max_series_bytes, counted_blocks, collectors })
    }

    /// Runs on part of a block. May block. Also, of which other requests this is the answer.
    pub(crate) fn run(
        mut self,
        blocks: &Blocks,
        meta: &BlockMeta,
        part: &BlockPart,
        job: &Job,
    ) -> Result<(MetricsResponse, AnswerScope)> {
        if self.metrics.query.is_never() {
            let explanations = job.explanations(meta);
            let answer = MetricsResponse { explanations, ..response(0, 0) };
            return Ok((answer, scope_of_any_time(0..0)));
        }
        self.told = ToldRowGroups::ask(&self.pruner, blocks, meta, job)?;
        if let Some(row_groups) = self.pruner.prunes_part(&self.told, part, job) {
            let explanations = job.explanations(meta);
            let answer = MetricsResponse { explanations, ..response(0, job.inspected_bytes()) };
            return Ok((answer, scope_of_any_time(row_groups)));
        }
        let block = blocks.open(meta, job)?;
        let duplicates = blocks.duplicates(meta, &block, &self.counted_blocks, job)?;
        let row_groups = row_groups(&block, part);
        let scope = scope_around(row_groups.clone(), |row_group| {
            block.row_group_bounds(row_group, NumberColumn::SpanStart)
        });
        let may_match = |&row_group: &usize| {
            let is_unmet = || self.pruner.is_unmet_unread(&block, row_group, &self.told);
            !self.is_out_of_grid(&block, row_group) && !is_unmet()
        };
        let first = self.metrics.query.projection();
        let wanted = Wanted { first, then: None, may_end: false };
        let reads = blocks.joined_reads(&block, row_groups.clone().filter(may_match), wanted);
        let this = Arc::new(self);
        let counting = Arc::clone(&this);
        let run = move |row_group: usize, job: &Job| {
            let counted = counting.count(&reads, row_group, duplicates.get(&row_group), job);
            reads.end(row_group);
            counted
        };
        let mut inspected_traces = 0;
        for_each_part(job, row_groups, Start::Together, run, |traces| {
            inspected_traces += traces;
            Ok(ControlFlow::Continue(()))
        })?;
        let mut answer = this.answer(inspected_traces, job);
        answer.explanations = job.explanations(meta);
        answer.partial = !job.has_all_blocks();
        Ok((answer, scope))
    }

    /// The series of all collectors, with what was counted on the way.
    fn answer(&self, inspected_traces: usize, job: &Job) -> MetricsResponse {
        let mut collectors = std::mem::take(&mut *self.collectors.lock());
        let _held: Vec<_> = collectors.iter_mut().map(MetricsCollector::take_held).collect();
        MetricsCollector::share_sample(&mut collectors);
        let (mut inspected_spans, mut matched_spans) = (0, 0);
        let mut series = Vec::new();
        for collector in collectors {
            inspected_spans += collector.inspected_spans();
            matched_spans += collector.matched_spans();
            series.extend(collector.finish(&self.metrics.query).into_iter().map(to_message));
        }
        let mut answer = response(inspected_traces, job.inspected_bytes());
        answer.series = series;
        if let Some(metrics) = &mut answer.metrics {
            metrics.inspected_spans = inspected_spans;
        }
        job.record(|recorder| recorder.spans(inspected_spans, matched_spans));
        answer
    }

    /// Counts the spans of a row group. Returns the number of its traces, 0 if it was not read.
    fn count(
        &self,
        reads: &JoinedReads,
        row_group: usize,
        duplicates: Option<&Bitmap>,
        job: &Job,
    ) -> Result<usize> {
        let block = &reads.block;
        job.record(|recorder| recorder.part());
        if job.timed(Phase::Prune, || self.is_pruned(block, row_group, job))? {
            return Ok(0);
        }
        let query = &self.metrics.query;
        let columns = query.projection();
        job.hold_with_read(needed_bytes(block, row_group, columns), reads.bytes_for(row_group))?;
        let batch = job.timed(Phase::Filter, || match query.reads_spans_alone() {
            true => block.read_spans(row_group, columns),
            false => block.read_row_group(row_group, columns),
        })?;
        job.record(|recorder| recorder.filter_read(columns, &batch));
        job.check()?;
        let known = self.collectors.lock().pop();
        let mut collector = known.unwrap_or_else(|| MetricsCollector::new(query));
        let counted = duplicates.map(|duplicates| {
            let mut counted = Bitmap::all(batch.len());
            counted.subtract(duplicates);
            counted
        });
        job.timed(Phase::Evaluate, || collector.observe(query, &batch, counted.as_ref()))?;
        job.check()?;
        self.keep(collector)?;
        Ok(batch.traces.ids.len())
    }

    /// Puts a collector back. Errors: all of them together hold too much.
    fn keep(&self, collector: MetricsCollector) -> Result<()> {
        let mut collectors = self.collectors.lock();
        collectors.push(collector);
        let held: usize = collectors.iter().map(MetricsCollector::heap_bytes).sum();
        match self.max_series_bytes {
            limit if held > limit => Err(MetricsError::TooLarge { limit_bytes: limit }.into()),
            _ => Ok(()),
        }
    }

    /// True if no span of the row group starts in the time of the series.
    fn is_out_of_grid(&self, block: &BlockReader, row_group: usize) -> bool {
        let grid = self.metrics.query.grid();
        let starts = block.row_group_bounds(row_group, NumberColumn::SpanStart);
        starts.is_some_and(|(first, last)| first > grid.end() || last <= grid.start())
    }

    /// True if no span of the row group can be counted.
    fn is_pruned(&self, block: &BlockReader, row_group: usize, job: &Job) -> Result<bool> {
        if self.is_out_of_grid(block, row_group) {
            job.pruned(|| "time range".to_owned());
            return Ok(true);
        }
        let unmet = self.pruner.unmet(block, row_group, &self.told)?;
        if let Some(unmet) = unmet {
            job.pruned(|| unmet.evidence());
        }
        Ok(unmet.is_some())
    }
}

/// An answer without series; also that of a block which does not exist any more.
pub(crate) fn response(inspected_traces: usize, inspected_bytes: u64) -> MetricsResponse {
    let inspected_traces = u32::try_from(inspected_traces).unwrap_or(u32::MAX);
    let metrics = SearchMetrics { inspected_traces, inspected_bytes, ..SearchMetrics::default() };
    MetricsResponse { metrics: Some(metrics), ..MetricsResponse::default() }
}
