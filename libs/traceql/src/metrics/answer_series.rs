//! The series of an answer while it is computed, and their order.

use std::borrow::Cow;
use std::collections::HashMap;

use super::answer::Labels;
use super::buckets::Buckets;
use super::gather::{Gathered, Row};
use super::{Exemplar, Grid, LabelValue, SeriesKey};
use crate::MetricsFunction;
use crate::canonical::format_float;

pub(super) const NAME_LABEL: &str = "__name__";

const BUCKET_LABEL: &str = "__bucket";

const QUANTILE_LABEL: &str = "p";

/// A series of the answer. One value for each interval, NaN for none. Exemplars without a value get that of the series.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) labels: Labels,
    pub(super) values: Vec<f64>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// `function`: the name of the series if no label distinguishes them.
pub(super) fn group_labels(
    names: &[Box<str>],
    values: Vec<LabelValue>,
    function: Option<&MetricsFunction>,
) -> Labels {
    let mut labels: Labels = names.iter().cloned().zip(values).collect();
    labels.retain(|(_, value)| *value != LabelValue::Nil);
    if let Some(function) = function
        && labels.is_empty()
    {
        labels.push(match names.first() {
            Some(name) => (name.clone(), LabelValue::Nil),
            None => (NAME_LABEL.into(), LabelValue::String(function.name().into())),
        });
    }
    labels
}

/// `scale`: what bounds are divided by.
pub(super) fn histogram_lines(names: &[Box<str>], gathered: Gathered, scale: f64) -> Vec<Line> {
    let sizes = gathered.buckets;
    let buckets = gathered.rows.into_iter().filter_map(|(key, mut row)| match key {
        SeriesKey::Group { values, bucket: Some(bucket) } => {
            let mut labels = group_labels(names, values, None);
            labels.push((BUCKET_LABEL.into(), LabelValue::Float(sizes.bound(bucket) / scale)));
            Some(Line { labels, values: row.take_values(), exemplars: row.exemplars })
        }
        _ => None,
    });
    buckets.collect()
}

/// `scale`: what bounds are divided by.
pub(super) fn quantile_lines(
    names: &[Box<str>],
    gathered: Gathered,
    scale: f64,
    quantiles: &[f64],
    grid: &Grid,
) -> Vec<Line> {
    let sizes = gathered.buckets;
    let mut groups: HashMap<Vec<LabelValue>, Vec<(u8, Row)>> = HashMap::new();
    for (key, row) in gathered.rows {
        if let SeriesKey::Group { values, bucket: Some(bucket) } = key {
            groups.entry(values).or_default().push((bucket, row));
        }
    }
    let mut lines = Vec::with_capacity(groups.len() * quantiles.len());
    for (values, mut buckets) in groups {
        buckets.sort_by_key(|(bucket, _)| *bucket);
        let mut exemplars = Vec::new();
        let mut counts = Vec::with_capacity(buckets.len());
        for (bucket, mut row) in buckets {
            exemplars.append(&mut row.exemplars);
            counts.push((sizes.bound(bucket) / scale, row.take_values()));
        }
        let labels = group_labels(names, values, None);
        let first = lines.len();
        lines.extend(quantiles.iter().map(|&q| {
            let mut labels = labels.clone();
            labels.push((QUANTILE_LABEL.into(), LabelValue::Float(q)));
            Line { labels, values: vec![0.0; grid.intervals()], exemplars: Vec::new() }
        }));
        let of_group = &mut lines[first..];
        let mut occupied = Vec::with_capacity(counts.len());
        for interval in 0..grid.intervals() {
            occupied.clear();
            let column = counts.iter().map(|(bound, counts)| (*bound, counts[interval]));
            occupied.extend(column.filter(|(_, count)| *count > 0.0));
            if occupied.is_empty() {
                continue;
            }
            for (line, &q) in of_group.iter_mut().zip(quantiles) {
                line.values[interval] = sizes.quantile(&occupied, q);
            }
        }
        share_exemplars(exemplars, &counts, sizes, quantiles, of_group);
    }
    lines
}

/// Assigns each exemplar to the quantile whose value over the whole range is nearest to its own.
fn share_exemplars(
    exemplars: Vec<Exemplar>,
    counts: &[(f64, Vec<f64>)],
    sizes: Buckets,
    quantiles: &[f64],
    lines: &mut [Line],
) {
    if exemplars.is_empty() {
        return;
    }
    let totals = counts.iter().map(|(bound, counts)| (*bound, counts.iter().sum::<f64>()));
    let totals: Vec<_> = totals.filter(|(_, count)| *count > 0.0).collect();
    let overall: Vec<f64> = quantiles.iter().map(|&q| sizes.quantile(&totals, q)).collect();
    for exemplar in exemplars {
        let distance = |value: f64| exemplar.value.map_or(0.0, |own| (value - own).abs());
        let by_distance = |(_, one): &(usize, &f64), (_, other): &(usize, &f64)| {
            distance(**one).total_cmp(&distance(**other))
        };
        if let Some((nearest, _)) = overall.iter().enumerate().min_by(by_distance) {
            lines[nearest].exemplars.push(exemplar);
        }
    }
}

impl LabelValue {
    /// The text by which values are sorted: strings as they are, numbers in canonical form, `nil`.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            LabelValue::Nil => Cow::Borrowed("nil"),
            LabelValue::String(text) => Cow::Borrowed(text),
            LabelValue::Int(number) => Cow::Owned(number.to_string()),
            LabelValue::Float(number) => Cow::Owned(format_float(*number)),
            LabelValue::Bool(true) => Cow::Borrowed("true"),
            LabelValue::Bool(false) => Cow::Borrowed("false"),
        }
    }

    /// The last resort where texts are equal.
    pub(super) fn type_rank(&self) -> u8 {
        match self {
            LabelValue::Nil => 0,
            LabelValue::String(_) => 1,
            LabelValue::Int(_) => 2,
            LabelValue::Float(_) => 3,
            LabelValue::Bool(_) => 4,
        }
    }
}

/// Puts series into the order of answers.
pub(super) fn sort_lines(lines: &mut [Line]) {
    lines.sort_by_cached_key(|line| {
        let labels = line.labels.iter();
        let keys =
            labels.map(|(name, value)| (name.clone(), value.text().into(), value.type_rank()));
        (line.labels.len(), keys.collect::<Vec<(Box<str>, Box<str>, u8)>>())
    });
}

/// The rank of each set of labels, which decides between equal values: label by label, by value, name and type.
pub(super) fn tie_ranks<'l>(labels: impl Iterator<Item = &'l super::answer::Labels>) -> Vec<u32> {
    let keys: Vec<Vec<_>> = labels
        .map(|labels| labels.iter().map(|(name, value)| (value.text(), name, value.type_rank())))
        .map(Iterator::collect)
        .collect();
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|&one, &other| keys[one].cmp(&keys[other]));
    let mut ranks = vec![0; keys.len()];
    for (rank, index) in (0..).zip(order) {
        ranks[index] = rank;
    }
    ranks
}
