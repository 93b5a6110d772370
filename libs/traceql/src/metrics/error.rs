//! What goes wrong with a metrics query on the data it meets.

use crate::eval::EvaluateError;

/// Why series cannot be counted or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The pipeline cannot be evaluated on this data. The client's fault.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The series, their points and their labels need more memory than the query may have.
    #[error(
        "the series of the query need more than {limit_bytes} bytes; ask for fewer labels, a longer step or a shorter range"
    )]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
}
