//! A request body whose memory is counted while a handler reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use axum::{BoxError, body::Body};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::data::{Part, poll_part};
use super::{Held, NoRoom};

/// Handlers put the chunks of a body together once more.
pub(super) const COPIES: usize = 2;

/// A body whose chunks take memory before the handler gets them. It breaks off where there is none.
pub(crate) struct CountedBody {
    body: Body,
    held: Held,
    cut_off: BoxFuture<'static, ()>,
    waiting: Option<(BoxFuture<'static, Result<(), NoRoom>>, Bytes)>,
    was_refused: Arc<AtomicBool>,
}

impl CountedBody {
    /// `was_refused` becomes true where there is no room for the body.
    pub(crate) fn new(body: Body, held: Held, was_refused: Arc<AtomicBool>) -> Self {
        let of_body = held.clone();
        let cut_off = Box::pin(async move { of_body.cut_off().await });
        held.unfinished();
        Self { body, held, cut_off, waiting: None, was_refused }
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
            let Poll::Ready(next) = poll_part(&mut this.body, cx) else {
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
            let (held, bytes) = (this.held.clone(), COPIES * chunk.len());
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
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
