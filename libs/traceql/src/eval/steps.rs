//! The steps in which a query's columns are decoded.

use tactus_model::{AttributeSelection, Projection};

use super::operand::project;
use super::pipeline::{SpansetPlan, Stage};
use super::plan::Plan;
use super::structural;
use crate::SpansetOperator;

/// If a query would have more parts than this, each filter is one part, because the spans of each part are kept until
/// all are known.
const MOST_PARTS: usize = 1000;

/// Resource attributes with a column of their own.
pub(super) const RESOURCE_COLUMNS: [&str; 9] = [
    "service.name",
    "cluster",
    "namespace",
    "pod",
    "container",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
];

/// Span attributes with a text column of their own.
pub(super) const SPAN_COLUMNS: [&str; 2] = ["http.method", "http.url"];

/// The parts of a query's filters and the columns they read, the cheap ones first.
#[derive(Debug)]
pub(crate) struct Steps {
    /// Columns of each step but the last.
    pub(super) projections: Vec<Projection>,
    /// Columns that are not for a single part: tree positions, aggregates, times of traces.
    pub(super) last: Projection,
    pub(super) step_of_slot: Vec<usize>,
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

/// How expensive it is to decode columns. Each step must also find out which span belongs to which trace, so a step of
/// its own is worth it only if it saves more than that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// Columns with one short value for each span, resource or trace.
    Column,
    /// Ids, tree positions, lists.
    Wide,
    /// Attributes without a column of their own: all keys and values of that owner are searched.
    Generic,
}

fn cost_of(columns: &Projection) -> Cost {
    let generic = |selection: &AttributeSelection, own: &[&str]| match selection {
        AttributeSelection::None => false,
        AttributeSelection::Keys(keys) => {
            let number = ["http.status_code"];
            !keys.iter().all(|key| own.iter().chain(&number).any(|own| own.as_bytes() == key))
        }
        AttributeSelection::Names(_) | AttributeSelection::All => true,
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
        columns.nested_left || columns.nested_right || columns.nested_parent,
        columns.status_message,
        columns.scope_name,
        columns.events,
        columns.links,
    ];
    if wide.contains(&true) { Cost::Wide } else { Cost::Column }
}

/// Gives a slot to every operand of a filter that reads columns.
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

/// Defines a function that visits the filters of stages in order, to read or to change them.
macro_rules! for_each_filter {
    ($name:ident, $iter:ident $(, $mut:ident)?) => {
        pub(super) fn $name(stages: &$($mut)? [Stage], visit: &mut impl FnMut(&$($mut)? Plan)) {
            fn of_spanset(spanset: &$($mut)? SpansetPlan, visit: &mut impl FnMut(&$($mut)? Plan)) {
                match spanset {
                    SpansetPlan::Filter(plan) => visit(plan),
                    SpansetPlan::Pipeline(stages) => $name(stages, visit),
                    SpansetPlan::Binary { left, right, .. } => {
                        of_spanset(left, visit);
                        of_spanset(right, visit);
                    }
                }
            }
            for stage in stages {
                match stage {
                    Stage::Spanset(spanset) => of_spanset(spanset, visit),
                    Stage::OneResource(plans) => plans.$iter().for_each(&mut *visit),
                    Stage::By { .. } | Stage::Coalesce | Stage::Scalar(_) => {}
                }
            }
        }
    };
}

for_each_filter!(for_each_filter, iter);
for_each_filter!(for_each_filter_mut, iter_mut, mut);

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
            // Resources are distinguished by those attributes that are read.
            Stage::OneResource(plans) if plans.len() > 1 => {
                columns.resource_attributes = AttributeSelection::All;
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
            if let SpansetOperator::Structural(relation, _) = operator {
                structural::project(*relation, columns);
            }
            project_spanset(left, columns);
            project_spanset(right, columns);
        }
    }
}
