//! How a worker is given jobs.

use std::time::Duration;

use prost::Message as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::{CancelJob, FrontendMessage, Job};
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::JobServices;
use tactus_telemetry::self_tracing::traceparent;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::Span;

use super::turns::JobId;

/// Bytes of a message around a job or an answer.
const ENVELOPE_BYTES: u64 = 64;

/// Number of a worker: a stream, or the one in this process.
pub(super) type WorkerId = u64;

/// To a querier.
pub(super) type Sender = mpsc::UnboundedSender<Result<FrontendMessage, Status>>;

/// Sends a message to a querier.
pub(super) fn send(sender: &Sender, message: ToWorker) {
    // A stream that is gone is noticed where it is read.
    let _ = sender.send(Ok(FrontendMessage { message: Some(message) }));
}

/// How a worker is given jobs.
pub(super) enum Route {
    /// By calls.
    Local(JobServices),
    /// By messages.
    Remote(RemoteRoute),
}

/// Sends jobs over a stream.
pub(super) struct RemoteRoute {
    pub(super) sender: Sender,
    pub(super) max_message_bytes: u64,
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
