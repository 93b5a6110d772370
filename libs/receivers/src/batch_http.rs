//! HTTP receivers whose requests contain a batch of spans in another format than OTLP: Jaeger's and Zipkin's.
//!
//! They answer 202 without a body, and errors in plain text. A [`BatchFormat`] decodes a request and converts it to
//! OTLP.

use std::sync::Arc;

use ::http::header::{ALLOW, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use tactus_model::error_text;

use crate::body::BodyError;
use crate::http_receiver::{HttpPort, HttpProtocol, RequestBody, decode_within};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::refusal::Refusal;
use crate::sink::{TraceSink, push_traced};

/// The spans of a request.
pub(crate) struct Decoded {
    /// The bytes of the spans as an OTLP export request; none if there is no span.
    pub(crate) request: Bytes,
    /// One of [`BatchFormat::TRANSPORTS`]: where the spans are counted.
    pub(crate) transport: &'static str,
}

/// The requests of a protocol.
pub(crate) trait BatchFormat: Send + Sync + 'static {
    /// What path and headers say about the body.
    type Kind: Copy + Send + 'static;
    /// The receiver's type, as metrics call it: `zipkin`.
    const RECEIVER: &'static str;
    /// The receiver in our own traces: `zipkin_http`.
    const SPAN_NAME: &'static str;
    /// Every value of the label `transport`.
    const TRANSPORTS: &'static [&'static str];

    /// Whether batches are posted to this path.
    fn has_path(&self, path: &str) -> bool;

    /// Whether a request is for the receiver if its port carries other routes as well.
    fn takes(&self, _method: &Method, path: &str) -> bool {
        self.has_path(path)
    }

    /// What the body of a POST is. Errors: the answer, as 400 for a content type of no use.
    fn kind(&self, path: &str, headers: &HeaderMap) -> Result<Self::Kind, Refusal>;

    /// The spans of a decompressed body, which may be empty. It is called off the async threads if
    /// the body is large. Errors: the answer, as 400 for damage.
    fn decode(&self, kind: Self::Kind, body: Bytes) -> Result<Decoded, Refusal>;

    /// The answer to a body that cannot be read.
    fn unreadable(&self, error: &BodyError) -> Refusal {
        let mut refusal = Refusal::invalid(error.to_string());
        match error {
            BodyError::TooLarge => refusal.http = StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TimedOut => refusal.http = StatusCode::REQUEST_TIMEOUT,
            _ => {}
        }
        refusal
    }

    /// The text of an answer to spans that were not stored, from the sink's.
    fn not_stored(&self, message: String) -> String {
        message
    }

    /// A text as the body of an error.
    fn error_body(&self, message: &str) -> String {
        message.to_owned()
    }
}

/// A format at work.
pub(crate) struct BatchReceiver<F> {
    format: Arc<F>,
    sink: Arc<dyn TraceSink>,
    counters: Vec<(&'static str, SpanCounters)>,
}

impl<F: BatchFormat> BatchReceiver<F> {
    pub(crate) fn new(format: F, sink: Arc<dyn TraceSink>, metrics: &ReceiverMetrics) -> Self {
        let counters =
            F::TRANSPORTS.iter().map(|transport| (*transport, metrics.of(F::RECEIVER, transport)));
        Self { format: Arc::new(format), sink, counters: counters.collect() }
    }

    async fn take<B: RequestBody>(
        &self,
        port: &HttpPort,
        kind: F::Kind,
        headers: &HeaderMap,
        body: B,
    ) -> Result<(), Refusal> {
        let encoding = port.encoding(headers)?;
        let (body, held) =
            port.body(headers, encoding, body).await.map_err(|error| match error {
                BodyError::NoRoom(no_room) => no_room.into(),
                error => self.format.unreadable(&error),
            })?;
        let (format, bytes) = (Arc::clone(&self.format), body.len());
        let line = || port.line(headers);
        let decoded = decode_within(&held, bytes, line, move || format.decode(kind, body)).await?;
        let Decoded { request, transport } = decoded;
        held.keep_of_work(request.len());
        if request.is_empty() {
            // No spans: success, whoever asks.
            return Ok(());
        }
        let not_stored = |mut refusal: Refusal| {
            refusal.message = self.format.not_stored(refusal.message);
            refusal
        };
        let counters = self.counters.iter().find(|(known, _)| *known == transport);
        let counters = counters.map(|(_, counters)| counters);
        let tenant = match port.tenant(headers) {
            Ok(tenant) => tenant,
            Err(error) => {
                if let Some(counters) = counters {
                    counters.refuse(&request, line).await;
                }
                return Err(not_stored(error.into()));
            }
        };
        let sink = self.sink.as_ref();
        let result = push_traced(sink, F::SPAN_NAME, headers, tenant, request.clone()).await;
        if let Some(counters) = counters {
            counters.count(&result, &request, line).await;
        }
        result.map(|_| ()).map_err(|error| not_stored(error.into()))
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Full<Bytes>> {
        let message = error_text::cut_str(&refusal.message);
        let mut response = text(refusal.http, self.format.error_body(&message));
        refusal.add_headers(response.headers_mut());
        response
    }
}

impl<F: BatchFormat> HttpProtocol for BatchReceiver<F> {
    fn has_path(&self, path: &str) -> bool {
        self.format.has_path(path)
    }

    fn takes(&self, method: &Method, path: &str) -> bool {
        self.format.takes(method, path)
    }

    async fn answer<B: RequestBody>(
        &self,
        port: &HttpPort,
        request: Request<B>,
    ) -> Response<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        if !self.format.has_path(head.uri.path()) {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        if head.method != Method::POST {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
        let kind = match self.format.kind(head.uri.path(), &head.headers) {
            Ok(kind) => kind,
            Err(refusal) => return self.refuse(&refusal),
        };
        if let Err(refusal) = port.authenticate(&mut head).await {
            return self.refuse(&refusal);
        }
        match self.take(port, kind, &head.headers, body).await {
            Ok(()) => empty(StatusCode::ACCEPTED),
            Err(refusal) => self.refuse(&refusal),
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let name = HeaderName::from_static("x-content-type-options");
    headers.insert(name, HeaderValue::from_static("nosniff"));
    response
}
