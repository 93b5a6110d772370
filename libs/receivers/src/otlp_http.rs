//! OTLP over HTTP: `POST /v1/traces` with protobuf or JSON.

use std::io;
use std::sync::Arc;

use ::http::header::{ALLOW, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use prost::Message;
use serde_json::json;
use tactus_otlp_json::read_export_request;
use tactus_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use tactus_server::listener::BoundListener;
use tokio_util::sync::CancellationToken;

use crate::body::BodyError;
use crate::compression::Encoding;
use crate::http_receiver::{
    HttpPort, HttpProtocol, HttpReceiverSettings, RequestBody, decode_within, serve_http_receiver,
};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::refusal::Refusal;
use crate::sink::{PushOutcome, TraceSink, push_traced};

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct OtlpHttpSettings {
    /// The port.
    pub http: HttpReceiverSettings,
    /// Path of exports.
    pub traces_path: String,
}

impl Default for OtlpHttpSettings {
    fn default() -> Self {
        Self { http: HttpReceiverSettings::at(":4318"), traces_path: "/v1/traces".to_owned() }
    }
}

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
pub async fn serve_otlp_http(
    settings: OtlpHttpSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let receiver = Receiver::new(settings.traces_path, sink, metrics);
    serve_http_receiver("OTLP HTTP", settings.http, receiver, shutdown).await
}

struct Receiver {
    traces_path: String,
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
}

/// What a request becomes: an answer in its own format, or a plain one from before that is known.
type Handled = Result<PushOutcome, Refusal>;

impl HttpProtocol for Receiver {
    fn has_path(&self, path: &str) -> bool {
        path == self.traces_path
    }

    /// The checks come in the order in which clients know them.
    async fn answer<B: RequestBody>(
        &self,
        port: &HttpPort,
        request: Request<B>,
    ) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        let format = Format::of(&head.headers);
        let encoding = match port.encoding(&head.headers) {
            Ok(encoding) => encoding,
            Err(refusal) => return answer_refusal(format, &refusal),
        };
        if !self.has_path(head.uri.path()) {
            return plain_error(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        if head.method != Method::POST {
            let text = "405 method not allowed, supported: [POST]";
            let mut response = plain_error(StatusCode::METHOD_NOT_ALLOWED, text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        if !matches!(format, Format::Protobuf | Format::Json) {
            let text =
                "415 unsupported media type, supported: [application/json, application/x-protobuf]";
            return plain_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        if let Err(refusal) = port.authenticate(&mut head).await {
            return answer_refusal(format, &refusal);
        }
        match self.take(port, format, encoding, &head.headers, body).await {
            Ok(outcome) => answer_success(format, outcome),
            Err(refusal) => answer_refusal(format, &refusal),
        }
    }
}

impl Receiver {
    fn new(traces_path: String, sink: Arc<dyn TraceSink>, metrics: &ReceiverMetrics) -> Self {
        Self { traces_path, sink, counters: metrics.of("otlp", "http") }
    }

    async fn take<B: RequestBody>(
        &self,
        port: &HttpPort,
        format: Format,
        encoding: Option<Encoding>,
        headers: &HeaderMap,
        body: B,
    ) -> Handled {
        let (mut body, held) = port.body(headers, encoding, body).await.map_err(refuse)?;
        let line = || port.line(headers);
        if format == Format::Json {
            let (bytes, json) = (body.len(), body);
            let decode = move || {
                read_export_request(&json).map_err(|error| Refusal::invalid(error.to_string()))
            };
            body = decode_within(&held, bytes, line, decode).await?;
            held.keep_of_work(body.len());
        }
        let tenant = match port.tenant(headers) {
            _ if body.is_empty() => return Ok(PushOutcome::default()),
            Ok(tenant) => tenant,
            Err(error) => {
                let is_refused = self.counters.refuse(&body, line).await;
                // No spans: success, whoever asks.
                return if is_refused { Err(error.into()) } else { Ok(PushOutcome::default()) };
            }
        };
        let sink = self.sink.as_ref();
        let result = push_traced(sink, "otlp_http", headers, tenant, body.clone()).await;
        self.counters.count(&result, &body, line).await;
        Ok(result?)
    }
}

fn refuse(error: BodyError) -> Refusal {
    match error {
        BodyError::NoRoom(no_room) => no_room.into(),
        BodyError::TimedOut => {
            Refusal { http: StatusCode::REQUEST_TIMEOUT, ..Refusal::invalid(error.to_string()) }
        }
        error => Refusal::invalid(error.to_string()),
    }
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The encoding of a request and its answer, from the media type of `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
    /// No content type.
    Missing,
    /// Another content type.
    Other,
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
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
fn answer_success(format: Format, outcome: PushOutcome) -> Response<Full<Bytes>> {
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

/// An error in the format of the request, with the headers that belong to it.
fn answer_refusal(format: Format, refusal: &Refusal) -> Response<Full<Bytes>> {
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
    refusal.add_headers(answer.headers_mut());
    answer
}

/// An error of the HTTP layer, in plain text.
fn plain_error(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
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

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod tests;
