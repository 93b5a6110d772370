//! Queriers of other processes: each opens a stream, is sent jobs and answers them.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::frontend_server::Frontend;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::worker_message::Message as FromWorker;
use tactus_proto::tactus::v1::{
    CancelJob, FrontendHello, FrontendMessage, Job, Ping, WorkerHello, WorkerMessage,
};
use tactus_rpc::QueryContext;
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_telemetry::self_tracing::traceparent;
use tactus_work::memory::TOO_MANY_BYTES;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;

use super::Shared;
use super::state::{Route, WorkerId, result_of};
use super::turns::JobId;

/// Version of the protocol.
const VERSION: u32 = 1;

/// How often a querier is sent a sign of life.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A querier that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);

/// A querier that says it has more slots is not believed: each may hold an answer in memory.
const MAX_SLOTS: usize = 10_000;

/// Bytes of a message around a job or an answer.
const ENVELOPE_BYTES: u64 = 64;

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
        // Bounded by what is in it: for each slot a job and its cancellation, and pings while they are read.
        let (sender, receiver) = mpsc::unbounded_channel();
        let hello =
            FrontendHello { version: VERSION, max_message_bytes: self.max_message_bytes as u64 };
        send(&sender, ToWorker::Hello(hello));
        let memory = Arc::clone(&self.memory);
        tokio::spawn(attend(queue, request.into_inner(), sender, memory));
        let messages = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|message| (message, receiver))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

type Sender = mpsc::UnboundedSender<Result<FrontendMessage, Status>>;

fn send(sender: &Sender, message: ToWorker) {
    // A stream that is gone is noticed where it is read.
    let _ = sender.send(Ok(FrontendMessage { message: Some(message) }));
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
        let _ = sender.send(Err(Status::invalid_argument("the first message is not a hello")));
        return;
    };
    let name = hello.querier_id.clone();
    tracing::info!(querier = name, slots = hello.slots, "querier connected");
    let worker = Connected::new(Arc::clone(&queue), &hello, sender.clone(), memory);
    let why = converse(&queue, &worker, &mut messages, &sender).await;
    tracing::info!(querier = name, why, "querier disconnected");
}

/// Why it ended.
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
                send(sender, ToWorker::Ping(Ping {}));
            }
            message = messages.next() => {
                let Some(Ok(message)) = message else { return "its stream ended" };
                heard_at = Instant::now();
                if worker.take(message).await {
                    return "it left";
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

    /// Takes a message, once there is memory for it. True if the querier has left.
    async fn take(&self, message: WorkerMessage) -> bool {
        match message.message {
            Some(FromWorker::Answer(answer)) => {
                let id = answer.id;
                let mut memory = AnswerMemory::of(&self.memory);
                let result = match memory.add(answer.encoded_len() as u64).await {
                    Ok(()) => result_of(answer).map(|answer| (answer, Some(memory))),
                    Err(NoRoom) => Err(Status::resource_exhausted(TOO_MANY_BYTES)),
                };
                self.queue.change(|state| {
                    state.finish(self.id, id, result);
                    state.has_left(self.id)
                })
            }
            Some(FromWorker::Leaving(_)) => self.queue.change(|state| state.leave(self.id)),
            Some(FromWorker::Hello(hello)) => {
                self.queue.change(|state| state.resize(self.id, slots(&hello)));
                false
            }
            Some(FromWorker::Pong(_)) | None => false,
        }
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

/// Sends jobs over a stream.
pub(super) struct RemoteRoute {
    sender: Sender,
    max_message_bytes: u64,
}

impl RemoteRoute {
    /// Sends a job, which has this much time. Errors: it is too large.
    pub(super) fn start(
        &self,
        id: JobId,
        request: &JobRequest,
        time: Option<Duration>,
        context: QueryContext,
        span: &Span,
    ) -> Result<(), Status> {
        // 0 would be no limit.
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let job = Job {
            id,
            timeout_ms: time.map_or(0, millis),
            traceparent: span.in_scope(traceparent).unwrap_or_default(),
            query: context.query,
            max_cpu_ms: u64::try_from(context.max_cpu_time.as_millis()).unwrap_or(u64::MAX),
            request: Some(request.clone()),
        };
        let bytes = job.encoded_len() as u64 + ENVELOPE_BYTES;
        if self.max_message_bytes > 0 && bytes > self.max_message_bytes {
            // It would break the stream, and that of the next querier.
            return Err(Status::resource_exhausted(format!(
                "a job of the query takes {bytes} bytes, more than queriers receive (limit: querier.frontend_worker.grpc_client_config.max_recv_msg_size)"
            )));
        }
        send(&self.sender, ToWorker::Job(job));
        Ok(())
    }

    /// Tells the querier that nobody waits for the job any more.
    pub(super) fn cancel(&self, id: JobId) {
        send(&self.sender, ToWorker::Cancel(CancelJob { id }));
    }
}
