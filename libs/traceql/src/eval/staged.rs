//! Evaluation in steps, so that storage does not decode columns that cannot change the answer.
//!
//! The parts are the operands of a filter's `&&`. A part needs few columns, and its result is a bitmap of spans, which
//! is all that later steps need. So every column is decoded once, and the expensive ones only for rows that the cheap
//! ones left.

use tactus_model::{Projection, SpanBatch};
use tactus_work::{Held, tick};

use super::bitmap::Bitmap;
use super::matches::Matches;
use super::pipeline::{SpansetPlan, Spansets, Stage};
use super::plan::{Plan, units};
use super::query::CompiledQuery;
use super::steps::for_each_filter;
use super::view::BatchView;
use super::{EvaluateError, Window};
use crate::{RelationMode, SpansetOperator};

/// One query on one row group (or any other set of rows), whose columns are decoded step by step.
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
/// All batches have the same rows, traces and spans, in the same order, and the columns of [`Self::projection`].
/// Further columns do no harm, and dictionary codes may differ between batches. The answer equals that of
/// [`CompiledQuery::find_newest`] on all columns at once. Usually it takes one step, because most row groups have no
/// match.
#[derive(Debug)]
pub struct StagedSearch<'q> {
    query: &'q CompiledQuery,
    window: Window,
    limit: usize,
    step: usize,
    known: Vec<Option<Bitmap>>,
    /// Bytes of `known`.
    known_bytes: usize,
    held: Held,
}

impl CompiledQuery {
    /// Starts a search in rows whose columns are not decoded yet; see [`StagedSearch`].
    pub fn staged(&self, window: Window, limit: usize) -> StagedSearch<'_> {
        let known = vec![None; self.steps.step_of_slot.len()];
        let held = Held::default();
        StagedSearch { query: self, window, limit, step: 0, known, known_bytes: 0, held }
    }
}

impl StagedSearch<'_> {
    /// The columns to decode next, without those of earlier steps.
    pub fn projection(&self) -> &Projection {
        let steps = &self.query.steps.projections;
        steps.get(self.step).unwrap_or(&self.query.steps.last)
    }

    /// Evaluates as much as the batch allows. `None`: decode the next columns and call it again. Otherwise returns the
    /// matches, which are empty if no trace is left; rows are the same in every batch.
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

    /// Evaluates the parts of a filter whose columns came with this step, on the spans that the other parts left.
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
                self.known_bytes += view.spans() / 8;
                if !self.held.grow_to(self.known_bytes) || tick(units(view)) {
                    // The query is over.
                    return;
                }
                let bits = plan.evaluate(view, &left);
                left.intersect(&bits);
                self.known[*slot] = Some(bits);
            }
        }
    }
}

/// The spans that, by what is known so far, may be in the result of the stages; `None`: all.
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

/// The intersection of two bounds. An unknown bound excludes nothing.
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
