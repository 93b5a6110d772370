//! Counts of spans over time as the points of series.

use std::collections::BTreeMap;

use tactus_jaeger::adjust::{EMPTY_SERVICE, MISSING_SERVICE, NO_TEXT_SERVICE};
use tactus_traceql::metrics::{Grid, LabelValue, Series, quantile_within_bucket};

use super::{BUCKETS, Measure};
use crate::jaeger::matching;

/// A count as it was found, and once more in the order of time.
const COUNT_BYTES: u64 = 16 + 24;

/// Other memory of a series.
const SERIES_BYTES: u64 = 200;

/// The column of spans that failed.
const FAILED: u64 = 1;

const NIL: &LabelValue = &LabelValue::Nil;

/// Service, and operation if series are by it.
type Key = (String, Option<String>);

/// A measure of a service, or of an operation of it, over time. As counts it is small: most steps have none.
#[derive(Debug)]
pub(crate) struct PerformanceSeries {
    /// The service.
    pub(crate) service: String,
    /// The operation, if that was asked for.
    pub(crate) operation: Option<String>,
    measure: Measure,
    steps: Steps,
    /// Columns, which may be there several times, and their counts by step.
    columns: Vec<(u64, Vec<(u32, f64)>)>,
}

/// The steps of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) grid: Grid,
    /// Steps that make a point.
    pub(super) per_point: usize,
    /// Points before are only there to fill the window of those after; milliseconds since 1970.
    pub(super) first_millis: i64,
    /// The end of the query, nanoseconds since 1970. The last step may reach beyond it: it has less spans than the others.
    pub(super) end: u64,
}

/// Series by service and operation.
pub(super) fn by_key(
    series: Vec<Series>,
    measure: Measure,
    steps: Steps,
) -> Vec<PerformanceSeries> {
    let mut found: BTreeMap<Key, Vec<_>> = BTreeMap::new();
    for series in series {
        if let Some(column) = measure.column(&series) {
            found.entry(key(&series)).or_default().push((column, series.points));
        }
    }
    let series = |((service, operation), columns)| PerformanceSeries {
        service,
        operation,
        measure,
        steps,
        columns,
    };
    found.into_iter().map(series).collect()
}

impl Measure {
    /// Which counts are added to those of this series. `None`: it does not count.
    fn column(self, series: &Series) -> Option<u64> {
        match self {
            // Bounds are positive, so their bits have the same order.
            Self::Latencies { .. } => bound(series).map(f64::to_bits),
            Self::Calls => Some(0),
            Self::Errors => {
                let status = label(series, "status");
                let has_failed = matches!(status, LabelValue::String(text) if &**text == "error");
                Some(if has_failed { FAILED } else { 0 })
            }
        }
    }

    /// The value of a point. `counts`: of each of the columns; `seconds`: that they were counted in.
    fn value(self, columns: &[u64], counts: &[f64], seconds: f64) -> f64 {
        let counted = || columns.iter().zip(counts);
        let all: f64 = counts.iter().sum();
        match self {
            Self::Latencies { quantile } => {
                let occupied = counted().filter(|(_, count)| **count > 0.0);
                let occupied: Vec<(f64, f64)> =
                    occupied.map(|(bound, count)| (f64::from_bits(*bound), *count)).collect();
                if occupied.is_empty() {
                    return f64::NAN;
                }
                quantile_within_bucket(&occupied, quantile, BUCKETS) * 1_000.0
            }
            Self::Calls => all / seconds,
            Self::Errors if all > 0.0 => {
                let failed = counted().find(|(column, _)| **column == FAILED);
                failed.map_or(0.0, |(_, failed)| failed / all)
            }
            Self::Errors => 0.0,
        }
    }
}

impl PerformanceSeries {
    /// Memory of the counts, and of making points of them.
    pub(super) fn bytes(&self) -> u64 {
        let counts: usize = self.columns.iter().map(|(_, counts)| counts.len()).sum();
        let names = self.service.len() + self.operation.as_ref().map_or(0, String::len);
        counts as u64 * COUNT_BYTES + names as u64 + SERIES_BYTES
    }

    /// Milliseconds since 1970, ascending, and values. They are made as they are taken: there may be very many.
    pub(crate) fn points(self) -> impl Iterator<Item = (i64, f64)> + Send + 'static {
        let Self { measure, steps, mut columns, .. } = self;
        columns.sort_unstable_by_key(|(column, _)| *column);
        let (mut names, mut counts) = (Vec::new(), Vec::new());
        for (column, of_column) in columns {
            if names.last() != Some(&column) {
                names.push(column);
            }
            let place = names.len() - 1;
            counts.extend(of_column.into_iter().map(|(step, count)| (step as usize, place, count)));
        }
        let mut window = Window::new(counts, names.len(), steps.per_point);
        let end_millis = i64::try_from(steps.end / 1_000_000).unwrap_or(i64::MAX);
        (0..steps.grid.intervals()).filter_map(move |step| {
            window.move_to(step);
            let millis = steps.grid.timestamp_millis(step).min(end_millis);
            if millis < steps.first_millis {
                return None;
            }
            Some((millis, measure.value(&names, &window.sums, steps.seconds(step))))
        })
    }
}

impl Steps {
    /// Seconds that the point of a step is made of.
    fn seconds(&self, step: usize) -> f64 {
        let all = self.grid.step_seconds() * self.per_point as f64;
        let is_last = step + 1 == self.grid.intervals();
        let to_come = if is_last { self.grid.end().saturating_sub(self.end) } else { 0 };
        all - to_come as f64 / 1e9
    }
}

/// The counts of the steps that make a point: the last `length` ones, fewer at the start.
struct Window {
    /// Step, column, count; ascending by step.
    counts: Vec<(usize, usize, f64)>,
    /// How many of them have come into the window, and how many have left it.
    entered: usize,
    left: usize,
    length: usize,
    /// Of each column.
    sums: Vec<f64>,
}

impl Window {
    /// Before the first step.
    fn new(mut counts: Vec<(usize, usize, f64)>, columns: usize, length: usize) -> Self {
        counts.sort_unstable_by_key(|(step, ..)| *step);
        Self { counts, entered: 0, left: 0, length, sums: vec![0.0; columns] }
    }

    /// Goes on to a later step, the last one of the window.
    fn move_to(&mut self, step: usize) {
        while let Some(&(at, column, count)) = self.counts.get(self.entered)
            && at <= step
        {
            self.sums[column] += count;
            self.entered += 1;
        }
        while let Some(&(at, column, count)) = self.counts.get(self.left)
            && at.saturating_add(self.length) <= step
        {
            self.sums[column] -= count;
            self.left += 1;
        }
    }
}

/// What adjusted traces show. Series may have the same.
fn key(series: &Series) -> Key {
    let service: &str = match label(series, "resource.service.name") {
        LabelValue::Nil => MISSING_SERVICE,
        LabelValue::String(name) if name.is_empty() => EMPTY_SERVICE,
        LabelValue::String(name) => name,
        LabelValue::Int(_) | LabelValue::Float(_) | LabelValue::Bool(_) => NO_TEXT_SERVICE,
    };
    let operation = match label(series, "name") {
        LabelValue::String(name) if name.is_empty() => Some(matching::EMPTY_NAME.to_owned()),
        LabelValue::String(name) => Some(name.to_string()),
        _ => None,
    };
    (service.to_owned(), operation)
}

/// The value of a label, nothing if there is no such label.
fn label<'s>(series: &'s Series, name: &str) -> &'s LabelValue {
    let mut labels = series.labels.iter();
    let found = labels.find(|(label, _)| label.as_ref() == name);
    found.map_or(NIL, |(_, value)| value)
}

/// Upper bound of the durations of a series, in seconds.
fn bound(series: &Series) -> Option<f64> {
    let mut labels = series.labels.iter();
    match labels.find(|(label, _)| label.as_ref() == "__bucket")? {
        (_, LabelValue::Float(bound)) => Some(*bound),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_over_the_steps() {
        let sums = |counts: &[(usize, usize, f64)], length| -> Vec<Vec<f64>> {
            let mut window = Window::new(counts.to_vec(), 2, length);
            let steps = (0..4).map(|step| {
                window.move_to(step);
                window.sums.clone()
            });
            steps.collect()
        };
        let counts = [(3, 0, 4.0), (0, 0, 1.0), (1, 0, 2.0), (1, 1, 9.0), (2, 0, 3.0)];
        assert_eq!(sums(&counts, 2), [[1.0, 0.0], [3.0, 9.0], [5.0, 9.0], [7.0, 0.0]]);
        assert_eq!(sums(&counts, 1), [[1.0, 0.0], [2.0, 9.0], [3.0, 0.0], [4.0, 0.0]]);
        assert_eq!(sums(&counts, usize::MAX), [[1.0, 0.0], [3.0, 9.0], [6.0, 9.0], [10.0, 9.0]]);
        assert_eq!(sums(&[], 3), [[0.0; 2]; 4]);
    }
}
