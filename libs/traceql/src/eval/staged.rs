//! Evaluation in steps, so that storage decodes no column that cannot change the answer.
//!
//! The operands of a filter's `&&` are the parts. A part needs few columns, its result is a bitmap of spans, and that
//! is all that later steps need of it: every column is decoded once, and the expensive ones only for rows where the
//! cheap ones left something.

use tactus_model::{AttributeSelection, Projection, SpanBatch};

use super::bitmap::Bitmap;
use super::legacy::{RESOURCE_COLUMNS, SPAN_COLUMNS};
use super::matches::Matches;
use super::operand::project;
use super::pipeline::{SpansetPlan, Spansets, Stage};
use super::plan::Plan;
use super::query::CompiledQuery;
use super::view::BatchView;
use super::{EvaluateError, Window};
use crate::{RelationMode, SpansetOperator};

/// Beyond so many parts of a query, a filter is one: the spans of each part are kept until all are known.
const MOST_PARTS: usize = 1000;

/// One query on one row group (or any other set of rows) whose columns are decoded step by step.
///
/// ```text
/// let mut search = query.staged(window, limit);
/// let (batch, matches) = loop {
///     let batch = block.read_row_group(row_group, search.projection())?;
///     if let Some(matches) = search.advance(&batch)? {
///         break (batch, matches);
///     }
/// };
/// ```
///
/// Each batch has the same rows, traces and spans, in the same order, and the columns of [`Self::projection`]; more
/// columns do no harm, codes may differ from batch to batch. The answer is that of [`CompiledQuery::find_newest`] on
/// all columns at once. Mostly it comes after one step, since most row groups have no match.
#[derive(Debug)]
pub struct StagedSearch<'q> {
    query: &'q CompiledQuery,
    window: Window,
    limit: usize,
    step: usize,
    known: Vec<Option<Bitmap>>,
}

impl CompiledQuery {
    /// Starts a search of rows whose columns are not decoded yet; see [`StagedSearch`].
    pub fn staged(&self, window: Window, limit: usize) -> StagedSearch<'_> {
        let known = vec![None; self.steps.step_of_slot.len()];
        StagedSearch { query: self, window, limit, step: 0, known }
    }
}

impl StagedSearch<'_> {
    /// The columns to decode next, without those of earlier steps.
    pub fn projection(&self) -> &Projection {
        let steps = &self.query.steps.projections;
        steps.get(self.step).unwrap_or(&self.query.steps.last)
    }

    /// Evaluates what the batch makes possible. `None`: decode the next columns and come again. Otherwise the
    /// matches, none if no trace is left; rows are those of every batch.
    ///
    /// Errors: as [`CompiledQuery::find_matches`].
    pub fn advance(&mut self, batch: &SpanBatch) -> Result<Option<Matches>, EvaluateError> {
        let query = self.query;
        if batch.is_empty() || query.is_never() {
            return Ok(Some(Matches::default()));
        }
        if self.step >= query.steps.projections.len() {
            let view = BatchView::with_known(batch, &self.known);
            return query.find_in(&view, self.window, self.limit, None).map(Some);
        }
        let step = self.step;
        let view = BatchView::new(batch);
        let mut run = |plan: &Plan| self.run(plan, step, &view);
        for_each_filter(&query.stages, &mut run);
        self.step += 1;
        if query.may_fail {
            return Ok(None);
        }
        let left = stages_bound(&query.stages, &self.known, &view);
        Ok(left.is_some_and(|left| left.is_empty()).then(Matches::default))
    }

    /// Evaluates the parts of a filter whose columns came with this step, on the spans that the others left.
    fn run(&mut self, plan: &Plan, step: usize, view: &BatchView<'_>) {
        let parts = match plan {
            Plan::All(parts) => parts.as_slice(),
            part => std::slice::from_ref(part),
        };
        let mut left = filter_bound(plan, &self.known).unwrap_or_else(|| Bitmap::all(view.spans()));
        for part in parts {
            if let Plan::Step { slot, plan } = part
                && self.query.steps.step_of_slot[*slot] == step
            {
                let bits = plan.evaluate(view, &left);
                left.intersect(&bits);
                self.known[*slot] = Some(bits);
            }
        }
    }
}

/// The parts of a query's filters and the columns they read, the cheap ones first.
#[derive(Debug)]
pub(crate) struct Steps {
    /// Columns of each step but the last.
    projections: Vec<Projection>,
    /// Columns of what no single part tells: tree positions, aggregates, times of traces.
    last: Projection,
    step_of_slot: Vec<usize>,
}

impl Steps {
    /// Marks the parts in a query's stages.
    pub(crate) fn plan(stages: &mut [Stage]) -> Self {
        let mut parts = Vec::new();
        for_each_filter_mut(stages, &mut |plan| mark(plan, &mut parts));
        let mut costs: Vec<Cost> = parts.iter().map(cost_of).collect();
        costs.sort_unstable();
        costs.dedup();
        let step_of_slot: Vec<usize> =
            parts.iter().map(|part| costs.partition_point(|&cost| cost < cost_of(part))).collect();
        let mut projections = vec![Projection::default(); costs.len()];
        for (part, &step) in parts.iter().zip(&step_of_slot) {
            projections[step].merge(part);
        }
        let mut last = Projection { trace_summary: true, ..Projection::default() };
        project_stages(stages, &mut last);
        if cost_of(&last) == Cost::Column
            && let Some(parts) = projections.pop()
        {
            last.merge(&parts);
        }
        Self { projections, last, step_of_slot }
    }

    /// The columns of all steps.
    pub(crate) fn projection(&self) -> Projection {
        let mut all = self.last.clone();
        self.projections.iter().for_each(|columns| all.merge(columns));
        all
    }
}

/// How much it costs to decode columns. Each step also costs a look at which span is whose, so that only what costs
/// more than that is worth a step of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// Columns of one short value a span, a resource or a trace.
    Column,
    /// Ids, tree positions, lists.
    Wide,
    /// Attributes without a column of their own: all keys and values of that owner are looked through.
    Generic,
}

fn cost_of(columns: &Projection) -> Cost {
    let generic = |selection: &AttributeSelection, own: &[&str]| match selection {
        AttributeSelection::None => false,
        AttributeSelection::Keys(keys) => {
            let number = ["http.status_code"];
            !keys.iter().all(|key| own.iter().chain(&number).any(|own| own.as_bytes() == key))
        }
        AttributeSelection::All => true,
    };
    if generic(&columns.resource_attributes, &RESOURCE_COLUMNS)
        || generic(&columns.span_attributes, &SPAN_COLUMNS)
        || generic(&columns.event_attributes, &[])
        || generic(&columns.link_attributes, &[])
        || generic(&columns.scope_attributes, &[])
    {
        return Cost::Generic;
    }
    let wide = [
        columns.span_id,
        columns.parent_span_id,
        columns.nested_set,
        columns.status_message,
        columns.scope_name,
        columns.events,
        columns.links,
    ];
    if wide.contains(&true) { Cost::Wide } else { Cost::Column }
}

/// Gives every operand of a filter that reads columns a slot.
fn mark(plan: &mut Plan, parts: &mut Vec<Projection>) {
    if let Plan::All(operands) = plan
        && parts.len() + operands.len() <= MOST_PARTS
    {
        operands.iter_mut().for_each(|operand| mark_part(operand, parts));
    } else {
        mark_part(plan, parts);
    }
}

fn mark_part(plan: &mut Plan, parts: &mut Vec<Projection>) {
    let mut columns = Projection::default();
    plan.for_each_attribute(&mut |attribute| project(attribute, &mut columns));
    if columns != Projection::default() {
        let part = std::mem::replace(plan, Plan::Constant(false));
        *plan = Plan::Step { slot: parts.len(), plan: Box::new(part) };
        parts.push(columns);
    }
}

fn for_each_filter(stages: &[Stage], visit: &mut impl FnMut(&Plan)) {
    fn of_spanset(spanset: &SpansetPlan, visit: &mut impl FnMut(&Plan)) {
        match spanset {
            SpansetPlan::Filter(plan) => visit(plan),
            SpansetPlan::Pipeline(stages) => for_each_filter(stages, visit),
            SpansetPlan::Binary { left, right, .. } => {
                of_spanset(left, visit);
                of_spanset(right, visit);
            }
        }
    }
    for stage in stages {
        match stage {
            Stage::Spanset(spanset) => of_spanset(spanset, visit),
            Stage::OneResource(plans) => plans.iter().for_each(&mut *visit),
            Stage::By { .. } | Stage::Coalesce | Stage::Scalar(_) => {}
        }
    }
}

fn for_each_filter_mut(stages: &mut [Stage], visit: &mut impl FnMut(&mut Plan)) {
    fn of_spanset(spanset: &mut SpansetPlan, visit: &mut impl FnMut(&mut Plan)) {
        match spanset {
            SpansetPlan::Filter(plan) => visit(plan),
            SpansetPlan::Pipeline(stages) => for_each_filter_mut(stages, visit),
            SpansetPlan::Binary { left, right, .. } => {
                of_spanset(left, visit);
                of_spanset(right, visit);
            }
        }
    }
    for stage in stages {
        match stage {
            Stage::Spanset(spanset) => of_spanset(spanset, visit),
            Stage::OneResource(plans) => plans.iter_mut().for_each(&mut *visit),
            Stage::By { .. } | Stage::Coalesce | Stage::Scalar(_) => {}
        }
    }
}

/// The columns of all that is no part of a filter.
fn project_stages(stages: &[Stage], columns: &mut Projection) {
    for stage in stages {
        match stage {
            Stage::Spanset(spanset) => project_spanset(spanset, columns),
            Stage::By { program, .. } => {
                program.attributes.iter().for_each(|it| project(it, columns));
            }
            Stage::Scalar(plan) => {
                let programs = plan.aggregates.iter().filter_map(|it| it.argument.as_ref());
                let attributes = programs.flat_map(|program| &program.attributes);
                attributes.for_each(|it| project(it, columns));
            }
            Stage::Coalesce | Stage::OneResource(_) => {}
        }
    }
}

fn project_spanset(spanset: &SpansetPlan, columns: &mut Projection) {
    match spanset {
        SpansetPlan::Filter(_) => {}
        SpansetPlan::Pipeline(stages) => project_stages(stages, columns),
        SpansetPlan::Binary { operator, left, right } => {
            columns.nested_set |= matches!(operator, SpansetOperator::Structural(..));
            project_spanset(left, columns);
            project_spanset(right, columns);
        }
    }
}

/// Spans that may be in the result of the stages, by what is known; `None`: all.
fn stages_bound(
    stages: &[Stage],
    known: &[Option<Bitmap>],
    view: &BatchView<'_>,
) -> Option<Bitmap> {
    let bounds = stages.iter().map(|stage| match stage {
        Stage::Spanset(spanset) => spanset_bound(spanset, known, view),
        Stage::OneResource(plans) => {
            let bounds =
                plans.iter().map(|plan| Some(of_traces(&filter_bound(plan, known)?, view)));
            bounds.fold(None, intersection)
        }
        Stage::By { .. } | Stage::Coalesce | Stage::Scalar(_) => None,
    });
    bounds.fold(None, intersection)
}

fn spanset_bound(
    spanset: &SpansetPlan,
    known: &[Option<Bitmap>],
    view: &BatchView<'_>,
) -> Option<Bitmap> {
    let (operator, left, right) = match spanset {
        SpansetPlan::Filter(plan) => return filter_bound(plan, known),
        SpansetPlan::Pipeline(stages) => return stages_bound(stages, known, view),
        SpansetPlan::Binary { operator, left, right } => (operator, left, right),
    };
    let left = spanset_bound(left, known, view);
    let right = spanset_bound(right, known, view);
    match operator {
        SpansetOperator::Or => union(left, right),
        SpansetOperator::Structural(_, RelationMode::Negated) => right,
        SpansetOperator::And | SpansetOperator::Structural(..) => {
            let with_both = intersection(
                left.as_ref().map(|left| of_traces(left, view)),
                right.as_ref().map(|right| of_traces(right, view)),
            );
            let returned = match operator {
                SpansetOperator::Structural(_, RelationMode::Plain) => right,
                _ => union(left, right),
            };
            intersection(returned, with_both)
        }
    }
}

/// Spans that the parts known so far leave.
fn filter_bound(plan: &Plan, known: &[Option<Bitmap>]) -> Option<Bitmap> {
    let part = |plan: &Plan| match plan {
        Plan::Step { slot, .. } => known[*slot].clone(),
        _ => None,
    };
    match plan {
        Plan::All(parts) => parts.iter().map(part).fold(None, intersection),
        only => part(only),
    }
}

/// All spans of the traces that have one of these.
fn of_traces(spans: &Bitmap, view: &BatchView<'_>) -> Bitmap {
    let by_trace = Spansets::of_traces(view, Bitmap::default());
    let traces = by_trace.groups_with(spans, view);
    let mut all = Bitmap::all(spans.len());
    by_trace.keep_groups(&mut all, &traces, view);
    all
}

/// The intersection of bounds; one that is unknown bounds nothing.
fn intersection(left: Option<Bitmap>, right: Option<Bitmap>) -> Option<Bitmap> {
    match (left, right) {
        (Some(mut left), Some(right)) => {
            left.intersect(&right);
            Some(left)
        }
        (left, right) => left.or(right),
    }
}

/// The union of bounds; unknown if one of them is.
fn union(left: Option<Bitmap>, right: Option<Bitmap>) -> Option<Bitmap> {
    let (mut left, right) = (left?, right?);
    left.unite(&right);
    Some(left)
}
