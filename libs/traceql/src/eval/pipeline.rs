//! Pipelines: stages over all spansets of a batch at once.
//!
//! The spansets of a batch are disjoint, so they are one bitmap of spans and one group number a span. Before the
//! first stage a spanset is a trace and its number the trace's row.

use std::borrow::Cow;
use std::collections::HashMap;

use super::aggregate::{Accumulator, ScalarPlan};
use super::bitmap::Bitmap;
use super::matches::AttributeValue;
use super::operand::Place;
use super::plan::Plan;
use super::program::Program;
use super::structural::related_spans;
use super::value::Value;
use super::view::BatchView;
use super::{EvaluateError, Unsupported};
use crate::{
    AggregateOperator, Pipeline, PipelineStage, RelationMode, SpansetExpression, SpansetOperator,
};

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
    /// Keeps the traces that have a resource whose spans satisfy every plan, not necessarily the same span.
    OneResource(Vec<Plan>),
}

/// A compiled spanset expression.
#[derive(Debug)]
pub(crate) enum SpansetPlan {
    Filter(Plan),
    Pipeline(Vec<Stage>),
    Binary { operator: SpansetOperator, left: Box<SpansetPlan>, right: Box<SpansetPlan> },
}

/// All spansets of a batch.
#[derive(Clone)]
pub(crate) struct Spansets<'v> {
    pub(crate) spans: Bitmap,
    /// Group of each span; meaningless for spans in no spanset.
    pub(crate) group_of: Cow<'v, [u32]>,
    /// Number of groups.
    pub(crate) count: usize,
    /// Facts of each group; `None` while every group is a trace without attributes.
    pub(crate) groups: Option<Vec<Group>>,
}

/// One spanset.
#[derive(Clone)]
pub(crate) struct Group {
    /// The trace, or in a pipeline that is an operand, the spanset it started from.
    pub(crate) origin: u32,
    pub(crate) attributes: Vec<(String, AttributeValue)>,
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
    /// How much the expression asks of one span; what asks more finds less.
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

    /// True if evaluation may end in an error, or makes several spansets of one, which is one for some operators.
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
pub(crate) fn compile(pipeline: &Pipeline) -> Result<Vec<Stage>, Unsupported> {
    let mut stages = Vec::new();
    for stage in &pipeline.stages {
        stages.push(match stage {
            PipelineStage::Spanset(SpansetExpression::Pipeline(inner)) => {
                stages.extend(compile(inner)?);
                continue;
            }
            PipelineStage::Spanset(spanset) => Stage::Spanset(compile_spanset(spanset)?),
            PipelineStage::By(expression) => Stage::By {
                program: Program::compile(expression),
                name: format!("by({expression})"),
            },
            PipelineStage::Coalesce => Stage::Coalesce,
            PipelineStage::Scalar(filter) => Stage::Scalar(
                ScalarPlan::compile(filter)
                    .ok_or_else(|| Unsupported { construct: "scalar pipelines".to_owned() })?,
            ),
            PipelineStage::Select(_) => continue,
        });
    }
    Ok(stages)
}

fn compile_spanset(spanset: &SpansetExpression) -> Result<SpansetPlan, Unsupported> {
    Ok(match spanset {
        SpansetExpression::Filter(filter) => SpansetPlan::Filter(Plan::compile(&filter.expression)),
        SpansetExpression::Pipeline(pipeline) => SpansetPlan::Pipeline(compile(pipeline)?),
        SpansetExpression::Binary { operator, left, right } => SpansetPlan::Binary {
            operator: *operator,
            left: Box::new(compile_spanset(left)?),
            right: Box::new(compile_spanset(right)?),
        },
    })
}

/// Runs stages in order.
pub(crate) fn run<'v>(
    stages: &[Stage],
    mut spansets: Spansets<'v>,
    view: &'v BatchView<'v>,
) -> Result<Spansets<'v>, EvaluateError> {
    for stage in stages {
        if spansets.spans.is_empty() {
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

/// Both sides of an operator, the one that likely has fewer spans first: where it has none, the other does not matter.
fn evaluate_operands(
    operator: SpansetOperator,
    left: &SpansetPlan,
    right: &SpansetPlan,
    input: &Spansets<'_>,
    view: &BatchView<'_>,
) -> Result<(Outcome, Outcome), EvaluateError> {
    let right_first = match operator {
        SpansetOperator::Or => return Ok((evaluate(left, input, view)?, evaluate(right, input, view)?)),
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
    let nested = Spansets {
        spans: input.spans.clone(),
        group_of: Cow::Borrowed(&input.group_of),
        count: input.count,
        groups: None,
    };
    let output = run(stages, nested, view)?;
    let mut first = vec![None; input.count];
    let split = output.groups.is_some()
        && output.spans.rows().any(|row| {
            let (origin, group) = (input.group_of[row] as usize, output.group_of[row]);
            *first[origin].get_or_insert(group) != group
        });
    Ok(Outcome { spans: output.spans, split })
}

/// The union within the groups in which both sides have spans.
fn both(input: &Spansets<'_>, left: &Bitmap, right: &Bitmap, view: &BatchView<'_>) -> Bitmap {
    let mut groups = input.groups_with(left, view);
    groups.intersect(&input.groups_with(right, view));
    let mut union = left.clone();
    union.unite(right);
    input.keep_groups(&mut union, &groups, view);
    union
}

impl<'v> Spansets<'v> {
    /// One spanset a trace, with these spans.
    pub(crate) fn of_traces(view: &'v BatchView<'v>, spans: Bitmap) -> Self {
        Self {
            spans,
            group_of: Cow::Borrowed(&view.batch.spans.trace),
            count: view.traces(),
            groups: None,
        }
    }

    /// First span of each group, and the end, if groups are traces in order.
    fn starts<'a>(&self, view: &'a BatchView<'_>) -> Option<&'a [u32]> {
        let are_traces = std::ptr::eq(&*self.group_of, view.batch.spans.trace.as_slice());
        if are_traces { view.trace_starts() } else { None }
    }

    /// The groups that have one of these spans.
    pub(crate) fn groups_with(&self, spans: &Bitmap, view: &BatchView<'_>) -> Bitmap {
        if !spans.is_sparse()
            && let Some(starts) = self.starts(view)
        {
            let has = |group: usize| spans.count_in(range(starts, group)) > 0;
            return Bitmap::from_fn(self.count, has);
        }
        let mut groups = Bitmap::none(self.count);
        spans.rows().for_each(|row| groups.insert(self.group_of[row] as usize));
        groups
    }

    /// Removes the spans of all other groups.
    pub(crate) fn keep_groups(&self, spans: &mut Bitmap, groups: &Bitmap, view: &BatchView<'_>) {
        if groups.is_empty() {
            *spans = Bitmap::none(spans.len());
            return;
        }
        match self.starts(view) {
            Some(starts) if !spans.is_sparse() => {
                let mut kept = Bitmap::none(spans.len());
                groups.rows().for_each(|group| kept.unite_range(spans, range(starts, group)));
                *spans = kept;
            }
            _ => spans.retain(|row| groups.contains(self.group_of[row] as usize)),
        }
    }

    /// Only those groups that have one of these spans; `None` if these are many.
    fn of_same_groups(&self, spans: &Bitmap, view: &BatchView<'_>) -> Option<Spansets<'_>> {
        if !spans.is_sparse() {
            return None;
        }
        let starts = self.starts(view)?;
        let mut kept = Bitmap::none(spans.len());
        for group in self.groups_with(spans, view).rows() {
            kept.unite_range(&self.spans, range(starts, group));
        }
        let group_of = Cow::Borrowed(&*self.group_of);
        Some(Spansets { spans: kept, group_of, count: self.count, groups: None })
    }

    fn groups_mut(&mut self) -> &mut Vec<Group> {
        self.groups.get_or_insert_with(|| {
            let group = |origin| Group { origin, attributes: Vec::new() };
            (0..self.count as u32).map(group).collect()
        })
    }

    /// Splits every spanset by the value of an expression; groups in order of first appearance.
    fn split(&mut self, program: &Program, name: &str, view: &BatchView<'_>) {
        let bound = program.bind(view);
        let old = std::mem::take(self.groups_mut());
        let mut groups = Vec::new();
        let mut group_of = vec![0; view.spans()];
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut key = Vec::new();
        for row in self.spans.rows() {
            let value = bound.value(Place::of_span(row));
            key.clear();
            key.extend_from_slice(&self.group_of[row].to_le_bytes());
            push_key(&mut key, value);
            group_of[row] = match known.get(&key) {
                Some(&group) => group,
                None => {
                    let mut group = old[self.group_of[row] as usize].clone();
                    let shown = AttributeValue::of(value)
                        .unwrap_or_else(|| AttributeValue::String("nil".to_owned()));
                    set_attribute(&mut group.attributes, name, shown);
                    groups.push(group);
                    let number = groups.len() as u32 - 1;
                    known.insert(key.clone(), number);
                    number
                }
            };
        }
        self.count = groups.len();
        self.groups = Some(groups);
        self.group_of = Cow::Owned(group_of);
    }

    fn coalesce(&mut self) {
        let Some(groups) = self.groups.take() else { return };
        let mut group_of = self.group_of.to_vec();
        for row in self.spans.rows() {
            group_of[row] = groups[group_of[row] as usize].origin;
        }
        self.count = groups.iter().map(|group| group.origin as usize + 1).max().unwrap_or(0);
        self.group_of = Cow::Owned(group_of);
    }

    fn filter_by_scalars(&mut self, plan: &ScalarPlan, view: &BatchView<'_>) {
        let groups: Vec<usize> = self.groups_with(&self.spans, view).rows().collect();
        let columns: Vec<Vec<Value<'static>>> = plan
            .aggregates
            .iter()
            .map(|aggregate| {
                let states = match &aggregate.argument {
                    None => self.count_spans(&groups, view),
                    Some(program) => self.accumulate(aggregate.operator, program, &groups, view),
                };
                states.iter().map(|state| state.result(aggregate.operator)).collect()
            })
            .collect();
        let mut kept = Bitmap::none(self.count);
        let mut results = Vec::new();
        for (place, &group) in groups.iter().enumerate() {
            results.clear();
            results.extend(columns.iter().map(|column| column[place]));
            if !plan.holds(&results) {
                continue;
            }
            kept.insert(group);
            let attributes = &mut self.groups_mut()[group].attributes;
            for (aggregate, &result) in plan.aggregates.iter().zip(&results) {
                if let Some(shown) = AttributeValue::of(result) {
                    set_attribute(attributes, &aggregate.name, shown);
                }
            }
        }
        if kept.count() < groups.len() {
            let mut spans = std::mem::take(&mut self.spans);
            self.keep_groups(&mut spans, &kept, view);
            self.spans = spans;
        }
    }

    /// Number of spans of each of some groups, which are all that have any.
    fn count_spans(&self, groups: &[usize], view: &BatchView<'_>) -> Vec<Accumulator> {
        if let Some(starts) = self.starts(view) {
            let count = |&group: &usize| self.spans.count_in(range(starts, group));
            return groups.iter().map(count).map(Accumulator::of_spans).collect();
        }
        let mut counts = vec![0; self.count];
        self.spans.rows().for_each(|row| counts[self.group_of[row] as usize] += 1);
        groups.iter().map(|&group| Accumulator::of_spans(counts[group])).collect()
    }

    fn accumulate(
        &self,
        operator: AggregateOperator,
        program: &Program,
        groups: &[usize],
        view: &BatchView<'_>,
    ) -> Vec<Accumulator> {
        let mut places = vec![0u32; self.count];
        for (place, &group) in groups.iter().enumerate() {
            places[group] = place as u32;
        }
        let mut states = vec![Accumulator::default(); groups.len()];
        let bound = program.bind(view);
        for row in self.spans.rows() {
            let place = places[self.group_of[row] as usize];
            states[place as usize].add(operator, bound.value(Place::of_span(row)));
        }
        states
    }

    fn keep_one_resource(&mut self, plans: &[Plan], view: &BatchView<'_>) {
        let spans = &view.batch.spans;
        let mut common: Option<std::collections::HashSet<(u32, u32)>> = None;
        for plan in plans {
            let mut matching = plan.evaluate(view, &self.spans);
            matching.intersect(&self.spans);
            let pairs = matching.rows().map(|row| (spans.trace[row], spans.resource[row]));
            common = Some(match common {
                None => pairs.collect(),
                Some(known) => pairs.filter(|pair| known.contains(pair)).collect(),
            });
        }
        let Some(common) = common else { return };
        let mut traces = Bitmap::none(view.traces());
        common.iter().for_each(|pair| traces.insert(pair.0 as usize));
        self.spans.retain(|row| traces.contains(spans.trace[row] as usize));
    }
}

fn range(starts: &[u32], group: usize) -> std::ops::Range<usize> {
    starts[group] as usize..starts[group + 1] as usize
}

/// Sets an attribute; a later stage with the same text replaces the value and keeps its place.
fn set_attribute(
    attributes: &mut Vec<(String, AttributeValue)>,
    name: &str,
    value: AttributeValue,
) {
    match attributes.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => attributes.push((name.to_owned(), value)),
    }
}

/// Bytes that differ for values of different type or content.
fn push_key(key: &mut Vec<u8>, value: Value<'_>) {
    let (tag, bits) = match value {
        Value::NoRow | Value::Nil => (0, 0),
        Value::Bool(value) => (1, u64::from(value)),
        Value::Int(value) => (2, value as u64),
        Value::Float(value) => (3, value.to_bits()),
        Value::Duration(value) => (4, value as u64),
        Value::Status(status) => (5, status as u64),
        Value::Kind(kind) => (6, kind as u64),
        Value::String(text) => {
            key.push(7);
            key.extend_from_slice(text);
            return;
        }
        Value::Array(array) => {
            key.push(8);
            key.extend_from_slice(array.encoded);
            return;
        }
    };
    key.push(tag);
    key.extend_from_slice(&bits.to_le_bytes());
}
