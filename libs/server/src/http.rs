//! The main HTTP port.

mod encoded_path;

use std::convert::Infallible;
use std::future::{Ready, ready as answer_now};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use ::http::{HeaderValue, Request, StatusCode, Version};
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use axum::routing::get;
use futures_util::future::Either;
use http_body::Body as _;
use http_body_util::Limited;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::bodies::{self, Bodies};
use crate::compression;
use crate::listener::{self, BoundListener, Linger, ListenerSettings, ReceivedBody};
use crate::observe::{self, RequestMetrics};
pub use crate::text_answer::{error_line, not_found, text};

/// Body of a request that took too long.
pub(crate) const TIMEOUT_TEXT: &str = "unable to process request in the configured timeout";

/// Body of a request that is too large.
pub(crate) const TOO_LARGE_TEXT: &str = "http: request body too large";

/// The settings of the main HTTP port.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Connections.
    pub listener: ListenerSettings,
    /// Largest request body, in bytes.
    pub max_request_bytes: usize,
    /// Memory of request bodies.
    pub bodies: Arc<Bodies>,
    /// Longest time from the head of a request to the end of its body; then the body breaks off.
    pub body_timeout: Option<Duration>,
    /// Longest time until the response begins; then 503. `None`: unlimited.
    pub request_timeout: Option<Duration>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            listener: ListenerSettings {
                idle_timeout: Some(Duration::from_secs(120)),
                ..ListenerSettings::default()
            },
            max_request_bytes: 16 << 20,
            bodies: Bodies::unbounded(),
            body_timeout: Some(Duration::from_secs(30)),
            request_timeout: None,
        }
    }
}

/// Serves `router` on a bound socket until `shutdown`.
///
/// HTTP/2 requests with a gRPC content type go to `grpc` if given (see [`crate::grpc::router`]).
/// The router should end in [`not_found`] as its fallback. Errors: see [`listener::serve`].
pub fn serve_http(
    socket: TcpListener,
    settings: HttpSettings,
    router: Router,
    grpc: Option<Router>,
    metrics: RequestMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    tracing::info!(address = %socket.local_addr()?, "HTTP server listens");
    serve_quietly(socket, settings, router, grpc, metrics, shutdown)
}

/// As [`serve_http`], for a port that the caller names in the log.
pub fn serve_quietly(
    socket: TcpListener,
    settings: HttpSettings,
    router: Router,
    grpc: Option<Router>,
    metrics: RequestMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let has_grpc = grpc.is_some();
    let dispatch = Dispatch { http: with_middleware(router, &settings, metrics), grpc };
    let linger = Linger::as_of_body(settings.max_request_bytes, settings.body_timeout);
    let connections = ListenerSettings { linger, has_grpc, ..settings.listener };
    listener::serve(socket, connections, dispatch, shutdown)
}

/// Puts the API routes below the path prefix of the configuration, as `/tempo` or `tempo/`.
pub fn with_path_prefix(prefix: &str, api: Router) -> Router {
    match prefix.trim_matches('/') {
        "" => api,
        prefix => Router::new().nest(&format!("/{prefix}"), api),
    }
}

/// Leads from `/tempo/` to `/tempo`, where the route `/` of an API below this prefix is.
pub fn folder_of_prefix(prefix: &str) -> Router {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        return Router::new();
    }
    let name = prefix.rsplit('/').next().unwrap_or(prefix);
    let location = format!("../{name}");
    let redirect = get(async move || (StatusCode::FOUND, [(LOCATION, location)]));
    Router::new().route(&format!("/{prefix}/"), redirect)
}

/// What [`serve_http`] puts around a router, for one that another port serves as well: limits, compression, metrics.
pub fn with_middleware(router: Router, settings: &HttpSettings, metrics: RequestMetrics) -> Router {
    let bodies = Arc::clone(&settings.bodies);
    let router = router
        .layer(middleware::from_fn_with_state(bodies, bodies::count_answer))
        .layer(middleware::from_fn(compression::compress_response))
        .layer(middleware::from_fn(bodies::send_answer));
    let limits = Limits {
        bytes: settings.max_request_bytes,
        body_time: settings.body_timeout,
        time: settings.request_timeout,
    };
    let router = router
        // The extractors' own limit would be 2 MB.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&settings.bodies), bodies::count))
        .layer(middleware::from_fn_with_state(limits, enforce_limits))
        .layer(middleware::from_fn_with_state(metrics, observe::observe_http));
    // Around the middleware, which has to see the route that is found.
    encoded_path::or_decoded(router)
}

#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    body_time: Option<Duration>,
    time: Option<Duration>,
}

async fn enforce_limits(
    State(limits): State<Limits>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse().ok()).unwrap_or(0) > limits.bytes {
        return text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE_TEXT);
    }
    let request = request.map(|body| {
        let limited = Body::new(Limited::new(body, limits.bytes));
        match limits.body_time {
            Some(time) if !limited.is_end_stream() => timed(limited, time),
            _ => limited,
        }
    });
    let Some(time) = limits.time else {
        return next.run(request).await;
    };
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT_TEXT),
    }
}

/// A request body that breaks off when it takes too long: clients must not hold a handler by
/// sending a byte now and then.
fn timed(body: Body, time: Duration) -> Body {
    let end = Box::pin(tokio::time::sleep(time));
    bodies::body_of_length(body.size_hint(), (body, end), async |(mut body, mut end)| {
        tokio::select! {
            biased;
            frame = bodies::next_frame(&mut body) => Ok(frame?.map(|frame| (frame, (body, end)))),
            () = &mut end => {
                let text = "the request body did not arrive in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            }
        }
    })
}

/// Chooses between the HTTP router, the gRPC router, and a redirect to the clean path.
#[derive(Clone)]
struct Dispatch {
    http: Router,
    grpc: Option<Router>,
}

impl hyper::service::Service<Request<ReceivedBody>> for Dispatch {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn call(&self, request: Request<ReceivedBody>) -> Self::Future {
        if let Some(grpc) = &self.grpc
            && is_grpc(&request)
        {
            return Either::Right(grpc.clone().call(request));
        }
        let uri = request.uri();
        if let Some(clean) = clean_path(uri.path())
            && let Some(redirect) = moved_to(&clean, uri.query())
        {
            return Either::Left(answer_now(Ok(redirect)));
        }
        Either::Right(self.http.clone().call(request))
    }
}

fn is_grpc(request: &Request<ReceivedBody>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.contains("application/grpc"))
}

/// Leads to another path of the same host. `None` for one that no header can have.
pub fn moved_to(path: &str, query: Option<&str>) -> Option<Response> {
    // Browsers read a backslash as a slash, and two of them as the begin of another host.
    let path = path.replace('\\', "%5C");
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{path}{query}")).ok()?;
    Some((StatusCode::MOVED_PERMANENTLY, [(LOCATION, location)]).into_response())
}

/// The path without `//`, `/./` and `/../`, if it has any of them. A final slash stays.
fn clean_path(path: &str) -> Option<String> {
    let dirty = |part: &str| part.is_empty() || part == "." || part == "..";
    // The first part is the nothing before the leading slash; an empty last one is a final slash.
    let parts = path.strip_prefix('/')?;
    let (before_last, last) = parts.rsplit_once('/').map_or((None, parts), |(a, b)| (Some(a), b));
    let inner_is_dirty = before_last.is_some_and(|inner| inner.split('/').any(dirty));
    if !inner_is_dirty && last != "." && last != ".." {
        return None;
    }
    let mut clean: Vec<&str> = Vec::new();
    for part in parts.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    let final_slash = if last.is_empty() && !clean.is_empty() { "/" } else { "" };
    Some(format!("/{}{final_slash}", clean.join("/")))
}

#[cfg(test)]
mod tests;
