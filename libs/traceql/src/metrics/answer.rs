//! The answer of a metrics query, or why there is none.

use super::{Exemplar, LabelValue};
use crate::eval::EvaluateError;

/// Labels of a series, in the order in which they are shown.
pub type Labels = Vec<(Box<str>, LabelValue)>;

/// How an answer is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerOptions {
    /// Series shown at most; 0 for all.
    pub max_series: usize,
    /// Most exemplars, of all series together.
    pub exemplars: usize,
    /// True for an instant query: it has one interval and returns single values, without exemplars.
    pub is_instant: bool,
    /// Bytes that partial series may take before [`super::MetricsError::TooLarge`]; 0 for no limit.
    pub max_bytes: usize,
}

/// The series of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsAnswer {
    /// Ordered by number of labels, then by the labels: name, then text of the value.
    pub series: Vec<Series>,
    /// True if series were left out because of [`AnswerOptions::max_series`].
    pub truncated: bool,
}

/// One series; it has at least one point.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names are distinct. The value nil stands for a missing attribute, and is shown as the text `nil`.
    pub labels: Labels,
    /// The number of the interval in the query's [`super::Grid`] and the value there, ascending. Values may be infinite
    /// but not NaN.
    pub points: Vec<(u32, f64)>,
    /// Ascending by start; every one has a value.
    pub exemplars: Vec<Exemplar>,
}

/// Why series cannot be counted or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The pipeline cannot be evaluated on this data, which is an error of the client.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The series, their points and their labels need more memory than the query may use.
    #[error(
        "the series of the query need more than {limit_bytes} bytes; ask for fewer labels, a longer step or a shorter range"
    )]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
}
