//! Partial series: what one job contributes to a query's series. The parts of all jobs are added up.

use std::hash::{Hash, Hasher};

/// The value of a label.
#[derive(Clone, Debug)]
pub enum LabelValue {
    /// The span lacks the attribute.
    Nil,
    /// Text; also durations, statuses, kinds and arrays in their canonical text.
    String(Box<str>),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl PartialEq for LabelValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::String(one), Self::String(other)) => one == other,
            (Self::Int(one), Self::Int(other)) => one == other,
            (Self::Float(one), Self::Float(other)) => one.to_bits() == other.to_bits(),
            (Self::Bool(one), Self::Bool(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for LabelValue {}

impl Hash for LabelValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Nil => {}
            Self::String(text) => text.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Float(number) => number.to_bits().hash(state),
            Self::Bool(flag) => flag.hash(state),
        }
    }
}

/// Some of the points of one series, or of a part from which a series is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct PartialSeries {
    /// Index of the function in the query, in the order of [`crate::MetricsExpression::for_each_leaf`].
    pub leaf: u32,
    /// Which series of the function.
    pub key: SeriesKey,
    /// Ascending by interval. Intervals without spans are left out.
    pub points: Vec<Point>,
    /// Some of the spans that were counted.
    pub exemplars: Vec<Exemplar>,
}

/// What distinguishes the partial series of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SeriesKey {
    /// Any function but `compare`.
    Group {
        /// Values of the `by` attributes, without duplicate attributes.
        values: Vec<LabelValue>,
        /// `histogram_over_time` and `quantile_over_time`: the number of the bucket. With one bucket for each doubling,
        /// it is the power of two that its values reach; with n buckets, it is n times as large.
        bucket: Option<u8>,
    },
    /// `compare`.
    Compared {
        /// Which spans.
        side: ComparedSide,
        /// The attribute's label name.
        attribute: Box<str>,
        /// Its value; `None` for the count of all spans that have the attribute.
        value: Option<LabelValue>,
    },
}

/// The two sets of spans of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ComparedSide {
    /// Spans that the selection does not take.
    Baseline,
    /// Spans that it takes.
    Selection,
}

/// The value of one interval.
///
/// Counting functions: the number of spans. `min`, `max`, `sum`: that value. `avg`: the mean, weighted by the number of
/// spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Number of the interval in the query's [`super::Grid`].
    pub interval: u32,
    /// See above.
    pub value: f64,
    /// The number of spans of a mean; 1 for every other function.
    pub weight: f64,
}

/// A span that was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Attributes that the query reads, by canonical name, and `trace:id`.
    pub labels: Vec<(Box<str>, LabelValue)>,
    /// The span's own value; `None` if the value of its series is shown.
    pub value: Option<f64>,
    /// The value became that of its series, as it was then.
    pub of_series: bool,
    /// Start of the span, unix nanoseconds.
    pub start_unix_nanos: u64,
}
