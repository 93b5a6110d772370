//! Runs jobs for frontends.

use std::time::{Duration, Instant};

use http::StatusCode;
use prost::Message as _;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::{Job, JobAnswer, JobFailure};
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::{self, JobServices};
use tactus_telemetry::request_span;
use tokio::sync::oneshot;
use tonic::{Code, Status};
use tracing::Instrument;

/// Runs a job, until its time is over or the sender of `cancelled` is dropped. An answer of more than `max_bytes`
/// becomes a failure.
pub(super) async fn answer(
    services: JobServices,
    job: Job,
    cancelled: oneshot::Receiver<()>,
    max_bytes: usize,
) -> JobAnswer {
    let id = job.id;
    let span = request_span!("job", Some(job.traceparent.as_str()));
    let result = tokio::select! {
        biased;
        result = run_in_time(services, job).instrument(span.clone()) => result,
        _ = cancelled => Err(Status::cancelled("nobody waits for the job")),
    };
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    match result {
        Ok(answer) => within(JobAnswer { id, ..answer }, max_bytes),
        Err(status) => failure(id, &status),
    }
}

async fn run_in_time(services: JobServices, job: Job) -> Result<JobAnswer, Status> {
    let unknown = || Status::unimplemented("a job of a kind that this querier does not know");
    let request = job.request.ok_or_else(unknown)?;
    let mut context = QueryContext {
        query: job.query,
        deadline: None,
        max_cpu_time: Duration::from_millis(job.max_cpu_ms),
    };
    if job.timeout_ms == 0 {
        return jobs::run(services, request, context).await;
    }
    let time = Duration::from_millis(job.timeout_ms);
    context.deadline = Instant::now().checked_add(time);
    let late = |_| Status::deadline_exceeded("context deadline exceeded");
    tokio::time::timeout(time, jobs::run(services, request, context)).await.map_err(late)?
}

/// The route under which a job is counted.
pub(super) fn route(job: &Job) -> &'static str {
    job.request.as_ref().map_or("querier_other", jobs::route)
}

/// The status under which an answer is counted.
pub(super) fn status(answer: &JobAnswer) -> StatusCode {
    let Some(JobResult::Failure(failure)) = &answer.result else { return StatusCode::OK };
    match Code::from_i32(failure.code) {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::UNPROCESSABLE_ENTITY,
        // nginx's status for a client that left, which the ports use as well.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a job that failed.
pub(super) fn failure(id: u64, status: &Status) -> JobAnswer {
    let failure = JobFailure { code: status.code() as i32, message: status.message().to_owned() };
    JobAnswer { id, scope: String::new(), result: Some(JobResult::Failure(failure)) }
}

fn within(answer: JobAnswer, max_bytes: usize) -> JobAnswer {
    let bytes = answer.encoded_len();
    if bytes <= max_bytes {
        return answer;
    }
    let text = format!(
        "the answer of a job takes {bytes} bytes, more than {max_bytes} (limits: querier.frontend_worker.grpc_client_config.max_send_msg_size, server.grpc_server_max_recv_msg_size of the query-frontend)"
    );
    failure(answer.id, &Status::resource_exhausted(text))
}
