//! The worker in this process: a job is a direct call, and nothing is serialised.

use std::sync::{Arc, Weak};

use tactus_proto::tactus::v1::JobAnswer;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::{self, JobServices};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;
use tracing::{Instrument, Span};

use super::Shared;
use super::route::WorkerId;
use super::turns::JobId;

/// A job to be run in this process.
pub(super) struct LocalJob {
    pub(super) worker: WorkerId,
    pub(super) id: JobId,
    pub(super) services: JobServices,
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
        let Self { worker, id, services, request, context, cancelled, span } = self;
        let running = Running { queue: Arc::downgrade(queue), worker, id, result: None };
        let task = async move {
            let request = Arc::unwrap_or_clone(request);
            let result = tokio::select! {
                biased;
                result = jobs::run(services, request, context) => result,
                _ = cancelled => Err(Status::cancelled("nobody waits for the job")),
            };
            running.end(result);
        };
        runtime.spawn(task.instrument(span));
    }
}

/// Reports the end of a job, however it ends.
struct Running {
    queue: Weak<Shared>,
    worker: WorkerId,
    id: JobId,
    result: Option<Result<JobAnswer, Status>>,
}

impl Running {
    fn end(mut self, result: Result<JobAnswer, Status>) {
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
            let result = result.map(|answer| (answer, None));
            queue.change(|state| state.finish(self.worker, self.id, result));
        }
    }
}
