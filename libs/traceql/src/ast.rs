//! The tree of a query: plain enums without positions.
//!
//! Shape: a [`RootExpr`] is a search pipeline or a metrics expression, plus hints. Constant sub-expressions are already
//! folded, chains of one logical operator are flat lists, and the depth of every tree is bounded, so that plain
//! recursion over it is safe.

mod attribute;
mod metrics;
mod operator;

pub use attribute::{Attribute, AttributeScope, Intrinsic};
pub use metrics::{
    Compare, GraphMeasure, MetricsExpression, MetricsFunction, MetricsQuery, MetricsStage,
    SecondStage,
};
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
    /// The pipeline that finds spans: that of the query itself, or of the first leaf of a metrics query.
    ///
    /// A search whose query is a metrics query runs this pipeline and ignores the rest.
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

    /// True if each span is judged independently of all other spans: one filter, followed only by `select()`.
    pub fn judges_spans_alone(&self) -> bool {
        let Query::Search(pipeline) = &self.query else { return false };
        let Some((PipelineStage::Spanset(SpansetExpression::Filter(filter)), rest)) =
            pipeline.stages.split_first()
        else {
            return false;
        };
        let mut alone = true;
        let mut visit = |attribute: &Attribute| alone &= !attribute.depends_on_other_spans();
        filter.expression.for_each_attribute(&mut visit);
        for stage in rest {
            match stage {
                PipelineStage::Select(attributes) => attributes.iter().for_each(&mut visit),
                _ => return false,
            }
        }
        alone
    }
}

/// The two kinds of query.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A pipeline that ends in spansets.
    Search(Pipeline),
    /// A pipeline that ends in a metrics function, or arithmetic between such pipelines.
    Metrics(MetricsExpression),
}

/// Stages run in order, each on the spansets of one trace. At least one stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The stages, first to last.
    pub stages: Vec<PipelineStage>,
}

impl Pipeline {
    /// True if there is a spanset filter and every one is constant false. The answer is then empty, without reading
    /// data.
    pub fn is_constant_false(&self) -> bool {
        let mut filters = 0;
        self.stages.iter().all(|stage| match stage {
            PipelineStage::Spanset(spanset) => spanset.is_constant_false(&mut filters),
            _ => true,
        }) && filters > 0
    }

    /// Calls `visit` for every part, left to right.
    pub(crate) fn for_each_part<'a>(&'a self, visit: &mut dyn FnMut(PipelinePart<'a>)) {
        for stage in &self.stages {
            match stage {
                PipelineStage::Spanset(spanset) => spanset.for_each_part(visit),
                PipelineStage::By(expression) => visit(PipelinePart::Expression(expression)),
                PipelineStage::Scalar(filter) => {
                    for side in [&filter.left, &filter.right] {
                        side.for_each_aggregate(&mut |aggregate| {
                            aggregate
                                .argument
                                .iter()
                                .map(PipelinePart::Expression)
                                .for_each(&mut *visit);
                        });
                    }
                }
                PipelineStage::Select(attributes) => {
                    attributes.iter().map(PipelinePart::Selected).for_each(&mut *visit);
                }
                PipelineStage::Coalesce => {}
            }
        }
    }
}

/// What the stages of a pipeline consist of.
pub(crate) enum PipelinePart<'a> {
    /// The expression of a filter or of `by`, or the argument of an aggregate.
    Expression(&'a FieldExpression),
    /// An attribute of `select`.
    Selected(&'a Attribute),
    /// An operator, before its operands.
    Operator(SpansetOperator),
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
    /// A parenthesised pipeline as operand. It has the same input as the other operand.
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
    /// True if evaluation may end in an error: a side of a structural operator may become several spansets.
    pub fn may_fail(&self) -> bool {
        match self {
            SpansetExpression::Filter(_) => false,
            SpansetExpression::Pipeline(pipeline) => {
                pipeline.stages.iter().any(|stage| match stage {
                    PipelineStage::Spanset(spanset) => spanset.may_fail(),
                    _ => false,
                })
            }
            SpansetExpression::Binary { operator, left, right } => {
                let is_structural = matches!(operator, SpansetOperator::Structural(..));
                let splits = left.may_split() || right.may_split();
                is_structural && splits || left.may_fail() || right.may_fail()
            }
        }
    }

    fn for_each_part<'a>(&'a self, visit: &mut dyn FnMut(PipelinePart<'a>)) {
        match self {
            SpansetExpression::Filter(filter) => {
                visit(PipelinePart::Expression(&filter.expression));
            }
            SpansetExpression::Pipeline(pipeline) => pipeline.for_each_part(visit),
            SpansetExpression::Binary { operator, left, right } => {
                visit(PipelinePart::Operator(*operator));
                left.for_each_part(visit);
                right.for_each_part(visit);
            }
        }
    }

    /// True if one spanset may become several.
    fn may_split(&self) -> bool {
        let SpansetExpression::Pipeline(pipeline) = self else { return false };
        let mut splits = false;
        for stage in &pipeline.stages {
            match stage {
                PipelineStage::By(_) => splits = true,
                PipelineStage::Coalesce => splits = false,
                PipelineStage::Spanset(spanset) => splits |= spanset.may_split(),
                PipelineStage::Scalar(_) | PipelineStage::Select(_) => {}
            }
        }
        splits
    }

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
    /// A constant. Never nil in a parsed query.
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
    /// `a && b && c` or `a || b || c`: the left-associative chain of one operator. If an operand on the right was
    /// parenthesised, it may be a chain of the same operator.
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
        let mut references = false;
        self.for_each_attribute(&mut |_| references = true);
        references
    }
}

/// `left cmp right` for values of one spanset. Validation guarantees that it contains an aggregate.
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
    /// Arithmetic; at least one side contains an aggregate.
    Binary {
        /// The operator.
        operator: ArithmeticOperator,
        /// Left operand.
        left: Box<ScalarExpression>,
        /// Right operand.
        right: Box<ScalarExpression>,
    },
    /// `({} | count())`: an aggregate of another pipeline. It parses but is never valid.
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
