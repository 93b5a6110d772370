//! Middleware that counts requests and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Body as _;
use tonic::Status;

use super::counted::counted_body;
use super::messages::counted_messages;
use super::plain_messages::{Encoding, Memory, plain_messages};
use super::unfinished_messages::unfinished_messages;
use super::{Bodies, LIMIT, NoRoom, SMALL_HEAD};
use crate::text_answer::text;

/// Memory of a header line besides its bytes: with HTTP/2, such a line may be a single byte.
const HEADER_LINE_BYTES: usize = 100;

pub(super) fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(key, value)| key.as_str().len() + value.len() + HEADER_LINE_BYTES).sum()
}

/// Middleware: counts the head and the body of a request until its response begins. Without room the answer is 503 with a hint
/// to come again.
pub(crate) async fn count(
    State(bodies): State<Arc<Bodies>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let head = head_bytes(request.headers()) + path;
    let has_body = !request.body().is_end_stream();
    if !has_body && head <= SMALL_HEAD {
        return next.run(request).await;
    }
    let Ok(held) = bodies.begin_with(head).await else { return busy() };
    if !has_body {
        held.arrived();
        return next.run(request).await;
    }
    let was_refused = Arc::new(AtomicBool::new(false));
    let of_body = (held.clone(), Arc::clone(&was_refused));
    let request = request.map(|body| counted_body(body, of_body.0, of_body.1, true));
    let response = next.run(request).await;
    if was_refused.load(Relaxed) { busy() } else { response }
}

/// How the memory of gRPC calls is counted.
#[derive(Clone)]
pub(crate) struct Counting {
    pub(crate) bodies: Arc<Bodies>,
    /// Calls that last: of these only messages that are not whole yet are counted.
    pub(crate) streams: &'static [&'static str],
    /// The largest message that a service takes.
    pub(crate) max_message_bytes: usize,
}

/// As [`count`], for calls of gRPC, and counts the large messages of their answers until they are sent. Compressed messages become plain
/// ones, which count as well. Without room the status is UNAVAILABLE.
pub(crate) async fn count_grpc(
    State(Counting { bodies, streams, max_message_bytes }): State<Counting>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let refuse = || no_room_status().into_http::<Body>();
    let Ok(held) = bodies.begin(request.headers()).await else { return refuse() };
    let encoding = Encoding::take(request.headers_mut());
    let plain = |body, memory| match encoding {
        None => body,
        Some(encoding) => plain_messages(body, encoding, max_message_bytes, memory),
    };
    if streams.contains(&request.uri().path()) {
        held.arrived();
        let memory = Memory::Messages(Arc::clone(&bodies));
        let request = request.map(|body| plain(unfinished_messages(body, bodies, held), memory));
        return next.run(request).await;
    }
    let was_refused = Arc::new(AtomicBool::new(false));
    let of_body = (held.clone(), Arc::clone(&was_refused));
    let request = request.map(|body| {
        plain(counted_body(body, of_body.0, of_body.1, false), Memory::Call(held.clone()))
    });
    let response = next.run(request).await;
    if was_refused.load(Relaxed) {
        return refuse();
    }
    response.map(|body| counted_messages(body, bodies))
}

/// The error for clients.
fn no_room_text() -> String {
    format!("{NoRoom} (limit: {LIMIT})")
}

pub(super) fn no_room_status() -> Status {
    Status::unavailable(no_room_text())
}

pub(super) fn busy() -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, no_room_text());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
