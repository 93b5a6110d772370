//! Why a query of Jaeger's is not answered.

use http::StatusCode;
use tactus_model::error_text::cut_str;
use tactus_query::error_status;
use tonic::Status;

/// A query that fails. `Display` is the message for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JaegerError {
    /// A parameter that the caller has to change.
    #[error("{}", cut_str(.0))]
    Invalid(String),
    /// No such trace.
    #[error("trace not found")]
    NotFound,
    /// A part of the API that does not exist here; the text names it.
    #[error("{}", cut_str(.0))]
    Unsupported(String),
    /// The query itself failed.
    #[error(transparent)]
    Query(tactus_api::Error),
}

/// Result of a query of Jaeger's.
pub(super) type Result<T, E = JaegerError> = std::result::Result<T, E>;

impl JaegerError {
    /// The HTTP status.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Query(error) => error.http_status(),
        }
    }
}

impl From<tactus_api::Error> for JaegerError {
    fn from(error: tactus_api::Error) -> Self {
        match error {
            tactus_api::Error::NotFound => Self::NotFound,
            tactus_api::Error::Invalid(text) => Self::Invalid(text),
            error => Self::Query(error),
        }
    }
}

impl From<JaegerError> for Status {
    fn from(error: JaegerError) -> Self {
        let text = error.to_string();
        match error {
            JaegerError::Invalid(_) => Self::invalid_argument(text),
            JaegerError::NotFound => Self::not_found(text),
            JaegerError::Unsupported(_) => Self::unimplemented(text),
            JaegerError::Query(error) => error_status(&error),
        }
    }
}
