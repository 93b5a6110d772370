//! An ingester that behaves as a test says, and whose answers hold its name.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, Holder, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, MetricsSeries, PushRequest, PushResponse, SearchRequest, SearchResponse,
    TagScope, TagValue, TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_proto::tempopb::TraceSearchMetadata;
use tonic::{Code, Request, Response, Status};

#[derive(Debug, Clone, Copy)]
pub(super) enum Behaviour {
    Answer,
    Fail(Code),
    /// Evaluates no such query.
    Unsupported,
    Late(Duration),
    Hang,
    /// Says what it holds, and hangs in queries.
    HoldOnly,
    /// Fails where others rely on what it holds.
    LetGo(Code),
    /// Its disk cannot read some of the spans.
    Lack,
}
use Behaviour::{HoldOnly, Lack, LetGo};

pub(super) struct Double {
    name: String,
    behaviour: Behaviour,
    is_replica: AtomicBool,
    has_spans: AtomicBool,
    /// What it has of each trace, if that is not its text.
    trace: Mutex<Option<Bytes>>,
    /// The holders of each search.
    pub(super) searches: Mutex<Vec<Vec<Holder>>>,
    calls: AtomicUsize,
    running: AtomicUsize,
}

struct Running<'d>(&'d AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Double {
    pub(super) fn new(name: &str, behaviour: Behaviour) -> Self {
        let (is_replica, has_spans, trace, searches, calls, running) = Default::default();
        let name = name.to_owned();
        Self { name, behaviour, is_replica, has_spans, trace, searches, calls, running }
    }

    /// Has this of each trace.
    pub(super) fn holds(&self, trace: impl Into<Bytes>) {
        *self.trace.lock() = Some(trace.into());
    }

    /// Has it answer what all others do.
    pub(super) fn is_replica(&self, is_replica: bool) {
        self.is_replica.store(is_replica, Ordering::Relaxed);
    }

    /// Has it hold two origins, of one of which traces were dropped.
    pub(super) fn has_spans(&self) {
        self.has_spans.store(true, Ordering::Relaxed);
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn text(&self) -> String {
        if self.is_replica.load(Ordering::Relaxed) {
            "common".to_owned()
        } else {
            self.name.clone()
        }
    }

    fn lacks_spans(&self) -> bool {
        matches!(self.behaviour, Lack)
    }

    /// Never returns if this one answers no queries.
    async fn begin_query(&self) {
        if matches!(self.behaviour, HoldOnly) {
            pending().await
        }
    }

    async fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        match self.behaviour {
            Behaviour::Answer | HoldOnly | LetGo(_) | Lack => {}
            Behaviour::Fail(code) => return Err(Status::new(code, "as the test says")),
            Behaviour::Unsupported => {
                let construct = "scalar pipelines".to_owned();
                let error = tactus_traceql::eval::Unsupported { construct };
                return Err(Status::unimplemented(error.to_string()));
            }
            Behaviour::Late(time) => tokio::time::sleep(time).await,
            Behaviour::Hang => pending().await,
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl Ingester for Double {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(Status::unimplemented("push"))
    }

    async fn find_trace(
        &self,
        _: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        let trace = self.trace.lock().clone().unwrap_or_else(|| self.text().into());
        let partial = self.lacks_spans();
        self.answer(FindTraceResponse { trace, partial, ..Default::default() }).await
    }

    /// One that lets go of spans, which the code says, does so between two calls.
    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let holders = request.into_inner().holders;
        let has_turns = !holders.is_empty();
        self.searches.lock().push(holders);
        if let (true, LetGo(code)) = (has_turns, self.behaviour) {
            return Err(Status::new(code, "as the test says"));
        }
        self.begin_query().await;
        let trace = TraceSearchMetadata { trace_id: self.text(), ..Default::default() };
        let (traces, partial) = (vec![trace], self.lacks_spans());
        self.answer(SearchResponse { traces, partial, ..Default::default() }).await
    }

    async fn tags(&self, _: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        let tags = vec![self.text(), "common".to_owned()];
        let scopes = vec![TagScope { name: "span".to_owned(), tags }];
        let partial = self.lacks_spans();
        self.answer(TagsResponse { scopes, partial, ..Default::default() }).await
    }

    async fn tag_values(
        &self,
        _: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let value = |value| TagValue { r#type: "string".to_owned(), value };
        let values = vec![value(self.text()), value("common".to_owned())];
        let partial = self.lacks_spans();
        self.answer(TagValuesResponse { values, partial, ..Default::default() }).await
    }

    async fn metrics(
        &self,
        _: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        self.begin_query().await;
        let series = vec![MetricsSeries::default()];
        let partial = self.lacks_spans();
        self.answer(MetricsResponse { series, partial, ..Default::default() }).await
    }

    async fn holdings(
        &self,
        _: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        let has_spans = self.has_spans.load(Ordering::Relaxed);
        let origins = |first, last| if has_spans { vec![first, last] } else { Vec::new() };
        let holder = Holder {
            ingester_id: self.text(),
            complete: origins(7, 9),
            thinned: origins(8, 8),
            ..Default::default()
        };
        let (holders, lacks_spans) = (vec![holder], self.lacks_spans());
        self.answer(HoldingsResponse { holders, lacks_spans, ..Default::default() }).await
    }
}
