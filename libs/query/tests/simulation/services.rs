//! What queriers run in a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
    HoldingsRequest, HoldingsResponse, MetricsInBlockRequest, MetricsRequest, MetricsResponse,
    PushRequest, PushResponse, SearchBlockRequest, SearchRequest, SearchResponse,
    SelectBlocksRequest, SelectBlocksResponse, SpansInBlocksRequest, SpansInBlocksResponse,
    TagValuesInBlockRequest, TagValuesRequest, TagValuesResponse, TagsInBlockRequest, TagsRequest,
    TagsResponse,
};
use tokio::time::sleep;
use tonic::{Request, Response, Status};

/// A job that takes its time and never fails.
pub(crate) const SLOW: &[u8] = b"slow";
pub(crate) const SLOW_TIME: Duration = Duration::from_secs(5);

/// A job that ends only when it is dropped.
pub(crate) const HANG: &[u8] = b"hang";

/// SplitMix64.
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut value = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The right answer.
pub(crate) fn answer_to(id: &[u8]) -> Bytes {
    id.iter().rev().copied().collect()
}

#[derive(Clone)]
pub(crate) struct Services {
    random: Arc<Random>,
    running: Arc<AtomicUsize>,
}

struct Running<'r>(&'r AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Services {
    pub(crate) fn new(seed: u64, running: Arc<AtomicUsize>) -> Self {
        Self { random: Arc::new(Random::new(seed)), running }
    }
}

fn refused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in a simulation"))
}

#[tonic::async_trait]
impl Ingester for Services {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        refused()
    }

    async fn find_trace(
        &self,
        request: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        let id = request.into_inner().trace_id;
        if id == SLOW {
            sleep(SLOW_TIME).await;
        } else if id == HANG {
            std::future::pending::<()>().await;
        } else {
            sleep(Duration::from_millis(self.random.below(100))).await;
            match self.random.below(50) {
                0 => return Err(Status::unavailable("by chance")),
                1 => return Err(Status::internal("by chance")),
                _ => {}
            }
        }
        Ok(Response::new(FindTraceResponse { trace: answer_to(&id), ..Default::default() }))
    }

    async fn search(&self, _: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        refused()
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        refused()
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        refused()
    }

    async fn metrics(
        &self,
        _: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        refused()
    }

    async fn holdings(
        &self,
        _: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        refused()
    }
}

#[tonic::async_trait]
impl Querier for Services {
    async fn find_trace_in_blocks(
        &self,
        _: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        refused()
    }

    async fn select_blocks(
        &self,
        _: Request<SelectBlocksRequest>,
    ) -> Result<Response<SelectBlocksResponse>, Status> {
        refused()
    }

    async fn search_block(
        &self,
        _: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        refused()
    }

    async fn tags_in_block(
        &self,
        _: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        refused()
    }

    async fn tag_values_in_block(
        &self,
        _: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        refused()
    }

    async fn spans_in_blocks(
        &self,
        _: Request<SpansInBlocksRequest>,
    ) -> Result<Response<SpansInBlocksResponse>, Status> {
        refused()
    }

    async fn metrics_in_block(
        &self,
        _: Request<MetricsInBlockRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        refused()
    }
}
