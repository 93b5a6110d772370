//! Asks ingesters what they have found so far, for a stream that shows it before they answer.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_rpc::jobs::JobKind;
use tokio::time::{Instant, Sleep, sleep};

use crate::jobs::{Outcome, Running, ask};
use crate::queue::JobQueue;

/// Ingesters get this much time before blocks are read, because recent data is usually enough.
pub(crate) const HEAD_START: Duration = Duration::from_millis(100);

/// After this time without an answer, a stream shows what it had held back.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(50);

/// Time between two questions.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Asks ingesters again and again what they have found.
pub(crate) struct Looks<R: JobKind> {
    queue: JobQueue,
    /// The requests for what was found so far.
    requests: Vec<R>,
    running: FuturesUnordered<Running<R::Answer>>,
    next: Pin<Box<Sleep>>,
}

impl<R: JobKind<Answer: Send> + Clone + Send + 'static> Looks<R> {
    /// Without requests, nothing is asked.
    pub(crate) fn new(queue: &JobQueue, requests: Vec<R>) -> Self {
        let (queue, running) = (queue.clone(), FuturesUnordered::new());
        Self { queue, requests, running, next: Box::pin(sleep(HEAD_START)) }
    }

    /// Waits for the next answer. Cancel safe. If a question fails, no more are asked: the final answer will contain
    /// the error.
    pub(crate) async fn next(&mut self) -> R::Answer {
        loop {
            match self.running.next().await {
                Some(Ok(Outcome::Answer(found))) => return found,
                Some(Ok(Outcome::Damaged)) => {}
                Some(Err(_)) => self.requests.clear(),
                None if self.requests.is_empty() => return pending().await,
                None => {
                    self.next.as_mut().await;
                    self.next.as_mut().reset(Instant::now() + LOOK_EVERY);
                    let requests = self.requests.iter().cloned();
                    self.running.extend(requests.map(|request| ask(&self.queue, request)));
                }
            }
        }
    }
}
