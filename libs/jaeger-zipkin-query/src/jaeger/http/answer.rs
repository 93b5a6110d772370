//! Answers in JSON.

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderName, HeaderValue, StatusCode};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use tactus_api::QueryParams;
use tactus_server::http::error_line;

use crate::jaeger::error::Result;

/// Set on answers that lack something because it could not be read or did not fit.
const PARTIAL: HeaderName = HeaderName::from_static("x-tactus-partial");

/// An answer that is ready to be sent.
pub(super) struct Answer {
    body: Vec<u8>,
    partial: bool,
}

impl Answer {
    /// A message as JSON, with indentation if `pretty`.
    pub(super) fn json(message: &impl Serialize, pretty: bool) -> Result<Self> {
        let mut body = Vec::new();
        let written = if pretty {
            let formatter = PrettyFormatter::with_indent(b"    ");
            message.serialize(&mut Serializer::with_formatter(&mut body, formatter))
        } else {
            serde_json::to_writer(&mut body, message)
        };
        written.map_err(|error| tactus_api::Error::Internal(error.to_string()))?;
        Ok(Self { body, partial: false })
    }

    pub(super) fn partial(self, partial: bool) -> Self {
        Self { partial, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if self.partial {
            response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
        }
        response
    }
}

/// True if the caller asks for indentation.
pub(super) fn is_pretty(params: &QueryParams<'_>) -> bool {
    params.get("prettyPrint").is_some_and(|value| value != "false")
}

/// An error as a line of JSON. It is sent as text, as Jaeger does; clients parse it regardless.
pub(super) fn refusal(status: StatusCode, message: &impl Serialize) -> Response {
    error_line(status, &serde_json::to_string(message).unwrap_or_default())
}
