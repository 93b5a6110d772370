//! Several ingesters as the service of one, without a network between.

use std::sync::Arc;

use tactus_proto::tactus::v1::ingester_server::Ingester as Protocol;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, SearchRequest, SearchResponse, TagValuesRequest,
    TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_recent_data::Ingester;
use tonic::{Request, Response, Status};

/// Answers for metrics only.
pub(crate) struct All(pub(crate) Vec<Arc<Ingester>>);

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not asked here"))
}

#[tonic::async_trait]
impl Protocol for All {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        unused()
    }

    async fn find_trace(
        &self,
        _: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        unused()
    }

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        unused()
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        unused()
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        unused()
    }

    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let request = request.into_inner();
        let mut sum = MetricsResponse { shared_first_nanos: u64::MAX, ..Default::default() };
        for ingester in &self.0 {
            let answer = ingester.metrics(Request::new(request.clone())).await?.into_inner();
            sum.series.extend(answer.series);
            if !answer.shared_traces.is_empty() {
                sum.shared_first_nanos = sum.shared_first_nanos.min(answer.shared_first_nanos);
                sum.shared_last_nanos = sum.shared_last_nanos.max(answer.shared_last_nanos);
                sum.shared_traces.extend(answer.shared_traces);
            }
        }
        Ok(Response::new(sum))
    }

    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        let (request, mut all) = (request.into_inner(), HoldingsResponse::default());
        for ingester in &self.0 {
            let answer = ingester.holdings(Request::new(request.clone())).await?.into_inner();
            all.holders.extend(answer.holders);
        }
        Ok(Response::new(all))
    }
}
