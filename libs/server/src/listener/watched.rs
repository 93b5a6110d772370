//! The stream of a connection, watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::lenient::LenientReads;
use super::linger::{Linger, Lingering};

/// Bytes that a connection may read before others have their turn. Its reader may look at them one by one, as at a length that
/// never ends, and would hold its thread for as long as more arrive.
const TURN_BYTES: usize = 64 << 10;

/// A connection whose reads and writes are noted.
pub(super) struct WatchedStream<S> {
    pub(super) stream: S,
    pub(super) lenient: LenientReads,
    pub(super) activity: Arc<Activity>,
    pub(super) has_read: bool,
    /// Bytes read since others had their turn.
    pub(super) turn: usize,
    pub(super) linger: Linger,
    pub(super) lingering: Option<Lingering>,
    /// The shutdown of the port. From then on, nobody waits for slow clients.
    pub(super) shutdown: CancellationToken,
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.turn >= TURN_BYTES {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = this.lenient.poll_read(&mut this.stream, cx, buffer);
        if read.is_pending() {
            this.turn = 0;
        }
        ready!(read)?;
        let bytes = &buffer.filled()[before..];
        this.turn += bytes.len();
        if !bytes.is_empty() {
            this.activity.read(bytes, !this.has_read);
            this.has_read = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.activity.note_write(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.activity.may_receive_more() {
                return Poll::Ready(Ok(()));
            }
        }
        let (linger, shutdown) = (this.linger, &this.shutdown);
        let lingering = this.lingering.get_or_insert_with(|| Lingering::new(linger, shutdown));
        lingering.poll(&mut this.stream, cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.activity.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
