//! What all HTTP receivers share: connections, CORS, response headers, authentication, and reading a request to its
//! decompressed body.
//!
//! A protocol implements [`HttpProtocol`] and is served by [`serve_http_receiver`]. Other paths go to the routes of
//! [`PortSettings::others`], if there are any.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use ::http::header::CONTENT_ENCODING;
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::service::service_fn;
use tactus_model::TenantId;
use tactus_server::auth::Access;
use tactus_server::bodies::Held;
use tactus_server::listener::{
    self, BoundListener, ConnectionInfo, Linger, ListenerSettings, ReceivedBody,
};
use tactus_server::tenancy::TenancyError;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tower::ServiceExt;

use crate::body::{BodyError, read_body};
use crate::compression::{DecompressError, Encoding, decompress, turn};
use crate::cors::{self, Cors, CorsSettings};
use crate::port::PortSettings;
use crate::refusal::Refusal;

/// Requests with larger bodies are decoded off the async threads.
pub(crate) const INLINE_DECODE_BYTES: usize = 16 << 10;

/// How an HTTP port of a receiver behaves.
#[derive(Debug, Clone)]
pub struct HttpReceiverSettings {
    /// The port itself.
    pub port: PortSettings,
    /// Accepted values of `Content-Encoding`; the empty one stands for no compression.
    pub encodings: Vec<String>,
    /// Pages of other origins.
    pub cors: CorsSettings,
    /// Headers added to every response.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpReceiverSettings {
    /// The defaults of a port at `address`.
    pub fn at(address: &str) -> Self {
        let encodings = ["", "gzip", "zstd", "zlib", "snappy", "x-snappy-framed", "deflate", "lz4"];
        Self {
            port: PortSettings::at(address, 20 << 20),
            encodings: encodings.map(str::to_owned).to_vec(),
            cors: CorsSettings::default(),
            response_headers: Vec::new(),
        }
    }
}

/// What decoding a body takes at most, in times its bytes: what is made of it, its largest part as messages, and room to
/// grow.
const DECODED_TIMES: usize = 3;

/// Decodes a plain body of this many bytes: a small one at once, a larger one off the async threads, with memory from
/// `held`, when the tenant has a turn. Errors: there is no memory, or those of `decode`.
pub(crate) async fn decode_within<T: Send + 'static>(
    held: &Held,
    bytes: usize,
    tenant: impl FnOnce() -> u64,
    decode: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if bytes <= INLINE_DECODE_BYTES {
        return decode();
    }
    let place = turn(tenant()).await;
    held.take_for_work(bytes.saturating_mul(DECODED_TIMES)).await?;
    let work = move || {
        // Kept until the thread is free, even if the client has left.
        let _place = place;
        decode()
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Refusal::new(Code::Internal, error.to_string())))
}

/// A body as it comes from a connection or a test.
pub(crate) trait RequestBody:
    Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>> + std::fmt::Display>
    + Send
    + 'static
{
}

impl<B> RequestBody for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>> + std::fmt::Display>
        + Send
        + 'static
{
}

/// A response: of the protocol itself, or of the other routes.
pub(crate) type Answer = Response<Either<Full<Bytes>, axum::body::Body>>;

/// A protocol on an HTTP port.
pub(crate) trait HttpProtocol: Send + Sync + 'static {
    /// Whether requests to this path are for the protocol.
    fn has_path(&self, path: &str) -> bool;

    /// Whether a request is for the protocol; all others go to the other routes, if there are any.
    fn takes(&self, _method: &Method, path: &str) -> bool {
        self.has_path(path)
    }

    /// Answers a request. CORS and the headers of every response are the port's.
    fn answer<B: RequestBody>(
        &self,
        port: &HttpPort,
        request: Request<B>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// Binds the port and serves it until `shutdown`. `name` is how the log calls it, as `OTLP HTTP`.
///
/// Errors: the address cannot be bound.
pub(crate) async fn serve_http_receiver<P: HttpProtocol>(
    name: &'static str,
    settings: HttpReceiverSettings,
    protocol: P,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let socket = listener::bind(&settings.port.address).await?;
    tracing::info!(address = %socket.local_addr()?, "{name} receiver listens");
    let linger = Linger::as_of_body(settings.port.max_body_bytes, settings.port.read_timeout);
    let listener_settings =
        ListenerSettings { linger, has_grpc: false, ..settings.port.listener.clone() };
    let served = Arc::new((HttpPort::new(settings), protocol));
    let service = service_fn(move |request: Request<ReceivedBody>| {
        let served = Arc::clone(&served);
        async move {
            let (port, protocol) = &*served;
            Ok::<_, Infallible>(port.handle(protocol, request).await)
        }
    });
    listener::serve(socket, listener_settings, service, shutdown)
}

/// The settings of a port at work.
pub(crate) struct HttpPort {
    settings: HttpReceiverSettings,
    cors: Option<Cors>,
}

impl HttpPort {
    pub(crate) fn new(settings: HttpReceiverSettings) -> Self {
        let cors = Cors::new(&settings.cors);
        Self { settings, cors }
    }

    pub(crate) async fn handle<P: HttpProtocol, B: RequestBody>(
        &self,
        protocol: &P,
        request: Request<B>,
    ) -> Answer {
        let mut response = self.handle_cors(protocol, request).await;
        for (name, value) in &self.settings.response_headers {
            response.headers_mut().append(name, value.clone());
        }
        response
    }

    async fn handle_cors<P: HttpProtocol, B: RequestBody>(
        &self,
        protocol: &P,
        request: Request<B>,
    ) -> Answer {
        // Other sites may send spans, not ask the query API that shares the port.
        let is_ours = self.settings.port.others.is_none() || {
            let method = cors::method_meant(request.method(), request.headers());
            protocol.takes(&method, request.uri().path())
        };
        let Some(cors) = self.cors.as_ref().filter(|_| is_ours) else {
            return self.route(protocol, request).await;
        };
        if let Some(headers) = cors.preflight(request.method(), request.headers()) {
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.headers_mut() = headers;
            return response;
        }
        let origin = cors.allowed_origin(request.headers());
        let mut response = self.route(protocol, request).await;
        cors.decorate(origin, response.headers_mut());
        response
    }

    async fn route<P: HttpProtocol, B: RequestBody>(
        &self,
        protocol: &P,
        request: Request<B>,
    ) -> Answer {
        match &self.settings.port.others {
            Some(others) if !protocol.takes(request.method(), request.uri().path()) => {
                let request = request.map(axum::body::Body::new);
                let Ok(response) = others.clone().oneshot(request).await;
                response.map(Either::Right)
            }
            _ => protocol.answer(self, request).await.map(Either::Left),
        }
    }

    /// How the body is compressed. Errors: in a way that the port does not accept.
    pub(crate) fn encoding(&self, headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
        // Of several, in one line or more, the body would have to be decompressed as often.
        let values = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
        let value = values.collect::<Vec<_>>().join(&b", "[..]);
        let name = String::from_utf8_lossy(&value);
        let name = name.trim();
        let name = if name.eq_ignore_ascii_case("identity") { "" } else { name };
        let allowed = self.settings.encodings.iter().any(|known| known.eq_ignore_ascii_case(name));
        let encoding = Encoding::from_content_encoding(name);
        if !allowed || (encoding.is_none() && !name.is_empty()) {
            return Err(Refusal::invalid(format!("unsupported Content-Encoding: {name}")));
        }
        Ok(encoding)
    }

    /// Checks that the caller may write; gives the request the caller's tenant if it names none.
    pub(crate) async fn authenticate(&self, head: &mut Parts) -> Result<(), Refusal> {
        let Some(auth) = &self.settings.port.auth else { return Ok(()) };
        let connection = head.extensions.get::<ConnectionInfo>();
        auth.check(Access::Write, &mut head.headers, connection).await?;
        Ok(())
    }

    /// The tenant of a request; after [`authenticate`](Self::authenticate).
    pub(crate) fn tenant(&self, headers: &HeaderMap) -> Result<TenantId, TenancyError> {
        self.settings.port.tenancy.write_tenant(headers)
    }

    /// As [`PortSettings::line`].
    pub(crate) fn line(&self, headers: &HeaderMap) -> u64 {
        self.settings.port.line(headers)
    }

    /// The plain body of a request, and the memory that the request takes from its head on.
    pub(crate) async fn body<B: RequestBody>(
        &self,
        headers: &HeaderMap,
        encoding: Option<Encoding>,
        body: B,
    ) -> Result<(Bytes, Held), BodyError> {
        let port = &self.settings.port;
        let held = port.bodies.begin(headers).await?;
        let body = read_body(body, port.max_body_bytes, port.read_timeout, &held).await?;
        let Some(encoding) = encoding else { return Ok((body, held)) };
        let tenant = || port.line(headers);
        match decompress(encoding, body, port.max_body_bytes, &held, tenant).await {
            Ok(plain) => Ok((plain, held)),
            // Clients know one text for bodies that are too large, compressed or not.
            Err(DecompressError::TooLarge { .. }) => Err(BodyError::TooLarge),
            Err(DecompressError::NoRoom(no_room)) => Err(no_room.into()),
            Err(DecompressError::Corrupt(reason)) => Err(BodyError::Corrupt(reason)),
        }
    }
}
