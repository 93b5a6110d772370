//! Responses of OTLP over HTTP.

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use prost::Message;
use serde_json::json;
use tactus_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};

use crate::refusal::Refusal;
use crate::sink::PushOutcome;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The encoding of a request and its answer, from the media type of `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
    /// No content type.
    Missing,
    /// Another content type.
    Other,
}

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Missing };
        let text = value.to_str().unwrap_or_default();
        let media_type = text.split(';').next().unwrap_or_default().trim();
        match media_type {
            _ if media_type.eq_ignore_ascii_case(PROTOBUF) => Self::Protobuf,
            _ if media_type.eq_ignore_ascii_case(JSON) => Self::Json,
            _ => Self::Other,
        }
    }
}

/// 200, with the partial success that OTLP prescribes: empty if everything was taken.
pub(super) fn answer_success(format: Format, outcome: PushOutcome) -> Response<Full<Bytes>> {
    let rejected_spans = i64::try_from(outcome.rejected_spans).unwrap_or(i64::MAX);
    if format == Format::Json {
        let mut partial = serde_json::Map::new();
        if rejected_spans != 0 {
            partial.insert("rejectedSpans".to_owned(), json!(rejected_spans.to_string()));
        }
        if !outcome.message.is_empty() {
            partial.insert("errorMessage".to_owned(), json!(outcome.message));
        }
        return response(StatusCode::OK, JSON, json!({ "partialSuccess": partial }).to_string());
    }
    response(StatusCode::OK, PROTOBUF, encode_success(rejected_spans, outcome.message))
}

/// The protobuf answer of an export; field 1 is always written.
pub(crate) fn encode_success(rejected_spans: i64, error_message: String) -> Bytes {
    if rejected_spans == 0 && error_message.is_empty() {
        return Bytes::from_static(&[0x0a, 0x00]);
    }
    let partial = ExportTracePartialSuccess { rejected_spans, error_message };
    ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec().into()
}

/// An error in the format of the request, with `Retry-After` where a retry is wanted.
pub(super) fn answer_refusal(format: Format, refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut answer = match format {
        Format::Protobuf => {
            response(refusal.http, PROTOBUF, refusal.to_rpc_status().encode_to_vec())
        }
        Format::Json | Format::Missing => response(refusal.http, JSON, refusal.to_json()),
        Format::Other => {
            let body = r#"{"code": 13, "message": "failed to marshal error message"}"#;
            response(StatusCode::INTERNAL_SERVER_ERROR, JSON, body)
        }
    };
    if let Some(seconds) = refusal.retry_after_seconds() {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// An error of the HTTP layer, in plain text.
pub(super) fn plain_error(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = response(status, "text/plain", text);
    if status == StatusCode::NOT_FOUND {
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let name = HeaderName::from_static("x-content-type-options");
        headers.insert(name, HeaderValue::from_static("nosniff"));
    }
    answer
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
