//! From a query that runs to the client that reads.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, Stream};
use tactus_api::{Error, Result};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Trailer of streams that lack something because it could not be read.
const PARTIAL: &str = "x-tactus-partial";

/// Whoever waits for the first result is told sooner than of further ones. Not at once: most queries are done by then, and
/// have one message.
const FIRST_AFTER: Duration = Duration::from_millis(100);

/// A status travels in headers, which clients bound.
const MAX_STATUS_BYTES: usize = 4 << 10;

/// Where a query puts differences. It never waits: what the client has no room for is part of a later difference.
#[derive(Debug)]
pub(crate) struct Outlet<M> {
    sender: mpsc::Sender<Vec<M>>,
    every: Duration,
    last: Instant,
}

impl<M> Outlet<M> {
    /// The place for a difference, if one is due and the client took the one before. `is_awaited`: nothing of the answer
    /// was shown yet.
    pub(crate) fn place(&mut self, is_awaited: bool) -> Option<OwnedPermit<Vec<M>>> {
        let every = if is_awaited { self.every.min(FIRST_AFTER) } else { self.every };
        if self.last.elapsed() < every {
            return None;
        }
        let place = self.sender.clone().try_reserve_owned().ok()?;
        self.last = Instant::now();
        Some(place)
    }
}

/// How a stream ends.
pub(crate) struct Last<M> {
    /// The complete answer.
    pub(crate) packets: Vec<M>,
    /// Something could not be read.
    pub(crate) partial: bool,
}

/// Starts a query whose answers are a stream. Differences are sent `every` so often at most.
pub(crate) fn start<M, F>(every: Duration, run: impl FnOnce(Outlet<M>) -> F) -> Answers<M>
where
    M: Send + 'static,
    F: Future<Output = Result<Last<M>>> + Send + 'static,
{
    // One, so that the complete answer comes after any difference that is still being made.
    let (sender, receiver) = mpsc::channel(1);
    let query = run(Outlet { sender: sender.clone(), every, last: Instant::now() });
    let task = tokio::spawn(async move {
        let Last { packets, partial } = query.await?;
        // Fails if the client left, and then nobody reads what is returned either.
        let _ = sender.send(packets).await;
        Ok(partial)
    });
    Answers { packets: Vec::new().into_iter(), receiver, task, ended: false }
}

/// The messages of one stream. Dropped, it ends its query.
#[derive(Debug)]
pub struct Answers<M> {
    packets: std::vec::IntoIter<M>,
    receiver: mpsc::Receiver<Vec<M>>,
    task: JoinHandle<Result<bool>>,
    ended: bool,
}

impl<M> Unpin for Answers<M> {}

impl<M> Stream for Answers<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.packets.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some(packets)) => self.packets = packets.into_iter(),
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let result = match self.task.poll_unpin(context) {
            Poll::Ready(result) => result,
            Poll::Pending => return Poll::Pending,
        };
        self.ended = true;
        Poll::Ready(match result {
            Ok(Ok(false)) => None,
            Ok(Ok(true)) => Some(Err(partial())),
            Ok(Err(error)) => Some(Err(status(&error))),
            Err(error) => {
                tracing::error!(%error, "a streamed query broke off");
                Some(Err(Status::internal("the query broke off")))
            }
        })
    }
}

impl<M> Drop for Answers<M> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Success, with a trailer.
pub fn partial() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(PARTIAL, MetadataValue::from_static("true"));
    Status::with_metadata(Code::Ok, "", metadata)
}

/// The status of a query that failed.
pub fn status(error: &Error) -> Status {
    let code = error.grpc_code();
    if code == Code::Internal {
        tracing::warn!(%error, "streamed query failed");
    }
    let mut text = error.to_string();
    if text.len() > MAX_STATUS_BYTES {
        text.truncate(text.floor_char_boundary(MAX_STATUS_BYTES));
        text.push('…');
    }
    Status::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_result_is_sent_sooner_than_further_ones() {
        let (sender, mut receiver) = mpsc::channel(1);
        let every = Duration::from_millis(500);
        let mut outlet = Outlet { sender, every, last: Instant::now() };
        let mut due = async |millis, is_awaited| {
            tokio::time::advance(Duration::from_millis(millis)).await;
            let place = outlet.place(is_awaited);
            let is_due = place.is_some();
            if let Some(place) = place {
                place.send(vec![0]);
                receiver.recv().await;
            }
            is_due
        };
        assert!(!due(90, true).await, "a short query has one message");
        assert!(due(20, true).await && due(100, true).await, "until there is a result");
        assert!(!due(400, false).await);
        assert!(due(100, false).await);
    }
}
