//! The answer of a metrics query.

use super::{Exemplar, LabelValue};

/// Labels of a series, in the order in which they are shown.
pub type Labels = Vec<(Box<str>, LabelValue)>;

/// How an answer is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerOptions {
    /// Series shown at most; 0 for all.
    pub max_series: usize,
    /// Exemplars wanted at most, of all series together.
    pub exemplars: usize,
    /// True for a query of one interval that asks for single values: it has no exemplars.
    pub is_instant: bool,
    /// Memory that partial series may take before [`super::MetricsError::TooLarge`], in bytes; 0 for no limit.
    pub max_bytes: usize,
}

/// The series of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsAnswer {
    /// By number of labels, then by the labels: name, then text of the value.
    pub series: Vec<Series>,
    /// True if series were left out because of [`AnswerOptions::max_series`].
    pub truncated: bool,
}

/// One series; it has at least one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Distinct names. A value of nil stands for a missing attribute and is shown as the text `nil`.
    pub labels: Labels,
    /// Number of the interval in the query's [`super::Grid`] and value there, ascending. Values are not NaN but may
    /// be infinite.
    pub points: Vec<(u32, f64)>,
    /// Ascending by start; every one has a value.
    pub exemplars: Vec<Exemplar>,
}
