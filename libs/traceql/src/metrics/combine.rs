//! Combines the partial series of all jobs to the answer.

use super::answer::{AnswerOptions, MetricsAnswer, Series};
use super::answer_series::{self, Line};
use super::arithmetic::{self, Operand};
use super::buckets::Buckets;
use super::gather::Gathered;
use super::{
    Exemplar, Grid, LabelValue, MetricsError, PartialSeries, SeriesKey, exemplars_answer,
    leaf_answer, second_stage,
};
use crate::{MetricsExpression, RootExpr};
use tactus_work::{Held, is_over, tick};

/// Estimated bytes of a point of an answer in all its forms: here, in a message, and in JSON.
const ANSWERED_POINT_BYTES: usize = 96;
/// Estimated bytes of a series, a label and a point while they exist both here and in a message.
const HELD_SERIES_BYTES: usize = 128;
const HELD_LABEL_BYTES: usize = 128;
const HELD_POINT_BYTES: usize = 48;

/// Adds up partial series, in any order, and builds the answer from them.
#[derive(Debug)]
pub struct MetricsCombiner {
    /// `None` for a query without a metrics function, which has no series.
    expression: Option<MetricsExpression>,
    grid: Grid,
    options: AnswerOptions,
    /// One for each metrics function, left to right.
    leaves: Vec<Gathered>,
    bytes: usize,
    held: Held,
}

impl MetricsCombiner {
    /// A combiner without series. `grid` must be that of the jobs.
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
        Self { expression, grid, options, leaves, bytes: 0, held: Held::default() }
    }

    /// Adds the partial series of a job. Series and points that the query cannot have are ignored. Errors:
    /// [`MetricsError::TooLarge`].
    pub fn add(
        &mut self,
        parts: impl IntoIterator<Item = PartialSeries>,
    ) -> Result<(), MetricsError> {
        for mut part in parts {
            let Some(leaf) = self.leaves.get_mut(part.leaf as usize) else { continue };
            if !leaf.admits(&part.key) {
                continue;
            }
            name_missing_alike(&mut part.key);
            let growth = leaf.growth(&part.key, &self.grid);
            let bytes = self.bytes.saturating_add(growth);
            let limit_bytes = self.options.max_bytes;
            if limit_bytes > 0 && bytes > limit_bytes {
                return Err(MetricsError::TooLarge { limit_bytes });
            }
            if tick(part.points.len() as u32 + 1) || !self.held.grow_to(bytes) {
                break;
            }
            let before = leaf.bytes();
            leaf.add(part, growth, &self.grid);
            self.bytes = self.bytes - before + leaf.bytes();
        }
        Ok(())
    }

    /// Estimated memory of the series added, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// What was added so far, once more.
    pub fn copy(&self) -> Self {
        let held = Held::of(self.bytes);
        let leaves = if held.has_room() { self.leaves.clone() } else { Vec::new() };
        let (expression, grid, options) = (self.expression.clone(), self.grid, self.options);
        Self { expression, grid, options, leaves, bytes: self.bytes, held }
    }

    /// The answer from what was added. Errors: [`MetricsError::TooLarge`] if encoding it would take more memory than
    /// the query may use.
    pub fn finish(self) -> Result<MetricsAnswer, MetricsError> {
        let Some(expression) = &self.expression else { return Ok(MetricsAnswer::default()) };
        // Values are moved from rows to series. In addition there are labels, keys for sorting or matching, and
        // results.
        let is_plain = matches!(expression, MetricsExpression::Query(_));
        let _lines = Held::of(if is_plain { self.bytes / 2 } else { self.bytes });
        if is_over() {
            return Ok(MetricsAnswer::default());
        }
        let mut leaves = self.leaves.into_iter();
        let Operand::Lines(mut lines) = evaluate(expression, &mut leaves, &self.grid) else {
            return Ok(MetricsAnswer::default());
        };
        // Second stages have already limited the series, and everything that they left stays.
        if !matches!(expression, MetricsExpression::SecondStages { .. }) {
            resolve_exemplars(&mut lines, &self.grid);
        }
        lines.retain(|line| line.values.iter().any(|value| !value.is_nan()));
        answer_series::sort_lines(&mut lines);
        let limit = self.options.max_series;
        let truncated = limit > 0 && lines.len() > limit;
        if truncated {
            lines.truncate(limit);
            lines.shrink_to_fit();
        }
        let series: Vec<Series> = lines.into_iter().map(series).collect();
        let points: usize = series.iter().map(|series| series.points.len()).sum();
        let limit_bytes = self.options.max_bytes;
        if limit_bytes > 0 && points.saturating_mul(ANSWERED_POINT_BYTES) > limit_bytes {
            return Err(MetricsError::TooLarge { limit_bytes });
        }
        Ok(MetricsAnswer { series, truncated })
    }
}

impl MetricsAnswer {
    /// Estimated bytes of memory until the answer is encoded.
    pub fn heap_bytes(&self) -> usize {
        let of_exemplar = |exemplar: &Exemplar| exemplar.labels.len() * HELD_LABEL_BYTES;
        let of_series = |series: &Series| {
            HELD_SERIES_BYTES
                + series.labels.len() * HELD_LABEL_BYTES
                + series.points.len() * HELD_POINT_BYTES
                + series.exemplars.iter().map(of_exemplar).sum::<usize>()
        };
        self.series.iter().map(of_series).sum()
    }
}

/// A missing value is shown as `nil`. If it is the only label, the text "nil" is the same series.
fn name_missing_alike(key: &mut SeriesKey) {
    if let SeriesKey::Group { values, bucket: None } = key
        && let Some((first, rest)) = values.split_first_mut()
        && rest.iter().all(|value| *value == LabelValue::Nil)
        && matches!(first, LabelValue::String(text) if &**text == "nil")
    {
        *first = LabelValue::Nil;
    }
}

/// Evaluates an expression. Each metrics function in it takes the next of `leaves`.
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
                // Before points are dropped, because a series that stays keeps its exemplars.
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

/// The series of a line.
fn series(line: Line) -> Series {
    let points: Vec<(u32, f64)> =
        (0..).zip(line.values).filter(|(_, value)| !value.is_nan()).collect();
    let mut exemplars = line.exemplars;
    exemplars.sort_by_key(|exemplar| exemplar.start_unix_nanos);
    Series { labels: line.labels, points, exemplars }
}

#[cfg(test)]
mod tests;
