//! Adds up the partial series of one function.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::buckets::Buckets;
use super::collect::cells::Joining;
use super::exemplars_answer::ExemplarChoice;
use super::{Exemplar, Grid, LabelValue, PartialSeries, Point, SeriesKey, graph};
use crate::{GraphMeasure, MetricsFunction, MetricsQuery, MetricsStage};

/// Estimated bytes of a row without its values and the text of its key.
const ROW_BYTES: usize = 256;

/// Most bytes of the rows of a comparison. Beyond that rare values are dropped, like in jobs.
const COMPARED_BYTES: usize = 32 << 20;
/// How many values of each attribute and side are kept then if they fit, and how many times as many as are shown. Only as
/// many as are shown are kept in any case.
const COMPARED_VALUES: usize = 1000;
const COMPARED_PER_SHOWN: usize = 10;

/// The keys that a function has.
#[derive(Clone, Debug)]
enum Keys {
    /// Groups with this many labels, with or without buckets.
    Groups {
        labels: usize,
        has_buckets: bool,
    },
    /// How many values of each attribute and side the answer shows.
    Compared {
        shown_values: usize,
    },
    Graph(GraphMeasure),
}

/// What is known of one series: a value for each interval.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// 0 without spans if spans are counted, else NaN.
    values: Vec<f64>,
    /// The rounding errors of `values`; empty for functions that do not add fractions. 0 if nothing was added, and never again
    /// once the sum is NaN.
    lost: Vec<f64>,
    /// How many spans each mean represents; empty for other functions.
    weights: Vec<f64>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// The partial series of one function of the query.
#[derive(Clone, Debug)]
pub(super) struct Gathered {
    joining: Joining,
    keys: Keys,
    pub(super) buckets: Buckets,
    /// How many series of the answer each group becomes, in addition to its rows.
    derived_series: usize,
    pub(super) rows: HashMap<SeriesKey, Row>,
    groups: HashSet<Vec<LabelValue>>,
    exemplars: ExemplarChoice,
    /// Bytes of the rows, added up from [`Self::growth`].
    bytes: usize,
    /// Rare values of a comparison are dropped when it has more bytes than this.
    most_bytes: usize,
}

impl Gathered {
    pub(super) fn new(query: &MetricsQuery, exemplars: usize, buckets: Buckets) -> Self {
        let mut derived_series = 0;
        let (joining, keys) = match &query.stage {
            MetricsStage::Compare(compare) => {
                let shown_values = usize::try_from(compare.top_n).unwrap_or(0);
                (Joining::Count, Keys::Compared { shown_values })
            }
            MetricsStage::ServiceGraph(measure) => {
                derived_series = measure.quantiles().len();
                (Joining::Count, Keys::Graph(measure.clone()))
            }
            MetricsStage::Series { function, by } => {
                if let MetricsFunction::QuantileOverTime { quantiles, .. } = function {
                    derived_series = quantiles.len();
                }
                let (labels, has_buckets) = (distinct(by).len(), function.has_buckets());
                (function.joining(), Keys::Groups { labels, has_buckets })
            }
        };
        let repeats = matches!(keys, Keys::Compared { .. });
        Self {
            joining,
            keys,
            buckets,
            derived_series,
            rows: HashMap::new(),
            groups: HashSet::new(),
            exemplars: ExemplarChoice::new(exemplars, repeats),
            bytes: 0,
            most_bytes: COMPARED_BYTES,
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

    /// True if the function can have this key. Parts come over the network, so others must be rejected.
    pub(super) fn admits(&self, key: &SeriesKey) -> bool {
        match (&self.keys, key) {
            (Keys::Graph(measure), key) => graph::admits(measure, self.buckets, key),
            (Keys::Groups { labels, has_buckets }, SeriesKey::Group { values, bucket }) => {
                *labels == values.len()
                    && bucket.is_some() == *has_buckets
                    && bucket.is_none_or(|bucket| bucket <= self.buckets.last())
            }
            (Keys::Compared { .. }, SeriesKey::Compared { .. }) => true,
            _ => false,
        }
    }

    /// Bytes that a series would need in addition to those in use.
    pub(super) fn growth(&self, key: &SeriesKey, grid: &Grid) -> usize {
        if self.rows.contains_key(key) {
            return 0;
        }
        let columns = match self.joining {
            Joining::Count | Joining::Min | Joining::Max => 1,
            Joining::Sum => 2,
            Joining::Mean => 3,
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

    /// Bytes of its series.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a part whose key is admitted. `growth`: the result of [`Self::growth`] for it.
    pub(super) fn add(&mut self, part: PartialSeries, growth: usize, grid: &Grid) {
        self.bytes = self.bytes.saturating_add(growth);
        if self.derived_series > 0
            && let SeriesKey::Group { values, .. } = &part.key
            && !self.groups.contains(values)
        {
            self.groups.insert(values.clone());
        }
        let joining = self.joining;
        let row = self.rows.entry(part.key).or_insert_with(|| Row::new(joining, grid.intervals()));
        for point in part.points {
            row.add(joining, point);
        }
        self.exemplars.extend(&mut row.exemplars, part.exemplars, grid);
        if self.bytes > self.most_bytes
            && let Keys::Compared { shown_values } = self.keys
        {
            let mut least_values = shown_values.saturating_mul(COMPARED_PER_SHOWN);
            loop {
                self.forget_rare_values(least_values, grid);
                if self.bytes <= COMPARED_BYTES || least_values <= shown_values {
                    break;
                }
                least_values = (least_values / 2).max(shown_values);
            }
        }
    }

    /// Keeps the most frequent values of each attribute and side, and all totals.
    fn forget_rare_values(&mut self, least_values: usize, grid: &Grid) {
        let rows = std::mem::take(&mut self.rows);
        let mut by_attribute: HashMap<_, Vec<(SeriesKey, Row)>> = HashMap::new();
        for (key, row) in rows {
            match &key {
                SeriesKey::Compared { side, attribute, value: Some(_) } => {
                    let of_attribute = (*side, attribute.clone());
                    by_attribute.entry(of_attribute).or_default().push((key, row));
                }
                _ => drop(self.rows.insert(key, row)),
            }
        }
        let known = by_attribute.values().map(Vec::len);
        let room = known.clone().sum::<usize>() * (COMPARED_BYTES / 2) / self.bytes.max(1);
        let most = (room / known.len().max(1)).min(COMPARED_VALUES).max(least_values);
        for mut values in by_attribute.into_values() {
            if values.len() > most {
                values.sort_by_cached_key(|(key, row)| {
                    by_frequency(row.values.iter().sum(), value_of(key))
                });
                values.truncate(most);
            }
            self.rows.extend(values);
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = rows.keys().map(|key| self.growth(key, grid)).sum();
        self.rows = rows;
        // If much has to stay, the next attempt waits until there is twice as much.
        self.most_bytes = COMPARED_BYTES.max(self.bytes * 2);
    }
}

fn value_of(key: &SeriesKey) -> Option<&LabelValue> {
    match key {
        SeriesKey::Compared { value, .. } => value.as_ref(),
        SeriesKey::Group { .. } => None,
    }
}

/// A sort key for values of an attribute: the most frequent first, equally frequent ones by their text.
pub(super) fn by_frequency(sum: f64, value: Option<&LabelValue>) -> impl Ord + use<> {
    let text = value.map(|value| (value.text().into_owned(), value.type_rank()));
    // Sums are counts. They are not negative, so the order of their bits is their order.
    (Reverse(sum.max(0.0).to_bits()), text)
}

impl Row {
    fn new(joining: Joining, intervals: usize) -> Self {
        let column = |wanted: bool, value| if wanted { vec![value; intervals] } else { Vec::new() };
        Self {
            values: vec![if joining == Joining::Count { 0.0 } else { f64::NAN }; intervals],
            lost: column(matches!(joining, Joining::Sum | Joining::Mean), 0.0),
            weights: column(joining == Joining::Mean, 0.0),
            exemplars: Vec::new(),
        }
    }

    fn add(&mut self, joining: Joining, point: Point) {
        let interval = point.interval as usize;
        let Some(value) = self.values.get_mut(interval) else { return };
        match joining {
            Joining::Count => *value += point.value,
            Joining::Min => *value = value.min(point.value),
            Joining::Max => *value = value.max(point.value),
            Joining::Sum => add_compensated(value, &mut self.lost[interval], point.value),
            Joining::Mean => {
                let product = point.value * point.weight;
                add_compensated(value, &mut self.lost[interval], product);
                self.weights[interval] += point.weight;
            }
        }
    }

    /// A value for each interval; NaN for none. The row has no values afterwards.
    pub(super) fn take_values(&mut self) -> Vec<f64> {
        let mut values = std::mem::take(&mut self.values);
        for (value, lost) in values.iter_mut().zip(&self.lost) {
            // What rounding took from an infinite sum is NaN.
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

/// Neumaier's summation. A `sum` of NaN is an empty one if nothing was lost; otherwise infinities of both signs are in it, and it
/// stays as it is.
fn add_compensated(sum: &mut f64, lost: &mut f64, value: f64) {
    if sum.is_nan() {
        if *lost == 0.0 {
            *sum = value;
            *lost = if value.is_nan() { f64::NAN } else { 0.0 };
        }
        return;
    }
    let total = *sum + value;
    *lost += if sum.abs() >= value.abs() { (*sum - total) + value } else { (value - total) + *sum };
    *sum = total;
}

/// Attributes, or quantiles, without duplicates.
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
