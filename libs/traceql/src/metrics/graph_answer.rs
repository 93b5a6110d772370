//! The series of `service_graph()`.

use super::answer::Labels;
use super::gather::{Gathered, distinct};
use super::graph::{CLIENT_LABEL, CONNECTION_LABEL, PART_LABEL, SERVER_LABEL, VIRTUAL_LABEL};
use super::lines::{Line, histogram_lines, quantile_lines};
use super::{Grid, LabelValue, SeriesKey};
use crate::GraphMeasure;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The series of a measure.
pub(super) fn lines(measure: &GraphMeasure, gathered: Gathered, grid: &Grid) -> Vec<Line> {
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
