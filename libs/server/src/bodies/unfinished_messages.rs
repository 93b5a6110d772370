//! Long-lived gRPC requests with many messages. Only messages that have not completely arrived are counted here.
//!
//! The reader of such a call keeps a message until it is complete, and only then knows what it is. From then on the
//! service counts it, with [`Bodies::hold_message`] or [`AnswerMemory`](super::AnswerMemory).

use std::sync::Arc;

use axum::body::Body;
use http_body::Frame;

use super::frames::{Step, body_of, next_frame};
use super::sending::{LONGEST_WAIT, SMALL};
use super::{Asker, Bodies, Held, NoRoom, no_room_status};

/// Bytes before each message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// A body of which messages take memory while more of them is to come. It breaks off where there is none, or where others
/// need it and this one has cost most. `head`: the memory of the head of the call, which lasts as long as the body.
pub(super) fn unfinished_messages(body: Body, bodies: Arc<Bodies>, head: Held) -> Body {
    let left = Left { body, bodies, place: Place::default(), _head: head, held: None };
    body_of(left, Left::next)
}

/// What is left of a body.
struct Left {
    body: Body,
    bodies: Arc<Bodies>,
    place: Place,
    _head: Held,
    /// Memory of the message that is still arriving, if it is large, and how many bytes of it are counted.
    held: Option<(Held, u64)>,
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

impl Left {
    async fn next(mut self) -> Step<Self> {
        let next = match &self.held {
            None => next_frame(&mut self.body).await,
            Some((held, _)) => tokio::select! {
                biased;
                next = next_frame(&mut self.body) => next,
                () = held.cut_off() => return Err(no_room_status().into()),
            },
        };
        let chunk = match next?.map(Frame::into_data) {
            Some(Ok(chunk)) => chunk,
            Some(Err(trailers)) => return Ok(Some((trailers, self))),
            None => return Ok(None),
        };
        self.take_for(&chunk).await.map_err(|NoRoom| no_room_status())?;
        Ok(Some((Frame::data(chunk), self)))
    }

    /// Takes memory for what has come of the message in which the chunk ends. Errors: there is none.
    async fn take_for(&mut self, chunk: &[u8]) -> Result<(), NoRoom> {
        if self.place.pass(chunk) {
            self.held = None;
        }
        if self.place.came < SMALL {
            return Ok(());
        }
        let (held, counted) = self.held.get_or_insert_with(|| {
            let held = self.bodies.nothing();
            held.unfinished();
            (held, 0)
        });
        let (held, more) = (&*held, self.place.came - *counted);
        *counted = self.place.came;
        held.wait((Asker::Request, LONGEST_WAIT), || held.try_take(more)).await
    }
}

#[cfg(test)]
mod tests {
    use axum::BoxError;
    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use tactus_work::memory::Budget;
    use tokio::sync::mpsc;

    use super::*;

    struct Call {
        chunks: mpsc::UnboundedSender<Bytes>,
        body: Body,
    }

    impl Call {
        fn new(bodies: &Arc<Bodies>) -> Self {
            let (chunks, receiver) = mpsc::unbounded_channel();
            let body = Body::from_stream(stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|chunk| (Ok::<Bytes, BoxError>(chunk), receiver))
            }));
            let body = unfinished_messages(body, Arc::clone(bodies), bodies.nothing());
            Self { chunks, body }
        }

        async fn read(&mut self) -> Result<usize, BoxError> {
            let frame = self.body.frame().await;
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
