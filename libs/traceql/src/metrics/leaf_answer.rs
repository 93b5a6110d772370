//! Turns the summed parts of a function into its series.

use std::collections::HashMap;

use super::answer::Labels;
use super::answer_series::{Line, group_labels, histogram_lines, quantile_lines};
use super::gather::{Gathered, Row, by_frequency, distinct};
use super::graph::{CLIENT_LABEL, CONNECTION_LABEL, PART_LABEL, SERVER_LABEL, VIRTUAL_LABEL};
use super::{ComparedSide, Grid, LabelValue, SeriesKey, buckets_are_nanoseconds};
use crate::{Compare, GraphMeasure, MetricsFunction, MetricsQuery, MetricsStage};

/// The series of a query's function.
pub(super) fn lines(query: &MetricsQuery, gathered: Gathered, grid: &Grid) -> Vec<Line> {
    let (function, by) = match &query.stage {
        MetricsStage::Compare(compare) => {
            return compare_lines(compare, gathered.rows);
        }
        MetricsStage::ServiceGraph(measure) => {
            return graph_lines(measure, gathered, grid);
        }
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
            // A quantile that is asked for twice is one series.
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

/// Bounds are divided by this: durations are counted in nanoseconds and shown in seconds.
fn bucket_scale(function: &MetricsFunction) -> f64 {
    if buckets_are_nanoseconds(function) { 1e9 } else { 1.0 }
}

const META_LABEL: &str = "__meta_type";

fn compare_lines(compare: &Compare, rows: HashMap<SeriesKey, Row>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut values: HashMap<_, Vec<(f64, Line)>> = HashMap::new();
    for (key, mut row) in rows {
        let SeriesKey::Compared { side, attribute, value } = key else { continue };
        let is_total = value.is_none();
        let shown = value.unwrap_or(LabelValue::Nil);
        let side_name = LabelValue::String(side_name(side, is_total).into());
        let labels = vec![(META_LABEL.into(), side_name), (attribute.clone(), shown)];
        let line = Line { labels, values: row.take_values(), exemplars: row.exemplars };
        if is_total {
            lines.push(line);
        } else {
            let sum = line.values.iter().sum();
            values.entry((side, attribute)).or_default().push((sum, line));
        }
    }
    let limit = usize::try_from(compare.top_n).unwrap_or(usize::MAX);
    for mut of_attribute in values.into_values() {
        if of_attribute.len() > limit {
            of_attribute.sort_by_cached_key(|(sum, line)| {
                // The label after that of the side is that of the attribute.
                by_frequency(*sum, line.labels.last().map(|(_, value)| value))
            });
            of_attribute.truncate(limit);
        }
        lines.extend(of_attribute.into_iter().map(|(_, line)| line));
    }
    lines
}

fn side_name(side: ComparedSide, is_total: bool) -> &'static str {
    match (side, is_total) {
        (ComparedSide::Baseline, false) => "baseline",
        (ComparedSide::Baseline, true) => "baseline_total",
        (ComparedSide::Selection, false) => "selection",
        (ComparedSide::Selection, true) => "selection_total",
    }
}

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The series of a measure.
fn graph_lines(measure: &GraphMeasure, gathered: Gathered, grid: &Grid) -> Vec<Line> {
    let mut names: Vec<Box<str>> =
        [CLIENT_LABEL, SERVER_LABEL, CONNECTION_LABEL, VIRTUAL_LABEL].map(Into::into).into();
    if *measure == GraphMeasure::All {
        names.push(PART_LABEL.into());
    }
    match measure {
        GraphMeasure::All => {
            let mut lines = Vec::new();
            let (buckets, counts) = gathered.split_buckets();
            lines.extend(histogram_lines(&names, buckets, SECOND));
            lines.extend(count_lines(&names, counts));
            lines
        }
        GraphMeasure::Calls | GraphMeasure::Errors => count_lines(&names, gathered),
        GraphMeasure::Rate => {
            let mut lines = count_lines(&names, gathered);
            let seconds = grid.step_seconds();
            let values = lines.iter_mut().flat_map(|line| &mut line.values);
            values.for_each(|value| *value /= seconds);
            lines
        }
        GraphMeasure::ClientLatency { quantiles } | GraphMeasure::ServerLatency { quantiles } => {
            if quantiles.is_empty() {
                return histogram_lines(&names, gathered, SECOND);
            }
            let quantiles: Vec<f64> = distinct(quantiles).into_iter().copied().collect();
            quantile_lines(&names, gathered, SECOND, &quantiles, grid)
        }
    }
}

fn count_lines(names: &[Box<str>], gathered: Gathered) -> Vec<Line> {
    let groups = gathered.rows.into_iter().filter_map(|(key, mut row)| match key {
        SeriesKey::Group { values, bucket: None } => {
            let mut labels: Labels = names.iter().cloned().zip(values).collect();
            labels.retain(|(_, value)| *value != LabelValue::Nil);
            Some(Line { labels, values: row.take_values(), exemplars: row.exemplars })
        }
        _ => None,
    });
    groups.collect()
}
