//! Sends intermediate results from a running query to its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, Stream};
use tactus_api::{Error, Result};
use tactus_model::TenantId;
use tactus_server::bodies::{Bodies, NoRoom, Outgoing};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::weight::Weight;
use crate::current_query::as_part_of_query;

/// Trailer of streams that lack something because it could not be read.
const PARTIAL: &str = "x-tactus-partial";

/// The first result is sent sooner than further ones, but not at once: most queries are done by then, and need only one
/// message.
const FIRST_AFTER: Duration = Duration::from_millis(100);

/// A status travels in headers, which clients bound.
const MAX_STATUS_BYTES: usize = 4 << 10;

/// Where a query puts intermediate results ("differences"). It never waits: what the client cannot take yet becomes a
/// part of a later difference.
#[derive(Debug)]
pub(crate) struct Outlet<M> {
    sender: mpsc::Sender<Batch<M>>,
    memory: Arc<Bodies>,
    every: Duration,
    last: Instant,
}

/// Messages on their way, counted until they are sent.
type Batch<M> = Outgoing<std::vec::IntoIter<M>>;

/// Where a difference goes.
#[derive(Debug)]
pub(crate) struct Place<M> {
    permit: OwnedPermit<Batch<M>>,
    memory: Arc<Bodies>,
}

impl<M: Weight + 'static> Place<M> {
    /// Sends a difference. One for which there is no memory is left out: the complete answer has everything.
    pub(crate) fn send(self, packets: Vec<M>) {
        let bytes = bytes_of(&packets);
        if let Ok(batch) = Outgoing::try_hold(&self.memory, bytes, packets.into_iter()) {
            self.permit.send(batch);
        }
    }
}

fn bytes_of(packets: &[impl Weight]) -> u64 {
    packets.iter().map(|packet| packet.heap_bytes() as u64).sum()
}

impl<M> Outlet<M> {
    /// The place for a difference, if one is due and the client took the one before. `is_awaited`: nothing of the answer
    /// was shown yet.
    pub(crate) fn place(&mut self, is_awaited: bool) -> Option<Place<M>> {
        let every = if is_awaited { self.every.min(FIRST_AFTER) } else { self.every };
        if self.last.elapsed() < every {
            return None;
        }
        let permit = self.sender.clone().try_reserve_owned().ok()?;
        self.last = Instant::now();
        Some(Place { permit, memory: Arc::clone(&self.memory) })
    }
}

/// How a stream ends.
pub(crate) struct Last<M> {
    /// The complete answer.
    pub(crate) packets: Vec<M>,
    /// Something could not be read.
    pub(crate) partial: bool,
}

/// Starts a query whose answers are a stream, within `memory` until they are sent. A difference is sent at most once
/// `every` interval.
pub(crate) fn start<M, F>(
    tenants: &[TenantId],
    every: Duration,
    memory: &Arc<Bodies>,
    run: impl FnOnce(Outlet<M>) -> F,
) -> Answers<M>
where
    M: Weight + 'static,
    F: Future<Output = Result<Last<M>>> + Send + 'static,
{
    // One, so that the complete answer comes after any difference that is still being made.
    let (sender, receiver) = mpsc::channel(1);
    let memory = Arc::clone(memory);
    let outlet =
        Outlet { sender: sender.clone(), memory: Arc::clone(&memory), every, last: Instant::now() };
    let (query, tenants) = (Box::pin(run(outlet)), tenants.to_vec());
    let task = tokio::spawn(async move {
        let Last { packets, partial } = as_part_of_query(&tenants, query).await?;
        let bytes = bytes_of(&packets);
        let packets = Outgoing::hold(&memory, bytes, packets.into_iter()).await;
        let packets = packets.map_err(|NoRoom| Error::TooManyBytes)?;
        // Fails if the client left, and then nobody reads what is returned either.
        let _ = sender.send(packets).await;
        Ok(partial)
    });
    Answers { packets: None, receiver, task, ended: false }
}

/// The messages of one stream. Dropped, it ends its query.
#[derive(Debug)]
pub struct Answers<M> {
    packets: Option<Batch<M>>,
    receiver: mpsc::Receiver<Batch<M>>,
    task: JoinHandle<Result<bool>>,
    ended: bool,
}

impl<M> Unpin for Answers<M> {}

impl<M: Send + 'static> Stream for Answers<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(packets) = &self.packets {
                match packets.with(Iterator::next) {
                    Some(Some(message)) => return Poll::Ready(Some(Ok(message))),
                    Some(None) => self.packets = None,
                    None => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(status(&Error::TooManyBytes))));
                    }
                }
            }
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some(packets)) => self.packets = Some(packets),
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
    use futures_util::StreamExt as _;
    use tactus_server::bodies::AnswerMemory;
    use tactus_work::memory::Budget;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_result_is_sent_sooner_than_further_ones() {
        let (sender, mut receiver) = mpsc::channel(1);
        let every = Duration::from_millis(500);
        let memory = Bodies::unbounded();
        let mut outlet = Outlet { sender, memory, every, last: Instant::now() };
        let mut due = async |millis, is_awaited| {
            tokio::time::advance(Duration::from_millis(millis)).await;
            let place = outlet.place(is_awaited);
            let is_due = place.is_some();
            if let Some(place) = place {
                place.send(vec![0_i32]);
                receiver.recv().await;
            }
            is_due
        };
        assert!(!due(90, true).await, "a short query has one message");
        assert!(due(20, true).await && due(100, true).await, "until there is a result");
        assert!(!due(400, false).await);
        assert!(due(100, false).await);
    }

    /// A stream of two messages of this many bytes.
    fn answers(memory: &Arc<Bodies>, bytes: usize) -> Answers<Vec<u8>> {
        let last = Last { packets: vec![vec![7_u8; bytes]; 2], partial: false };
        start(&[], Duration::from_secs(1), memory, |_| async { Ok(last) })
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_nobody_reads_makes_room_and_says_which_limit_it_met() {
        let budget = Budget::new(1_000_000);
        let memory = Bodies::within(&budget);
        let mut stuck = answers(&memory, 400_000);
        assert_eq!(stuck.next().await.unwrap().unwrap().len(), 400_000);
        assert!(budget.used() > 800_000);
        let read: Vec<_> = answers(&memory, 450_000).collect().await;
        assert!(read.len() == 2 && read.iter().all(Result::is_ok));
        let refused = stuck.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("server.max_inflight_bytes"), "{refused}");
        assert!(stuck.next().await.is_none());
        drop(stuck);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_without_memory_is_refused() {
        let memory = Bodies::within(&Budget::new(1_000_000));
        let mut others = AnswerMemory::of(&memory);
        others.add(900_000).await.unwrap();
        let refused = answers(&memory, 400_000).next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(
            answers(&memory, 1_000).next().await.unwrap().is_ok(),
            "small ones are not counted"
        );
    }
}
