//! Answers in JSON, errors in plain text.

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use ::http::{HeaderName, HeaderValue, StatusCode};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tactus_api::{Error, Result};
use tactus_server::http::text;

/// Set on answers that lack something because it could not be read or did not fit.
const PARTIAL: HeaderName = HeaderName::from_static("x-tactus-partial");

/// With fewer services the list is new to everybody and must not be kept: it grows while one looks.
const FEW_SERVICES: usize = 3;

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    body: Vec<u8>,
    partial: bool,
    may_be_kept: bool,
}

impl Answer {
    pub(super) fn json(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::of_json(body))
    }

    pub(super) fn of_json(body: Vec<u8>) -> Self {
        Self { body, partial: false, may_be_kept: false }
    }

    pub(super) fn partial(self, partial: bool) -> Self {
        Self { partial, ..self }
    }

    /// Lets browsers keep the answer for a while if there are so many services.
    pub(super) fn kept_among(self, services: usize) -> Self {
        Self { may_be_kept: services > FEW_SERVICES, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.partial {
            headers.insert(PARTIAL, HeaderValue::from_static("true"));
        } else if self.may_be_kept {
            let kept = HeaderValue::from_static("max-age=300, must-revalidate");
            headers.insert(CACHE_CONTROL, kept);
            // Names of one tenant are not for another.
            headers.insert(VARY, HeaderValue::from_static("X-Scope-OrgID, Authorization"));
        }
        response
    }
}

/// An error as the client sees it.
pub(super) fn refusal(error: &Error) -> Response {
    let status = error.http_status();
    if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
        tracing::warn!(%error, %status, "zipkin query failed");
    }
    text(status, error.to_string())
}
