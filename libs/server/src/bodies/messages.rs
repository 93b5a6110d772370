//! Counts the memory of gRPC answer messages until they are sent.
//!
//! Data that is not in a message yet must be counted by the service itself: see [`AnswerMemory`](super::AnswerMemory).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::data::{Part, poll_part};
use super::sending::{Outgoing, SMALL, next_piece};
use super::{Bodies, NoRoom, no_room_status};

/// A body whose large frames take memory, one at a time, and are sent in small pieces. Where there is no room, or others
/// need it, the call ends with a status.
pub(super) struct CountedMessages {
    body: Body,
    bodies: Arc<Bodies>,
    state: State,
}

enum State {
    /// The next frame is awaited.
    Open,
    /// A frame waits for memory.
    Waiting(BoxFuture<'static, Result<Outgoing<Bytes>, NoRoom>>),
    /// A frame is sent.
    Sending(Outgoing<Bytes>),
    /// The call has ended with a status of ours.
    Ended,
}

impl CountedMessages {
    pub(super) fn new(body: Body, bodies: Arc<Bodies>) -> Self {
        Self { body, bodies, state: State::Open }
    }

    /// Ends the call.
    fn refuse(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.state = State::Ended;
        // The rest is not needed any more.
        self.body = Body::empty();
        let (status, mut trailers) = (no_room_status(), HeaderMap::new());
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status.into()),
        }))
    }
}

impl http_body::Body for CountedMessages {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Open => {
                    let data = match ready!(poll_part(&mut this.body, cx)) {
                        Part::Data(data) => data,
                        Part::Other(other) => return Poll::Ready(other),
                    };
                    if (data.len() as u64) < SMALL {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    let bodies = Arc::clone(&this.bodies);
                    let held =
                        async move { Outgoing::hold(&bodies, data.len() as u64, data).await };
                    this.state = State::Waiting(held.boxed());
                }
                State::Waiting(held) => match ready!(held.as_mut().poll(cx)) {
                    Ok(frame) => this.state = State::Sending(frame),
                    Err(NoRoom) => return this.refuse(),
                },
                State::Sending(frame) => {
                    let piece = frame.with(|bytes| (next_piece(bytes), bytes.is_empty()));
                    let Some((piece, is_last)) = piece else { return this.refuse() };
                    if is_last {
                        this.state = State::Open;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Open => self.body.is_end_stream(),
            State::Waiting(_) | State::Sending(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Open => self.body.size_hint(),
            // A status may follow instead of what is left.
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;
    use crate::bodies::AnswerMemory;
    use tactus_work::memory::Budget;

    async fn next(body: &mut CountedMessages) -> Option<Frame<Bytes>> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        frame.map(Result::unwrap)
    }

    fn messages(bodies: &Arc<Bodies>, sizes: &[usize]) -> CountedMessages {
        let frames: Vec<_> =
            sizes.iter().map(|&size| Ok::<_, BoxError>(Bytes::from(vec![7; size]))).collect();
        let body = Body::from_stream(futures_util::stream::iter(frames));
        CountedMessages::new(body, Arc::clone(bodies))
    }

    fn status(frame: Frame<Bytes>) -> (String, String) {
        let trailers = frame.into_trailers().unwrap();
        let text = |name: &str| trailers[name].to_str().unwrap().to_owned();
        (text("grpc-status"), text("grpc-message"))
    }

    #[tokio::test]
    async fn each_message_is_counted_while_it_is_sent() {
        let all = Budget::new(1 << 20);
        let bodies = Bodies::within(&all);
        let mut body = messages(&bodies, &[1_000, 150_000, 200_000]);
        let mut sizes = Vec::new();
        let mut used = Vec::new();
        while let Some(frame) = next(&mut body).await {
            sizes.push(frame.into_data().unwrap().len());
            used.push(all.used());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 351_000);
        assert_eq!(sizes[..4], [1_000, 65_536, 65_536, 18_928]);
        assert_eq!(used[..5], [0, 150_000, 150_000, 0, 200_000]);
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_nobody_reads_ends_with_a_status_for_the_sake_of_others() {
        let bodies = Bodies::within(&Budget::new(1_000_000));
        let mut stuck = messages(&bodies, &[800_000, 800_000]);
        assert!(next(&mut stuck).await.unwrap().is_data());
        let mut other = messages(&bodies, &[900_000]);
        assert!(next(&mut other).await.unwrap().is_data());
        let (code, text) = status(next(&mut stuck).await.unwrap());
        assert_eq!(code, "14");
        assert!(text.contains("server.max_inflight_bytes"), "{text}");
        assert!(next(&mut stuck).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn message_without_room_is_refused_after_a_while() {
        let bodies = Bodies::within(&Budget::new(1_000_000));
        let mut kept = AnswerMemory::of(&bodies);
        kept.add(900_000).await.unwrap();
        let mut late = messages(&bodies, &[200_000]);
        assert_eq!(status(next(&mut late).await.unwrap()).0, "14");
        drop(kept);
        assert!(next(&mut messages(&bodies, &[200_000])).await.unwrap().is_data());
    }
}
