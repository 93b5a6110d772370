//! OTLP over HTTP: `POST /v1/traces` with protobuf or JSON.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ALLOW, CONTENT_ENCODING, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use prost::Message;
use tactus_server::auth::{Access, Authenticator, Refused};
use tactus_server::listener::{self, BoundListener, ConnectionInfo, ListenerSettings};
use tactus_server::tenancy::Tenancy;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::body::{BodyError, read_body};
use crate::compression::{Encoding, decompress, off_thread};
use crate::cors::{Cors, CorsSettings};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::otlp_json::decode_export_request;
use crate::refusal::Refusal;
use crate::sink::{PushOutcome, TraceSink, push_traced};

mod answer;

pub(crate) use answer::encode_success;
use answer::{Format, answer_refusal, answer_success, plain_error};

/// Larger JSON bodies are decoded off the async threads.
const INLINE_JSON_BYTES: usize = 16 << 10;

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct OtlpHttpSettings {
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// Connections.
    pub listener: ListenerSettings,
    /// Tenant of a request.
    pub tenancy: Tenancy,
    /// Who may send; `None`: everyone.
    pub auth: Option<Arc<Authenticator>>,
    /// Path of exports.
    pub traces_path: String,
    /// Largest body, in bytes; holds for the body as sent and for the decompressed one.
    pub max_body_bytes: usize,
    /// Accepted values of `Content-Encoding`; the empty one stands for no compression.
    pub encodings: Vec<String>,
    /// Pages of other origins.
    pub cors: CorsSettings,
    /// Headers added to every response.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest time for reading a body.
    pub read_timeout: Option<Duration>,
}

impl Default for OtlpHttpSettings {
    fn default() -> Self {
        let encodings = ["", "gzip", "zstd", "zlib", "snappy", "x-snappy-framed", "deflate", "lz4"];
        Self {
            address: ":4318".to_owned(),
            listener: ListenerSettings::default(),
            tenancy: Tenancy::single(),
            auth: None,
            traces_path: "/v1/traces".to_owned(),
            max_body_bytes: 20 << 20,
            encodings: encodings.map(str::to_owned).to_vec(),
            cors: CorsSettings::default(),
            response_headers: Vec::new(),
            read_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
pub async fn serve_otlp_http(
    settings: OtlpHttpSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let socket = listener::bind(&settings.address).await?;
    tracing::info!(address = %socket.local_addr()?, "OTLP HTTP receiver listens");
    let listener_settings = settings.listener.clone();
    let receiver = Arc::new(Receiver::new(settings, sink, metrics));
    let service = service_fn(move |request: Request<Incoming>| {
        let receiver = receiver.clone();
        async move { Ok::<_, Infallible>(receiver.handle(request).await) }
    });
    listener::serve(socket, listener_settings, service, shutdown)
}

struct Receiver {
    settings: OtlpHttpSettings,
    cors: Option<Cors>,
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
}

/// What a request becomes: an answer in its own format, or a plain one from before that is known.
type Handled = Result<PushOutcome, Refusal>;

impl Receiver {
    fn new(
        settings: OtlpHttpSettings,
        sink: Arc<dyn TraceSink>,
        metrics: &ReceiverMetrics,
    ) -> Self {
        let cors = Cors::new(&settings.cors);
        Self { settings, cors, sink, counters: metrics.of("otlp", "http") }
    }

    async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut response = self.handle_cors(request).await;
        for (name, value) in &self.settings.response_headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }

    async fn handle_cors<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let Some(cors) = &self.cors else {
            return self.export(request).await;
        };
        if let Some(headers) = cors.preflight(request.method(), request.headers()) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = headers;
            return response;
        }
        let origin = cors.allowed_origin(request.headers());
        let mut response = self.export(request).await;
        cors.decorate(origin, response.headers_mut());
        response
    }

    /// The checks come in the order in which clients know them.
    async fn export<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let (mut head, body) = request.into_parts();
        let format = Format::of(&head.headers);
        let encoding = match self.encoding(&head.headers) {
            Ok(encoding) => encoding,
            Err(refusal) => return answer_refusal(format, &refusal),
        };
        if head.uri.path() != self.settings.traces_path {
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
        if let Some(auth) = &self.settings.auth {
            let connection = head.extensions.get::<ConnectionInfo>();
            if let Err(refused) = auth.check(Access::Write, &mut head.headers, connection).await {
                return answer_refused(format, refused);
            }
        }
        match self.take(format, encoding, &head.headers, body).await {
            Ok(outcome) => answer_success(format, outcome),
            Err(refusal) => answer_refusal(format, &refusal),
        }
    }

    fn encoding(&self, headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
        let value = headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        let name = String::from_utf8_lossy(value);
        let name = name.trim();
        let name = if name.eq_ignore_ascii_case("identity") { "" } else { name };
        let allowed = self.settings.encodings.iter().any(|known| known.eq_ignore_ascii_case(name));
        let encoding = Encoding::from_content_encoding(name);
        if !allowed || (encoding.is_none() && !name.is_empty()) {
            return Err(Refusal::invalid(format!("unsupported Content-Encoding: {name}")));
        }
        Ok(encoding)
    }

    async fn take<B>(
        &self,
        format: Format,
        encoding: Option<Encoding>,
        headers: &HeaderMap,
        body: B,
    ) -> Handled
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let limit = self.settings.max_body_bytes;
        let mut body = read_body(body, limit, self.settings.read_timeout).await.map_err(refuse)?;
        let tenant = self.settings.tenancy.write_tenant(headers);
        if !body.is_empty() {
            // Before work is spent on the body.
            tenant.clone()?;
        }
        if let Some(encoding) = encoding {
            body = decompress(encoding, body, limit)
                .await
                .map_err(|error| Refusal::invalid(decompress_text(error)))?;
        }
        if format == Format::Json {
            body = json_to_protobuf(body).await?;
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

fn refuse(error: BodyError) -> Refusal {
    let mut refusal = Refusal::invalid(error.to_string());
    if error == BodyError::TimedOut {
        refusal.http = StatusCode::REQUEST_TIMEOUT;
    }
    refusal
}

fn decompress_text(error: crate::compression::DecompressError) -> String {
    match error {
        // Clients know one text for bodies that are too large, compressed or not.
        crate::compression::DecompressError::TooLarge { .. } => BodyError::TooLarge.to_string(),
        corrupt => corrupt.to_string(),
    }
}

async fn json_to_protobuf(json: Bytes) -> Result<Bytes, Refusal> {
    let inline = json.len() <= INLINE_JSON_BYTES;
    let convert = move || match decode_export_request(&json) {
        Ok(request) => Ok(Bytes::from(request.encode_to_vec())),
        Err(error) => Err(Refusal::invalid(error.to_string())),
    };
    if inline {
        return convert();
    }
    off_thread(convert)
        .await
        .unwrap_or_else(|error| Err(Refusal::new(Code::Internal, error.to_string())))
}

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod tests;
