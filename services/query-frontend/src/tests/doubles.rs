//! An ingester that answers what a test puts into it.

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, PushRequest, PushResponse, SearchRequest,
    TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_proto::tempopb::{SearchMetrics, SearchResponse, TraceSearchMetadata};
use tonic::{Request, Response, Status};

type Effect = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(super) struct RecentData {
    pub(super) trace: Mutex<Bytes>,
    pub(super) traces: Mutex<Vec<TraceSearchMetadata>>,
    pub(super) tags: Mutex<TagsResponse>,
    pub(super) values: Mutex<TagValuesResponse>,
    /// What happens while a search or a look-up runs.
    pub(super) meanwhile: Mutex<Option<Effect>>,
    pub(super) searches: Mutex<Vec<SearchRequest>>,
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
        self.happen()?;
        let trace = self.trace.lock().clone();
        Ok(Response::new(FindTraceResponse { trace, inspected_bytes: 1 }))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        self.searches.lock().push(request.into_inner());
        self.happen()?;
        let metrics = SearchMetrics { inspected_traces: 1, ..SearchMetrics::default() };
        let traces = self.traces.lock().clone();
        Ok(Response::new(SearchResponse { traces, metrics: Some(metrics) }))
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        Ok(Response::new(self.tags.lock().clone()))
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        Ok(Response::new(self.values.lock().clone()))
    }
}
