//! Queriers of other processes: each opens a stream, is sent jobs and answers them.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
use tactus_model::error_text;
use tactus_proto::Shaped as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::frontend_server::Frontend;
use tactus_proto::tactus::v1::worker_message::Message as FromWorker;
use tactus_proto::tactus::v1::{
    FrontendHello, FrontendMessage, JobAnswer, JobAnswerHead, JobFailure, Ping, WorkerHello,
    WorkerMessage, job_answer,
};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::TOO_MANY_BYTES;
use tactus_work::{JOBS_PER_SLOT, MOST_NEWCOMERS};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Shared;
use super::route::{RemoteRoute, Route, Sender, WorkerId, send};
use super::state::Answered;

/// Version of the protocol.
const VERSION: u32 = 1;

/// How often a querier is sent a sign of life.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A querier that is silent for this long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// Why a conversation is over.
const LEFT: &str = "it left";
const DAMAGED: &str = "it sent a damaged answer";

/// The failure of a job whose answer takes many times its length once it is decoded, for it is admitted alone whatever it takes.
const TOO_MANY_PARTS: &str = "a querier sent an answer of more parts than its bytes can fill";

/// What any answer may take.
const FREE_BYTES: u64 = 64 << 10;

/// A querier that says it has more slots is not believed: each may hold an answer in memory.
const MAX_SLOTS: usize = 10_000;

/// The longest name of a querier. It stands in the log, and in the errors of its jobs.
const MAX_NAME_BYTES: usize = 1 << 10;

/// Messages that may wait for a querier: the jobs and their cancellations for each slot, a hello, and the pings of the
/// time after which a silent querier is gone. A querier that leaves more unread is disconnected.
pub(super) const MAX_UNREAD: usize = 2 * (JOBS_PER_SLOT * MAX_SLOTS + MOST_NEWCOMERS) + 8;

/// The service that queriers call.
#[derive(Clone)]
pub struct WorkerStreams {
    pub(super) queue: Weak<Shared>,
    /// Largest message that this process takes.
    pub(super) max_message_bytes: usize,
    /// Of answers until whoever asked has them.
    pub(super) memory: Arc<Bodies>,
}

tactus_telemetry::debug_of!(WorkerStreams);

#[tonic::async_trait]
impl Frontend for WorkerStreams {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<FrontendMessage, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let Some(queue) = self.queue.upgrade().filter(|queue| !queue.closing.is_cancelled()) else {
            return Err(Status::unavailable("this query-frontend stops"));
        };
        let (sender, receiver) = mpsc::channel(MAX_UNREAD);
        let hello =
            FrontendHello { version: VERSION, max_message_bytes: self.max_message_bytes as u64 };
        send(&sender, ToWorker::Hello(hello))?;
        let memory = Arc::clone(&self.memory);
        tokio::spawn(attend(queue, request.into_inner(), sender, memory));
        let messages = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|message| (message, receiver))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// Serves one querier until it leaves, its stream breaks, or the queue stops.
pub(super) async fn attend(
    queue: Arc<Shared>,
    mut messages: impl Stream<Item = Result<WorkerMessage, Status>> + Unpin + Send,
    sender: Sender,
    memory: Arc<Bodies>,
) {
    let first = timeout(SILENCE, messages.next()).await;
    let Ok(Some(Ok(WorkerMessage { message: Some(FromWorker::Hello(hello)) }))) = first else {
        let _ = sender.try_send(Err(Status::invalid_argument("the first message is not a hello")));
        return;
    };
    if !(1..=MAX_NAME_BYTES).contains(&hello.querier_id.len()) {
        let text = format!("the name of a querier has 1 to {MAX_NAME_BYTES} bytes");
        let _ = sender.try_send(Err(Status::invalid_argument(text)));
        return;
    }
    let name = hello.querier_id.clone();
    tracing::info!(querier = name, slots = hello.slots, "querier connected");
    let worker = Connected::new(Arc::clone(&queue), &hello, sender.clone(), memory);
    let why = converse(&queue, &worker, &mut messages, &sender).await;
    tracing::info!(querier = name, why, "querier disconnected");
}

/// Passes messages on until the conversation ends. Returns the reason, for the log.
async fn converse(
    queue: &Shared,
    worker: &Connected,
    messages: &mut (impl Stream<Item = Result<WorkerMessage, Status>> + Unpin + Send),
    sender: &Sender,
) -> &'static str {
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        tokio::select! {
            // Answers may wait for memory one after the other: pings are due nevertheless.
            biased;
            () = queue.closing.cancelled() => return "this query-frontend stops",
            () = sender.closed() => return "its stream is closed",
            _ = pings.tick() => {
                if heard_at.elapsed() > SILENCE {
                    return "it is silent";
                }
                if send(sender, ToWorker::Ping(Ping {})).is_err() {
                    return "it does not read its messages";
                }
                worker.queue.change(|state| state.rescue(worker.id));
            }
            message = messages.next() => {
                let Some(Ok(message)) = message else { return "its stream ended" };
                heard_at = Instant::now();
                if let Some(why) = worker.take(message).await {
                    return why;
                }
            }
        }
    }
}

/// A querier in the queue; leaves it when dropped, and its jobs go back.
struct Connected {
    queue: Arc<Shared>,
    id: WorkerId,
    memory: Arc<Bodies>,
}

impl Connected {
    fn new(queue: Arc<Shared>, hello: &WorkerHello, sender: Sender, memory: Arc<Bodies>) -> Self {
        let route =
            Route::Remote(RemoteRoute { sender, max_message_bytes: hello.max_message_bytes });
        let name = &hello.querier_id;
        let id = queue.change(|state| state.connect(name, slots(hello), route));
        Self { queue, id, memory }
    }

    /// Takes a message, once there is memory for it. The reason why the conversation is over, if it is.
    async fn take(&self, message: WorkerMessage) -> Option<&'static str> {
        match message.message {
            Some(FromWorker::Answer(answer)) => return self.take_answer(answer).await,
            Some(FromWorker::Leaving(_)) => {
                return self.queue.change(|state| state.leave(self.id)).then_some(LEFT);
            }
            Some(FromWorker::Hello(hello)) => {
                self.queue.change(|state| state.resize(self.id, slots(&hello)));
            }
            Some(FromWorker::Pong(_)) | None => {}
        }
        None
    }

    async fn take_answer(&self, answer: Bytes) -> Option<&'static str> {
        let Ok(JobAnswerHead { id }) = JobAnswerHead::decode(answer.clone()) else {
            return Some(DAMAGED);
        };
        if !self.queue.change(|state| state.is_running(self.id, id)) {
            return None;
        }
        let result = self.decoded(answer).await;
        let has_left = self.queue.change(|state| {
            state.finish(self.id, id, result);
            state.has_left(self.id)
        });
        has_left.then_some(LEFT)
    }

    /// An answer, and its memory. Errors: what the querier failed with; there is no memory; it is damaged, or many times its length.
    async fn decoded(&self, answer: Bytes) -> Result<Answered, Status> {
        let (length, decoded) = (answer.len() as u64, JobAnswer::decoded_bytes(&answer));
        if decoded > JobAnswer::MOST_TIMES * length + FREE_BYTES {
            return Err(Status::internal(TOO_MANY_PARTS));
        }
        let mut memory = AnswerMemory::of(&self.memory);
        // What is decoded may have slices of the message, and keep it.
        let added = memory.add(length.saturating_add(decoded)).await;
        added.map_err(|NoRoom| Status::resource_exhausted(TOO_MANY_BYTES))?;
        let answer = JobAnswer::decode(answer)
            .map_err(|_| Status::internal("a querier sent a damaged answer"))?;
        Ok((result_of(answer)?, Some(memory)))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.queue.change(|state| state.disconnect(self.id));
    }
}

fn slots(hello: &WorkerHello) -> usize {
    (hello.slots as usize).min(MAX_SLOTS)
}

/// The failure that a worker reports, as a status.
fn result_of(answer: JobAnswer) -> Result<JobAnswer, Status> {
    match answer.result {
        Some(job_answer::Result::Failure(JobFailure { code, message })) => {
            let code = match Code::from_i32(code) {
                Code::Ok => Code::Internal,
                code => code,
            };
            Err(Status::new(code, error_text::cut(message)))
        }
        Some(_) => Ok(answer),
        None => Err(Status::unimplemented(
            "a querier sent an answer of a kind that this query-frontend does not know",
        )),
    }
}
