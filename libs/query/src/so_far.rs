//! Asks ingesters what they have found so far, for a stream that shows it before they answer.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tokio::time::{Instant, Sleep, sleep};

use crate::jobs::{Call, Outcome, Running, call};

/// Ingesters get this much time before blocks are read, because recent data is usually enough.
pub(crate) const HEAD_START: Duration = Duration::from_millis(100);

/// After this time without an answer, a stream shows what it had held back.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(50);

/// Time between two questions.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Asks ingesters again and again what they have found.
pub(crate) struct Looks<R, T> {
    ingester: Arc<dyn Ingester>,
    /// The requests for what was found so far.
    requests: Vec<R>,
    method: Call<dyn Ingester, R, T>,
    running: FuturesUnordered<Running<T>>,
    next: Pin<Box<Sleep>>,
}

impl<R, T> Looks<R, T>
where
    R: Clone + Send + 'static,
    T: Send + 'static,
{
    /// Without requests, nothing is asked.
    pub(crate) fn new(
        ingester: &Arc<dyn Ingester>,
        requests: Vec<R>,
        method: Call<dyn Ingester, R, T>,
    ) -> Self {
        let (ingester, running) = (Arc::clone(ingester), FuturesUnordered::new());
        Self { ingester, requests, method, running, next: Box::pin(sleep(HEAD_START)) }
    }

    /// Waits for the next answer. Cancel safe. If a question fails, no more are asked: the final answer will contain
    /// the error.
    pub(crate) async fn next(&mut self) -> T {
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
                    let calls = requests.map(|request| call(&self.ingester, request, self.method));
                    self.running.extend(calls);
                }
            }
        }
    }
}
