//! A question of Jaeger's HTTP API, and how each version refuses it.

use ::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tactus_api::QueryParams;
use tactus_jaeger::json::{Envelope, EnvelopeError};
use tactus_server::http::error_line;

use crate::call::{self, Answer};
use crate::jaeger::{JaegerError, JaegerQueries};

/// A question of a version of the API.
pub(super) type Call<const VERSION: u8> = call::Call<JaegerQueries, Refused<VERSION>>;

/// Its answer.
pub(super) type Answered<const VERSION: u8> = Result<Answer, Refused<VERSION>>;

/// A question that is refused, in the words of a version of the API.
pub(super) struct Refused<const VERSION: u8>(JaegerError);

impl<const VERSION: u8, E: Into<JaegerError>> From<E> for Refused<VERSION> {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<const VERSION: u8> IntoResponse for Refused<VERSION> {
    fn into_response(self) -> Response {
        let (error, status) = (&self.0, self.0.http_status());
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tracing::warn!(%error, %status, "jaeger query failed");
        }
        let body = if VERSION == 3 { v3_refusal(error) } else { v1_refusal(error) };
        // Sent as text, as Jaeger does; clients parse it regardless.
        error_line(status, &body)
    }
}

/// An error in the envelope of v1.
fn v1_refusal(error: &JaegerError) -> String {
    let status = error.http_status();
    let item =
        EnvelopeError { code: status.as_u16(), msg: error.to_string(), trace_id: String::new() };
    let envelope =
        Envelope { errors: Some(vec![item]), ..Envelope::<Option<Vec<()>>>::new(None, 0) };
    serde_json::to_string(&envelope).unwrap_or_default()
}

#[derive(Serialize)]
struct Refusal {
    error: RefusalDetails,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalDetails {
    http_code: u16,
    message: String,
}

/// An error as v3 has it.
fn v3_refusal(error: &JaegerError) -> String {
    let status = error.http_status();
    let message = match error {
        JaegerError::NotFound => "No traces found".to_owned(),
        error => error.to_string(),
    };
    let error = RefusalDetails { http_code: status.as_u16(), message };
    serde_json::to_string(&Refusal { error }).unwrap_or_default()
}

/// True if the caller asks for indentation.
pub(super) fn is_pretty(params: &QueryParams<'_>) -> bool {
    params.get("prettyPrint").is_some_and(|value| value != "false")
}
