//! A request body whose memory is counted while a handler reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::{BoxError, body::Body};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body::{Body as _, Frame};
use tonic::Status;

use super::frames::{Step, body_of_length, next_frame};
use super::{Held, NoRoom};

/// Handlers put the chunks of a body together once more.
pub(super) const COPIES: usize = 2;

/// Handlers keep the chunks until the last one is there. Besides its bytes each takes this much.
pub(super) const CHUNK_BYTES: usize = 128;

/// Smaller chunks are put together until they have this many bytes: a sender that puts each byte into a chunk of its own would
/// have many times its bytes kept.
pub(super) const SMALL_CHUNK: usize = 4 << 10;

/// A body whose chunks take memory before the handler gets them. It breaks off where there is none, and `was_refused` becomes
/// true. `is_awaited_whole`: nobody looks at its begin before its end is there, so small chunks wait for others.
pub(super) fn counted_body(
    body: Body,
    held: Held,
    was_refused: Arc<AtomicBool>,
    is_awaited_whole: bool,
) -> Body {
    held.unfinished();
    let length = body.size_hint();
    let left = Left { body, held, is_awaited_whole, behind_small: None, was_refused };
    body_of_length(length, left, Left::next)
}

/// What is left of a body.
struct Left {
    body: Body,
    held: Held,
    is_awaited_whole: bool,
    /// What came behind small chunks.
    behind_small: Option<Result<Option<Frame<Bytes>>, BoxError>>,
    was_refused: Arc<AtomicBool>,
}

impl Drop for Left {
    /// A body that nobody reads any more cannot be cut off.
    fn drop(&mut self) {
        self.held.arrived();
    }
}

impl Left {
    async fn next(mut self) -> Step<Self> {
        let held = self.held.clone();
        let next = tokio::select! {
            biased;
            next = self.next_large() => next,
            () = held.cut_off() => return Err(self.refuse()),
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            last => return last.map(|_| None),
        };
        if let Some(chunk) = frame.data_ref()
            && held.take(COPIES * chunk.len() + CHUNK_BYTES).await.is_err()
        {
            return Err(self.refuse());
        }
        Ok(Some((frame, self)))
    }

    /// The next frame; small chunks together.
    async fn next_large(&mut self) -> Result<Option<Frame<Bytes>>, BoxError> {
        if let Some(next) = self.behind_small.take() {
            return next;
        }
        let is_small =
            |frame: &Frame<Bytes>| frame.data_ref().is_some_and(|chunk| chunk.len() < SMALL_CHUNK);
        let mut small = BytesMut::new();
        while small.len() < SMALL_CHUNK {
            let next = next_frame(&mut self.body);
            let next = match small.is_empty() || self.is_awaited_whole {
                true => Some(next.await),
                false => next.now_or_never(),
            };
            match next {
                None => break,
                // The last one of HTTP/2 often has nothing but its mark.
                Some(Ok(Some(frame))) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(Ok(Some(frame))) if is_small(&frame) => small.extend(frame.into_data()),
                Some(next) if small.is_empty() => return next,
                next => {
                    self.behind_small = next;
                    break;
                }
            }
        }
        Ok(Some(Frame::data(small.freeze())))
    }

    fn refuse(&self) -> BoxError {
        self.was_refused.store(true, Relaxed);
        // Servers of gRPC find the status in the error of a body.
        Status::unavailable(NoRoom.to_string()).into()
    }
}
