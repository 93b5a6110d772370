//! OTLP over gRPC: `TraceService/Export`.
//!
//! The one unary call is served by hand: the message is handed on as bytes, it lies in one buffer
//! that is allocated once, and clients get the statuses that they know.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tactus_server::auth::{Access, Authenticator};
use tactus_server::listener::{
    self, BoundListener, ConnectionInfo, Http2Settings, ListenerSettings, Protocols,
};
use tactus_server::tenancy::Tenancy;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::compression::{DecompressError, Encoding, decompress};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::otlp_http::encode_success;
use crate::refusal::Refusal;
use crate::sink::{PushError, PushOutcome, TraceSink, push_traced};

mod message;

use message::read_message;

/// Path of the export call.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Encodings that clients may use; told to those that use another one.
const ACCEPTED_ENCODINGS: &str = "gzip,deflate,zstd,snappy,identity";

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct OtlpGrpcSettings {
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// Connections.
    pub listener: ListenerSettings,
    /// Tenant of a request.
    pub tenancy: Tenancy,
    /// Who may send; `None`: everyone.
    pub auth: Option<Arc<Authenticator>>,
    /// Largest message, in bytes; holds for the message as sent and for the decompressed one.
    pub max_message_bytes: usize,
    /// Longest time for reading a message.
    pub read_timeout: Option<Duration>,
}

impl Default for OtlpGrpcSettings {
    fn default() -> Self {
        let http2 = Http2Settings {
            max_concurrent_streams: None,
            stream_window: 2 << 20,
            connection_window: 8 << 20,
            ..Http2Settings::default()
        };
        Self {
            address: ":4317".to_owned(),
            listener: ListenerSettings { http2, ..ListenerSettings::default() },
            tenancy: Tenancy::single(),
            auth: None,
            max_message_bytes: 4 << 20,
            read_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// Binds the port and serves it until `shutdown`. Errors: the address cannot be bound.
pub async fn serve_otlp_grpc(
    settings: OtlpGrpcSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let socket = listener::bind(&settings.address).await?;
    tracing::info!(address = %socket.local_addr()?, "OTLP gRPC receiver listens");
    let listener_settings =
        ListenerSettings { protocols: Protocols::Http2, ..settings.listener.clone() };
    let counters = metrics.of("otlp", "grpc");
    let receiver = Arc::new(Receiver { settings, sink, counters });
    let service = service_fn(move |request: Request<Incoming>| {
        let receiver = receiver.clone();
        async move { Ok::<_, Infallible>(receiver.handle(request).await) }
    });
    listener::serve(socket, listener_settings, service, shutdown)
}

struct Receiver {
    settings: OtlpGrpcSettings,
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
}

impl Receiver {
    async fn handle<B>(&self, request: Request<B>) -> Response<tonic::body::Body>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let (mut head, body) = request.into_parts();
        if head.method != Method::POST {
            return http_error(StatusCode::METHOD_NOT_ALLOWED);
        }
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"application/grpc") {
            return http_error(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        if head.uri.path() != EXPORT_PATH {
            let text = format!("unknown method {}", head.uri.path());
            return tonic::Status::unimplemented(text).into_http();
        }
        if let Some(auth) = &self.settings.auth {
            let connection = head.extensions.get::<ConnectionInfo>();
            if let Err(refused) = auth.check(Access::Write, &mut head.headers, connection).await {
                return refused.grpc_status().into_http();
            }
        }
        let encoding = match encoding(&head.headers) {
            Ok(encoding) => encoding,
            Err(refusal) => {
                let mut response = refusal.to_grpc_status().into_http();
                let accepted = HeaderValue::from_static(ACCEPTED_ENCODINGS);
                response.headers_mut().insert("grpc-accept-encoding", accepted);
                return response;
            }
        };
        match self.take(encoding, &head.headers, body).await {
            Ok(outcome) => answer_success(outcome),
            Err(refusal) => refusal.to_grpc_status().into_http(),
        }
    }

    async fn take<B>(
        &self,
        encoding: Option<Encoding>,
        headers: &HeaderMap,
        body: B,
    ) -> Result<PushOutcome, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let limit = self.settings.max_message_bytes;
        let message = read_message(body, limit, self.settings.read_timeout).await?;
        let request = match (message.is_compressed, encoding) {
            (false, _) => message.payload,
            (true, Some(encoding)) => {
                decompress(encoding, message.payload, limit).await.map_err(refuse_compressed)?
            }
            (true, None) => {
                let text = "grpc: compressed flag set with identity or empty encoding";
                return Err(Refusal::new(Code::Internal, text));
            }
        };
        if request.is_empty() {
            // No spans: success, whoever asks.
            return Ok(PushOutcome::default());
        }
        let tenant = self.settings.tenancy.write_tenant(headers)?;
        let sink = self.sink.as_ref();
        let result = push_traced(sink, "otlp_grpc", headers, tenant, request.clone()).await;
        self.counters.count(&result, &request);
        result.map_err(|error| match error {
            PushError::Malformed(reason) => {
                let text = format!("grpc: error unmarshalling request: {reason}");
                Refusal::new(Code::Internal, text)
            }
            error => error.into(),
        })
    }
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
    let Some(value) = headers.get("grpc-encoding") else { return Ok(None) };
    let name = String::from_utf8_lossy(value.as_bytes());
    if name == "identity" {
        return Ok(None);
    }
    Encoding::from_grpc_encoding(&name).map(Some).ok_or_else(|| {
        let text = format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
        Refusal::new(Code::Unimplemented, text)
    })
}

fn refuse_compressed(error: DecompressError) -> Refusal {
    match error {
        DecompressError::TooLarge { limit } => {
            let text =
                format!("grpc: received message after decompression larger than max {limit}");
            Refusal::new(Code::ResourceExhausted, text)
        }
        DecompressError::Corrupt(reason) => {
            let text = format!("grpc: failed to decompress the received message: {reason}");
            Refusal::new(Code::Internal, text)
        }
    }
}

/// The response message, uncompressed, and the status OK in trailers.
fn answer_success(outcome: PushOutcome) -> Response<tonic::body::Body> {
    let rejected_spans = i64::try_from(outcome.rejected_spans).unwrap_or(i64::MAX);
    let message = encode_success(rejected_spans, outcome.message);
    let mut framed = BytesMut::with_capacity(message::PREFIX_BYTES + message.len());
    framed.put_u8(0);
    // Error messages are short, so the length fits.
    framed.put_u32(message.len() as u32);
    framed.put(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(tonic::body::Body::new(body));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A request that is not gRPC at all.
fn http_error(status: StatusCode) -> Response<tonic::body::Body> {
    let mut response = Response::new(tonic::body::Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
