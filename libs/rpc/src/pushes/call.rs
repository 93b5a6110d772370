//! One long-lived call: frames that wait to be sent, and pushes that wait for their answers.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use parking_lot::Mutex;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tactus_proto::tactus::v1::{PushAnswer, PushFrame, PushResponse};
use tokio::sync::oneshot;
use tonic::{Code, Status};

/// Smaller pushes are copied, so that several waiting ones become one write.
const COPY_BELOW_BYTES: usize = 4 << 10;
/// Frames are put together up to this size.
const CHUNK_BYTES: usize = 32 << 10;
/// Number of the field of a frame that has the push.
const PUSH_FIELD: u32 = 3;
/// Up to this many pushes that nobody waits for any more are kept before they are removed.
const FORGOTTEN: usize = 64;

/// What became of a push in a call.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The ingester answered, as it would a push with a call of its own.
    Answered(Result<PushResponse, Status>),
    /// The ingester did not read it and will not, so it may be sent with another call.
    Unread,
    /// The ingester does not know such calls.
    NoStreams,
}

/// The pushes of a call by their numbers.
#[derive(Debug, Default)]
pub(super) struct Call(Mutex<Pushes>);

#[derive(Debug, Default)]
struct Pushes {
    last_number: u64,
    /// Pushes that are not sent yet. Some may be given up already.
    waiting: VecDeque<u64>,
    /// Pushes that are not given up.
    unanswered: HashMap<u64, Unanswered>,
    /// Wakes the task that sends, when there is more to send.
    sender: Option<Waker>,
    is_closed: bool,
}

#[derive(Debug)]
struct Unanswered {
    push: Bytes,
    traceparent: String,
    is_sent: bool,
    outcome: oneshot::Sender<Outcome>,
}

/// Removes a push that nobody waits for any more, and frees its memory.
struct Waiting<'a> {
    call: &'a Call,
    number: u64,
}

impl Call {
    /// Whether further pushes are taken.
    pub(super) fn is_open(&self) -> bool {
        !self.0.lock().is_closed
    }

    /// Sends an encoded `PushRequest` after those that are waiting.
    pub(super) async fn push(&self, push: Bytes, traceparent: String) -> Outcome {
        let (outcome, told) = oneshot::channel();
        let (number, sender) = {
            let mut pushes = self.0.lock();
            if pushes.is_closed {
                return Outcome::Unread;
            }
            pushes.last_number += 1;
            let number = pushes.last_number;
            pushes.waiting.push_back(number);
            let unanswered = Unanswered { push, traceparent, is_sent: false, outcome };
            pushes.unanswered.insert(number, unanswered);
            (number, pushes.sender.take())
        };
        let _waiting = Waiting { call: self, number };
        if let Some(sender) = sender {
            sender.wake();
        }
        // When the call ends, every push gets an outcome.
        told.await.unwrap_or(Outcome::Unread)
    }

    /// Takes no more pushes. Those that are waiting are still sent.
    pub(super) fn close(&self) {
        let sender = {
            let mut pushes = self.0.lock();
            pushes.is_closed = true;
            pushes.sender.take()
        };
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Passes the ingester's answer to whoever waits for it.
    pub(super) fn answered(&self, answer: PushAnswer) {
        if answer.is_leaving {
            let unread = {
                let mut pushes = self.0.lock();
                pushes.waiting.clear();
                let is_unread = |number: &u64, _: &mut Unanswered| *number > answer.number;
                pushes.unanswered.extract_if(is_unread).map(|(_, push)| push).collect::<Vec<_>>()
            };
            self.close();
            unread.into_iter().for_each(|push| push.tell(Outcome::Unread));
            return;
        }
        let push = self.0.lock().unanswered.remove(&answer.number);
        let Some(push) = push else { return };
        push.tell(Outcome::Answered(match answer.code {
            0 => Ok(answer.response.unwrap_or_default()),
            code => Err(Status::new(Code::from_i32(code as i32), answer.message)),
        }));
    }

    /// Ends the call. `outcome_of` returns the outcome of a push, given whether it was sent.
    pub(super) fn end(&self, outcome_of: impl Fn(bool) -> Outcome) {
        self.close();
        let left = {
            let mut pushes = self.0.lock();
            pushes.waiting.clear();
            std::mem::take(&mut pushes.unanswered)
        };
        for push in left.into_values() {
            let outcome = outcome_of(push.is_sent);
            push.tell(outcome);
        }
    }

    /// The next bytes to send: frames, and the push of the last frame if that is large. `None` after the last frame.
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Option<(Bytes, Option<Bytes>)>> {
        let mut pushes = self.0.lock();
        let mut chunk = BytesMut::new();
        while let Some(number) = pushes.waiting.pop_front() {
            let Some(push) = pushes.unanswered.get_mut(&number) else { continue };
            push.is_sent = true;
            put_head(&mut chunk, number, std::mem::take(&mut push.traceparent), &push.push);
            if push.push.len() >= COPY_BELOW_BYTES {
                return Poll::Ready(Some((chunk.freeze(), Some(push.push.clone()))));
            }
            chunk.extend_from_slice(&push.push);
            if chunk.len() >= CHUNK_BYTES {
                break;
            }
        }
        if !chunk.is_empty() {
            return Poll::Ready(Some((chunk.freeze(), None)));
        }
        if pushes.is_closed {
            return Poll::Ready(None);
        }
        pushes.sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Writes a frame in the form of gRPC, without the bytes of the push.
fn put_head(out: &mut BytesMut, number: u64, traceparent: String, push: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 5]);
    // Fields are in order of their numbers, so those before the push come first.
    PushFrame { number, traceparent, push: None }.encode_raw(out);
    encode_key(PUSH_FIELD, WireType::LengthDelimited, out);
    encode_varint(push.len() as u64, out);
    // Pushes here are less than 4 GiB.
    let length = (out.len() - start - 5 + push.len()) as u32;
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

impl Unanswered {
    fn tell(self, outcome: Outcome) {
        // Nobody waits for it if the push was given up.
        let _ = self.outcome.send(outcome);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut pushes = self.call.0.lock();
        if pushes.unanswered.remove(&self.number).is_none() {
            return;
        }
        // An ingester that reads nothing must not make this grow.
        let Pushes { waiting, unanswered, .. } = &mut *pushes;
        if waiting.len() > 2 * unanswered.len() + FORGOTTEN {
            waiting.retain(|number| unanswered.contains_key(number));
        }
    }
}

/// The frames of a call as the body of its request.
pub(super) struct FrameBody {
    call: Arc<Call>,
    /// The push of the frame that was begun.
    push: Option<Bytes>,
}

impl FrameBody {
    pub(super) fn of(call: &Arc<Call>) -> Self {
        Self { call: Arc::clone(call), push: None }
    }
}

impl Body for FrameBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(push) = self.push.take() {
            return Poll::Ready(Some(Ok(Frame::data(push))));
        }
        let Some((chunk, push)) = ready!(self.call.poll_chunk(cx)) else {
            return Poll::Ready(None);
        };
        self.push = push;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests;
