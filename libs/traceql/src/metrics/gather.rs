//! Adding up the partial series of one function.

use std::collections::{HashMap, HashSet};

use super::buckets::Buckets;
use super::exemplars_answer::ExemplarChoice;
use super::{Exemplar, Grid, LabelValue, PartialSeries, Point, SeriesKey, graph};
use crate::{GraphMeasure, MetricsFunction, MetricsQuery, MetricsStage};

/// Estimated bytes of a row beside its values and the text of its key.
const ROW_BYTES: usize = 256;

/// How two values of an interval become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Count,
    Minimum,
    Maximum,
    Sum,
    Mean,
}

/// The keys that a function has.
#[derive(Clone, Debug)]
enum Keys {
    /// Groups of so many labels, with or without buckets.
    Groups {
        labels: usize,
        has_buckets: bool,
    },
    Compared,
    Graph(GraphMeasure),
}

/// What is known of one series, a value an interval.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// 0 without spans if spans are counted, else NaN.
    values: Vec<f64>,
    /// What rounding took from `values`; empty for functions that do not add fractions.
    lost: Vec<f64>,
    /// Spans behind each mean; empty for other functions.
    weights: Vec<f64>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// The partial series of one function of the query.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    fold: Fold,
    keys: Keys,
    pub(super) buckets: Buckets,
    /// Series of the answer that each group becomes, beside its rows.
    derived_series: usize,
    pub(super) rows: HashMap<SeriesKey, Row>,
    groups: HashSet<Vec<LabelValue>>,
    exemplars: ExemplarChoice,
}

impl Gathered {
    pub(super) fn new(query: &MetricsQuery, exemplars: usize, buckets: Buckets) -> Self {
        let (mut has_buckets, mut derived_series) = (false, 0);
        let (fold, keys) = match &query.stage {
            MetricsStage::Compare(_) => (Fold::Count, Keys::Compared),
            MetricsStage::ServiceGraph(measure) => {
                derived_series = measure.quantiles().len();
                (Fold::Count, Keys::Graph(measure.clone()))
            }
            MetricsStage::Series { function, by } => {
                let fold = match function {
                    MetricsFunction::Rate | MetricsFunction::CountOverTime => Fold::Count,
                    MetricsFunction::MinOverTime(_) => Fold::Minimum,
                    MetricsFunction::MaxOverTime(_) => Fold::Maximum,
                    MetricsFunction::SumOverTime(_) => Fold::Sum,
                    MetricsFunction::AvgOverTime(_) => Fold::Mean,
                    MetricsFunction::HistogramOverTime(_) => {
                        has_buckets = true;
                        Fold::Count
                    }
                    MetricsFunction::QuantileOverTime { quantiles, .. } => {
                        (has_buckets, derived_series) = (true, quantiles.len());
                        Fold::Count
                    }
                };
                let labels = distinct(by).len();
                (fold, Keys::Groups { labels, has_buckets })
            }
        };
        let repeats = matches!(keys, Keys::Compared);
        Self {
            fold,
            keys,
            buckets,
            derived_series,
            rows: HashMap::new(),
            groups: HashSet::new(),
            exemplars: ExemplarChoice::new(exemplars, repeats),
        }
    }

    /// The rows with a bucket, and those without.
    pub(super) fn split_buckets(mut self) -> (Self, Self) {
        let has_bucket = |key: &SeriesKey| matches!(key, SeriesKey::Group { bucket: Some(_), .. });
        let rows = std::mem::take(&mut self.rows);
        let mut counts = self.clone();
        (self.rows, counts.rows) = rows.into_iter().partition(|(key, _)| has_bucket(key));
        (self, counts)
    }

    /// Whether this is a key of the function. Others are not kept: parts come over the network.
    pub(super) fn admits(&self, key: &SeriesKey) -> bool {
        match (&self.keys, key) {
            (Keys::Graph(measure), key) => graph::admits(measure, self.buckets, key),
            (Keys::Groups { labels, has_buckets }, SeriesKey::Group { values, bucket }) => {
                *labels == values.len()
                    && bucket.is_some() == *has_buckets
                    && bucket.is_none_or(|bucket| bucket <= self.buckets.last())
            }
            (Keys::Compared, SeriesKey::Compared { .. }) => true,
            _ => false,
        }
    }

    /// Bytes that a series would need beside those there are.
    pub(super) fn growth(&self, key: &SeriesKey, grid: &Grid) -> usize {
        if self.rows.contains_key(key) {
            return 0;
        }
        let columns = match self.fold {
            Fold::Count | Fold::Minimum | Fold::Maximum => 1,
            Fold::Sum => 2,
            Fold::Mean => 3,
        };
        let row = |columns: usize, texts: usize| {
            let values = grid.intervals().saturating_mul(columns).saturating_mul(size_of::<f64>());
            values.saturating_add(texts + ROW_BYTES)
        };
        let texts = key_bytes(key);
        let is_new_group = |values| self.derived_series > 0 && !self.groups.contains(values);
        match key {
            SeriesKey::Group { values, .. } if is_new_group(values) => {
                let derived = row(1, texts).saturating_mul(self.derived_series);
                row(columns, texts).saturating_add(derived)
            }
            _ => row(columns, texts),
        }
    }

    /// Adds a part whose key is admitted.
    pub(super) fn add(&mut self, part: PartialSeries, grid: &Grid) {
        if self.derived_series > 0
            && let SeriesKey::Group { values, .. } = &part.key
            && !self.groups.contains(values)
        {
            self.groups.insert(values.clone());
        }
        let fold = self.fold;
        let row = self.rows.entry(part.key).or_insert_with(|| Row::new(fold, grid.intervals()));
        for point in part.points {
            row.add(fold, point);
        }
        self.exemplars.extend(&mut row.exemplars, part.exemplars, grid);
    }
}

impl Row {
    fn new(fold: Fold, intervals: usize) -> Self {
        let column = |wanted: bool, value| if wanted { vec![value; intervals] } else { Vec::new() };
        Self {
            values: vec![if fold == Fold::Count { 0.0 } else { f64::NAN }; intervals],
            lost: column(matches!(fold, Fold::Sum | Fold::Mean), 0.0),
            weights: column(fold == Fold::Mean, 0.0),
            exemplars: Vec::new(),
        }
    }

    fn add(&mut self, fold: Fold, point: Point) {
        let interval = point.interval as usize;
        let Some(value) = self.values.get_mut(interval) else { return };
        match fold {
            Fold::Count => *value += point.value,
            Fold::Minimum => *value = value.min(point.value),
            Fold::Maximum => *value = value.max(point.value),
            Fold::Sum => add_compensated(value, &mut self.lost[interval], point.value),
            Fold::Mean => {
                let product = point.value * point.weight;
                add_compensated(value, &mut self.lost[interval], product);
                self.weights[interval] += point.weight;
            }
        }
    }

    /// A value an interval; NaN for none. Leaves the row without values.
    pub(super) fn take_values(&mut self) -> Vec<f64> {
        let mut values = std::mem::take(&mut self.values);
        for (value, lost) in values.iter_mut().zip(&self.lost) {
            // The rest of an infinite sum is not a number.
            if value.is_finite() {
                *value += lost;
            }
        }
        for (value, weight) in values.iter_mut().zip(&self.weights) {
            *value /= weight;
        }
        values
    }
}

/// Neumaier's addition. A `sum` of NaN is an empty one.
fn add_compensated(sum: &mut f64, lost: &mut f64, value: f64) {
    if sum.is_nan() {
        *sum = value;
        return;
    }
    let total = *sum + value;
    *lost += if sum.abs() >= value.abs() { (*sum - total) + value } else { (value - total) + *sum };
    *sum = total;
}

/// Attributes, or quantiles, without those that repeat an earlier one.
pub(super) fn distinct<T: PartialEq>(values: &[T]) -> Vec<&T> {
    let mut distinct: Vec<&T> = Vec::with_capacity(values.len());
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn key_bytes(key: &SeriesKey) -> usize {
    let bytes = |value: &LabelValue| match value {
        LabelValue::String(text) => size_of::<LabelValue>() + text.len(),
        _ => size_of::<LabelValue>(),
    };
    match key {
        SeriesKey::Group { values, .. } => values.iter().map(bytes).sum(),
        SeriesKey::Compared { attribute, value, .. } => {
            attribute.len() + value.as_ref().map_or(0, bytes)
        }
    }
}
