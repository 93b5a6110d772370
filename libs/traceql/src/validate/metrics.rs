//! Rules for metrics expressions.

use super::{Checker, Result};
use crate::ast::{
    Compare, GraphMeasure, MetricsExpression, MetricsFunction, MetricsQuery, MetricsStage,
    SecondStage,
};
use crate::error::ValidateError;

const MAX_COMPARE_TOP: i64 = 1000;
const MAX_GROUPS: usize = 5;

impl Checker {
    /// `combined`: the result is used in arithmetic or by a second stage.
    pub(super) fn metrics(&self, expression: &MetricsExpression, combined: bool) -> Result {
        match expression {
            MetricsExpression::Query(checked) => self.query(checked, combined),
            MetricsExpression::Constant(_) => Ok(()),
            MetricsExpression::Binary { left, right, .. } => {
                self.metrics(left, true)?;
                self.metrics(right, true)
            }
            MetricsExpression::SecondStages { expression, stages } => {
                self.metrics(expression, true)?;
                self.count_stages(stages.len())?;
                stages.iter().try_for_each(second_stage)
            }
        }
    }

    fn query(&self, query: &MetricsQuery, combined: bool) -> Result {
        self.pipeline(&query.pipeline)?;
        let (function, by) = match &query.stage {
            MetricsStage::Compare(checked) => {
                self.compare(checked)?;
                return if combined { Err(ValidateError::CompareSecondStage) } else { Ok(()) };
            }
            MetricsStage::ServiceGraph(measure) => {
                quantiles(measure.quantiles())?;
                let is_mixed = *measure == GraphMeasure::All;
                return if combined && is_mixed {
                    Err(ValidateError::GraphSecondStage)
                } else {
                    Ok(())
                };
            }
            MetricsStage::Series { function, by } => (function, by),
        };
        if let MetricsFunction::QuantileOverTime { quantiles: asked, .. } = function {
            quantiles(asked)?;
        }
        // These need a label of their own.
        let limit = match function {
            MetricsFunction::QuantileOverTime { .. }
            | MetricsFunction::HistogramOverTime(_)
            | MetricsFunction::AvgOverTime(_) => MAX_GROUPS - 1,
            _ => MAX_GROUPS,
        };
        if by.len() > limit {
            let text = format!("metrics group by {} values", by.len());
            return Err(ValidateError::Unsupported(text));
        }
        Ok(())
    }

    fn compare(&self, compare: &Compare) -> Result {
        self.spanset_filter(&compare.selection)?;
        if compare.top_n <= 0 {
            return Err(ValidateError::CompareTopNotPositive);
        }
        if compare.top_n > MAX_COMPARE_TOP {
            return Err(ValidateError::CompareTopTooLarge);
        }
        if compare.start == 0 && compare.end == 0 {
            return Ok(());
        }
        if compare.start <= 0 || compare.end <= 0 {
            return Err(ValidateError::CompareTimestamps);
        }
        if compare.end <= compare.start {
            return Err(ValidateError::CompareRange);
        }
        Ok(())
    }
}

fn quantiles(quantiles: &[f64]) -> Result {
    match quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
        Some(outside) => Err(ValidateError::QuantileOutOfRange(*outside)),
        None => Ok(()),
    }
}

fn second_stage(stage: &SecondStage) -> Result {
    match stage {
        SecondStage::TopK(limit) | SecondStage::BottomK(limit) if *limit <= 0 => {
            Err(ValidateError::LimitNotPositive)
        }
        _ => Ok(()),
    }
}
