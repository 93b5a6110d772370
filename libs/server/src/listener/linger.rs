//! Ends a connection on which a request was answered before it was completely read.
//!
//! Clients may go on sending for a while after their answer is on its way, for example to a path that does not exist,
//! or because the body is too large. If the connection were closed at once, the system would reply to these bytes with
//! a reset, which can overtake the answer. So our side ends first, and what still arrives is read and discarded, within
//! limits (RFC 9112, section 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::activity::Activity;

/// A client that sends nothing for this long has its answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 8 << 10;

/// How much is read of a request that has been answered, so that the answer arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linger {
    /// Bytes at most.
    pub max_bytes: u64,
    /// The longest time, and never more than 5 s without a byte.
    pub max_time: Duration,
}

impl Default for Linger {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_time: Duration::from_secs(30) }
    }
}

impl Linger {
    /// As much as a body may have that somebody reads. `time`: for reading it, 30 s if there is no limit.
    pub fn as_of_body(bytes: usize, time: Option<Duration>) -> Self {
        let max_time = time.unwrap_or(Self::default().max_time);
        Self { max_bytes: bytes as u64, max_time }
    }
}

/// The body of a request as it comes from a connection.
#[derive(Debug)]
pub struct ReceivedBody {
    incoming: Incoming,
    activity: Arc<Activity>,
    ended: bool,
}

impl ReceivedBody {
    pub(super) fn new(incoming: Incoming, activity: &Arc<Activity>) -> Self {
        Self { incoming, activity: Arc::clone(activity), ended: false }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.ended |= !matches!(frame, Some(Ok(_)));
        self.activity.note_body();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ReceivedBody {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            self.activity.left_unread();
        }
    }
}

/// Reads what nobody wants.
pub(super) struct Lingering {
    bytes_left: u64,
    end: Instant,
    /// The end, or that of the silence if it comes earlier.
    wait: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Lingering {
    pub(super) fn new(linger: Linger, shutdown: &CancellationToken) -> Self {
        let now = Instant::now();
        let end = now.checked_add(linger.max_time).unwrap_or(now);
        Self {
            bytes_left: linger.max_bytes,
            end,
            wait: Box::pin(sleep_until(end.min(now + LONGEST_SILENCE))),
            shutdown: Box::pin(shutdown.clone().cancelled_owned()),
        }
    }

    /// Ready when the client has ended its side, or a bound is reached.
    pub(super) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            if self.shutdown.as_mut().poll(cx).is_ready() || self.wait.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            let mut chunk = ReadBuf::new(&mut chunk);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut chunk));
            let bytes = chunk.filled().len() as u64;
            if read.is_err() || bytes == 0 || bytes >= self.bytes_left {
                return Poll::Ready(());
            }
            self.bytes_left -= bytes;
            self.wait.as_mut().reset(self.end.min(Instant::now() + LONGEST_SILENCE));
        }
    }
}
