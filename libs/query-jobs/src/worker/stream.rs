//! The stream to one query-frontend.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::OptionFuture;
use prost::Message as _;
use tactus_proto::Shaped as _;
use tactus_proto::tactus::v1::frontend_message::Message as FromFrontend;
use tactus_proto::tactus::v1::worker_message::Message as ToFrontend;
use tactus_proto::tactus::v1::{
    FrontendMessage, Job, JobAnswer, Pong, WorkerHello, WorkerLeaving, WorkerMessage,
};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::TOO_MANY_BYTES;
use tactus_work::{JOBS_PER_SLOT, MOST_NEWCOMERS};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::dial::{Outbound, Outgoing};
use super::jobs::{answer, failure, route, status};
use super::{Inbound, Shared};

/// Version of the protocol.
const VERSION: u32 = 1;

/// Waits between attempts to open a stream.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A frontend that is silent for this long is gone. It sends a ping every 2 seconds.
const SILENCE: Duration = Duration::from_secs(10);

/// Messages of a frontend that wait for their answers to be sent, for each slot and besides: a frontend that gives more and
/// takes no answers is not read any more, until it counts as silent.
const PLACES_PER_SLOT: usize = JOBS_PER_SLOT + 1;
const MORE_PLACES: usize = MOST_NEWCOMERS + 64;
/// More slots have no more places.
const MAX_SLOTS: usize = 1 << 20;

/// Bytes of a message around an answer.
const ENVELOPE_BYTES: usize = 64;

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The stream broke and must be opened again. `true` if a message had come over it.
    Broken(bool),
    /// This worker left.
    Left,
}

/// Keeps a stream to a frontend open until `leave`.
pub(super) async fn keep(
    shared: Arc<Shared>,
    address: String,
    mut slots: watch::Receiver<usize>,
    leave: CancellationToken,
) {
    let mut backoff = MIN_BACKOFF;
    while !leave.is_cancelled() {
        match converse(&shared, &address, &mut slots, &leave).await {
            End::Left => return,
            End::Broken(true) => backoff = MIN_BACKOFF,
            End::Broken(false) => {}
        }
        tokio::select! {
            () = sleep(backoff) => backoff = (backoff * 2).min(MAX_BACKOFF),
            () = leave.cancelled() => return,
        }
    }
}

async fn converse(
    shared: &Arc<Shared>,
    address: &str,
    slots: &mut watch::Receiver<usize>,
    leave: &CancellationToken,
) -> End {
    let (sender, outbound) = Outbound::new();
    let mut conversation = Conversation::new(shared, sender);
    conversation.say_hello(*slots.borrow_and_update());
    let opening = (shared.dial)(address.to_owned(), outbound);
    let opened = tokio::select! {
        opened = timeout(SILENCE, opening) => opened,
        () = leave.cancelled() => return End::Left,
    };
    match opened {
        Ok(Ok(inbound)) => conversation.run(address, inbound, slots, leave).await,
        Ok(Err(status)) => {
            tracing::debug!(address, %status, "cannot reach a query-frontend");
            End::Broken(false)
        }
        Err(_) => End::Broken(false),
    }
}

/// An answer, and what it takes until it is sent.
type Answered = (JobAnswer, Option<AnswerMemory>, OwnedSemaphorePermit);

/// An open stream. Dropping it drops its jobs.
struct Conversation<'s> {
    shared: &'s Arc<Shared>,
    sender: mpsc::UnboundedSender<Outgoing>,
    places: Arc<Semaphore>,
    /// The most slots that the frontend was told of.
    most_slots: usize,
    tasks: JoinSet<Answered>,
    /// The job and its cancellation, by task.
    running: HashMap<task::Id, (u64, Option<oneshot::Sender<()>>)>,
    max_answer_bytes: usize,
}

impl<'s> Conversation<'s> {
    fn new(shared: &'s Arc<Shared>, sender: mpsc::UnboundedSender<Outgoing>) -> Self {
        let client = &shared.section.frontend_worker.grpc_client_config;
        let max_answer_bytes = client.max_send_msg_size.saturating_sub(ENVELOPE_BYTES);
        let (tasks, running) = (JoinSet::new(), HashMap::new());
        let places = Arc::new(Semaphore::new(MORE_PLACES));
        Self { shared, sender, places, most_slots: 0, tasks, running, max_answer_bytes }
    }

    fn send(&self, message: ToFrontend) {
        self.send_in(message, None, None);
    }

    fn send_in(
        &self,
        message: ToFrontend,
        memory: Option<AnswerMemory>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let message = WorkerMessage { message: Some(message) };
        // If the stream has broken, the reading side notices.
        let _ = self.sender.send(Outgoing { message, memory, place });
    }

    fn say_hello(&mut self, slots: usize) {
        let placed = slots.min(MAX_SLOTS);
        self.places.add_permits(PLACES_PER_SLOT * placed.saturating_sub(self.most_slots));
        self.most_slots = self.most_slots.max(placed);
        let client = &self.shared.section.frontend_worker.grpc_client_config;
        self.send(ToFrontend::Hello(WorkerHello {
            querier_id: self.shared.id.clone(),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            version: VERSION,
            max_message_bytes: client.max_recv_msg_size as u64,
        }));
    }

    async fn run(
        mut self,
        address: &str,
        mut inbound: Inbound,
        slots: &mut watch::Receiver<usize>,
        leave: &CancellationToken,
    ) -> End {
        let mut heard_at = Instant::now();
        let mut heard = false;
        let mut leave_until = None;
        loop {
            tokio::select! {
                (message, place) = next(&mut inbound, &self.places) => match message {
                    Some(Ok(message)) => {
                        (heard, heard_at) = (true, Instant::now());
                        self.take(message, place, address);
                    }
                    _ if leave_until.is_some() => return End::Left,
                    Some(Err(status)) => {
                        tracing::info!(address, %status, "stream to a query-frontend broke");
                        return End::Broken(heard);
                    }
                    None => {
                        tracing::info!(address, "query-frontend ended the stream");
                        return End::Broken(heard);
                    }
                },
                Some(done) = self.tasks.join_next_with_id() => self.answer(done),
                Ok(()) = slots.changed() => self.say_hello(*slots.borrow_and_update()),
                () = leave.cancelled(), if leave_until.is_none() => {
                    let grace = self.shared.section.search.query_timeout.as_std();
                    leave_until = Some(Instant::now() + grace);
                    self.send(ToFrontend::Leaving(WorkerLeaving {}));
                }
                // The frontend ends the stream when it has all answers.
                Some(()) = OptionFuture::from(leave_until.map(sleep_until)) => return End::Left,
                () = sleep_until(heard_at + SILENCE) => {
                    tracing::info!(address, "query-frontend is silent");
                    return if leave_until.is_some() { End::Left } else { End::Broken(heard) };
                }
            }
        }
    }

    fn take(&mut self, message: FrontendMessage, place: OwnedSemaphorePermit, address: &str) {
        match message.message {
            Some(FromFrontend::Job(job)) => self.start(job, place),
            Some(FromFrontend::Cancel(cancel)) => {
                let found = self.running.values_mut().find(|(job, _)| *job == cancel.id);
                if let Some((_, sender)) = found {
                    *sender = None;
                }
            }
            Some(FromFrontend::Hello(hello)) => {
                tracing::info!(address, version = hello.version, "connected to a query-frontend");
                let theirs = usize::try_from(hello.max_message_bytes).unwrap_or(usize::MAX);
                if theirs > 0 {
                    let theirs = theirs.saturating_sub(ENVELOPE_BYTES);
                    self.max_answer_bytes = self.max_answer_bytes.min(theirs);
                }
            }
            Some(FromFrontend::Ping(_)) => {
                self.send_in(ToFrontend::Pong(Pong {}), None, Some(place));
            }
            // A message of a newer version.
            None => {}
        }
    }

    fn start(&mut self, job: Job, place: OwnedSemaphorePermit) {
        let id = job.id;
        let (cancel, cancelled) = oneshot::channel();
        let (route, begun) = (route(&job), Instant::now());
        let (shared, max_bytes) = (Arc::clone(self.shared), self.max_answer_bytes);
        let task = self.tasks.spawn(async move {
            let memory = &shared.memory;
            let answer = match held(&job, memory).await {
                Ok(_held) => answer(shared.services.clone(), job, cancelled, max_bytes).await,
                Err(status) => failure(id, &status),
            };
            let (answer, memory) = counted(answer, memory).await;
            shared.requests.record(route, status(&answer), begun.elapsed());
            (answer, memory, place)
        });
        self.running.insert(task.id(), (id, Some(cancel)));
    }

    fn answer(&mut self, done: Result<(task::Id, Answered), JoinError>) {
        let (task, answer) = match done {
            Ok((task, answer)) => (task, Some(answer)),
            Err(error) => (error.id(), None),
        };
        let Some((job, _)) = self.running.remove(&task) else { return };
        self.shared.executed.inc();
        let (answer, memory, place) = match answer {
            Some((answer, memory, place)) => (answer, memory, Some(place)),
            None => (failure(job, &Status::internal("job panicked")), None, None),
        };
        self.send_in(ToFrontend::Answer(answer.encode_to_vec().into()), memory, place);
    }
}

/// The next message, as soon as there is a place for it. Cancel safe.
async fn next(
    inbound: &mut Inbound,
    places: &Arc<Semaphore>,
) -> (Option<Result<FrontendMessage, Status>>, OwnedSemaphorePermit) {
    let Ok(place) = Arc::clone(places).acquire_owned().await else {
        // It is never closed.
        return pending().await;
    };
    (inbound.next().await, place)
}

/// Memory for a job until it is answered: whoever is a frontend may send as many large ones as there are places.
///
/// Errors: there is none, even after a while.
async fn held(job: &Job, memory: &Arc<Bodies>) -> Result<AnswerMemory, Status> {
    let mut taken = AnswerMemory::of(memory);
    // A message that takes more is not decoded.
    let most = FrontendMessage::MOST_TIMES.saturating_mul(job.encoded_len() as u64);
    let added = taken.add(most).await;
    added.map(|()| taken).map_err(|NoRoom| Status::resource_exhausted(TOO_MANY_BYTES))
}

/// An answer with memory for its way to the frontend; a failure if there is none.
async fn counted(answer: JobAnswer, memory: &Arc<Bodies>) -> (JobAnswer, Option<AnswerMemory>) {
    let mut taken = AnswerMemory::of(memory);
    match taken.add(answer.encoded_len() as u64).await {
        Ok(()) => (answer, Some(taken)),
        Err(NoRoom) => (failure(answer.id, &Status::resource_exhausted(TOO_MANY_BYTES)), None),
    }
}
