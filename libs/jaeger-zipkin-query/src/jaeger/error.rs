//! Why a query of Jaeger's is not answered.

use http::StatusCode;
use tactus_model::error_text::cut_str;
use tonic::Code;

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

    /// The gRPC code.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Query(error) => error.grpc_code(),
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

impl From<JaegerError> for tonic::Status {
    fn from(error: JaegerError) -> Self {
        Self::new(error.grpc_code(), error.to_string())
    }
}
