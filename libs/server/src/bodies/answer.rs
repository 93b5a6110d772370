//! Answers, counted until their last byte is sent.
//!
//! Whoever asks for much and does not read it keeps it in memory. So an answer takes memory as a body does, and is cut off as
//! one that is unfinished when others need the room.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::once;
use http::{HeaderMap, Request};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Bodies, Held, NoRoom, busy};

/// How long an answer waits for memory, until others are sent or cut off.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Smaller answers are not counted.
const SMALL: u64 = 64 << 10;

/// What the connection gets at a time: it may keep that for as long as nobody reads.
const PIECE_BYTES: usize = 64 << 10;

/// In the extensions of a response whose body takes no memory of its own, as a file of the program: it is not counted.
#[derive(Debug, Clone, Copy)]
pub struct NoMemory;

/// Middleware, before compression: counts an answer whose whole body is known. Without room, even after a while, it becomes
/// 503 with a hint to come again.
pub(crate) async fn count_answer(
    State(bodies): State<Arc<Bodies>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    if bytes < SMALL || response.extensions().get::<NoMemory>().is_some() {
        return response;
    }
    let Ok(held) = bodies.hold_answer(bytes).await else { return busy() };
    let (mut parts, body) = response.into_parts();
    parts.extensions.insert(held.clone());
    // A body of known size is in memory already, so this neither waits nor fails.
    let body = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Body::from(Bytes::from_owner(HeldBytes { bytes, _held: held })),
        Err(error) => Body::from_stream(once(ready(Err::<Bytes, _>(error)))),
    };
    Response::from_parts(parts, body)
}

/// Middleware, behind compression: sends what was counted in small pieces, until it is cut off.
pub(crate) async fn send_answer(request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Held>() {
        Some(held) => response.map(|body| Body::new(Sending::new(body, held))),
        None => response,
    }
}

impl Bodies {
    /// Memory for an answer of so many bytes. Errors: there is none.
    async fn hold_answer(self: &Arc<Self>, bytes: u64) -> Result<Held, NoRoom> {
        let held = self.begin(&HeaderMap::new()).await?;
        held.wait(LONGEST_WAIT, || held.0.made.lock().grow(bytes)).await?;
        held.0.unfinished.bytes.store(bytes, Relaxed);
        Ok(held)
    }
}

/// Bytes whose memory is counted until nobody refers to any of them.
struct HeldBytes {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body on its way, of which nothing is left once it is cut off.
struct Sending {
    rest: Arc<Mutex<Option<Rest>>>,
    length: SizeHint,
    _done: DropGuard,
}

struct Rest {
    /// Taken from the body and not sent.
    piece: Bytes,
    body: Body,
}

impl Sending {
    fn new(body: Body, held: Held) -> Self {
        let (length, done) = (body.size_hint(), CancellationToken::new());
        let rest = Arc::new(Mutex::new(Some(Rest { piece: Bytes::new(), body })));
        held.unfinished();
        let (of_task, ended) = (Arc::clone(&rest), done.clone());
        // A connection that cannot send does not ask the body, so it would not notice.
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = held.cut_off() => drop(of_task.lock().take()),
            }
        });
        Self { rest, length, _done: done.drop_guard() }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut rest = self.rest.lock();
        let Some(Rest { piece, body }) = &mut *rest else {
            return Poll::Ready(Some(Err(NoRoom.into())));
        };
        if piece.is_empty() {
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *piece = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        // A copy: a part of the answer would keep all of it.
        let next = piece.split_to(piece.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&next)))))
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.lock();
        rest.as_ref().is_some_and(|rest| rest.piece.is_empty() && rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    async fn next(body: &mut Sending) -> Option<Result<Bytes, BoxError>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    async fn answer(bodies: &Arc<Bodies>, bytes: usize) -> Result<Sending, NoRoom> {
        let held = bodies.hold_answer(bytes as u64).await?;
        let content = HeldBytes { bytes: vec![7; bytes].into(), _held: held.clone() };
        Ok(Sending::new(Body::from(Bytes::from_owner(content)), held))
    }

    #[tokio::test]
    async fn answer_is_counted_until_its_last_byte_is_sent() {
        let all = Budget::new(1 << 20);
        let bodies = Bodies::within(&all);
        let mut sending = answer(&bodies, 150_000).await.unwrap();
        assert_eq!(sending.size_hint().exact(), Some(150_000));
        let mut sent = 0;
        while let Some(piece) = next(&mut sending).await {
            assert_eq!(all.used(), if sent < 150_000 { 150_000 } else { 0 });
            sent += piece.unwrap().len();
        }
        assert_eq!(sent, 150_000);
        drop(sending);
        tokio::task::yield_now().await;
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_nobody_reads_makes_room_for_the_next() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let mut stuck = answer(&bodies, 800_000).await.unwrap();
        let first = next(&mut stuck).await.unwrap().unwrap();
        let mut other = answer(&bodies, 900_000).await.unwrap();
        assert_eq!((all.used(), first.len()), (900_000, PIECE_BYTES));
        assert!(next(&mut stuck).await.unwrap().is_err());
        assert!(next(&mut other).await.unwrap().is_ok());
    }
}
