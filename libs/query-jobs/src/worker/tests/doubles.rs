//! Services whose calls end as their kind says.

use std::future::pending;

use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceResponse, HoldingsResponse,
    MetricsInBlockRequest, MetricsRequest, MetricsResponse, PushRequest, PushResponse,
    SearchBlockRequest, SearchRequest, SearchResponse, SelectBlocksRequest, SelectBlocksResponse,
    SpansInBlocksRequest, SpansInBlocksResponse, TagValuesInBlockRequest, TagValuesRequest,
    TagValuesResponse, TagsInBlockRequest, TagsResponse,
};
use tonic::{Request, Response};

use super::*;

/// A trace is found, tags take for ever, holdings panic.
#[derive(Default)]
pub(super) struct Recent {
    pub(super) trace_bytes: AtomicUsize,
    pub(super) running: AtomicUsize,
}

struct Running<'r>(&'r AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refused() -> Status {
    Status::invalid_argument("as the double says")
}

#[tonic::async_trait]
impl Ingester for Recent {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(refused())
    }

    async fn find_trace(
        &self,
        _: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        let trace = vec![0; self.trace_bytes.load(Ordering::Relaxed)].into();
        Ok(Response::new(FindTraceResponse { trace, ..Default::default() }))
    }

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        Err(refused())
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        pending().await
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        Err(refused())
    }

    async fn metrics(
        &self,
        _: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        Err(refused())
    }

    async fn holdings(
        &self,
        _: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        panic!("as the double says")
    }
}

/// Refuses everything.
pub(super) struct Blocks;

#[tonic::async_trait]
impl Querier for Blocks {
    async fn find_trace_in_blocks(
        &self,
        _: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        Err(refused())
    }

    async fn select_blocks(
        &self,
        _: Request<SelectBlocksRequest>,
    ) -> Result<Response<SelectBlocksResponse>, Status> {
        Err(refused())
    }

    async fn search_block(
        &self,
        _: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        Err(refused())
    }

    async fn tags_in_block(
        &self,
        _: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        Err(refused())
    }

    async fn tag_values_in_block(
        &self,
        _: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        Err(refused())
    }

    async fn spans_in_blocks(
        &self,
        _: Request<SpansInBlocksRequest>,
    ) -> Result<Response<SpansInBlocksResponse>, Status> {
        Err(refused())
    }

    async fn metrics_in_block(
        &self,
        _: Request<MetricsInBlockRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        Err(refused())
    }
}
