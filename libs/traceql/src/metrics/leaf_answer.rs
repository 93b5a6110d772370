//! From the added up parts of a function to its series.

use super::gather::{Gathered, distinct};
use super::lines::{Line, group_labels, histogram_lines, quantile_lines};
use super::{Grid, SeriesKey, buckets_are_nanoseconds, compare_answer, graph_answer};
use crate::{MetricsFunction, MetricsQuery, MetricsStage};

/// The series of a query's function.
pub(super) fn lines(query: &MetricsQuery, gathered: Gathered, grid: &Grid) -> Vec<Line> {
    let (function, by) = match &query.stage {
        MetricsStage::Compare(compare) => return compare_answer::lines(compare, gathered.rows),
        MetricsStage::ServiceGraph(measure) => return graph_answer::lines(measure, gathered, grid),
        MetricsStage::Series { function, by } => (function, by),
    };
    let names: Vec<Box<str>> =
        distinct(by).iter().map(|attribute| attribute.to_string().into()).collect();
    match function {
        MetricsFunction::HistogramOverTime(_) => {
            histogram_lines(&names, gathered, bucket_scale(function))
        }
        MetricsFunction::QuantileOverTime { quantiles, .. } => {
            let scale = bucket_scale(function);
            // One asked for twice is one series.
            let quantiles: Vec<f64> = distinct(quantiles).into_iter().copied().collect();
            quantile_lines(&names, gathered, scale, &quantiles, grid)
        }
        _ => {
            let mut lines = plain_lines(function, &names, gathered);
            let counts = matches!(function, MetricsFunction::Rate | MetricsFunction::CountOverTime);
            if counts && names.is_empty() && lines.is_empty() && !query.pipeline.is_constant_false()
            {
                let labels = group_labels(&names, Vec::new(), Some(function));
                let values = vec![0.0; grid.intervals()];
                lines.push(Line { labels, values, exemplars: Vec::new() });
            }
            if *function == MetricsFunction::Rate {
                let seconds = grid.step_seconds();
                let values = lines.iter_mut().flat_map(|line| &mut line.values);
                values.for_each(|value| *value /= seconds);
            }
            lines
        }
    }
}

fn plain_lines(function: &MetricsFunction, names: &[Box<str>], gathered: Gathered) -> Vec<Line> {
    let groups = gathered.rows.into_iter().filter_map(|(key, mut row)| match key {
        SeriesKey::Group { values, .. } => {
            let labels = group_labels(names, values, Some(function));
            Some(Line { labels, values: row.take_values(), exemplars: row.exemplars })
        }
        SeriesKey::Compared { .. } => None,
    });
    groups.collect()
}

/// What a bound is divided by: durations are counted in nanoseconds and shown in seconds.
fn bucket_scale(function: &MetricsFunction) -> f64 {
    if buckets_are_nanoseconds(function) { 1e9 } else { 1.0 }
}
