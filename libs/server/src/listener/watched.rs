//! The stream of a connection, watched.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::frames::Frames;
use super::lenient::LenientReads;
use super::linger::{Linger, Lingering};

/// A connection whose reads and writes are noted.
pub(super) struct WatchedStream<S> {
    pub(super) stream: S,
    pub(super) lenient: LenientReads,
    pub(super) activity: Arc<Activity>,
    pub(super) has_read: bool,
    pub(super) frames: Frames,
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
        let before = buffer.filled().len();
        ready!(this.lenient.poll_read(&mut this.stream, cx, buffer))?;
        let bytes = &buffer.filled()[before..];
        if !bytes.is_empty() {
            let is_first = !std::mem::replace(&mut this.has_read, true);
            this.activity.read(bytes, is_first, &mut this.frames)?;
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
        // With TLS, what the client does not take may be in our buffers.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0);
        self.activity.note_write(&flushed);
        flushed.map_ok(|_| ())
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
