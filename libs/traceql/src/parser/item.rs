//! The operands outside of filters, and how operators combine them.
//!
//! A parenthesis may begin a spanset, a pipeline, a scalar or a metrics query; only its content shows which. So one
//! loop parses all of them, and the kinds of the operands determine what an operator means.

use super::Parser;
use crate::ast::{
    ArithmeticOperator, ComparisonOperator, MetricsExpression, PipelineStage, ScalarExpression,
    ScalarFilter, SecondStage, SpansetExpression, SpansetOperator,
};
use crate::error::ParseError;
use crate::operate::evaluate_binary;
use crate::static_value::Static;

/// An operand.
pub(super) enum Item {
    /// `grouped`: built from parenthesised operands, so that it may also be used as a pipeline.
    Spanset { expression: SpansetExpression, grouped: bool },
    /// Parenthesised pipelines and combinations of them.
    Pipelines(SpansetExpression),
    /// A finished stage: `by`, `select`, `coalesce` or a scalar filter.
    Stage(PipelineStage),
    /// Has an aggregate, or a constant without a value. `grouped`: in parentheses.
    Scalar { expression: ScalarExpression, grouped: bool },
    /// A folded number or duration.
    Constant(Static),
    /// `({} | count())` and arithmetic on such.
    ScalarPipe(ScalarExpression),
    /// A constant that is not a number. It can only be on the right of a scalar pipeline's comparison.
    OtherStatic(Static),
    /// `open`: not parenthesised, so second stages may follow but not arithmetic.
    Metrics { expression: MetricsExpression, open: bool },
}

/// An item with the depth of its tree and the index of its first token.
pub(super) struct Operand {
    pub(super) item: Item,
    pub(super) depth: usize,
    pub(super) start: usize,
}

fn is_metrics_arithmetic(text: &str) -> bool {
    matches!(text, "+" | "-" | "*" | "/")
}

impl Item {
    /// Whether `operator` may follow.
    pub(super) fn takes(&self, operator: &str) -> bool {
        let compares = || ComparisonOperator::from_text(operator).is_some();
        let computes = || ArithmeticOperator::from_text(operator).is_some();
        match self {
            Item::Spanset { .. } | Item::Pipelines(_) => {
                SpansetOperator::from_text(operator).is_some()
            }
            Item::Scalar { .. } | Item::Constant(_) | Item::ScalarPipe(_) => {
                compares() || computes()
            }
            Item::Metrics { open: true, .. } => compares(),
            Item::Metrics { open: false, .. } => compares() || is_metrics_arithmetic(operator),
            Item::Stage(_) | Item::OtherStatic(_) => false,
        }
    }

    fn into_scalar(self) -> Option<ScalarExpression> {
        match self {
            Item::Scalar { expression, .. } | Item::ScalarPipe(expression) => Some(expression),
            Item::Constant(value) | Item::OtherStatic(value) => {
                Some(ScalarExpression::Static(value))
            }
            _ => None,
        }
    }
}

impl Parser<'_> {
    /// Applies an infix operator. The left operand accepts it; whether the right one fits is checked here.
    pub(super) fn combine(
        &self,
        operator: &'static str,
        left: Operand,
        right: Operand,
    ) -> Result<Operand, ParseError> {
        let depth = self.check_depth(left.depth.max(right.depth) + 1)?;
        let (start, right_start) = (left.start, right.start);
        let misplaced = || self.unexpected_at(right_start, "");
        let item = match (left.item, right.item) {
            (
                Item::Spanset { expression: left, grouped },
                Item::Spanset { expression: right, grouped: right_grouped },
            ) => {
                let expression = spansets(operator, left, right).ok_or_else(misplaced)?;
                Item::Spanset { expression, grouped: grouped && right_grouped }
            }
            (
                Item::Pipelines(left) | Item::Spanset { expression: left, grouped: true },
                Item::Pipelines(right) | Item::Spanset { expression: right, grouped: true },
            ) => Item::Pipelines(spansets(operator, left, right).ok_or_else(misplaced)?),
            (Item::Constant(left), Item::Constant(right))
                if ComparisonOperator::from_text(operator).is_none() =>
            {
                match self.fold_constants(operator, &left, &right)? {
                    Static::Nil => scalars(operator, Item::Constant(left), Item::Constant(right))
                        .ok_or_else(misplaced)?,
                    value => Item::Constant(value),
                }
            }
            // After second stages, a metrics expression takes no arithmetic until it is parenthesised.
            (Item::Metrics { expression, .. }, Item::Constant(threshold))
                if ComparisonOperator::from_text(operator).is_some() =>
            {
                let stage = ComparisonOperator::from_text(operator)
                    .map(|operator| SecondStage::Filter { operator, threshold })
                    .ok_or_else(misplaced)?;
                Item::Metrics { expression: with_stage(expression, stage), open: true }
            }
            (left @ Item::Metrics { .. }, right @ (Item::Metrics { .. } | Item::Constant(_)))
            | (left @ Item::Constant(_), right @ Item::Metrics { .. }) => {
                let arithmetic = ArithmeticOperator::from_text(operator)
                    .filter(|_| is_metrics_arithmetic(operator))
                    .ok_or_else(misplaced)?;
                let left = self.metrics_operand(left, start)?;
                let right = self.metrics_operand(right, right_start)?;
                let expression = MetricsExpression::Binary {
                    operator: arithmetic,
                    left: Box::new(left),
                    right: Box::new(right),
                };
                Item::Metrics { expression, open: false }
            }
            (left, right) => scalars(operator, left, right).ok_or_else(misplaced)?,
        };
        Ok(Operand { item, depth, start })
    }

    fn metrics_operand(&self, item: Item, start: usize) -> Result<MetricsExpression, ParseError> {
        match item {
            Item::Metrics { expression, open: false } => Ok(expression),
            Item::Constant(Static::Duration(_)) => {
                let message =
                    "duration cannot be used as a scalar operand in metric arithmetic".to_owned();
                Err(self.error_at(start, message))
            }
            Item::Constant(value) => Ok(MetricsExpression::Constant(value)),
            _ => Err(self.unexpected_at(start, "")),
        }
    }

    /// Folds `+ - * /` on numbers outside of filters. An integer divided by zero has no value, so it matches nothing.
    fn fold_constants(
        &self,
        operator: &str,
        left: &Static,
        right: &Static,
    ) -> Result<Static, ParseError> {
        if matches!(left, Static::Duration(_)) || matches!(right, Static::Duration(_)) {
            return Err(self.error("duration cannot be used in scalar arithmetic".to_owned()));
        }
        let operator = ArithmeticOperator::from_text(operator)
            .filter(|_| is_metrics_arithmetic(operator))
            .ok_or_else(|| self.unexpected(""))?;
        match evaluate_binary(crate::ast::BinaryOperator::Arithmetic(operator), left, right) {
            Static::Float(value) if !value.is_finite() => {
                Err(self.error("constant out of range".to_owned()))
            }
            value => Ok(value),
        }
    }
}

fn spansets(
    operator: &str,
    left: SpansetExpression,
    right: SpansetExpression,
) -> Option<SpansetExpression> {
    let operator = SpansetOperator::from_text(operator)?;
    Some(SpansetExpression::Binary { operator, left: Box::new(left), right: Box::new(right) })
}

/// Comparison or arithmetic between scalars, or between scalar pipelines.
fn scalars(operator: &str, left: Item, right: Item) -> Option<Item> {
    let pipes = matches!(left, Item::ScalarPipe(_));
    let compares = ComparisonOperator::from_text(operator);
    let fits = match &right {
        Item::ScalarPipe(_) => pipes,
        Item::Scalar { .. } => !pipes,
        Item::Constant(_) => !pipes || compares.is_some(),
        Item::OtherStatic(_) => pipes && compares.is_some(),
        _ => false,
    };
    if !fits {
        return None;
    }
    let (left, right) = (left.into_scalar()?, right.into_scalar()?);
    if let Some(operator) = compares {
        return Some(Item::Stage(PipelineStage::Scalar(ScalarFilter { operator, left, right })));
    }
    let operator = ArithmeticOperator::from_text(operator)?;
    let expression =
        ScalarExpression::Binary { operator, left: Box::new(left), right: Box::new(right) };
    Some(match pipes {
        true => Item::ScalarPipe(expression),
        false => Item::Scalar { expression, grouped: false },
    })
}

/// Appends a second stage.
pub(super) fn with_stage(expression: MetricsExpression, stage: SecondStage) -> MetricsExpression {
    match expression {
        MetricsExpression::SecondStages { expression, mut stages } => {
            stages.push(stage);
            MetricsExpression::SecondStages { expression, stages }
        }
        expression => MetricsExpression::SecondStages {
            expression: Box::new(expression),
            stages: vec![stage],
        },
    }
}
