//! A request body whose memory is counted while a handler reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use axum::{BoxError, body::Body};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::data::{Part, poll_part};
use super::{Held, NoRoom};

/// Handlers put the chunks of a body together once more.
pub(super) const COPIES: usize = 2;

/// Handlers keep the chunks until the last one is there. Besides its bytes each takes this much.
pub(super) const CHUNK_BYTES: usize = 128;

/// Smaller chunks are put together, until they have this many bytes or no more of them are there: a sender that puts each byte into a
/// chunk of its own would have many times its bytes kept.
pub(super) const SMALL_CHUNK: usize = 4 << 10;

/// A body whose chunks take memory before the handler gets them. It breaks off where there is none.
pub(crate) struct CountedBody {
    body: Body,
    held: Held,
    cut_off: BoxFuture<'static, ()>,
    small: BytesMut,
    /// What came behind the small chunks.
    rest: Option<Part>,
    waiting: Option<(BoxFuture<'static, Result<(), NoRoom>>, Bytes)>,
    was_refused: Arc<AtomicBool>,
}

impl CountedBody {
    /// `was_refused` becomes true where there is no room for the body.
    pub(crate) fn new(body: Body, held: Held, was_refused: Arc<AtomicBool>) -> Self {
        let of_body = held.clone();
        let cut_off = Box::pin(async move { of_body.cut_off().await });
        held.unfinished();
        let small = BytesMut::new();
        Self { body, held, cut_off, small, rest: None, waiting: None, was_refused }
    }

    /// The next part; small chunks together.
    fn poll_large(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(rest);
        }
        while self.small.len() < SMALL_CHUNK {
            match poll_part(&mut self.body, cx) {
                Poll::Ready(Part::Data(chunk)) if (1..SMALL_CHUNK).contains(&chunk.len()) => {
                    self.small.extend_from_slice(&chunk);
                }
                next if self.small.is_empty() => return next,
                Poll::Ready(next) => {
                    self.rest = Some(next);
                    break;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(Part::Data(self.small.split().freeze()))
    }

    fn refuse(&self) -> BoxError {
        self.was_refused.store(true, Relaxed);
        // Servers of gRPC find the status in the error of a body.
        Status::unavailable(NoRoom.to_string()).into()
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            let Poll::Ready(next) = this.poll_large(cx) else {
                ready!(this.cut_off.as_mut().poll(cx));
                return Poll::Ready(Some(Err(this.refuse())));
            };
            let chunk = match next {
                Part::Data(chunk) => chunk,
                Part::Other(other) => {
                    if !matches!(other, Some(Ok(_))) {
                        this.held.arrived();
                    }
                    return Poll::Ready(other);
                }
            };
            let (held, bytes) = (this.held.clone(), COPIES * chunk.len() + CHUNK_BYTES);
            this.waiting = Some((Box::pin(async move { held.take(bytes).await }), chunk));
        }
        let Some((taken, _)) = &mut this.waiting else { return Poll::Ready(None) };
        let taken = ready!(taken.as_mut().poll(cx));
        match (taken, this.waiting.take()) {
            (Ok(()), Some((_, chunk))) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            _ => Poll::Ready(Some(Err(this.refuse()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.waiting.is_none() && self.small.is_empty() && self.rest.is_none();
        is_empty && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
