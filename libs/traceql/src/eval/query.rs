//! A query compiled for evaluation, and which traces may match it, judged by some of their spans.
//!
//! Recent data holds the spans of a trace scattered over batches. A trace can only match if some span of it satisfies
//! some filter of the first stage, and that span is in one of the batches.

use tactus_model::{Projection, SpanBatch, TraceId};

use super::bitmap::Bitmap;
use super::matches::{MatchedSpanSet, MatchedTrace, Matches};
use super::pipeline::{self, SpansetPlan, Spansets, Stage};
use super::shown::Shown;
use super::steps::Steps;
use super::view::BatchView;
use super::{EvaluateError, Unsupported, Window};
use crate::compiled_regex::Patterns;
use crate::{
    Attribute, Pipeline, PipelineStage, RootExpr, ScalarFilter, SpansetExpression, SpansetOperator,
};

/// A query that can be run on batches. Immutable; one serves any number of batches and threads.
#[derive(Debug)]
pub struct CompiledQuery {
    pub(super) stages: Vec<Stage>,
    pub(super) shown: Vec<Shown>,
    pub(super) legacy: bool,
    pub(super) steps: Steps,
    /// Evaluation may end in an error, which does not depend on what other parts of the query find.
    pub(super) may_fail: bool,
    filter_columns: Projection,
    result_columns: Projection,
    most_recent: bool,
    /// The first stage asks for something that only the whole trace tells.
    pub(super) reads_whole_trace: bool,
}

impl CompiledQuery {
    /// Compiles the search pipeline of a validated query; a metrics function behind it is ignored.
    ///
    /// Errors: [`Unsupported`] names what the evaluator does not know.
    pub fn compile(root: &RootExpr) -> Result<Self, Unsupported> {
        Self::compile_with(root, &Patterns::default())
    }

    /// As [`Self::compile`], for one of several queries that are kept together: its patterns share memory with those of
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

    /// True if the query asks for the newest traces by its `most_recent` hint.
    pub fn most_recent(&self) -> bool {
        self.most_recent
    }

    /// True if it judges each span by what that has itself, whatever else is in its trace, and not by ids: then spans that are
    /// looked at some by some are found as those of the whole trace are.
    pub fn judges_spans_alone(&self) -> bool {
        let reads_ids = self.filter_columns.span_id || self.filter_columns.parent_span_id;
        let is_filter = matches!(&self.stages[..], [Stage::Spanset(SpansetPlan::Filter(_))]);
        is_filter && !self.reads_whole_trace && !reads_ids
    }

    /// True if no batch can have a match, because the first filter is constant false.
    pub fn is_never(&self) -> bool {
        pipeline::stages_are_never(&self.stages)
    }

    /// Finds what matches among the traces of `batch` that touch `window`.
    ///
    /// Every trace is evaluated on the spans the batch has of it. A batch with `traces.summaries` is taken as
    /// stored; for any other, trace start and end come from its spans.
    /// Errors: the query itself cannot be evaluated on this data, see [`EvaluateError`].
    pub fn find_matches(
        &self,
        batch: &SpanBatch,
        window: Window,
    ) -> Result<Matches, EvaluateError> {
        self.find_newest(batch, window, 0)
    }

    /// As [`Self::find_matches`], but only the `limit` newest of the traces that match (0: all), which saves
    /// listing the rows of the others.
    pub fn find_newest(
        &self,
        batch: &SpanBatch,
        window: Window,
        limit: usize,
    ) -> Result<Matches, EvaluateError> {
        self.find_newest_among(batch, window, limit, None)
    }

    /// As [`Self::find_newest`], on some traces only: rows of the batch's trace table.
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

    /// Runs all stages on the traces that touch the window, and are among `traces`.
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

/// Removes the spans of all but the newest traces; ties by trace id.
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
    for row in spansets.spans.rows() {
        let group = group_of[row] as usize;
        if place_of[group] == u32::MAX {
            place_of[group] = sets.len() as u32;
            sets.push((
                view.batch.spans.trace[row],
                MatchedSpanSet { rows: Vec::new(), attributes: spansets.attributes(group) },
            ));
        }
        sets[place_of[group] as usize].1.rows.push(row as u32);
    }
    // Stable: the spansets of a trace stay in order of first appearance.
    sets.sort_by_key(|(trace, _)| *trace);
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

/// Widens a projection by the columns that the stages of a pipeline read.
pub(crate) fn project_pipeline(pipeline: &Pipeline, columns: &mut Projection) {
    for stage in &pipeline.stages {
        match stage {
            PipelineStage::Spanset(spanset) => project_spanset(spanset, columns),
            PipelineStage::Scalar(filter) => project_scalars(filter, columns),
            PipelineStage::By(expression) => {
                expression.for_each_attribute(&mut |it| super::operand::project(it, columns));
            }
            PipelineStage::Coalesce | PipelineStage::Select(_) => {}
        }
    }
}

fn project_scalars(filter: &ScalarFilter, columns: &mut Projection) {
    for side in [&filter.left, &filter.right] {
        side.for_each_aggregate(&mut |aggregate| {
            if let Some(argument) = &aggregate.argument {
                argument.for_each_attribute(&mut |it| super::operand::project(it, columns));
            }
        });
    }
}

fn project_spanset(spanset: &SpansetExpression, columns: &mut Projection) {
    match spanset {
        SpansetExpression::Filter(filter) => {
            let mut project = |attribute: &_| super::operand::project(attribute, columns);
            filter.expression.for_each_attribute(&mut project);
        }
        SpansetExpression::Pipeline(pipeline) => project_pipeline(pipeline, columns),
        SpansetExpression::Binary { operator, left, right } => {
            if let SpansetOperator::Structural(relation, _) = operator {
                super::structural::project(*relation, columns);
            }
            project_spanset(left, columns);
            project_spanset(right, columns);
        }
    }
}

impl CompiledQuery {
    /// The traces of `batch` that may match once all their spans are together, with the earliest start that the
    /// batch knows of each. A trace that is named by none of its batches cannot match. `wants`: only of these.
    pub fn find_candidates(
        &self,
        batch: &SpanBatch,
        wants: impl Fn(TraceId) -> bool,
    ) -> Vec<(TraceId, u64)> {
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
        let starts = view.trace_times().0;
        let start = |trace: usize| starts.get(trace).copied().unwrap_or(0);
        named.rows().map(|trace| (batch.traces.ids[trace], start(trace))).collect()
    }
}

/// The spans that satisfy any filter of the expression.
pub(crate) fn filtered_spans(plan: &SpansetPlan, view: &BatchView<'_>) -> Bitmap {
    match plan {
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
