//! Why a job fails.

use tactus_api::job::JobError;
use tactus_server::bodies::NoRoom;
use tactus_telemetry::error_text;
use tactus_traceql::eval::{EvaluateError, Unsupported};
use tactus_traceql::metrics::MetricsError;
use tactus_work::memory::TOO_MANY_BYTES;
use tactus_work::{Over, TooManyBytes};
use tonic::Status;

/// Result with this service's [`Error`].
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed job.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The block's data does not exist.
    #[error("block {0} does not exist")]
    Gone(String),
    /// The block is there, but not readable as what its meta says; trying again does not help.
    #[error("{0}")]
    Damaged(String),
    /// The storage does not answer, or refuses.
    #[error("{0}")]
    Storage(String),
    /// A bad job.
    #[error("{0}")]
    Invalid(String),
    /// The query has a construct that does not exist here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The query cannot be evaluated on the data it met.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The job takes more memory than any may.
    #[error(
        "the query needs {needed} bytes of memory at once, querier.max_job_memory_bytes is {limit}"
    )]
    TooLarge {
        /// What it asked for.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// A metrics query cannot be counted on the data it met, or its series take more memory than they may.
    #[error(transparent)]
    Series(#[from] MetricsError),
    /// The caller is gone.
    #[error("context canceled")]
    Cancelled,
    /// The job took too long.
    #[error("context deadline exceeded")]
    TimedOut,
    /// The query takes more than one may.
    #[error("{0}")]
    Limit(Over),
    /// There is no memory for the answer.
    #[error("{TOO_MANY_BYTES}")]
    NoRoom(#[from] NoRoom),
    /// A fault of ours.
    #[error("job failed: {0}")]
    Internal(String),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Gone(_) => Self::not_found(text),
            Error::Damaged(_) => Self::data_loss(text),
            Error::Storage(_) => Self::unavailable(text),
            Error::Invalid(_) | Error::Evaluate(_) => Self::invalid_argument(text),
            Error::Unsupported(_) => Self::unimplemented(text),
            // Another attempt would take as much.
            Error::NoRoom(_) => Self::resource_exhausted(TOO_MANY_BYTES),
            Error::Limit(_)
            | Error::TooLarge { .. }
            | Error::Series(MetricsError::TooLarge { .. }) => Self::resource_exhausted(text),
            Error::Series(_) => Self::invalid_argument(text),
            Error::Cancelled => Self::cancelled(text),
            Error::TimedOut => Self::deadline_exceeded(text),
            Error::Internal(_) => Self::internal(text),
        }
    }
}

impl From<Over> for Error {
    fn from(over: Over) -> Self {
        match over {
            Over::Cancelled => Self::Cancelled,
            Over::Deadline => Self::TimedOut,
            over => Self::Limit(over),
        }
    }
}

impl From<TooManyBytes> for Error {
    fn from(TooManyBytes { needed, limit }: TooManyBytes) -> Self {
        Self::TooLarge { needed, limit }
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unsupported(error) => Self::Unsupported(error),
            error => Self::Invalid(error.to_string()),
        }
    }
}

impl From<tactus_storage::Error> for Error {
    fn from(error: tactus_storage::Error) -> Self {
        Self::from_storage(&error)
    }
}

impl From<tactus_block::Error> for Error {
    fn from(error: tactus_block::Error) -> Self {
        if let tactus_block::Error::Io(io) = &error {
            let inner = io.get_ref();
            if let Some(Self::Cancelled) = inner.and_then(|inner| inner.downcast_ref()) {
                return Self::Cancelled;
            }
            let storage = inner.and_then(|inner| inner.downcast_ref());
            return storage.map_or_else(|| Self::Storage(error_text(&error)), Self::from_storage);
        }
        Self::Damaged(error_text(&error))
    }
}

impl Error {
    fn from_storage(error: &tactus_storage::Error) -> Self {
        match error {
            tactus_storage::Error::NotFound { key } => Self::Gone(key.clone()),
            error if error.is_corrupt() => Self::Damaged(error_text(error)),
            error => Self::Storage(error_text(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_without_memory_for_its_answer_is_not_tried_again() {
        let status = Status::from(Error::from(NoRoom));
        assert_eq!(tactus_api::Error::from(status), tactus_api::Error::TooManyBytes);
        assert!(!tactus_api::Error::TooManyBytes.is_retryable());
    }
}
