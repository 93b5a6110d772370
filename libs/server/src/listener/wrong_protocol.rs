//! Clients that speak another protocol than their port: what they are told, and what is logged.
//!
//! An OTLP/HTTP exporter at the gRPC port, gRPC at a port without it, no encryption where the port has TLS, or TLS
//! where it has none: each is a mistake in a configuration, and a connection that simply ends would not show which.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use ::http::header::{CONNECTION, CONTENT_TYPE};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::{Either, MapOk};
use http_body::Body;
use http_body_util::{Either as EitherBody, Full};
use hyper::service::Service;
use tactus_telemetry::logging::RateLimit;
use tactus_telemetry::metrics::{CounterVec, Registry};
use tokio::net::TcpStream;

use super::linger::ReceivedBody;
use super::{ListenerSettings, Protocols};

static HANDSHAKE_FAILURES: LazyLock<CounterVec<1>> = LazyLock::new(|| {
    Registry::global().counter_vec(
        "tactus_server_tls_handshake_failures_total",
        "TLS handshakes that failed: no_certificate, invalid_certificate, client_refused, incompatible, other.",
        ["reason"],
    )
});

/// The protocols of a port, in words for clients that expected another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advice {
    /// The protocol of the port, such as `OTLP over gRPC`; empty: gRPC or HTTP.
    pub speaks: Cow<'static, str>,
    /// Another port, such as `OTLP over HTTP is on port 4318`; empty: none.
    pub instead: String,
}

impl Advice {
    /// `speaks` is all that is told.
    pub fn of(speaks: &'static str) -> Self {
        Self { speaks: Cow::Borrowed(speaks), instead: String::new() }
    }

    /// With the port of what a client may have looked for, as `OTLP over HTTP`; one that the system chooses is not told.
    #[must_use]
    pub fn with(mut self, other: &str, port: Option<u16>) -> Self {
        if let Some(port) = port.filter(|&port| port != 0) {
            self.instead = format!("{other} is on port {port}");
        }
        self
    }
}

/// The way in which a client used the wrong port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// HTTP/1.1, or another content, at a port for gRPC.
    NoGrpc,
    /// gRPC at a port that has none.
    Grpc,
    /// No encryption at a port with TLS.
    Clear,
    /// TLS at a port without.
    Tls,
}

impl Mistake {
    fn sent(self) -> &'static str {
        match self {
            Self::NoGrpc => "HTTP",
            Self::Grpc => "gRPC",
            Self::Clear => "no TLS",
            Self::Tls => "TLS",
        }
    }
}

/// What the port says about itself.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    protocols: Protocols,
    has_grpc: bool,
    text: String,
    /// By [`Mistake`].
    lines: [RateLimit; 4],
    /// Of handshakes that failed.
    handshakes: RateLimit,
}

impl Port {
    pub(super) fn new(address: SocketAddr, settings: &ListenerSettings) -> Self {
        let has_grpc = settings.protocols == Protocols::Http2 || settings.has_grpc;
        let Advice { speaks, instead } = &settings.advice;
        let speaks = match (speaks.as_ref(), settings.protocols) {
            ("", Protocols::Http2) => "gRPC",
            ("", _) => "HTTP",
            (speaks, _) => speaks,
        };
        let separator = if instead.is_empty() { "" } else { "; " };
        let text = format!("this port speaks {speaks}{separator}{instead}");
        let (lines, handshakes) = Default::default();
        Self { address, protocols: settings.protocols, has_grpc, text, lines, handshakes }
    }

    fn mistake_of<B>(&self, request: &Request<B>) -> Option<Mistake> {
        let is_http2 = request.version() == Version::HTTP_2;
        match self.protocols {
            Protocols::Http2 => {
                let is_call =
                    is_http2 && (request.method() != Method::POST || may_be_grpc(request));
                (!is_call).then_some(Mistake::NoGrpc)
            }
            _ => (!self.has_grpc && is_http2 && is_grpc(request)).then_some(Mistake::Grpc),
        }
    }

    pub(super) fn log(&self, client: SocketAddr, mistake: Mistake) {
        // Each by itself: the probe of a balancer that comes all the time must not hide the exporter beside it.
        let Some(suppressed) = self.lines[mistake as usize].admit() else { return };
        let (port, sent, advice) = (self.address.port(), mistake.sent(), self.text(mistake));
        tracing::warn!(suppressed, port, %client, sent, advice, "a client speaks another protocol than its port");
    }

    /// Logs why there is no connection with a client, unless it only left, as probes do.
    pub(super) fn note_failed_handshake(&self, client: SocketAddr, error: &io::Error) {
        let Some(reason) = tactus_tls::refusal_reason(error) else {
            return tracing::debug!(%client, %error, "handshake failed");
        };
        HANDSHAKE_FAILURES.with([reason]).inc();
        let Some(suppressed) = self.handshakes.admit() else { return };
        let port = self.address.port();
        tracing::warn!(suppressed, port, %client, reason, %error, "a TLS handshake failed");
    }

    fn text(&self, mistake: Mistake) -> String {
        let text = match mistake {
            Mistake::Clear => {
                "this port speaks TLS: connect with https, or turn TLS on in the client"
            }
            Mistake::Tls => "this port has no TLS: turn it off in the client, or on for the port",
            _ => &self.text,
        };
        text.to_owned()
    }

    /// In the form that the client understands.
    fn answer<B>(&self, request: &Request<B>, mistake: Mistake) -> Response<Full<Bytes>> {
        let text = self.text(mistake);
        if request.version() == Version::HTTP_2 && is_grpc(request) {
            // A client without encryption tries again, as it would if it got no answer: its spans wait for a correction.
            return match mistake {
                Mistake::Clear => tonic::Status::unavailable(text),
                _ => tonic::Status::unimplemented(text),
            }
            .into_http();
        }
        let mut response = Response::new(Full::from(text + "\n"));
        *response.status_mut() = match (mistake, request.version()) {
            // The status that gRPC defines for other content types.
            (Mistake::NoGrpc, Version::HTTP_2) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::BAD_REQUEST,
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if request.version() < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The part of a request's content type after `application/grpc`.
fn after_grpc<B>(request: &Request<B>) -> Option<&[u8]> {
    request.headers().get(CONTENT_TYPE)?.as_bytes().strip_prefix(b"application/grpc")
}

fn may_be_grpc<B>(request: &Request<B>) -> bool {
    after_grpc(request).is_some()
}

/// gRPC itself: its form for browsers is HTTP.
fn is_grpc<B>(request: &Request<B>) -> bool {
    after_grpc(request).is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a connection, of which these bytes were read, begins with a request of HTTP in clear. Waits for its first byte
/// and leaves it where it is.
pub(super) async fn begins_in_clear(read: &[u8], stream: &TcpStream) -> io::Result<bool> {
    if let Some(first) = read.first() {
        return Ok(first.is_ascii_uppercase());
    }
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    Ok(count > 0 && first[0].is_ascii_uppercase())
}

/// Whether these first bytes of a connection are those of a TLS handshake.
pub(super) fn begins_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x16, 3])
}

/// From an answer of a service to one of [`Advised`].
type ToEither<B> = fn(Response<B>) -> Response<EitherBody<B, Full<Bytes>>>;

/// A service that answers only those who speak the protocol of its port.
#[derive(Clone)]
pub(super) struct Advised<S> {
    pub(super) service: S,
    pub(super) port: Arc<Port>,
    pub(super) client: SocketAddr,
    /// Of all requests of the connection.
    pub(super) mistake: Option<Mistake>,
}

impl<S, B> Service<Request<ReceivedBody>> for Advised<S>
where
    S: Service<Request<ReceivedBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<EitherBody<B, Full<Bytes>>>;
    type Error = Infallible;
    type Future = Either<MapOk<S::Future, ToEither<B>>, Ready<Result<Self::Response, Infallible>>>;

    fn call(&self, request: Request<ReceivedBody>) -> Self::Future {
        let Some(mistake) = self.mistake.or_else(|| self.port.mistake_of(&request)) else {
            let to_either: ToEither<B> = |answer| answer.map(EitherBody::Left);
            return Either::Left(self.service.call(request).map_ok(to_either));
        };
        self.port.log(self.client, mistake);
        let answer = self.port.answer(&request, mistake);
        Either::Right(ready(Ok(answer.map(EitherBody::Right))))
    }
}

#[cfg(test)]
mod tests;
