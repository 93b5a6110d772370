//! A compiled query, and the search for candidate traces of which only some spans are known.
//!
//! In recent data, the spans of a trace are scattered over batches. A trace can match only if some span satisfies some
//! filter of the first stage, and that span is in one of the batches.

use tactus_model::{Projection, SpanBatch, TraceId};
use tactus_work::tick;

use super::bitmap::Bitmap;
use super::matches::{MatchedSpanSet, MatchedTrace, Matches};
use super::pipeline::{self, SpansetPlan, Spansets, Stage};
use super::plan::units;
use super::shown::Shown;
use super::steps::Steps;
use super::texts::Texts;
use super::view::BatchView;
use super::{EvaluateError, Unsupported, Window};
use crate::ast::PipelinePart;
use crate::compiled_regex::Patterns;
use crate::{Attribute, Pipeline, PipelineStage, RootExpr, SpansetExpression, SpansetOperator};

/// A query that can be run on batches. It is immutable, and can be used for any number of batches and threads.
#[derive(Debug)]
pub struct CompiledQuery {
    pub(super) stages: Vec<Stage>,
    pub(super) shown: Vec<Shown>,
    pub(super) legacy: bool,
    pub(super) steps: Steps,
    /// True if evaluation may return an error. That does not depend on what other parts of the query find.
    pub(super) may_fail: bool,
    filter_columns: Projection,
    result_columns: Projection,
    most_recent: bool,
    /// True if the first stage needs something that only the whole trace shows.
    pub(super) reads_whole_trace: bool,
}

impl CompiledQuery {
    /// Compiles the search pipeline of a validated query. A metrics function after it is ignored.
    ///
    /// Errors: [`Unsupported`] names what the evaluator does not support.
    pub fn compile(root: &RootExpr) -> Result<Self, Unsupported> {
        Self::compile_with(root, &Patterns::default())
    }

    /// As [`Self::compile`], for one of several queries that are kept together. Its patterns share memory with those of
    /// the others.
    ///
    /// Errors: as [`Self::compile`].
    pub fn compile_with(root: &RootExpr, patterns: &Patterns) -> Result<Self, Unsupported> {
        let pipeline = root.search_pipeline();
        let stages = pipeline::compile(pipeline, patterns)?;
        let mut query = Self::of_stages(stages, Shown::of_pipeline(pipeline, patterns));
        query.most_recent = root.hints.most_recent();
        query.reads_whole_trace = match pipeline.stages.first() {
            Some(PipelineStage::Spanset(spanset)) => reads_whole_trace(spanset),
            _ => true,
        };
        Ok(query)
    }

    pub(super) fn of_stages(mut stages: Vec<Stage>, shown: Vec<Shown>) -> Self {
        let steps = Steps::plan(&mut stages);
        let filter_columns = steps.projection();
        let mut result_columns = Projection {
            span_id: true,
            start: true,
            duration: true,
            trace_summary: true,
            trace_roots: true,
            service_stats: true,
            ..Projection::default()
        };
        shown.iter().for_each(|shown| shown.project(&mut result_columns));
        Self {
            may_fail: pipeline::stages_may_fail(&stages),
            stages,
            shown,
            steps,
            filter_columns,
            result_columns,
            most_recent: false,
            legacy: false,
            reads_whole_trace: true,
        }
    }

    /// The columns that [`Self::find_matches`] reads.
    pub fn filter_projection(&self) -> &Projection {
        &self.filter_columns
    }

    /// The columns that [`Self::assemble`] reads.
    pub fn result_projection(&self) -> &Projection {
        &self.result_columns
    }

    /// True if the query asks for the newest traces with its `most_recent` hint.
    pub fn most_recent(&self) -> bool {
        self.most_recent
    }

    /// True if each span is judged only by its own content, not by other spans of its trace and not by ids. Then the
    /// spans of a trace can be evaluated in separate batches.
    pub fn judges_spans_alone(&self) -> bool {
        let reads_ids = self.filter_columns.span_id || self.filter_columns.parent_span_id;
        let is_filter = matches!(&self.stages[..], [Stage::Spanset(SpansetPlan::Filter(_))]);
        is_filter && !self.reads_whole_trace && !reads_ids
    }

    /// True if nothing can match, because the first filter is constant false.
    pub fn is_never(&self) -> bool {
        pipeline::stages_are_never(&self.stages)
    }

    /// Finds the matches among the traces of `batch` that overlap `window`.
    ///
    /// Every trace is evaluated on the spans of it that the batch has. If the batch has `traces.summaries`, these are
    /// used; otherwise the start and end of a trace are computed from its spans. Errors: the query cannot be evaluated
    /// on this data, see [`EvaluateError`].
    pub fn find_matches(
        &self,
        batch: &SpanBatch,
        window: Window,
    ) -> Result<Matches, EvaluateError> {
        self.find_newest(batch, window, 0)
    }

    /// As [`Self::find_matches`], but only for the `limit` newest matching traces (0: all). This saves collecting the
    /// rows of the others.
    pub fn find_newest(
        &self,
        batch: &SpanBatch,
        window: Window,
        limit: usize,
    ) -> Result<Matches, EvaluateError> {
        self.find_newest_among(batch, window, limit, None)
    }

    /// As [`Self::find_newest`], for some traces only, given as rows of the batch's trace table.
    pub fn find_newest_among(
        &self,
        batch: &SpanBatch,
        window: Window,
        limit: usize,
        traces: Option<&Bitmap>,
    ) -> Result<Matches, EvaluateError> {
        if batch.is_empty() || self.is_never() {
            return Ok(Matches::default());
        }
        self.find_in(&BatchView::new(batch), window, limit, traces)
    }

    pub(super) fn find_in<'v>(
        &'v self,
        view: &'v BatchView<'v>,
        window: Window,
        limit: usize,
        traces: Option<&Bitmap>,
    ) -> Result<Matches, EvaluateError> {
        let mut spansets = self.run(view, window, traces)?;
        if limit > 0 {
            keep_newest(&mut spansets.spans, limit, view);
        }
        Ok(collect(&spansets, view))
    }

    /// Runs all stages on the traces that overlap the window and are in `traces`.
    fn run<'v>(
        &'v self,
        view: &'v BatchView<'v>,
        window: Window,
        traces: Option<&Bitmap>,
    ) -> Result<Spansets<'v>, EvaluateError> {
        let mut spans = spans_in_window(view, window);
        if let Some(traces) = traces {
            spans.intersect(&traces.gather(&view.batch.spans.trace));
        }
        pipeline::run(&self.stages, Spansets::of_traces(view, spans), view)
    }
}

/// The spans of all traces that touch the window.
pub(super) fn spans_in_window(view: &BatchView<'_>, window: Window) -> Bitmap {
    if window.is_unbounded() {
        return Bitmap::all(view.spans());
    }
    let (starts, ends) = view.trace_times();
    let traces =
        Bitmap::from_fn(view.traces(), |trace| match (starts.get(trace), ends.get(trace)) {
            (Some(&start), Some(&end)) => window.touches(start, end),
            _ => true,
        });
    if traces.count() == view.traces() {
        return Bitmap::all(view.spans());
    }
    traces.gather(&view.batch.spans.trace)
}

/// Removes the spans of all but the newest traces; of equally new ones, the lower trace ids stay.
fn keep_newest(spans: &mut Bitmap, limit: usize, view: &BatchView<'_>) {
    let by_trace = Spansets::of_traces(view, Bitmap::default());
    let mut traces: Vec<usize> = by_trace.groups_with(spans, view).rows().collect();
    if traces.len() <= limit {
        return;
    }
    let (starts, ids) = (view.trace_times().0, &view.batch.traces.ids);
    let key =
        |&trace: &usize| (std::cmp::Reverse(starts.get(trace).copied().unwrap_or(0)), ids[trace]);
    traces.select_nth_unstable_by_key(limit, key);
    let mut kept = Bitmap::none(view.traces());
    traces[..limit].iter().for_each(|&trace| kept.insert(trace));
    by_trace.keep_groups(spans, &kept, view);
}

fn collect(spansets: &Spansets<'_>, view: &BatchView<'_>) -> Matches {
    let group_of = &spansets.group_of;
    let mut place_of = vec![u32::MAX; spansets.count];
    let mut sets: Vec<(u32, MatchedSpanSet)> = Vec::new();
    let mut texts = Texts::default();
    for row in spansets.spans.rows() {
        let group = group_of[row] as usize;
        if place_of[group] == u32::MAX {
            place_of[group] = sets.len() as u32;
            sets.push((
                view.batch.spans.trace[row],
                MatchedSpanSet {
                    rows: Vec::new(),
                    attributes: spansets.attributes(group, &mut texts),
                },
            ));
        }
        sets[place_of[group] as usize].1.rows.push(row as u32);
    }
    sets.sort_by_key(|(trace, _)| *trace);
    // The spansets of a trace are in the order of their first spans, which does not depend on where the spans are. Where
    // there is one, as of most queries, nothing is read for it.
    let spans = &view.batch.spans;
    let shown_at = |row: u32| {
        let (start, id) = (spans.start.get(row as usize), spans.span_id.get(row as usize));
        (start.copied().unwrap_or(0), id.copied().unwrap_or_default())
    };
    let several = |of_trace: &&mut [(u32, MatchedSpanSet)]| of_trace.len() > 1;
    for of_trace in sets.chunk_by_mut(|(one, _), (other, _)| one == other).filter(several) {
        of_trace.sort_by_cached_key(|(_, set)| set.rows.iter().map(|&row| shown_at(row)).min());
    }
    let starts = view.trace_times().0;
    let mut traces: Vec<MatchedTrace> = Vec::new();
    for (trace, set) in sets {
        match traces.last_mut() {
            Some(last) if last.trace == trace => last.span_sets.push(set),
            _ => traces.push(MatchedTrace {
                trace,
                trace_id: view.batch.traces.ids[trace as usize],
                start_unix_nanos: starts.get(trace as usize).copied().unwrap_or(0),
                span_sets: vec![set],
            }),
        }
    }
    traces.sort_by(|a, b| {
        b.start_unix_nanos.cmp(&a.start_unix_nanos).then(a.trace_id.cmp(&b.trace_id))
    });
    Matches { traces }
}

fn reads_whole_trace(spanset: &SpansetExpression) -> bool {
    match spanset {
        SpansetExpression::Filter(filter) => {
            let mut reads = false;
            let mut visit = |attribute: &Attribute| reads |= attribute.depends_on_other_spans();
            filter.expression.for_each_attribute(&mut visit);
            reads
        }
        SpansetExpression::Pipeline(pipeline) => match pipeline.stages.first() {
            Some(PipelineStage::Spanset(spanset)) => reads_whole_trace(spanset),
            _ => true,
        },
        SpansetExpression::Binary { left, right, .. } => {
            reads_whole_trace(left) || reads_whole_trace(right)
        }
    }
}

/// Adds the columns that the stages of a pipeline read to a projection.
pub(crate) fn project_pipeline(pipeline: &Pipeline, columns: &mut Projection) {
    pipeline.for_each_part(&mut |part| match part {
        PipelinePart::Expression(expression) => {
            expression.for_each_attribute(&mut |it| super::operand::project(it, columns));
        }
        PipelinePart::Operator(SpansetOperator::Structural(relation, _)) => {
            super::structural::project(relation, columns);
        }
        PipelinePart::Operator(_) | PipelinePart::Selected(_) => {}
    });
}

impl CompiledQuery {
    /// The traces of `batch` that may match when all their spans are together, with their times in this batch. A trace that
    /// no batch returns here cannot match. `wants`: returns only these traces.
    pub fn find_candidates(
        &self,
        batch: &SpanBatch,
        wants: impl Fn(TraceId) -> bool,
    ) -> Vec<Candidate> {
        if batch.is_empty() || self.is_never() {
            return Vec::new();
        }
        let view = BatchView::new(batch);
        let spans = match self.stages.first() {
            Some(Stage::Spanset(plan)) if !self.reads_whole_trace => filtered_spans(plan, &view),
            _ => Bitmap::all(view.spans()),
        };
        let mut named = Bitmap::none(view.traces());
        let trace_of = batch.spans.trace.as_slice();
        spans.rows().for_each(|row| named.insert(trace_of[row] as usize));
        let named = Bitmap::from_fn(view.traces(), |trace| {
            named.contains(trace) && wants(batch.traces.ids[trace])
        });
        if named.is_empty() {
            return Vec::new();
        }
        let (starts, ends) = view.trace_times();
        let at = |times: &[u64], trace: usize| times.get(trace).copied().unwrap_or(0);
        let candidates = named.rows().map(|trace| Candidate {
            id: batch.traces.ids[trace],
            start: at(starts, trace),
            end: at(ends, trace),
        });
        candidates.collect()
    }
}

/// A trace that may match, and the times of its spans as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: TraceId,
    /// The earliest start, in unix nanoseconds.
    pub start: u64,
    /// The latest end.
    pub end: u64,
}

/// The spans that satisfy any filter of the expression.
pub(crate) fn filtered_spans(plan: &SpansetPlan, view: &BatchView<'_>) -> Bitmap {
    match plan {
        SpansetPlan::Filter(_) if tick(units(view)) => Bitmap::none(view.spans()),
        SpansetPlan::Filter(plan) => plan.evaluate(view, &Bitmap::all(view.spans())),
        SpansetPlan::Pipeline(stages) => match stages.first() {
            Some(Stage::Spanset(plan)) => filtered_spans(plan, view),
            _ => Bitmap::all(view.spans()),
        },
        SpansetPlan::Binary { left, right, .. } => {
            let mut spans = filtered_spans(left, view);
            spans.unite(&filtered_spans(right, view));
            spans
        }
    }
}
