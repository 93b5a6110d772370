//! From the partial series of all jobs to the answer.

use super::answer::{AnswerOptions, MetricsAnswer, Series};
use super::arithmetic::{self, Operand};
use super::buckets::Buckets;
use super::gather::Gathered;
use super::leaf_answer;
use super::lines::Line;
use super::{
    Grid, LabelValue, MetricsError, PartialSeries, SeriesKey, exemplars_answer, order, second_stage,
};
use crate::{MetricsExpression, RootExpr};

/// A point of an answer on its way: here, as a message and as JSON.
const ANSWERED_POINT_BYTES: usize = 96;

/// Adds up partial series, in any order, and makes the answer of them.
#[derive(Clone, Debug)]
pub struct MetricsCombiner {
    /// `None` for a query without metrics function, which has no series.
    expression: Option<MetricsExpression>,
    grid: Grid,
    options: AnswerOptions,
    /// One for each metrics function, left to right.
    leaves: Vec<Gathered>,
    bytes: usize,
}

impl MetricsCombiner {
    /// A combiner without series. `grid` is that of the jobs.
    pub fn new(root: &RootExpr, grid: Grid, options: AnswerOptions) -> Self {
        let expression = root.metrics().cloned();
        let mut queries = Vec::new();
        if let Some(expression) = &expression {
            expression.for_each_leaf(&mut |query| queries.push(query));
        }
        let exemplars = match options.exemplars {
            0 => 0,
            _ if options.is_instant => 0,
            wanted => (wanted / queries.len().max(1)).max(1),
        };
        let buckets = Buckets::of(&root.hints);
        let gathered = |query| Gathered::new(query, exemplars, buckets);
        let leaves = queries.into_iter().map(gathered).collect();
        Self { expression, grid, options, leaves, bytes: 0 }
    }

    /// Adds the partial series of a job. Series and points that the query cannot have are ignored.
    /// Errors: [`MetricsError::TooLarge`].
    pub fn add(&mut self, parts: Vec<PartialSeries>) -> Result<(), MetricsError> {
        for mut part in parts {
            let Some(leaf) = self.leaves.get_mut(part.leaf as usize) else { continue };
            if !leaf.admits(&part.key) {
                continue;
            }
            name_missing_alike(&mut part.key);
            let bytes = self.bytes.saturating_add(leaf.growth(&part.key, &self.grid));
            let limit_bytes = self.options.max_bytes;
            if limit_bytes > 0 && bytes > limit_bytes {
                return Err(MetricsError::TooLarge { limit_bytes });
            }
            self.bytes = bytes;
            leaf.add(part, &self.grid);
        }
        Ok(())
    }

    /// Estimated memory of the series added, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// The answer to what was added.
    /// Errors: [`MetricsError::TooLarge`], if writing it down would take more memory than the query may have.
    pub fn finish(self) -> Result<MetricsAnswer, MetricsError> {
        let Some(expression) = &self.expression else { return Ok(MetricsAnswer::default()) };
        let mut leaves = self.leaves.into_iter();
        let Operand::Lines(mut lines) = evaluate(expression, &mut leaves, &self.grid) else {
            return Ok(MetricsAnswer::default());
        };
        // Second stages have done so, and what they left stays.
        if !matches!(expression, MetricsExpression::SecondStages { .. }) {
            resolve_exemplars(&mut lines, &self.grid);
        }
        let mut series: Vec<Series> = lines.into_iter().filter_map(series).collect();
        order::sort_series(&mut series);
        let limit = self.options.max_series;
        let truncated = limit > 0 && series.len() > limit;
        if truncated {
            series.truncate(limit);
        }
        let points: usize = series.iter().map(|series| series.points.len()).sum();
        let limit_bytes = self.options.max_bytes;
        if limit_bytes > 0 && points.saturating_mul(ANSWERED_POINT_BYTES) > limit_bytes {
            return Err(MetricsError::TooLarge { limit_bytes });
        }
        Ok(MetricsAnswer { series, truncated })
    }
}

/// A missing value is shown as `nil`; where it is the only label, a text that reads the same is the same series.
fn name_missing_alike(key: &mut SeriesKey) {
    if let SeriesKey::Group { values, bucket: None } = key
        && let Some((first, rest)) = values.split_first_mut()
        && rest.iter().all(|value| *value == LabelValue::Nil)
        && matches!(first, LabelValue::String(text) if &**text == "nil")
    {
        *first = LabelValue::Nil;
    }
}

/// Evaluates an expression; each metrics function in it takes the next of `leaves`.
fn evaluate(
    expression: &MetricsExpression,
    leaves: &mut std::vec::IntoIter<Gathered>,
    grid: &Grid,
) -> Operand {
    match expression {
        MetricsExpression::Query(query) => Operand::Lines(
            leaves
                .next()
                .map_or_else(Vec::new, |gathered| leaf_answer::lines(query, gathered, grid)),
        ),
        MetricsExpression::Constant(value) => {
            Operand::Number(value.as_number().unwrap_or(f64::NAN))
        }
        MetricsExpression::Binary { operator, left, right } => {
            let left = evaluate(left, leaves, grid);
            let right = evaluate(right, leaves, grid);
            arithmetic::apply(*operator, left, right)
        }
        MetricsExpression::SecondStages { expression, stages } => {
            let mut operand = evaluate(expression, leaves, grid);
            if let Operand::Lines(lines) = &mut operand {
                // Before points are dropped: a kept series keeps its exemplars.
                resolve_exemplars(lines, grid);
                stages.iter().for_each(|stage| second_stage::apply(stage, lines));
            }
            operand
        }
    }
}

fn resolve_exemplars(lines: &mut [Line], grid: &Grid) {
    for line in lines {
        exemplars_answer::resolve(&mut line.exemplars, &line.values, grid);
    }
}

/// The series of a line; none without points.
fn series(line: Line) -> Option<Series> {
    let points: Vec<(u32, f64)> =
        (0..).zip(line.values).filter(|(_, value)| !value.is_nan()).collect();
    let mut exemplars = line.exemplars;
    exemplars.sort_by_key(|exemplar| exemplar.start_unix_nanos);
    (!points.is_empty()).then_some(Series { labels: line.labels, points, exemplars })
}

#[cfg(test)]
mod tests;
