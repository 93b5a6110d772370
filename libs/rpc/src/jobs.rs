//! Jobs: calls of queriers and ingesters, in the form of messages that a query-frontend puts into its queue.

use std::sync::Arc;

use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{self as messages, JobAnswer};
use tonic::{Request, Response, Status};

use crate::query::QueryContext;

/// The metadata key under which a querier reports the scope of an answer, for caches.
pub const ANSWER_SCOPE: &str = "tactus-answer-scope";

/// What a querier puts before the scope: another release may answer differently, for example because a bug was fixed.
const RELEASE: &str = concat!(env!("CARGO_PKG_VERSION"), " ");

/// The scope of an answer that may be kept: one of a querier of this release.
pub fn scope_to_keep(answer: &JobAnswer) -> Option<&str> {
    answer.scope.strip_prefix(RELEASE)
}

/// The services that run jobs.
#[derive(Clone)]
pub struct JobServices {
    /// On blocks.
    pub querier: Arc<dyn Querier>,
    /// On recent data.
    pub ingester: Arc<dyn Ingester>,
}

tactus_telemetry::debug_of!(JobServices);

/// A request that can be a job.
pub trait JobKind {
    /// Its answer.
    type Answer;

    /// The request as a job.
    fn job(self) -> JobRequest;

    /// `None` for the answer to another kind of job.
    fn answer(result: JobResult) -> Option<Self::Answer>;
}

/// Passes the table of all kinds of jobs to a macro. For each service: its calls that are not jobs; then, for each job,
/// the call, the route under which it is counted (that of the request that Tempo's frontend sends to a querier), and
/// its tenant.
#[macro_export]
macro_rules! for_all_jobs {
    ($macro:ident) => {
        $macro! {
            querier: Querier {} {
                FindTraceInBlocks: find_trace_in_blocks(FindTraceInBlocksRequest) -> FindTraceInBlocksResponse,
                    "querier_api_traces_traceid", |job| job.find.as_ref().map_or("", |find| &find.tenant);
                SelectBlocks: select_blocks(SelectBlocksRequest) -> SelectBlocksResponse,
                    "querier_api_search", |job| job.search.as_ref().map_or("", |search| &search.tenant);
                SearchBlock: search_block(SearchBlockRequest) -> SearchResponse,
                    "querier_api_search", |job| job.search.as_ref().map_or("", |search| &search.tenant);
                TagsInBlock: tags_in_block(TagsInBlockRequest) -> TagsResponse,
                    "querier_api_v2_search_tags", |job| job.tags.as_ref().map_or("", |tags| &tags.tenant);
                TagValuesInBlock: tag_values_in_block(TagValuesInBlockRequest) -> TagValuesResponse,
                    "querier_api_v2_search_tag_tagname_values", |job| job.values.as_ref().map_or("", |values| &values.tenant);
                MetricsInBlock: metrics_in_block(MetricsInBlockRequest) -> MetricsResponse,
                    "querier_api_metrics_query_range", |job| job.metrics.as_ref().map_or("", |metrics| &metrics.tenant);
                SpansInBlocks: spans_in_blocks(SpansInBlocksRequest) -> SpansInBlocksResponse,
                    "querier_api_metrics_query_range", |job| &job.tenant;
            }
            ingester: Ingester { push(PushRequest) -> PushResponse } {
                FindRecentTrace: find_trace(FindTraceRequest) -> FindTraceResponse,
                    "querier_api_traces_traceid", |job| &job.tenant;
                SearchRecent: search(SearchRequest) -> SearchResponse, "querier_api_search", |job| &job.tenant;
                RecentTags: tags(TagsRequest) -> TagsResponse, "querier_api_v2_search_tags", |job| &job.tenant;
                RecentTagValues: tag_values(TagValuesRequest) -> TagValuesResponse,
                    "querier_api_v2_search_tag_tagname_values", |job| &job.tenant;
                RecentMetrics: metrics(MetricsRequest) -> MetricsResponse, "querier_api_metrics_query_range", |job| &job.tenant;
                Holdings: holdings(HoldingsRequest) -> HoldingsResponse, "querier_other", |job| &job.tenant;
            }
        }
    };
}

macro_rules! jobs {
    ($($service:ident: $trait:ident { $($other:tt)* } {
        $($kind:ident: $method:ident($request:ident) -> $answer:ident, $route:literal, $tenant:expr;)*
    })*) => {
        /// The tenant of a job.
        pub fn tenant(request: &JobRequest) -> &str {
            match request {
                $($(JobRequest::$kind(request) => {
                    let tenant: fn(&messages::$request) -> &str = $tenant;
                    tenant(request)
                })*)*
            }
        }

        /// The name of a job, for people.
        pub fn name(request: &JobRequest) -> &'static str {
            match request {
                $($(JobRequest::$kind(_) => stringify!($method),)*)*
            }
        }

        /// The route under which a job is counted.
        pub fn route(request: &JobRequest) -> &'static str {
            match request {
                $($(JobRequest::$kind(_) => $route,)*)*
            }
        }

        /// Whether an answer is of the kind of a job.
        pub fn is_answer(request: &JobRequest, answer: &JobAnswer) -> bool {
            match (request, &answer.result) {
                $($((JobRequest::$kind(_), Some(JobResult::$kind(_))) => true,)*)*
                _ => false,
            }
        }

        /// Runs a job.
        pub async fn run(
            services: JobServices,
            request: JobRequest,
            context: QueryContext,
        ) -> Result<JobAnswer, Status> {
            match request {
                $($(JobRequest::$kind(request) => {
                    let mut request = Request::new(request);
                    context.write(request.metadata_mut());
                    let response = services.$service.$method(request).await?;
                    Ok(answer(response, JobResult::$kind))
                })*)*
            }
        }

        $($(impl JobKind for messages::$request {
            type Answer = messages::$answer;

            fn job(self) -> JobRequest {
                JobRequest::$kind(self)
            }

            fn answer(result: JobResult) -> Option<messages::$answer> {
                match result {
                    JobResult::$kind(answer) => Some(answer),
                    _ => None,
                }
            }
        })*)*
    };
}

for_all_jobs!(jobs);

fn answer<T>(response: Response<T>, result: fn(T) -> JobResult) -> JobAnswer {
    let scope = response.metadata().get(ANSWER_SCOPE).and_then(|scope| scope.to_str().ok());
    let scope = scope.map_or_else(String::new, |scope| format!("{RELEASE}{scope}"));
    JobAnswer { id: 0, scope, result: Some(result(response.into_inner())) }
}
