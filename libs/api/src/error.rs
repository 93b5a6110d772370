//! The errors of queries, and their HTTP and gRPC status.

use http::StatusCode;
use tactus_model::error_text::cut_str;
use tactus_traceql::metrics::MetricsError;
use tactus_work::memory::TOO_MANY_BYTES;
use tonic::Code;

/// Result with this lib's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How services of all releases begin to say that a query needs too much memory.
const NEEDS_TOO_MUCH_MEMORY: &str =
    "the query needs more memory than a process has for all queries";

/// A query that fails. `Display` is the body that the client gets, without a final newline, and cut if it is long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter, a query or a limit that the caller has to change.
    #[error("{}", cut_str(.0))]
    Invalid(String),
    /// No such trace. The body is empty.
    #[error("")]
    NotFound,
    /// The trace is larger than the tenant may read at once.
    #[error("trace exceeds max size (max bytes: {max_bytes})")]
    TraceTooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The tenant has too many queries in flight.
    #[error("job queue full")]
    QueueFull,
    /// The tenant runs as many queries as it may.
    #[error("too many queries at a time (limit: {limit}, max_concurrent_queries of the tenant)")]
    TooManyQueries {
        /// The limit.
        limit: usize,
    },
    /// The tenant has as many live tails as it may.
    #[error(
        "too many live tails at a time (limit: {limit}, query_frontend.live_tail.max_tails_per_tenant)"
    )]
    TooManyTails {
        /// The limit.
        limit: usize,
    },
    /// Files with traces that are being read take as much memory as they may.
    #[error(
        "too many files are read at a time (limit: query_frontend.trace_files.max_inflight_bytes)"
    )]
    TooManyFiles,
    /// There is no memory for the answer, or for what it is made of; the same query may succeed later.
    #[error("{TOO_MANY_BYTES}")]
    TooManyBytes,
    /// The query would take more than one query may; the text names the limit. Unlike [`Self::Invalid`] it shows
    /// only when the query runs.
    #[error("{}", cut_str(.0))]
    LimitExceeded(String),
    /// What the query has to hold is more than a process has for all queries, so that it would never succeed; the text
    /// names the limit.
    #[error("{}", cut_str(.0))]
    NeedsTooMuchMemory(String),
    /// Somebody stopped the query.
    #[error("the query was stopped by hand")]
    Stopped,
    /// The caller went away.
    #[error("context canceled")]
    Cancelled,
    /// A part of the query took too long.
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    /// The whole call took too long.
    #[error("unable to process request in the configured timeout")]
    ApiTimeout,
    /// A part of the language or the API that does not exist here; the text names it.
    #[error("{}", cut_str(.0))]
    NotImplemented(String),
    /// A service or the storage did not answer; the same query may succeed later.
    #[error("{}", cut_str(.0))]
    Unavailable(String),
    /// Anything else.
    #[error("{}", cut_str(.0))]
    Internal(String),
}

impl Error {
    /// The HTTP status.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TraceTooLarge { .. } | Self::LimitExceeded(_) | Self::NeedsTooMuchMemory(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::QueueFull
            | Self::TooManyQueries { .. }
            | Self::TooManyTails { .. }
            | Self::TooManyFiles => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopped | Self::Cancelled => {
                StatusCode::from_u16(499).expect("499 is between 100 and 999")
            }
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::ApiTimeout | Self::TooManyBytes | Self::Unavailable(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC code of the streaming methods.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::TraceTooLarge { .. } => Code::Unknown,
            Self::QueueFull
            | Self::TooManyQueries { .. }
            | Self::TooManyTails { .. }
            | Self::TooManyFiles
            | Self::LimitExceeded(_)
            | Self::NeedsTooMuchMemory(_) => Code::ResourceExhausted,
            Self::Stopped | Self::Cancelled => Code::Cancelled,
            Self::ApiTimeout => Code::DeadlineExceeded,
            Self::NotImplemented(_) => Code::Unimplemented,
            Self::TooManyBytes => Code::Unavailable,
            Self::DeadlineExceeded | Self::Unavailable(_) | Self::Internal(_) => Code::Internal,
        }
    }

    /// True if the same job may succeed when it is tried again at once.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::DeadlineExceeded | Self::Unavailable(_) | Self::Internal(_))
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Self::new(error.grpc_code(), error.to_string())
    }
}

/// From counting or adding series. The limit is the one that a job was sent, so the text names its setting.
impl From<MetricsError> for Error {
    fn from(error: MetricsError) -> Self {
        match error {
            MetricsError::TooLarge { .. } => Self::LimitExceeded(format!(
                "{error} (limit: query_frontend.metrics.max_series_bytes)"
            )),
            error => Self::Invalid(error.to_string()),
        }
    }
}

/// From the answer of a service to a job of a query.
impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            // Some queries turn out to be invalid only when they are evaluated on data.
            Code::InvalidArgument => Self::Invalid(message),
            Code::Unimplemented => Self::NotImplemented(message),
            // An immediate retry would fail in the same way.
            Code::ResourceExhausted if message == TOO_MANY_BYTES => Self::TooManyBytes,
            Code::ResourceExhausted if message.starts_with(NEEDS_TOO_MUCH_MEMORY) => {
                Self::NeedsTooMuchMemory(message)
            }
            Code::ResourceExhausted => Self::LimitExceeded(message),
            Code::Cancelled => Self::Cancelled,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Unavailable => Self::Unavailable(message),
            _ => Self::Internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_has_the_documented_status_and_text() {
        let cases = [
            (Error::Invalid("x".into()), 400, Code::InvalidArgument, "x"),
            (Error::NotFound, 404, Code::NotFound, ""),
            (
                Error::TraceTooLarge { max_bytes: 7 },
                422,
                Code::Unknown,
                "trace exceeds max size (max bytes: 7)",
            ),
            (Error::QueueFull, 429, Code::ResourceExhausted, "job queue full"),
            (Error::LimitExceeded("x".into()), 422, Code::ResourceExhausted, "x"),
            (Error::NeedsTooMuchMemory("x".into()), 422, Code::ResourceExhausted, "x"),
            (
                Error::TooManyBytes,
                503,
                Code::Unavailable,
                "too many bytes are in flight (limit: server.max_inflight_bytes)",
            ),
            (Error::Cancelled, 499, Code::Cancelled, "context canceled"),
            (Error::DeadlineExceeded, 504, Code::Internal, "context deadline exceeded"),
            (
                Error::ApiTimeout,
                503,
                Code::DeadlineExceeded,
                "unable to process request in the configured timeout",
            ),
            (Error::Internal("y".into()), 500, Code::Internal, "y"),
        ];
        for (error, http, grpc, text) in cases {
            assert_eq!(error.http_status(), http, "{error:?}");
            assert_eq!(error.grpc_code(), grpc, "{error:?}");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn long_text_is_cut_wherever_it_is_shown() {
        let error = Error::Invalid("x".repeat(1 << 20));
        assert!(error.to_string().len() <= 1 << 10 && error.to_string().contains("cut"));
        assert!(tonic::Status::from(error).message().len() <= 1 << 10);
    }

    #[test]
    fn failed_job_keeps_its_cause() {
        let error = Error::from(tonic::Status::invalid_argument("bad query"));
        assert_eq!(error, Error::Invalid("bad query".into()));
        let error = Error::from(tonic::Status::unknown("x"));
        assert_eq!(error, Error::Internal("x".into()));
        assert!(error.is_retryable());
        let error = Error::from(tonic::Status::resource_exhausted(TOO_MANY_BYTES));
        assert_eq!(error, Error::TooManyBytes);
        assert!(!error.is_retryable());
        let error = Error::from(tonic::Status::resource_exhausted("more than 5 bytes"));
        assert_eq!(error, Error::LimitExceeded("more than 5 bytes".into()));
        assert!(!error.is_retryable());
        let too_large = tactus_work::Over::TooLarge { limit: 5 }.to_string();
        let error = Error::from(tonic::Status::resource_exhausted(too_large.clone()));
        assert_eq!(error, Error::NeedsTooMuchMemory(too_large));
        assert!(!error.is_retryable());
    }
}
