//! What a frontend is sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;
use tactus_proto::tactus::v1::WorkerMessage;
use tactus_server::bodies::AnswerMemory;
use tokio::sync::mpsc;

/// A message, and its memory if it takes some.
pub(super) type Counted = (WorkerMessage, Option<AnswerMemory>);

/// The messages to a frontend. The memory of each is given back when the next one is asked for: a connection asks when it has
/// sent the one before.
#[derive(Debug)]
pub struct Outbound {
    messages: mpsc::UnboundedReceiver<Counted>,
    on_its_way: Option<AnswerMemory>,
}

impl Outbound {
    /// Bounded by what is in it: an answer for each slot, and an answer to each ping that came.
    pub(super) fn new() -> (mpsc::UnboundedSender<Counted>, Self) {
        let (sender, messages) = mpsc::unbounded_channel();
        (sender, Self { messages, on_its_way: None })
    }
}

impl Stream for Outbound {
    type Item = WorkerMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WorkerMessage>> {
        self.on_its_way = None;
        let next = ready!(self.messages.poll_recv(cx));
        Poll::Ready(next.map(|(message, memory)| {
            self.on_its_way = memory;
            message
        }))
    }
}
