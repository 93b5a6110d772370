//! Counts the memory of answers until their last byte is sent.
//!
//! A client that asks for much and does not read it keeps the answer in memory. So an answer takes memory like a
//! request body, and like an unfinished body it is cut off when others need the memory.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::once;
use http::Request;
use http_body::{Body as _, Frame, SizeHint};

use super::frames::next_frame;
use super::sending::{SMALL, UntilCutOff, next_piece};
use super::{Bodies, Held, NoRoom, busy, held_bytes};

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
        Ok(bytes) => Body::from(held_bytes(bytes, held)),
        Err(error) => Body::from_stream(once(std::future::ready(Err::<Bytes, _>(error)))),
    };
    Response::from_parts(parts, body)
}

/// Middleware, behind compression: sends what was counted in small pieces, until it is cut off.
pub(crate) async fn send_answer(request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Held>() {
        Some(held) => response.map(|body| Body::new(Sending::new(body, &held))),
        None => response,
    }
}

/// A body on its way, of which nothing is left once it is cut off.
struct Sending {
    rest: UntilCutOff<Rest>,
    length: SizeHint,
}

struct Rest {
    /// Taken from the body and not sent.
    piece: Bytes,
    body: Body,
}

impl Sending {
    fn new(body: Body, held: &Held) -> Self {
        let length = body.size_hint();
        Self { rest: UntilCutOff::new(Rest { piece: Bytes::new(), body }, held), length }
    }
}

impl Rest {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.piece.is_empty() {
            let next = ready!(pin!(next_frame(&mut self.body)).poll(cx)).transpose();
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.piece = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(next_piece(&mut self.piece)))))
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.rest.with(|rest| rest.poll_frame(cx));
        frame.unwrap_or_else(|| Poll::Ready(Some(Err(NoRoom.into()))))
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.rest.with(|rest| rest.piece.is_empty() && rest.body.is_end_stream());
        is_over.unwrap_or(false)
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tactus_work::memory::Budget;

    async fn next(body: &mut Sending) -> Option<Result<Bytes, BoxError>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    async fn answer(bodies: &Arc<Bodies>, bytes: usize) -> Result<Sending, NoRoom> {
        let held = bodies.hold_answer(bytes as u64).await?;
        let content = held_bytes(vec![7; bytes], held.clone());
        Ok(Sending::new(Body::from(content), &held))
    }

    #[tokio::test]
    async fn answer_is_counted_until_its_last_byte_is_sent() {
        let all = Budget::new(1 << 20);
        let bodies = Bodies::within(&all);
        let mut sending = answer(&bodies, 150_000).await.unwrap();
        assert_eq!(sending.size_hint().exact(), Some(150_000));
        let mut sent = 0;
        while let Some(piece) = next(&mut sending).await {
            sent += piece.unwrap().len();
            assert_eq!(all.used(), if sent < 150_000 { 150_000 } else { 0 });
        }
        assert_eq!(sent, 150_000);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_nobody_reads_makes_room_for_the_next() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let mut stuck = answer(&bodies, 800_000).await.unwrap();
        let first = next(&mut stuck).await.unwrap().unwrap();
        let mut other = answer(&bodies, 900_000).await.unwrap();
        assert_eq!((all.used(), first.len()), (900_000, 64 << 10));
        assert!(next(&mut stuck).await.unwrap().is_err());
        assert!(next(&mut other).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_is_read_is_waited_for_by_answers_but_not_by_requests() {
        let all = Budget::new(1_000_000);
        let bodies = Bodies::within(&all);
        let mut read = answer(&bodies, 800_000).await.unwrap();
        let waiting = {
            let bodies = Arc::clone(&bodies);
            // Few bytes, which may wait.
            tokio::spawn(async move { bodies.hold_answer(60_000).await })
        };
        let of_all = all.reserve(190_000).unwrap();
        while let Some(piece) = next(&mut read).await {
            assert!(piece.is_ok(), "somebody reads it");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!(waiting.await.unwrap().is_ok());
        drop(of_all);
        let mut read = answer(&bodies, 800_000).await.unwrap();
        let _ = next(&mut read).await.unwrap().unwrap();
        let request = bodies.nothing();
        assert_eq!(request.take_for_work(900_000).await, Ok(()));
        assert!(next(&mut read).await.unwrap().is_err());
    }
}
