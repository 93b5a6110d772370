//! The kinds of jobs, and who runs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use prost::Message as _;
use tactus_cache::answer::ANSWER_SCOPE;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{Job, JobAnswer, JobFailure};
use tactus_rpc::QueryContext;
use tactus_telemetry::request_span;
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument;

/// What runs the jobs of frontends.
#[derive(Clone)]
pub struct Jobs {
    /// On blocks.
    pub querier: Arc<dyn Querier>,
    /// On recent data.
    pub recent: Arc<dyn Ingester>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// Runs a job, until its time is over or the sender of `cancelled` is dropped. An answer of more than `max_bytes`
    /// becomes a failure.
    pub(super) async fn answer(
        self,
        job: Job,
        cancelled: oneshot::Receiver<()>,
        max_bytes: usize,
    ) -> JobAnswer {
        let id = job.id;
        let span = request_span!("job", Some(job.traceparent.as_str()));
        let result = tokio::select! {
            biased;
            result = self.run_in_time(job).instrument(span.clone()) => result,
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

    async fn run_in_time(self, job: Job) -> Result<JobAnswer, Status> {
        let unknown = || Status::unimplemented("a job of a kind that this querier does not know");
        let request = job.request.ok_or_else(unknown)?;
        let mut context = QueryContext {
            query: job.query,
            deadline: None,
            max_cpu_time: Duration::from_millis(job.max_cpu_ms),
        };
        if job.timeout_ms == 0 {
            return self.run(request, context).await;
        }
        let time = Duration::from_millis(job.timeout_ms);
        context.deadline = Instant::now().checked_add(time);
        let late = |_| Status::deadline_exceeded("context deadline exceeded");
        tokio::time::timeout(time, self.run(request, context)).await.map_err(late)?
    }

    async fn run(self, request: JobRequest, context: QueryContext) -> Result<JobAnswer, Status> {
        let Self { querier, recent } = self;
        macro_rules! run {
            ($service:ident.$method:ident($request:expr), $kind:ident) => {{
                let mut request = Request::new($request);
                context.write(request.metadata_mut());
                Ok(answer($service.$method(request).await?, JobResult::$kind))
            }};
        }
        match request {
            JobRequest::FindTraceInBlocks(job) => {
                run!(querier.find_trace_in_blocks(job), FindTraceInBlocks)
            }
            JobRequest::SearchBlock(job) => run!(querier.search_block(job), SearchBlock),
            JobRequest::TagsInBlock(job) => run!(querier.tags_in_block(job), TagsInBlock),
            JobRequest::TagValuesInBlock(job) => {
                run!(querier.tag_values_in_block(job), TagValuesInBlock)
            }
            JobRequest::MetricsInBlock(job) => run!(querier.metrics_in_block(job), MetricsInBlock),
            JobRequest::SpansInBlocks(job) => run!(querier.spans_in_blocks(job), SpansInBlocks),
            JobRequest::FindRecentTrace(job) => run!(recent.find_trace(job), FindRecentTrace),
            JobRequest::SearchRecent(job) => run!(recent.search(job), SearchRecent),
            JobRequest::RecentTags(job) => run!(recent.tags(job), RecentTags),
            JobRequest::RecentTagValues(job) => run!(recent.tag_values(job), RecentTagValues),
            JobRequest::RecentMetrics(job) => run!(recent.metrics(job), RecentMetrics),
            JobRequest::Holdings(job) => run!(recent.holdings(job), Holdings),
        }
    }
}

/// The route under which a job is counted: that of the request which Tempo's frontend sends a querier.
pub(super) fn route(job: &Job) -> &'static str {
    match job.request {
        Some(JobRequest::FindTraceInBlocks(_) | JobRequest::FindRecentTrace(_)) => {
            "querier_api_traces_traceid"
        }
        Some(JobRequest::SearchBlock(_) | JobRequest::SearchRecent(_)) => "querier_api_search",
        Some(JobRequest::TagsInBlock(_) | JobRequest::RecentTags(_)) => {
            "querier_api_v2_search_tags"
        }
        Some(JobRequest::TagValuesInBlock(_) | JobRequest::RecentTagValues(_)) => {
            "querier_api_v2_search_tag_tagname_values"
        }
        Some(
            JobRequest::MetricsInBlock(_)
            | JobRequest::RecentMetrics(_)
            | JobRequest::SpansInBlocks(_),
        ) => "querier_api_metrics_query_range",
        Some(JobRequest::Holdings(_)) | None => "querier_other",
    }
}

/// The status under which an answer is counted.
pub(super) fn status(answer: &JobAnswer) -> StatusCode {
    let Some(JobResult::Failure(failure)) = &answer.result else { return StatusCode::OK };
    match Code::from_i32(failure.code) {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::ResourceExhausted => StatusCode::UNPROCESSABLE_ENTITY,
        // nginx's number for a client that left, as on the ports.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn answer<T>(response: Response<T>, result: fn(T) -> JobResult) -> JobAnswer {
    let scope = response.metadata().get(ANSWER_SCOPE).and_then(|scope| scope.to_str().ok());
    let scope = scope.unwrap_or_default().to_owned();
    JobAnswer { id: 0, scope, result: Some(result(response.into_inner())) }
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
