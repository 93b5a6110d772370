//! The tree of a query: plain enums without positions.
//!
//! Shape: a [`RootExpr`] is a search pipeline or a metrics expression, plus hints. Constant
//! sub-expressions are already folded, chains of one logical operator are flat lists, and the
//! depth of every tree is bounded, so plain recursion over it is safe.

mod attribute;
mod operator;

pub use attribute::{Attribute, AttributeScope, Intrinsic};
pub use operator::{
    AggregateOperator, ArithmeticOperator, BinaryOperator, ComparisonOperator, LogicalOperator,
    Relation, RelationMode, SpansetOperator, UnaryOperator,
};

use crate::hints::Hints;
use crate::static_value::Static;

/// A whole query.
#[derive(Debug, Clone, PartialEq)]
pub struct RootExpr {
    /// What is asked for.
    pub query: Query,
    /// The last `with (…)` of the query; empty when there is none.
    pub hints: Hints,
}

impl RootExpr {
    /// The pipeline that finds spans: the query itself, or the first leaf of a metrics query.
    ///
    /// A search with a metrics query runs this pipeline and ignores the rest.
    pub fn search_pipeline(&self) -> &Pipeline {
        const EMPTY: &Pipeline = &Pipeline { stages: Vec::new() };
        match &self.query {
            Query::Search(pipeline) => pipeline,
            Query::Metrics(metrics) => metrics.first_leaf().map_or(EMPTY, |leaf| &leaf.pipeline),
        }
    }

    /// The metrics expression, if the query has a metrics function.
    pub fn metrics(&self) -> Option<&MetricsExpression> {
        match &self.query {
            Query::Search(_) => None,
            Query::Metrics(metrics) => Some(metrics),
        }
    }
}

/// The two kinds of query.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A pipeline that ends in spansets.
    Search(Pipeline),
    /// A pipeline that ends in series, or arithmetic between such pipelines.
    Metrics(MetricsExpression),
}

/// Stages run in order, each on the spansets of one trace. At least one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The stages, first to last.
    pub stages: Vec<PipelineStage>,
}

impl Pipeline {
    /// True if every spanset filter is constant false and there is one: the answer is empty
    /// without reading data.
    pub fn is_constant_false(&self) -> bool {
        let mut filters = 0;
        self.stages.iter().all(|stage| match stage {
            PipelineStage::Spanset(spanset) => spanset.is_constant_false(&mut filters),
            _ => true,
        }) && filters > 0
    }
}

/// One stage of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum PipelineStage {
    /// `{ … }` and its combinations: keeps spans.
    Spanset(SpansetExpression),
    /// `count() > 2`: keeps spansets.
    Scalar(ScalarFilter),
    /// `by(e)`: splits spansets by the value of an expression.
    By(FieldExpression),
    /// `coalesce()`: merges the spansets of a trace.
    Coalesce,
    /// `select(a, b)`: adds attributes to the answer. At least one.
    Select(Vec<Attribute>),
}

/// An expression over spansets.
#[derive(Debug, Clone, PartialEq)]
pub enum SpansetExpression {
    /// `{ … }`.
    Filter(SpansetFilter),
    /// A parenthesised pipeline as operand. It starts from the same input as its sibling operand.
    Pipeline(Pipeline),
    /// Two operands and a logical or structural operator.
    Binary {
        /// The operator.
        operator: SpansetOperator,
        /// Left operand.
        left: Box<SpansetExpression>,
        /// Right operand.
        right: Box<SpansetExpression>,
    },
}

impl SpansetExpression {
    fn is_constant_false(&self, filters: &mut usize) -> bool {
        match self {
            SpansetExpression::Filter(filter) => {
                *filters += 1;
                filter.expression == FieldExpression::Static(Static::Bool(false))
            }
            SpansetExpression::Pipeline(pipeline) => {
                *filters += 1;
                pipeline.is_constant_false()
            }
            SpansetExpression::Binary { left, right, .. } => {
                left.is_constant_false(filters) && right.is_constant_false(filters)
            }
        }
    }
}

/// `{ expression }`. `{}` holds the constant true.
#[derive(Debug, Clone, PartialEq)]
pub struct SpansetFilter {
    /// A span is kept if this is boolean true for it.
    pub expression: FieldExpression,
}

/// An expression over one span.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldExpression {
    /// A constant. Never nil or an array in a parsed query.
    Static(Static),
    /// An attribute or intrinsic of the span.
    Attribute(Attribute),
    /// One operand.
    Unary {
        /// The operator.
        operator: UnaryOperator,
        /// The operand.
        operand: Box<FieldExpression>,
    },
    /// Two operands: arithmetic, comparison, regular expression.
    Binary {
        /// The operator.
        operator: BinaryOperator,
        /// Left operand.
        left: Box<FieldExpression>,
        /// Right operand.
        right: Box<FieldExpression>,
    },
    /// `a && b && c` or `a || b || c`: the left-associative chain of one operator. An operand may
    /// be a chain of the same operator again if it was parenthesised on the right.
    Logical {
        /// The operator between all operands.
        operator: LogicalOperator,
        /// At least two.
        operands: Vec<FieldExpression>,
    },
}

impl FieldExpression {
    /// Calls `visit` for every attribute, left to right.
    pub fn for_each_attribute<'a>(&'a self, visit: &mut impl FnMut(&'a Attribute)) {
        match self {
            FieldExpression::Static(_) => {}
            FieldExpression::Attribute(attribute) => visit(attribute),
            FieldExpression::Unary { operand, .. } => operand.for_each_attribute(visit),
            FieldExpression::Binary { left, right, .. } => {
                left.for_each_attribute(visit);
                right.for_each_attribute(visit);
            }
            FieldExpression::Logical { operands, .. } => {
                for operand in operands {
                    operand.for_each_attribute(visit);
                }
            }
        }
    }

    /// True if an attribute or intrinsic occurs in the expression.
    pub fn references_span(&self) -> bool {
        match self {
            FieldExpression::Static(_) => false,
            FieldExpression::Attribute(_) => true,
            FieldExpression::Unary { operand, .. } => operand.references_span(),
            FieldExpression::Binary { left, right, .. } => {
                left.references_span() || right.references_span()
            }
            FieldExpression::Logical { operands, .. } => {
                operands.iter().any(FieldExpression::references_span)
            }
        }
    }
}

/// `left cmp right` over values of one spanset. Validation guarantees an aggregate in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarFilter {
    /// The comparison.
    pub operator: ComparisonOperator,
    /// Left side.
    pub left: ScalarExpression,
    /// Right side.
    pub right: ScalarExpression,
}

/// A value computed from one spanset.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarExpression {
    /// A constant: int, float or duration.
    Static(Static),
    /// An aggregate over the spans.
    Aggregate(Aggregate),
    /// Arithmetic; at least one side holds an aggregate.
    Binary {
        /// The operator.
        operator: ArithmeticOperator,
        /// Left operand.
        left: Box<ScalarExpression>,
        /// Right operand.
        right: Box<ScalarExpression>,
    },
    /// `({} | count())`: an aggregate of a pipeline of its own. Parses, but never validates.
    Pipeline(Box<Pipeline>, Aggregate),
}

impl ScalarExpression {
    /// Calls `visit` for every aggregate, left to right.
    pub fn for_each_aggregate<'a>(&'a self, visit: &mut impl FnMut(&'a Aggregate)) {
        match self {
            ScalarExpression::Static(_) => {}
            ScalarExpression::Aggregate(aggregate) | ScalarExpression::Pipeline(_, aggregate) => {
                visit(aggregate);
            }
            ScalarExpression::Binary { left, right, .. } => {
                left.for_each_aggregate(visit);
                right.for_each_aggregate(visit);
            }
        }
    }
}

/// `count()` or `max(e)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The function.
    pub operator: AggregateOperator,
    /// The argument; none for `count()` only.
    pub argument: Option<FieldExpression>,
}

/// A query for series.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsExpression {
    /// One pipeline and its metrics function.
    Query(Box<MetricsQuery>),
    /// A number next to a query: int or float.
    Constant(Static),
    /// Arithmetic (`+ - * /` only), between series matched by labels, or with a constant.
    Binary {
        /// One of add, subtract, multiply, divide.
        operator: ArithmeticOperator,
        /// Left operand.
        left: Box<MetricsExpression>,
        /// Right operand.
        right: Box<MetricsExpression>,
    },
    /// Second stages, applied in order to the combined result of `expression`.
    SecondStages {
        /// A query or arithmetic; never second stages again.
        expression: Box<MetricsExpression>,
        /// At least one.
        stages: Vec<SecondStage>,
    },
}

impl MetricsExpression {
    /// Calls `visit` for every metrics query, left to right.
    pub fn for_each_leaf<'a>(&'a self, visit: &mut impl FnMut(&'a MetricsQuery)) {
        match self {
            MetricsExpression::Query(query) => visit(query),
            MetricsExpression::Constant(_) => {}
            MetricsExpression::Binary { left, right, .. } => {
                left.for_each_leaf(visit);
                right.for_each_leaf(visit);
            }
            MetricsExpression::SecondStages { expression, .. } => expression.for_each_leaf(visit),
        }
    }

    /// The leftmost metrics query. None only for a bare constant, which no parse yields.
    pub fn first_leaf(&self) -> Option<&MetricsQuery> {
        match self {
            MetricsExpression::Query(query) => Some(query),
            MetricsExpression::Constant(_) => None,
            MetricsExpression::Binary { left, right, .. } => {
                left.first_leaf().or_else(|| right.first_leaf())
            }
            MetricsExpression::SecondStages { expression, .. } => expression.first_leaf(),
        }
    }
}

/// `pipeline | metrics function`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsQuery {
    /// Finds the spans that are counted.
    pub pipeline: Pipeline,
    /// Turns them into series.
    pub stage: MetricsStage,
}

/// The first metrics stage.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsStage {
    /// A function over time, one series for each combination of `by` values.
    Series {
        /// The function.
        function: MetricsFunction,
        /// Grouping attributes as written, possibly repeated; empty without `by`.
        by: Vec<Attribute>,
    },
    /// `compare({ … }, …)`.
    Compare(Compare),
}

/// A metrics function and its argument.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    /// `rate()`.
    Rate,
    /// `count_over_time()`.
    CountOverTime,
    /// `min_over_time(a)`.
    MinOverTime(Attribute),
    /// `max_over_time(a)`.
    MaxOverTime(Attribute),
    /// `sum_over_time(a)`.
    SumOverTime(Attribute),
    /// `avg_over_time(a)`.
    AvgOverTime(Attribute),
    /// `histogram_over_time(a)`.
    HistogramOverTime(Attribute),
    /// `quantile_over_time(a, q, …)`.
    QuantileOverTime {
        /// The measured attribute.
        attribute: Attribute,
        /// At least one; validation guarantees 0 ≤ q ≤ 1.
        quantiles: Vec<f64>,
    },
}

impl MetricsFunction {
    /// The function's name in a query and in the label `__name__`.
    pub fn name(&self) -> &'static str {
        match self {
            MetricsFunction::Rate => "rate",
            MetricsFunction::CountOverTime => "count_over_time",
            MetricsFunction::MinOverTime(_) => "min_over_time",
            MetricsFunction::MaxOverTime(_) => "max_over_time",
            MetricsFunction::SumOverTime(_) => "sum_over_time",
            MetricsFunction::AvgOverTime(_) => "avg_over_time",
            MetricsFunction::HistogramOverTime(_) => "histogram_over_time",
            MetricsFunction::QuantileOverTime { .. } => "quantile_over_time",
        }
    }

    /// The measured attribute; none for `rate()` and `count_over_time()`.
    pub fn attribute(&self) -> Option<&Attribute> {
        match self {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => None,
            MetricsFunction::MinOverTime(attribute)
            | MetricsFunction::MaxOverTime(attribute)
            | MetricsFunction::SumOverTime(attribute)
            | MetricsFunction::AvgOverTime(attribute)
            | MetricsFunction::HistogramOverTime(attribute)
            | MetricsFunction::QuantileOverTime { attribute, .. } => Some(attribute),
        }
    }
}

/// `compare({ selection }, top_n, start, end)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Spans for which this holds are the selection, all others the baseline.
    pub selection: SpansetFilter,
    /// Values kept per side and attribute; validation guarantees 1 to 1000. 10 if not given.
    pub top_n: i64,
    /// Unix nanoseconds, exclusive; 0 (with `end` 0) for no bound.
    pub start: i64,
    /// Unix nanoseconds, inclusive; 0 for no bound.
    pub end: i64,
}

/// A stage on combined series.
#[derive(Debug, Clone, PartialEq)]
pub enum SecondStage {
    /// Keeps the n largest values of each timestamp; validation guarantees n > 0.
    TopK(i64),
    /// Keeps the n smallest values of each timestamp; validation guarantees n > 0.
    BottomK(i64),
    /// Keeps points for which `value operator threshold` holds.
    Filter {
        /// The comparison.
        operator: ComparisonOperator,
        /// Int, float, or a duration, which means seconds.
        threshold: Static,
    },
}
