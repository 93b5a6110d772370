//! A metrics query, compiled to run on batches.

mod sampling;

use std::collections::HashSet;

use tactus_model::{AttributeSelection, Projection, SpanBatch, TraceId};

pub(super) use self::sampling::{PROBABILITY, Sampling, Weighing};
use super::Grid;
use super::buckets::Buckets;
use super::graph::{self, Part};
use crate::ast::PipelinePart;
use crate::compiled_regex::Patterns;
use crate::eval::pipeline::{self, SpansetPlan, Stage};
use crate::eval::plan::Plan;
use crate::eval::query::{filtered_spans, project_pipeline};
use crate::eval::view::BatchView;
use crate::eval::{Bitmap, Unsupported, operand};
use crate::{
    Attribute, AttributeScope, FieldExpression, Intrinsic, MetricsFunction, MetricsQuery,
    MetricsStage, Pipeline, PipelineStage, RootExpr, SpansetExpression, SpansetOperator,
    StaticType,
};

/// Most exemplars that are collected, whatever is requested.
const MOST_EXEMPLARS: usize = 100_000;

/// What a job may collect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Exemplars of all functions of the query together; 0 for none.
    pub exemplars: usize,
    /// Bytes that a collector may use for series, points and labels; 0 for no limit.
    pub max_bytes: usize,
}

/// A metrics query that can be run on batches. It is immutable, and can be used for any number of collectors and
/// threads.
#[derive(Debug)]
pub struct CompiledMetrics {
    pub(super) grid: Grid,
    pub(super) options: MetricsOptions,
    pub(super) leaves: Vec<Leaf>,
    pub(super) sampling: Sampling,
    /// How many spans of the sender a span represents; `None`: one.
    pub(super) weighing: Option<Weighing>,
    projection: Projection,
}

/// One metrics function with its pipeline.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) stages: Vec<Stage>,
    pub(super) function: Function,
    /// Attributes that the query refers to, each once, which are the labels of exemplars. Empty without exemplars.
    pub(super) shown: Vec<Attribute>,
    /// The most exemplars.
    pub(super) exemplars: usize,
    reads_whole_trace: bool,
    /// True if every trace with counted spans has a span that satisfies a filter of the first stage by itself.
    filters_tell_candidates: bool,
    is_never: bool,
    /// True if the columns of a span alone determine whether and where it is counted.
    is_of_spans: bool,
}

/// What a leaf does with spans.
#[derive(Debug)]
pub(super) enum Function {
    Series {
        measured: MetricsFunction,
        by_size: Buckets,
        by: Vec<Attribute>,
    },
    Compare {
        selection: Box<Plan>,
        top_n: usize,
        start: u64,
        end: u64,
    },
    /// What is counted of edges between services.
    Graph {
        parts: Vec<Part>,
        by: Buckets,
    },
}

/// True if the buckets of a histogram or quantile are in nanoseconds, and their labels in seconds.
pub(crate) fn buckets_are_nanoseconds(function: &MetricsFunction) -> bool {
    function.attribute().is_some_and(is_duration)
}

/// True for attributes whose values are durations.
pub(super) fn is_duration(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Intrinsic(intrinsic) => intrinsic.static_type() == StaticType::Duration,
        Attribute::Named { .. } => false,
    }
}

impl CompiledMetrics {
    /// Compiles all functions of a validated query. A query without a function has no series. Hints about sampling and
    /// extrapolation are applied.
    ///
    /// Errors: [`Unsupported`] names what the evaluator does not support.
    pub fn compile(
        root: &RootExpr,
        grid: Grid,
        options: MetricsOptions,
    ) -> Result<Self, Unsupported> {
        let mut queries = Vec::new();
        if let Some(expression) = root.metrics() {
            expression.for_each_leaf(&mut |query| queries.push(query));
        }
        let exemplars = match options.exemplars {
            0 => 0,
            all => (all.min(MOST_EXEMPLARS) / queries.len().max(1)).max(1),
        };
        let mut projection = Projection { start: true, ..Projection::default() };
        let buckets = Buckets::of(&root.hints);
        let patterns = Patterns::default();
        let compile =
            |query| Leaf::compile(query, exemplars, buckets, (&mut projection, &patterns));
        let leaves = queries.into_iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let weighing = Weighing::of(&root.hints);
        if let Some(weighing) = weighing {
            weighing.project(&mut projection);
        }
        let whole = leaves.iter().any(|leaf| leaf.reads_whole_trace);
        let sampling = Sampling::of(root.hints.sampling(), whole);
        Ok(Self { grid, options, leaves, sampling, weighing, projection })
    }

    /// The columns that [`super::MetricsCollector::observe`] reads.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// The intervals.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// True if a span can be judged only together with all other spans of its trace. Then a batch must have whole
    /// traces. Otherwise the spans of a trace may come in different batches.
    pub fn reads_whole_trace(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.reads_whole_trace)
    }

    /// True if only a span's own columns are needed. Then [`super::MetricsCollector::observe`] does not use the rows of
    /// trace, resource and scope of spans.
    pub fn reads_spans_alone(&self) -> bool {
        let is_whole = self.sampling == Sampling::All && self.weighing.is_none();
        is_whole && self.leaves.iter().all(|leaf| leaf.is_of_spans)
    }

    /// True if no span can be counted.
    pub fn is_never(&self) -> bool {
        self.grid.intervals() == 0 || self.leaves.iter().all(|leaf| leaf.is_never)
    }

    /// The traces of `batch`, each once, that may have counted spans when all their spans are together. A trace that no
    /// batch with its spans returns has none. Reads the columns of [`Self::projection`].
    pub fn find_candidates(&self, batch: &SpanBatch) -> Vec<TraceId> {
        if batch.is_empty() || self.is_never() {
            return Vec::new();
        }
        let view = BatchView::new(batch);
        let mut named = Bitmap::none(view.traces());
        for leaf in self.leaves.iter().filter(|leaf| !leaf.is_never) {
            let spans = match leaf.stages.first() {
                Some(Stage::Spanset(plan)) if leaf.filters_tell_candidates => {
                    filtered_spans(plan, &view)
                }
                // Its counted spans are in the grid, so some batch has one of them.
                _ => Bitmap::from_values(&batch.spans.start, |start| {
                    self.grid.interval_of(start).is_some()
                }),
            };
            spans.rows().for_each(|row| named.insert(batch.spans.trace[row] as usize));
        }
        named.rows().map(|trace| batch.traces.ids[trace]).collect()
    }
}

impl Leaf {
    fn compile(
        query: &MetricsQuery,
        exemplars: usize,
        buckets: Buckets,
        (projection, patterns): (&mut Projection, &Patterns),
    ) -> Result<Self, Unsupported> {
        let stages = pipeline::compile(&query.pipeline, patterns)?;
        project_pipeline(&query.pipeline, projection);
        let function = Function::compile(&query.stage, buckets, patterns);
        let values = function.attributes();
        values.iter().for_each(|attribute| operand::project(attribute, projection));
        if let MetricsStage::Compare(compare) = &query.stage {
            project_filter(&compare.selection.expression, projection);
            project_compared(projection);
        }
        if let Function::Graph { .. } = &function {
            graph::project(projection);
        }
        let mut shown = Vec::new();
        if exemplars > 0 {
            shown = attributes_of(query);
            shown.iter().for_each(|attribute| operand::project(attribute, projection));
        }
        let judged = judged_alone(&query.pipeline);
        let values_alone = match &function {
            Function::Series { .. } => !values.iter().any(Attribute::depends_on_other_spans),
            // Roots of traces are compared, too.
            Function::Compare { .. } | Function::Graph { .. } => false,
        };
        Ok(Self {
            is_never: pipeline::stages_are_never(&stages),
            reads_whole_trace: !(judged.every_stage && values_alone),
            filters_tell_candidates: judged.first_filters,
            is_of_spans: exemplars == 0 && is_of_spans(&stages, &function),
            stages,
            function,
            shown,
            exemplars,
        })
    }
}

/// All attributes that a query refers to, each once, in order of reference.
fn attributes_of(query: &MetricsQuery) -> Vec<Attribute> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let mut add = |attribute: &Attribute| {
        if known.insert(attribute.clone()) {
            found.push(attribute.clone());
        }
    };
    query.pipeline.for_each_part(&mut |part| match part {
        PipelinePart::Expression(expression) => expression.for_each_attribute(&mut add),
        PipelinePart::Selected(attribute) => add(attribute),
        PipelinePart::Operator(_) => {}
    });
    match &query.stage {
        MetricsStage::Series { function, by } => {
            function.attribute().into_iter().chain(by).for_each(add);
        }
        MetricsStage::Compare(compare) => {
            compare.selection.expression.for_each_attribute(&mut add);
        }
        MetricsStage::ServiceGraph(_) => {}
    }
    found
}

impl Function {
    fn compile(stage: &MetricsStage, by_size: Buckets, patterns: &Patterns) -> Self {
        let (function, written) = match stage {
            MetricsStage::Series { function, by } => (function, by),
            MetricsStage::ServiceGraph(measure) => {
                let parts = Part::ALL.into_iter().filter(|part| part.is_of(measure));
                return Function::Graph { parts: parts.collect(), by: by_size };
            }
            MetricsStage::Compare(compare) => {
                return Function::Compare {
                    selection: Box::new(Plan::compile(&compare.selection.expression, patterns)),
                    top_n: usize::try_from(compare.top_n).unwrap_or(0),
                    start: u64::try_from(compare.start).unwrap_or(0),
                    end: u64::try_from(compare.end).unwrap_or(0),
                };
            }
        };
        let mut by: Vec<Attribute> = Vec::new();
        for attribute in written {
            if !by.contains(attribute) {
                by.push(attribute.clone());
            }
        }
        Function::Series { measured: function.clone(), by_size, by }
    }

    /// The attributes whose values determine the series.
    fn attributes(&self) -> Vec<Attribute> {
        match self {
            Function::Series { measured, by, .. } => {
                by.iter().chain(measured.attribute()).cloned().collect()
            }
            Function::Compare { .. } | Function::Graph { .. } => Vec::new(),
        }
    }
}

/// True if only filters on spans' own columns, and such values, decide.
fn is_of_spans(stages: &[Stage], function: &Function) -> bool {
    if !matches!(function, Function::Series { .. }) {
        return false;
    }
    let mut own = function.attributes().iter().all(is_of_span);
    for stage in stages {
        match stage {
            Stage::Spanset(SpansetPlan::Filter(plan)) => {
                plan.for_each_attribute(&mut |attribute| own &= is_of_span(attribute));
            }
            _ => return false,
        }
    }
    own
}

fn is_of_span(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Named { scope, parent, .. } => *scope == AttributeScope::Span && !parent,
        Attribute::Intrinsic(intrinsic) => matches!(
            intrinsic,
            Intrinsic::Duration
                | Intrinsic::Kind
                | Intrinsic::Name
                | Intrinsic::Status
                | Intrinsic::StatusMessage
        ),
    }
}

/// To what extent the spans of a pipeline can be judged one by one.
struct Judged {
    /// All stages are filters of spans.
    every_stage: bool,
    /// The filters of the first stage are.
    first_filters: bool,
}

fn judged_alone(pipeline: &Pipeline) -> Judged {
    let mut alone = pipeline.stages.iter().map(|stage| match stage {
        PipelineStage::Spanset(spanset) => spanset_judged_alone(spanset),
        PipelineStage::Select(_) => Judged { every_stage: true, first_filters: false },
        _ => Judged { every_stage: false, first_filters: false },
    });
    let Some(first) = alone.next() else {
        return Judged { every_stage: true, first_filters: false };
    };
    let every_stage = first.every_stage && alone.all(|stage| stage.every_stage);
    Judged { every_stage, first_filters: first.first_filters }
}

fn spanset_judged_alone(spanset: &SpansetExpression) -> Judged {
    match spanset {
        SpansetExpression::Filter(filter) => {
            let mut alone = true;
            let mut visit = |attribute: &Attribute| alone &= !attribute.depends_on_other_spans();
            filter.expression.for_each_attribute(&mut visit);
            Judged { every_stage: alone, first_filters: alone }
        }
        SpansetExpression::Pipeline(pipeline) => judged_alone(pipeline),
        SpansetExpression::Binary { operator, left, right } => {
            let (left, right) = (spanset_judged_alone(left), spanset_judged_alone(right));
            let every = left.every_stage && right.every_stage;
            Judged {
                every_stage: every && *operator == SpansetOperator::Or,
                first_filters: left.first_filters && right.first_filters,
            }
        }
    }
}

fn project_filter(expression: &FieldExpression, columns: &mut Projection) {
    expression.for_each_attribute(&mut |attribute| operand::project(attribute, columns));
}

/// The columns of everything that `compare` counts.
fn project_compared(columns: &mut Projection) {
    columns.name = true;
    columns.kind = true;
    columns.status = true;
    columns.status_message = true;
    columns.scope_name = true;
    columns.trace_summary = true;
    columns.trace_roots = true;
    columns.span_attributes = AttributeSelection::All;
    columns.resource_attributes = AttributeSelection::All;
    columns.scope_attributes = AttributeSelection::All;
}
