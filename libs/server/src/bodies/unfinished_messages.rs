//! Long-lived gRPC requests with many messages. Only messages that have not completely arrived are counted here.
//!
//! The reader of such a call keeps a message until it is complete, and only then knows what it is. From then on the
//! service counts it, with [`Bodies::hold_message`] or [`AnswerMemory`](super::AnswerMemory).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};

use super::data::{Part, poll_part};
use super::sending::{LONGEST_WAIT, SMALL};
use super::{Asker, Bodies, Held, NoRoom, no_room_status};

/// Bytes before each message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// A body of which messages take memory while more of them is to come. It breaks off where there is none, or where others
/// need it and this one has cost most.
pub(super) struct UnfinishedMessages {
    body: Body,
    bodies: Arc<Bodies>,
    place: Place,
    /// Memory of the head of the call.
    _head: Held,
    /// Memory of the message that is still arriving, if it is large.
    held: Option<Unfinished>,
    waiting: Option<(BoxFuture<'static, Result<(), NoRoom>>, Bytes)>,
}

struct Unfinished {
    held: Held,
    counted: u64,
    cut_off: BoxFuture<'static, ()>,
}

/// The position of a body within a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the message that have come, its prefix included.
    came: u64,
}

impl Place {
    /// Goes on over a chunk. True if a message ended in it.
    fn pass(&mut self, mut chunk: &[u8]) -> bool {
        let mut has_ended = false;
        while !chunk.is_empty() {
            let left = match usize::try_from(self.came) {
                Ok(came) if came < PREFIX_BYTES => {
                    let part = chunk.len().min(PREFIX_BYTES - came);
                    self.prefix[came..came + part].copy_from_slice(&chunk[..part]);
                    part
                }
                _ => chunk.len().min(usize::try_from(self.left()).unwrap_or(usize::MAX)),
            };
            self.came += left as u64;
            chunk = &chunk[left..];
            if self.came >= PREFIX_BYTES as u64 && self.left() == 0 {
                self.came = 0;
                has_ended = true;
            }
        }
        has_ended
    }

    /// Bytes to come of a message whose prefix is there.
    fn left(&self) -> u64 {
        let [_, length @ ..] = self.prefix;
        (PREFIX_BYTES as u64 + u64::from(u32::from_be_bytes(length))).saturating_sub(self.came)
    }
}

impl UnfinishedMessages {
    /// `head`: the memory of the head of the call, which lasts as long as the body.
    pub(super) fn new(body: Body, bodies: Arc<Bodies>, head: Held) -> Self {
        Self { body, bodies, place: Place::default(), _head: head, held: None, waiting: None }
    }

    /// Memory for what has come of the message in which the chunk ends; `None` if it needs no more.
    fn take_for(&mut self, chunk: &[u8]) -> Option<BoxFuture<'static, Result<(), NoRoom>>> {
        if self.place.pass(chunk) {
            self.held = None;
        }
        if self.place.came < SMALL {
            return None;
        }
        let unfinished = self.held.get_or_insert_with(|| {
            let held = self.bodies.nothing();
            held.unfinished();
            let cut = held.clone();
            Unfinished { held, counted: 0, cut_off: async move { cut.cut_off().await }.boxed() }
        });
        let more = self.place.came - unfinished.counted;
        unfinished.counted = self.place.came;
        if unfinished.held.try_take(more) {
            return None;
        }
        let held = unfinished.held.clone();
        Some(
            async move { held.wait((Asker::Request, LONGEST_WAIT), || held.try_take(more)).await }
                .boxed(),
        )
    }

    /// Ends the body, and gives back what it took.
    fn refuse(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        (self.held, self.waiting) = (None, None);
        self.body = Body::empty();
        Poll::Ready(Some(Err(no_room_status().into())))
    }
}

impl http_body::Body for UnfinishedMessages {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let Poll::Ready(next) = poll_part(&mut this.body, cx) else {
                if let Some(unfinished) = &mut this.held {
                    ready!(unfinished.cut_off.as_mut().poll(cx));
                    return this.refuse();
                }
                return Poll::Pending;
            };
            let chunk = match next {
                Part::Data(chunk) => chunk,
                Part::Other(other) => return Poll::Ready(other),
            };
            match this.take_for(&chunk) {
                Some(taken) => this.waiting = Some((taken, chunk)),
                None => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
            }
        }
        let Some((taken, _)) = &mut this.waiting else { return Poll::Ready(None) };
        match (ready!(taken.as_mut().poll(cx)), this.waiting.take()) {
            (Ok(()), Some((_, chunk))) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            _ => this.refuse(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Body as _;
    use tactus_work::memory::Budget;
    use tokio::sync::mpsc;

    use super::*;

    struct Call {
        chunks: mpsc::UnboundedSender<Bytes>,
        body: UnfinishedMessages,
    }

    impl Call {
        fn new(bodies: &Arc<Bodies>) -> Self {
            let (chunks, receiver) = mpsc::unbounded_channel();
            let body = Body::from_stream(stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|chunk| (Ok::<Bytes, BoxError>(chunk), receiver))
            }));
            let body = UnfinishedMessages::new(body, Arc::clone(bodies), bodies.nothing());
            Self { chunks, body }
        }

        async fn read(&mut self) -> Result<usize, BoxError> {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            Ok(frame.expect("not at the end")?.into_data().unwrap().len())
        }

        async fn pass(&mut self, chunk: impl Into<Bytes>) -> Result<usize, BoxError> {
            self.chunks.send(chunk.into()).unwrap();
            self.read().await
        }
    }

    fn message(bytes: u32) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&bytes.to_be_bytes());
        message.resize(PREFIX_BYTES + bytes as usize, 7);
        message
    }

    #[test]
    fn place_is_the_same_however_messages_are_cut_into_chunks() {
        let messages = [message(0), message(1), message(300), message(0), message(70_000)].concat();
        for size in [1, 2, 4, 5, 6, 299, 4_096, 100_000] {
            let (mut place, mut ended) = (Place::default(), 0);
            for chunk in messages[..messages.len() - 1].chunks(size) {
                ended += usize::from(place.pass(chunk));
            }
            assert!(ended > 0 && place.left() == 1, "{size}");
            assert!(place.pass(&[7]) && place.came == 0, "{size}");
        }
    }

    #[tokio::test]
    async fn message_takes_memory_until_it_is_whole() {
        let all = Budget::new(1_000_000);
        let mut call = Call::new(&Bodies::within(&all));
        let message = message(200_000);
        call.pass(message[..50_000].to_vec()).await.unwrap();
        assert_eq!(all.used(), 0, "small until now");
        call.pass(message[50_000..150_000].to_vec()).await.unwrap();
        assert_eq!(all.used(), 150_000);
        call.pass(message[150_000..].to_vec()).await.unwrap();
        assert_eq!(all.used(), 0);
        call.pass(message[..100_000].to_vec()).await.unwrap();
        assert_eq!(all.used(), 100_000);
        drop(call);
        assert_eq!(all.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn message_that_stalls_makes_room_for_another() {
        let all = Budget::new(400_000);
        let bodies = Bodies::within(&all);
        let mut stalled = Call::new(&bodies);
        stalled.pass(message(190_000)[..150_000].to_vec()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let stalled = tokio::spawn(async move { stalled.read().await.unwrap_err().to_string() });
        let mut quick = Call::new(&bodies);
        quick.pass(message(190_000)[..150_000].to_vec()).await.unwrap();
        let text = stalled.await.unwrap();
        assert!(text.contains("server.max_inflight_bytes"), "{text}");
        assert_eq!(all.used(), 150_000);
    }

    #[tokio::test(start_paused = true)]
    async fn message_without_room_ends_the_call_after_a_while() {
        let bodies = Bodies::within(&Budget::new(400_000));
        let held = bodies.hold_message(90_000).await.unwrap();
        let mut call = Call::new(&bodies);
        let part = message(190_000)[..100_000].to_vec();
        let text = call.pass(part.clone()).await.unwrap_err().to_string();
        assert!(text.contains("server.max_inflight_bytes"), "{text}");
        drop(held);
        assert_eq!(Call::new(&bodies).pass(part).await.unwrap(), 100_000);
    }
}
