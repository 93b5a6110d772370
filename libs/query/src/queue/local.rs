//! The worker in this process: a job is a direct call, and nothing is serialised.

use std::sync::{Arc, Weak};

use prost::Message as _;
use tactus_proto::tactus::v1::JobAnswer;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::{self, JobServices};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::memory::TOO_MANY_BYTES;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;
use tracing::{Instrument, Span};

use super::Shared;
use super::route::WorkerId;
use super::state::Answered;
use super::turns::JobId;
use crate::progress::{TEXT_TIMES, series_bytes};

/// A job to be run in this process.
pub(super) struct LocalJob {
    pub(super) worker: WorkerId,
    pub(super) id: JobId,
    pub(super) services: JobServices,
    pub(super) memory: Arc<Bodies>,
    pub(super) request: Arc<JobRequest>,
    pub(super) context: QueryContext,
    /// Ends when nobody waits for the job any more.
    pub(super) cancelled: oneshot::Receiver<()>,
    /// For self-tracing.
    pub(super) span: Span,
}

impl LocalJob {
    /// Starts a task: the job goes on, and frees its slot, whether or not whoever waits for it is polled.
    ///
    /// Not to be called with the queue locked: a runtime that stops drops the task at once.
    pub(super) fn start(self, queue: &Arc<Shared>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Self { worker, id, services, memory, request, context, cancelled, span } = self;
        let running = Running { queue: Arc::downgrade(queue), worker, id, result: None };
        let task = async move {
            let request = Arc::unwrap_or_clone(request);
            let run =
                async { counted(jobs::run(services, request, context).await?, &memory).await };
            let result = tokio::select! {
                biased;
                result = run => result,
                _ = cancelled => Err(Status::cancelled("nobody waits for the job")),
            };
            running.end(result);
        };
        runtime.spawn(task.instrument(span));
    }
}

/// An answer with memory until the caller has it: several may wait for that, and the job counts its memory no more.
async fn counted(answer: JobAnswer, memory: &Arc<Bodies>) -> Result<Answered, Status> {
    let mut taken = AnswerMemory::of(memory);
    match taken.add(heap_bytes(&answer) as u64).await {
        Ok(()) => Ok((answer, Some(taken))),
        Err(NoRoom) => Err(Status::resource_exhausted(TOO_MANY_BYTES)),
    }
}

/// About what an answer takes. Those with traces are counted as they are read; names and values are few.
fn heap_bytes(answer: &JobAnswer) -> usize {
    match &answer.result {
        Some(JobResult::SearchBlock(found) | JobResult::SearchRecent(found)) => {
            found.encoded_len() * TEXT_TIMES
        }
        Some(JobResult::MetricsInBlock(found) | JobResult::RecentMetrics(found)) => {
            series_bytes(&found.series)
        }
        _ => 0,
    }
}

/// Reports the end of a job, however it ends.
struct Running {
    queue: Weak<Shared>,
    worker: WorkerId,
    id: JobId,
    result: Option<Result<Answered, Status>>,
}

impl Running {
    fn end(mut self, result: Result<Answered, Status>) {
        self.result = Some(result);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(queue) = self.queue.upgrade() else { return };
        let panicked = || Err(Status::internal("job panicked"));
        // Otherwise the runtime is stopping, and no other job can be started.
        let result = self.result.take().or_else(|| std::thread::panicking().then(panicked));
        if let Some(result) = result {
            queue.change(|state| state.finish(self.worker, self.id, result));
        }
    }
}
