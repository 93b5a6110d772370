//! Pipelines: stages that run over all spansets of a batch at once.
//!
//! The spansets of a batch are disjoint, so they are stored as one bitmap of spans and one group number for each span.
//! Before the first stage, each trace is a spanset, numbered by its row.

mod spansets;

use tactus_work::tick;

use super::aggregate::ScalarPlan;
use super::bitmap::Bitmap;
use super::plan::{Plan, units};
use super::program::Program;
use super::structural::related_spans;
use super::view::BatchView;
use super::{EvaluateError, Unsupported};
use crate::compiled_regex::Patterns;
use crate::{Pipeline, PipelineStage, RelationMode, SpansetExpression, SpansetOperator};

pub(crate) use spansets::Spansets;

/// A compiled stage. `select()` leaves none.
#[derive(Debug)]
pub(crate) enum Stage {
    Spanset(SpansetPlan),
    By {
        program: Program,
        name: String,
    },
    Coalesce,
    Scalar(ScalarPlan),
    /// Keeps the traces that have a resource for which each plan matches some span, not necessarily the same span.
    OneResource(Vec<Plan>),
}

/// A compiled spanset expression.
#[derive(Debug)]
pub(crate) enum SpansetPlan {
    Filter(Plan),
    Pipeline(Vec<Stage>),
    Binary { operator: SpansetOperator, left: Box<SpansetPlan>, right: Box<SpansetPlan> },
}

impl SpansetPlan {
    /// True if the expression is empty on any data.
    pub(crate) fn is_never(&self) -> bool {
        match self {
            SpansetPlan::Filter(plan) => plan.is_never(),
            SpansetPlan::Pipeline(stages) => stages_are_never(stages),
            SpansetPlan::Binary { operator, left, right } => match operator {
                SpansetOperator::Or => left.is_never() && right.is_never(),
                SpansetOperator::Structural(_, RelationMode::Negated) => right.is_never(),
                _ => left.is_never() || right.is_never(),
            },
        }
    }
}

impl SpansetPlan {
    /// How many conditions the expression has for a single span. More conditions usually match fewer spans.
    fn conditions(&self) -> usize {
        match self {
            SpansetPlan::Filter(plan) => plan.conditions(),
            SpansetPlan::Pipeline(stages) => match stages.first() {
                Some(Stage::Spanset(plan)) => plan.conditions(),
                _ => 0,
            },
            SpansetPlan::Binary { operator: SpansetOperator::Or, left, right } => {
                left.conditions().min(right.conditions())
            }
            SpansetPlan::Binary { left, right, .. } => left.conditions().max(right.conditions()),
        }
    }

    /// True if evaluation may return an error, or may split spansets, which some operators treat as an error.
    pub(crate) fn may_fail(&self) -> bool {
        match self {
            SpansetPlan::Filter(_) => false,
            SpansetPlan::Pipeline(stages) => stages.iter().any(|stage| match stage {
                Stage::Spanset(plan) => plan.may_fail(),
                Stage::By { .. } => true,
                Stage::Coalesce | Stage::Scalar(_) | Stage::OneResource(_) => false,
            }),
            SpansetPlan::Binary { left, right, .. } => left.may_fail() || right.may_fail(),
        }
    }
}

/// True if the first stage is empty on any data.
pub(crate) fn stages_are_never(stages: &[Stage]) -> bool {
    matches!(stages.first(), Some(Stage::Spanset(plan)) if plan.is_never())
}

/// True if running the stages may end in an error.
pub(crate) fn stages_may_fail(stages: &[Stage]) -> bool {
    stages.iter().any(|stage| matches!(stage, Stage::Spanset(plan) if plan.may_fail()))
}

/// Compiles the stages of a pipeline.
pub(crate) fn compile(pipeline: &Pipeline, patterns: &Patterns) -> Result<Vec<Stage>, Unsupported> {
    let mut stages = Vec::new();
    for stage in &pipeline.stages {
        stages.push(match stage {
            PipelineStage::Spanset(SpansetExpression::Pipeline(inner)) => {
                stages.extend(compile(inner, patterns)?);
                continue;
            }
            PipelineStage::Spanset(spanset) => Stage::Spanset(compile_spanset(spanset, patterns)?),
            PipelineStage::By(expression) => Stage::By {
                program: Program::compile(expression, patterns),
                name: format!("by({expression})"),
            },
            PipelineStage::Coalesce => Stage::Coalesce,
            PipelineStage::Scalar(filter) => Stage::Scalar(
                ScalarPlan::compile(filter, patterns)
                    .ok_or_else(|| Unsupported { construct: "scalar pipelines".to_owned() })?,
            ),
            PipelineStage::Select(_) => continue,
        });
    }
    Ok(stages)
}

fn compile_spanset(
    spanset: &SpansetExpression,
    patterns: &Patterns,
) -> Result<SpansetPlan, Unsupported> {
    Ok(match spanset {
        SpansetExpression::Filter(filter) => {
            SpansetPlan::Filter(Plan::compile(&filter.expression, patterns))
        }
        SpansetExpression::Pipeline(pipeline) => {
            SpansetPlan::Pipeline(compile(pipeline, patterns)?)
        }
        SpansetExpression::Binary { operator, left, right } => SpansetPlan::Binary {
            operator: *operator,
            left: Box::new(compile_spanset(left, patterns)?),
            right: Box::new(compile_spanset(right, patterns)?),
        },
    })
}

/// Runs stages in order.
pub(crate) fn run<'v>(
    stages: &'v [Stage],
    mut spansets: Spansets<'v>,
    view: &'v BatchView<'v>,
) -> Result<Spansets<'v>, EvaluateError> {
    for stage in stages {
        if spansets.spans.is_empty() || tick(units(view)) {
            break;
        }
        match stage {
            Stage::Spanset(plan) => spansets.spans = evaluate(plan, &spansets, view)?.spans,
            Stage::By { program, name } => spansets.split(program, name, view),
            Stage::Coalesce => spansets.coalesce(),
            Stage::Scalar(plan) => spansets.filter_by_scalars(plan, view),
            Stage::OneResource(plans) => spansets.keep_one_resource(plans, view),
        }
    }
    Ok(spansets)
}

/// The result of a spanset expression.
struct Outcome {
    spans: Bitmap,
    /// True if one input spanset became several.
    split: bool,
}

fn evaluate(
    plan: &SpansetPlan,
    input: &Spansets<'_>,
    view: &BatchView<'_>,
) -> Result<Outcome, EvaluateError> {
    // Without this, each of a thousand operators would still make its passes over all spans.
    if tick(units(view)) {
        return Ok(Outcome { spans: Bitmap::none(view.spans()), split: false });
    }
    let spans = match plan {
        SpansetPlan::Filter(plan) => {
            let mut spans = plan.evaluate(view, &input.spans);
            spans.intersect(&input.spans);
            spans
        }
        SpansetPlan::Pipeline(stages) => return evaluate_pipeline(stages, input, view),
        SpansetPlan::Binary { operator, left, right } => {
            let (left, right) = evaluate_operands(*operator, left, right, input, view)?;
            match operator {
                SpansetOperator::And => both(input, &left.spans, &right.spans, view),
                SpansetOperator::Or => {
                    let mut union = left.spans;
                    union.unite(&right.spans);
                    union
                }
                SpansetOperator::Structural(..) if left.split || right.split => {
                    return Err(EvaluateError::SplitOperand);
                }
                SpansetOperator::Structural(relation, mode) => {
                    let group_of = &input.group_of;
                    let sides = [&left.spans, &right.spans];
                    related_spans(*relation, *mode, sides, group_of, input.count, view)
                }
            }
        }
    };
    Ok(Outcome { spans, split: false })
}

/// Evaluates both sides of an operator. The side that probably has fewer spans comes first: where it has none, the
/// other does not matter.
fn evaluate_operands(
    operator: SpansetOperator,
    left: &SpansetPlan,
    right: &SpansetPlan,
    input: &Spansets<'_>,
    view: &BatchView<'_>,
) -> Result<(Outcome, Outcome), EvaluateError> {
    let right_first = match operator {
        SpansetOperator::Or => {
            return Ok((evaluate(left, input, view)?, evaluate(right, input, view)?));
        }
        SpansetOperator::Structural(_, RelationMode::Negated) => true,
        _ if left.may_fail() || right.may_fail() => false,
        _ => right.conditions() > left.conditions(),
    };
    let (first, second) = if right_first { (right, left) } else { (left, right) };
    let first = evaluate(first, input, view)?;
    let may_fail = second.may_fail();
    let second = if first.spans.is_empty() && (!may_fail || operator == SpansetOperator::And) {
        Outcome { spans: Bitmap::none(view.spans()), split: false }
    } else if !may_fail && let Some(input) = input.of_same_groups(&first.spans, view) {
        evaluate(second, &input, view)?
    } else if may_fail && operator == SpansetOperator::And {
        // Whether the query fails must not depend on other traces that happen to be in the batch.
        evaluate(second, &input.only_groups_of(&first.spans, view), view)?
    } else {
        evaluate(second, input, view)?
    };
    Ok(if right_first { (second, first) } else { (first, second) })
}

fn evaluate_pipeline(
    stages: &[Stage],
    input: &Spansets<'_>,
    view: &BatchView<'_>,
) -> Result<Outcome, EvaluateError> {
    let output = run(stages, input.with_spans(input.spans.clone()), view)?;
    let mut first = vec![None; input.count];
    let split = output.groups.is_some()
        && output.spans.rows().any(|row| {
            let (origin, group) = (input.group_of[row] as usize, output.group_of[row]);
            *first[origin].get_or_insert(group) != group
        });
    Ok(Outcome { spans: output.spans, split })
}

/// The union, within groups in which both sides have spans.
fn both(input: &Spansets<'_>, left: &Bitmap, right: &Bitmap, view: &BatchView<'_>) -> Bitmap {
    let mut groups = input.groups_with(left, view);
    groups.intersect(&input.groups_with(right, view));
    let mut union = left.clone();
    union.unite(right);
    input.keep_groups(&mut union, &groups, view);
    union
}

#[cfg(test)]
mod tests {
    use tactus_model::{SpanBatch, TraceId};
    use tactus_work::{Over, Work, end};

    use super::*;

    #[test]
    fn nothing_is_evaluated_once_the_query_is_over() {
        let mut batch = SpanBatch::default();
        batch.traces.ids.push(TraceId([7; 16]));
        for _ in 0..100 {
            batch.spans.trace.push(0);
        }
        let view = BatchView::new(&batch);
        let root = crate::parse_and_validate("{} || {} || {}").unwrap();
        let stages = compile(root.search_pipeline(), &Patterns::default()).unwrap();
        let found = || {
            let spansets = Spansets::of_traces(&view, Bitmap::all(view.spans()));
            let plans = stages.iter().filter_map(|stage| match stage {
                Stage::Spanset(plan) => Some(plan),
                _ => None,
            });
            let found = plans.map(|plan| evaluate(plan, &spansets, &view).unwrap().spans.count());
            found.collect::<Vec<_>>()
        };
        let mut both = Vec::new();
        let ended = Work::default().run(|| {
            both.push(found());
            end(Over::Cancelled);
            both.push(found());
        });
        assert_eq!((both, ended), (vec![vec![100], vec![0]], Err(Over::Cancelled)));
    }
}
