//! An ingester and a querier that answer what a test puts into them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
    PushRequest, PushResponse, SearchBlockRequest, SearchRequest, TagValuesInBlockRequest,
    TagValuesRequest, TagValuesResponse, TagsInBlockRequest, TagsRequest, TagsResponse,
};
use tactus_proto::tempopb::{SearchMetrics, SearchResponse, TraceSearchMetadata};
use tonic::{Request, Response, Status};

type Effect = Box<dyn Fn() + Send + Sync>;

/// Calls that may be made to hang.
#[derive(Default)]
pub(super) struct Calls {
    hang: AtomicBool,
    running: AtomicUsize,
}

/// A call on its way.
struct Running<'c>(&'c AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Calls {
    /// From now on calls hang until they are dropped, or do not.
    pub(super) fn hang(&self, hang: bool) {
        self.hang.store(hang, Ordering::Relaxed);
    }

    /// Calls that were neither answered nor dropped.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    async fn pass(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        if self.hang.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

#[derive(Default)]
pub(super) struct RecentData {
    pub(super) trace: Mutex<Bytes>,
    pub(super) traces: Mutex<Vec<TraceSearchMetadata>>,
    pub(super) tags: Mutex<TagsResponse>,
    pub(super) values: Mutex<TagValuesResponse>,
    /// What happens while a search or a look-up runs.
    pub(super) meanwhile: Mutex<Option<Effect>>,
    pub(super) calls: Calls,
    pub(super) searches: Mutex<Vec<SearchRequest>>,
    pub(super) tags_requests: Mutex<Vec<TagsRequest>>,
    pub(super) values_requests: Mutex<Vec<TagValuesRequest>>,
    /// Calls that fail before one succeeds.
    pub(super) failures: Mutex<Vec<Status>>,
}

impl RecentData {
    fn happen(&self) -> Result<(), Status> {
        if let Some(effect) = &*self.meanwhile.lock() {
            effect();
        }
        self.failures.lock().pop().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Ingester for RecentData {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(Status::unimplemented("push"))
    }

    async fn find_trace(
        &self,
        _: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        self.calls.pass().await;
        self.happen()?;
        let trace = self.trace.lock().clone();
        Ok(Response::new(FindTraceResponse { trace, inspected_bytes: 1 }))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        self.searches.lock().push(request.into_inner());
        self.calls.pass().await;
        self.happen()?;
        let metrics = SearchMetrics { inspected_traces: 1, ..SearchMetrics::default() };
        let traces = self.traces.lock().clone();
        Ok(Response::new(SearchResponse { traces, metrics: Some(metrics) }))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        self.tags_requests.lock().push(request.into_inner());
        Ok(Response::new(self.tags.lock().clone()))
    }

    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        self.values_requests.lock().push(request.into_inner());
        Ok(Response::new(self.values.lock().clone()))
    }
}

/// A querier of blocks that exist in the block list only.
#[derive(Default)]
pub(super) struct BlockData {
    /// The answer of each block, by its id.
    pub(super) traces: Mutex<HashMap<String, Vec<TraceSearchMetadata>>>,
    /// Ids of the blocks searched, in order.
    pub(super) searched: Mutex<Vec<String>>,
    pub(super) calls: Calls,
}

#[tonic::async_trait]
impl Querier for BlockData {
    async fn find_trace_in_blocks(
        &self,
        _: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        Err(Status::unimplemented("find_trace_in_blocks"))
    }

    async fn search_block(
        &self,
        request: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let block_id = request.into_inner().part.unwrap_or_default().block_id;
        let traces = self.traces.lock().get(&block_id).cloned().unwrap_or_default();
        self.searched.lock().push(block_id);
        self.calls.pass().await;
        Ok(Response::new(SearchResponse { traces, metrics: None }))
    }

    async fn tags_in_block(
        &self,
        _: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        Err(Status::unimplemented("tags_in_block"))
    }

    async fn tag_values_in_block(
        &self,
        _: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        Err(Status::unimplemented("tag_values_in_block"))
    }
}
