//! The kinds of jobs: each call of the two services as a message of the queue, and back.

use std::sync::Arc;

use tactus_cache::answer::ANSWER_SCOPE;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
    HoldingsRequest, HoldingsResponse, JobAnswer, MetricsInBlockRequest, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, SearchBlockRequest, SearchRequest, SearchResponse,
    SpansInBlocksRequest, SpansInBlocksResponse, TagValuesInBlockRequest, TagValuesRequest,
    TagValuesResponse, TagsInBlockRequest, TagsRequest, TagsResponse,
};
use tactus_rpc::QueryContext;
use tonic::{Request, Response, Status};

use super::JobQueue;

/// The services of this process.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) querier: Arc<dyn Querier>,
    pub(super) ingester: Arc<dyn Ingester>,
}

/// Defines for each kind how the call becomes a job, and how a job is run by the services of this process.
macro_rules! kinds {
    ($($service:ident {
        $($kind:ident: $method:ident($request:ty) -> $answer:ty, tenant $tenant:expr;)*
    })*) => {
        /// The tenant of a job.
        pub(super) fn tenant(request: &JobRequest) -> &str {
            match request {
                $($(JobRequest::$kind(request) => {
                    let tenant: fn(&$request) -> &str = $tenant;
                    tenant(request)
                })*)*
            }
        }

        /// What a job is, for people.
        pub(super) fn name(request: &JobRequest) -> &'static str {
            match request {
                $($(JobRequest::$kind(_) => stringify!($method),)*)*
            }
        }

        /// Runs a job on the services of this process.
        pub(super) async fn run(
            services: Services,
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

        $($(impl Kind for $request {
            type Answer = $answer;

            fn job(self) -> JobRequest {
                JobRequest::$kind(self)
            }

            fn answer(result: JobResult) -> Option<$answer> {
                match result {
                    JobResult::$kind(answer) => Some(answer),
                    _ => None,
                }
            }
        })*)*
    };
}

/// A request that can be queued.
trait Kind {
    type Answer;

    fn job(self) -> JobRequest;

    /// `None` for the answer to something else.
    fn answer(result: JobResult) -> Option<Self::Answer>;
}

kinds! {
    querier {
        FindTraceInBlocks: find_trace_in_blocks(FindTraceInBlocksRequest) -> FindTraceInBlocksResponse,
            tenant |job| job.find.as_ref().map_or("", |find| &find.tenant);
        SearchBlock: search_block(SearchBlockRequest) -> SearchResponse,
            tenant |job| job.search.as_ref().map_or("", |search| &search.tenant);
        TagsInBlock: tags_in_block(TagsInBlockRequest) -> TagsResponse,
            tenant |job| job.tags.as_ref().map_or("", |tags| &tags.tenant);
        TagValuesInBlock: tag_values_in_block(TagValuesInBlockRequest) -> TagValuesResponse,
            tenant |job| job.values.as_ref().map_or("", |values| &values.tenant);
        MetricsInBlock: metrics_in_block(MetricsInBlockRequest) -> MetricsResponse,
            tenant |job| job.metrics.as_ref().map_or("", |metrics| &metrics.tenant);
        SpansInBlocks: spans_in_blocks(SpansInBlocksRequest) -> SpansInBlocksResponse, tenant |job| &job.tenant;
    }
    ingester {
        FindRecentTrace: find_trace(FindTraceRequest) -> FindTraceResponse, tenant |job| &job.tenant;
        SearchRecent: search(SearchRequest) -> SearchResponse, tenant |job| &job.tenant;
        RecentTags: tags(TagsRequest) -> TagsResponse, tenant |job| &job.tenant;
        RecentTagValues: tag_values(TagValuesRequest) -> TagValuesResponse, tenant |job| &job.tenant;
        RecentMetrics: metrics(MetricsRequest) -> MetricsResponse, tenant |job| &job.tenant;
        Holdings: holdings(HoldingsRequest) -> HoldingsResponse, tenant |job| &job.tenant;
    }
}

fn answer<T>(response: Response<T>, result: fn(T) -> JobResult) -> JobAnswer {
    let scope = response.metadata().get(ANSWER_SCOPE).and_then(|scope| scope.to_str().ok());
    let scope = scope.unwrap_or_default().to_owned();
    JobAnswer { id: 0, scope, result: Some(result(response.into_inner())) }
}

impl JobQueue {
    async fn call<K: Kind>(&self, request: Request<K>) -> Result<Response<K::Answer>, Status> {
        let JobAnswer { scope, result, .. } = self.run(request.into_inner().job()).await?;
        let answer = result.and_then(K::answer);
        let answer = answer.ok_or_else(|| Status::internal("a querier answered another job"))?;
        let mut response = Response::new(answer);
        if !scope.is_empty()
            && let Ok(scope) = scope.parse()
        {
            response.metadata_mut().insert(ANSWER_SCOPE, scope);
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl Querier for JobQueue {
    async fn find_trace_in_blocks(
        &self,
        request: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        self.call(request).await
    }
    async fn search_block(
        &self,
        request: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        self.call(request).await
    }
    async fn tags_in_block(
        &self,
        request: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        self.call(request).await
    }
    async fn tag_values_in_block(
        &self,
        request: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        self.call(request).await
    }
    async fn metrics_in_block(
        &self,
        request: Request<MetricsInBlockRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        self.call(request).await
    }
    async fn spans_in_blocks(
        &self,
        request: Request<SpansInBlocksRequest>,
    ) -> Result<Response<SpansInBlocksResponse>, Status> {
        self.call(request).await
    }
}

#[tonic::async_trait]
impl Ingester for JobQueue {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(Status::unimplemented("a queue of queries takes no spans"))
    }
    async fn find_trace(
        &self,
        request: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        self.call(request).await
    }
    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        self.call(request).await
    }
    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        self.call(request).await
    }
    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        self.call(request).await
    }
    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        self.call(request).await
    }
    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        self.call(request).await
    }
}
