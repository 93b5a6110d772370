//! How a worker is given jobs: by calls in this process, or by messages to a querier of another one.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::{CancelJob, FrontendMessage, Job};
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::JobServices;
use tactus_server::bodies::Bodies;
use tactus_telemetry::self_tracing::traceparent;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tonic::Status;
use tracing::Span;

use super::turns::JobId;

/// Bytes of a message around a job or an answer.
const ENVELOPE_BYTES: u64 = 64;

/// Number of a worker: a stream, or the one in this process.
pub(super) type WorkerId = u64;

/// The messages that wait until a querier reads them.
pub(super) type Sender = mpsc::Sender<Result<FrontendMessage, Status>>;

/// Queues a message for a querier. It never waits, because the queue of jobs is locked meanwhile.
///
/// Errors: the querier does not read its messages, or its stream has ended.
pub(super) fn send(sender: &Sender, message: ToWorker) -> Result<(), Status> {
    sender.try_send(Ok(FrontendMessage { message: Some(message) })).map_err(|error| match error {
        TrySendError::Full(_) => Status::unavailable("a querier does not read its messages"),
        TrySendError::Closed(_) => Status::unavailable("the stream of a querier has ended"),
    })
}

/// How a worker is given jobs.
pub(super) enum Route {
    /// By calls; with memory for their answers until whoever asked has them.
    Local(JobServices, Arc<Bodies>),
    /// By messages.
    Remote(RemoteRoute),
}

/// Sends jobs over a stream.
pub(super) struct RemoteRoute {
    pub(super) sender: Sender,
    pub(super) max_message_bytes: u64,
}

impl RemoteRoute {
    /// Sends a job that must be answered within `time`.
    ///
    /// Errors: the job is larger than the querier accepts, or it cannot be sent.
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
        send(&self.sender, ToWorker::Job(job))
    }

    /// Tells the querier that nobody waits for the job any more.
    pub(super) fn cancel(&self, id: JobId) {
        // If this fails, the stream ends soon, and the querier drops its jobs.
        let _ = send(&self.sender, ToWorker::Cancel(CancelJob { id }));
    }
}
