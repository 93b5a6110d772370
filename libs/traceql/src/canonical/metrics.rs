//! Canonical text of metrics queries, hints and whole queries.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::constant;
use crate::ast::{
    Attribute, Compare, GraphMeasure, MetricsExpression, MetricsFunction, MetricsQuery,
    MetricsStage, Query, RootExpr, SecondStage,
};
use crate::hints::Hints;
use crate::static_value::Static;

impl Display for RootExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.query {
            Query::Search(pipeline) => pipeline.fmt(f)?,
            Query::Metrics(metrics) => metrics.fmt(f)?,
        }
        hints(f, &self.hints)
    }
}

/// ` with(k=v,k2=v2)`, or nothing.
fn hints(f: &mut Formatter<'_>, hints: &Hints) -> Result {
    if hints.entries.is_empty() {
        return Ok(());
    }
    f.write_str(" with(")?;
    for (index, hint) in hints.entries.iter().enumerate() {
        let separator = if index > 0 { "," } else { "" };
        write!(f, "{separator}{}=", hint.name)?;
        constant(f, &hint.value)?;
    }
    f.write_char(')')
}

impl Display for MetricsExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            MetricsExpression::Query(query) => query.fmt(f),
            MetricsExpression::Constant(value) => constant(f, value),
            MetricsExpression::Binary { operator, left, right } => {
                operand(f, left)?;
                write!(f, " {} ", operator.text())?;
                operand(f, right)
            }
            MetricsExpression::SecondStages { expression, stages } => {
                expression.fmt(f)?;
                stages.iter().try_for_each(|stage| stage.fmt(f))
            }
        }
    }
}

fn operand(f: &mut Formatter<'_>, operand: &MetricsExpression) -> Result {
    match operand {
        MetricsExpression::Constant(_) => operand.fmt(f),
        _ => write!(f, "({operand})"),
    }
}

impl Display for MetricsQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} | {}", self.pipeline, self.stage)
    }
}

impl Display for MetricsStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            MetricsStage::Series { function, by } => {
                function.fmt(f)?;
                if by.is_empty() {
                    return Ok(());
                }
                f.write_str("by(")?;
                comma_separated(f, by)?;
                f.write_char(')')
            }
            MetricsStage::Compare(compare) => compare.fmt(f),
            MetricsStage::ServiceGraph(measure) => measure.fmt(f),
        }
    }
}

fn comma_separated(f: &mut Formatter<'_>, attributes: &[Attribute]) -> Result {
    for (index, attribute) in attributes.iter().enumerate() {
        let separator = if index > 0 { "," } else { "" };
        write!(f, "{separator}{attribute}")?;
    }
    Ok(())
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}(", self.name())?;
        if let Some(attribute) = self.attribute() {
            attribute.fmt(f)?;
        }
        if let MetricsFunction::QuantileOverTime { quantiles, .. } = self {
            for quantile in quantiles {
                write!(f, ",{quantile:.5}")?;
            }
        }
        f.write_char(')')
    }
}

impl Display for GraphMeasure {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "service_graph({}", self.name())?;
        for quantile in self.quantiles() {
            write!(f, ",{quantile:.5}")?;
        }
        f.write_char(')')
    }
}

impl Display for Compare {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "compare({}, {}", self.selection, self.top_n)?;
        if self.start != 0 || self.end != 0 {
            write!(f, ", {}, {}", self.start, self.end)?;
        }
        f.write_char(')')
    }
}

/// Includes the blank (and pipe) that separates it from the previous stage.
impl Display for SecondStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            SecondStage::TopK(limit) => write!(f, " | topk({limit})"),
            SecondStage::BottomK(limit) => write!(f, " | bottomk({limit})"),
            SecondStage::Filter { operator, threshold } => {
                write!(f, " {} ", operator.text())?;
                match threshold {
                    // Adding 0 turns −0 into 0. Otherwise it would be parsed again as an integer 0.
                    Static::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                        write!(f, "{}", value + 0.0)
                    }
                    threshold => constant(f, threshold),
                }
            }
        }
    }
}
