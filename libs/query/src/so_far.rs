//! What ingesters have found of a query, for a stream that shows it while their answers are awaited.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tokio::time::{Instant, Sleep, sleep};

use crate::jobs::{Call, Outcome, Running, call};

/// Recent data that is found so soon is waited for: mostly it is all that is wanted, and no block need be read.
pub(crate) const HEAD_START: Duration = Duration::from_millis(100);

/// Time without an answer after which a stream shows what it held back.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(50);

/// Time from one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at what ingesters have found, one after the other.
pub(crate) struct Looks<R, T> {
    ingester: Arc<dyn Ingester>,
    /// They ask for what was found so far.
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
    /// Without requests there are no looks.
    pub(crate) fn new(
        ingester: &Arc<dyn Ingester>,
        requests: Vec<R>,
        method: Call<dyn Ingester, R, T>,
    ) -> Self {
        let (ingester, running) = (Arc::clone(ingester), FuturesUnordered::new());
        Self { ingester, requests, method, running, next: Box::pin(sleep(HEAD_START)) }
    }

    /// What a look found; waits for it. Dropped, it loses nothing. A look that fails is the last: the answer will say why.
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
