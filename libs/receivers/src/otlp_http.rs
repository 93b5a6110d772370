//! OTLP over HTTP: `POST /v1/traces` with protobuf or JSON.

use std::io;
use std::sync::Arc;

use ::http::header::{ALLOW, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use tactus_otlp_json::read_export_request;
use tactus_server::auth::Refused;
use tactus_server::listener::BoundListener;
use tokio_util::sync::CancellationToken;

use crate::body::BodyError;
use crate::compression::Encoding;
use crate::http_receiver::{
    HttpPort, HttpProtocol, HttpReceiverSettings, RequestBody, UnreadableBody, decode_within,
    serve_http_receiver,
};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::refusal::Refusal;
use crate::sink::{PushOutcome, TraceSink, push_traced};

mod answer;

pub(crate) use answer::encode_success;
use answer::{Format, answer_refusal, answer_success, plain_error};

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct OtlpHttpSettings {
    /// The port.
    pub port: HttpReceiverSettings,
    /// Path of exports.
    pub traces_path: String,
}

impl Default for OtlpHttpSettings {
    fn default() -> Self {
        Self { port: HttpReceiverSettings::at(":4318"), traces_path: "/v1/traces".to_owned() }
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
    serve_http_receiver("OTLP HTTP", settings.port, receiver, shutdown).await
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
        if let Err(refused) = port.authenticate(&mut head).await {
            return answer_refused(format, refused);
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
        let held = port.begin(headers).await?;
        let body = port.read(body, &held).await.map_err(|error| refuse(error.into()))?;
        let tenant = port.tenant(headers);
        if !body.is_empty() {
            // Before work is spent on the body.
            tenant.clone()?;
        }
        let mut body = port.decompress(encoding, body, &held).await.map_err(refuse)?;
        if format == Format::Json {
            let json = body;
            body = decode_within(&held, json.len(), move || {
                read_export_request(&json).map_err(|error| Refusal::invalid(error.to_string()))
            })
            .await?;
            held.keep_of_work(body.len());
        }
        if body.is_empty() {
            // No spans: success, whoever asks.
            return Ok(PushOutcome::default());
        }
        let sink = self.sink.as_ref();
        let result = push_traced(sink, "otlp_http", headers, tenant?, body.clone()).await;
        self.counters.count(&result, &body);
        Ok(result?)
    }
}

fn answer_refused(format: Format, refused: Refused) -> Response<Full<Bytes>> {
    let challenges = refused.challenges();
    let mut response = answer_refusal(format, &refused.into());
    for challenge in challenges {
        response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

fn refuse(error: UnreadableBody) -> Refusal {
    match error {
        UnreadableBody::Read(BodyError::NoRoom(no_room)) => no_room.into(),
        UnreadableBody::Read(BodyError::TimedOut) => {
            Refusal { http: StatusCode::REQUEST_TIMEOUT, ..Refusal::invalid(error.to_string()) }
        }
        error => Refusal::invalid(error.to_string()),
    }
}

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod tests;
