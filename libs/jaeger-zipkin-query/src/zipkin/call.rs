//! A question of Zipkin's API, and how it is refused.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::ZipkinApi;
use tactus_query::Frontend;
use tactus_server::http::text;

use crate::call::{self, Answer};

/// What handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) frontend: Arc<Frontend>,
    pub(super) settings: Arc<ZipkinApi>,
    /// How many services the last list of them had.
    pub(super) services: Arc<AtomicUsize>,
}

impl AsRef<Frontend> for Shared {
    fn as_ref(&self) -> &Frontend {
        &self.frontend
    }
}

/// A question, and its answer.
pub(super) type Call = call::Call<Shared, Refused>;
pub(super) type Answered = Result<Answer, Refused>;

impl Call {
    pub(super) fn frontend(&self) -> &Frontend {
        &self.shared.frontend
    }

    /// Refuses more traces than one answer may have.
    pub(super) fn check_limit(&self, limit: u32) -> Result<()> {
        let limits =
            [self.shared.settings.max_limit, self.frontend().settings.search.max_result_limit];
        match limits.into_iter().filter(|max| *max != 0).min() {
            Some(max) if limit > max => {
                Err(Error::Invalid(format!("limit {limit} exceeds max limit {max}")))
            }
            _ => Ok(()),
        }
    }
}

/// An error as the client sees it: plain text.
pub(super) struct Refused(pub(super) Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (error, status) = (&self.0, self.0.http_status());
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::warn!(%error, %status, "zipkin query failed");
        }
        text(status, error.to_string())
    }
}
