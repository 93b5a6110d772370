//! The parts that all gRPC receivers share: one unary call that takes spans, served without generated code.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::Router;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use tactus_server::auth::{Access, PUBLIC_GRPC};
use tactus_server::bodies::{Bodies, Held, NoRoom};
use tactus_server::health::{health_service_of, serving_until};
use tactus_server::listener::{
    self, BoundListener, ConnectionInfo, Http2Settings, ListenerSettings, Protocols, ReceivedBody,
};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::body::{BodyError, within};
use crate::compression::{DecompressError, Encoding, decompress};
use crate::http_receiver::{RequestBody, decode_within};
use crate::metrics::{ReceiverMetrics, SpanCounters};
use crate::port::PortSettings;
use crate::refusal::Refusal;
use crate::sink::{PushError, PushOutcome, TraceSink, push_traced};

mod message;

use message::read_message;

/// Encodings that clients may use; told to those that use another one.
const ACCEPTED_ENCODINGS: &str = "gzip,deflate,zstd,snappy,identity";

/// Calls of one connection at a time, where no number is configured. A collector makes some ten.
const DEFAULT_STREAMS: u32 = 1_000;

/// The defaults of a gRPC port at `address`.
pub fn grpc_port_at(address: &str) -> PortSettings {
    let http2 = Http2Settings {
        max_concurrent_streams: Some(DEFAULT_STREAMS),
        stream_window: 512 << 10,
        connection_window: 1 << 20,
        ..Http2Settings::default()
    };
    let listener = ListenerSettings { http2, ..ListenerSettings::default() };
    PortSettings { listener, ..PortSettings::at(address, 4 << 20) }
}

/// The call that takes spans.
pub(crate) trait SpanCall: Send + Sync + 'static {
    /// Path of the call.
    const PATH: &'static str;
    /// What the health service knows besides the empty name: the service of the call.
    const HEALTH_NAMES: &'static [&'static str];
    /// The receiver's type, as metrics call it: `otlp`.
    const RECEIVER: &'static str;
    /// The receiver in our own traces: `otlp_grpc`.
    const SPAN_NAME: &'static str;
    /// Whether making an export request of a message is work.
    const DECODES: bool;

    /// The bytes of the OTLP export request of a message; none if it holds no span. Errors: why the
    /// message cannot be understood.
    fn export_request(message: Bytes) -> Result<Bytes, String>;

    /// The message of an answer.
    fn answer(outcome: PushOutcome) -> Bytes;
}

/// Binds the port and serves `C`, and the health service, until `shutdown`. `name` is how the log calls it, as `OTLP gRPC`.
///
/// Errors: the address cannot be bound.
pub(crate) async fn serve_grpc_receiver<C: SpanCall>(
    name: &'static str,
    settings: PortSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let socket = listener::bind(&settings.address).await?;
    tracing::info!(address = %socket.local_addr()?, "{name} receiver listens");
    let listener_settings =
        ListenerSettings { protocols: Protocols::Http2, ..settings.listener.clone() };
    let (bodies, time_limit) = (Arc::clone(&settings.bodies), settings.read_timeout);
    let receiver = Arc::new(Receiver::<C>::new(settings, sink, metrics));
    let health = health_service_of(serving_until(shutdown.clone()), C::HEALTH_NAMES);
    let health = Routes::new(health).into_axum_router();
    let service = service_fn(move |request: Request<ReceivedBody>| {
        let health = request.uri().path().starts_with(PUBLIC_GRPC).then(|| health.clone());
        let (receiver, bodies) = (Arc::clone(&receiver), Arc::clone(&bodies));
        async move {
            let response = match health {
                Some(health) => health_call(health, request, &bodies, time_limit).await,
                None => receiver.handle(request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    listener::serve(socket, listener_settings, service, shutdown)
}

pub(crate) struct Receiver<C> {
    settings: PortSettings,
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
    call: std::marker::PhantomData<C>,
}

impl<C: SpanCall> Receiver<C> {
    pub(crate) fn new(
        settings: PortSettings,
        sink: Arc<dyn TraceSink>,
        metrics: &ReceiverMetrics,
    ) -> Self {
        let counters = metrics.of(C::RECEIVER, "grpc");
        Self { settings, sink, counters, call: std::marker::PhantomData }
    }

    pub(crate) async fn handle<B: RequestBody>(
        &self,
        request: Request<B>,
    ) -> Response<tonic::body::Body> {
        if let Some(others) = &self.settings.others
            && request.uri().path() != C::PATH
        {
            return other_call(others.clone(), request).await;
        }
        let (mut head, body) = request.into_parts();
        if head.method != Method::POST {
            return http_error(StatusCode::METHOD_NOT_ALLOWED);
        }
        let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !content_type.starts_with(b"application/grpc") {
            return http_error(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        if head.uri.path() != C::PATH {
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
            Ok(outcome) => answer_success(C::answer(outcome)),
            Err(refusal) => refusal.to_grpc_status().into_http(),
        }
    }

    async fn take<B: RequestBody>(
        &self,
        encoding: Option<Encoding>,
        headers: &HeaderMap,
        body: B,
    ) -> Result<PushOutcome, Refusal> {
        let limit = self.settings.max_body_bytes;
        let held = self.settings.bodies.begin(headers).await?;
        let message = read_message(body, limit, self.settings.read_timeout, &held).await?;
        let line = || self.settings.line(headers);
        let message = match (message.is_compressed, encoding) {
            (false, _) => message.payload,
            (true, Some(encoding)) => {
                let plain = decompress(encoding, message.payload, limit, &held, line).await;
                plain.map_err(refuse_compressed)?
            }
            (true, None) => {
                let text = "grpc: compressed flag set with identity or empty encoding";
                return Err(Refusal::new(Code::Internal, text));
            }
        };
        let request = export_request::<C>(message, &held, line).await?;
        let tenant = match self.settings.tenancy.write_tenant(headers) {
            _ if request.is_empty() => return Ok(PushOutcome::default()),
            Ok(tenant) => tenant,
            Err(error) => {
                let is_refused = self.counters.refuse(&request, line).await;
                // No spans: success, whoever asks.
                return if is_refused { Err(error.into()) } else { Ok(PushOutcome::default()) };
            }
        };
        let sink = self.sink.as_ref();
        let result = push_traced(sink, C::SPAN_NAME, headers, tenant, request.clone()).await;
        self.counters.count(&result, &request, line).await;
        result.map_err(|error| match error {
            PushError::Malformed(reason) => malformed(&reason),
            error => error.into(),
        })
    }
}

async fn export_request<C: SpanCall>(
    message: Bytes,
    held: &Held,
    tenant: impl FnOnce() -> u64,
) -> Result<Bytes, Refusal> {
    let bytes = if C::DECODES { message.len() } else { 0 };
    let decode = move || C::export_request(message).map_err(|reason| malformed(&reason));
    let request = decode_within(held, bytes, tenant, decode).await?;
    if C::DECODES {
        held.keep_of_work(request.len());
    }
    Ok(request)
}

fn malformed(reason: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("grpc: error unmarshalling request: {reason}"))
}

/// A question about health, which anybody may ask. Until its answer begins, for which there is a time limit, its head counts; its
/// message is small.
async fn health_call(
    health: Router,
    request: Request<ReceivedBody>,
    bodies: &Arc<Bodies>,
    time_limit: Option<Duration>,
) -> Response<tonic::body::Body> {
    let call = async {
        let held = bodies.begin(request.headers()).await?;
        tokio::select! {
            response = other_call(health, request) => Ok(response),
            () = held.cut_off() => Err(NoRoom.into()),
        }
    };
    within(time_limit, call).await.unwrap_or_else(|error| match error {
        BodyError::NoRoom(no_room) => Refusal::from(no_room).to_grpc_status().into_http(),
        error => tonic::Status::deadline_exceeded(error.to_string()).into_http(),
    })
}

async fn other_call<B: RequestBody>(
    others: Router,
    request: Request<B>,
) -> Response<tonic::body::Body> {
    let Ok(response) = others.oneshot(request.map(axum::body::Body::new)).await;
    response.map(|body| {
        tonic::body::Body::new(
            body.map_err(|error| -> Box<dyn StdError + Send + Sync> { error.into_inner() }),
        )
    })
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
        DecompressError::NoRoom(no_room) => no_room.into(),
        DecompressError::Corrupt(reason) => {
            let text = format!("grpc: failed to decompress the received message: {reason}");
            Refusal::new(Code::Internal, text)
        }
    }
}

/// The response message, uncompressed, and the status OK in trailers.
fn answer_success(message: Bytes) -> Response<tonic::body::Body> {
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
