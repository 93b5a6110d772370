//! An ingester and a querier that answer what a test puts into them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tactus_model::SpanId;
use tactus_model::merge::SpanSlice;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::{AnyValue, any_value};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_proto::tactus::v1::{
    FindTraceInBlocksRequest, FindTraceInBlocksResponse, FindTraceRequest, FindTraceResponse,
    Holder, HoldingsRequest, HoldingsResponse, JobExplanation, MetricsInBlockRequest,
    MetricsRequest, MetricsResponse, MetricsSeries, Phase, Pruned, PushRequest, PushResponse,
    SearchBlockRequest, SearchRequest, SearchResponse, SelectBlocksRequest, SelectBlocksResponse,
    SoFar, SpansInBlocksRequest, SpansInBlocksResponse, TagValuesInBlockRequest, TagValuesRequest,
    TagValuesResponse, TagsInBlockRequest, TagsRequest, TagsResponse, TraceSpans,
};
use tactus_proto::tempopb::{SearchMetrics, TraceSearchMetadata};
use tactus_storage::Uuid;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

type Effect = Box<dyn Fn() + Send + Sync>;

/// Calls that may be made to hang.
#[derive(Default)]
pub(crate) struct Calls {
    hang: watch::Sender<bool>,
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
    /// From now on calls hang, or those that do and all others go on.
    pub(crate) fn hang(&self, hang: bool) {
        self.hang.send_replace(hang);
    }

    /// Calls that were neither answered nor dropped.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    async fn pass(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        let mut hang = self.hang.subscribe();
        hang.wait_for(|hang| !hang).await.expect("the sender is here");
    }
}

#[derive(Default)]
pub(crate) struct RecentData {
    pub(crate) trace: Mutex<Bytes>,
    pub(crate) traces: Mutex<Vec<TraceSearchMetadata>>,
    pub(crate) tags: Mutex<TagsResponse>,
    pub(crate) values: Mutex<TagValuesResponse>,
    /// What they say that they have found when they are asked that.
    pub(crate) traces_so_far: Mutex<Vec<TraceSearchMetadata>>,
    pub(crate) tags_so_far: Mutex<TagsResponse>,
    pub(crate) values_so_far: Mutex<TagValuesResponse>,
    pub(crate) series: Mutex<MetricsResponse>,
    /// What happens while a search or a look-up runs.
    pub(crate) meanwhile: Mutex<Option<Effect>>,
    pub(crate) calls: Calls,
    pub(crate) searches: Mutex<Vec<SearchRequest>>,
    pub(crate) tags_requests: Mutex<Vec<TagsRequest>>,
    pub(crate) values_requests: Mutex<Vec<TagValuesRequest>>,
    pub(crate) metrics_requests: Mutex<Vec<MetricsRequest>>,
    /// What ingesters say they have.
    pub(crate) holders: Mutex<Vec<Holder>>,
    pub(crate) holdings_requests: Mutex<Vec<HoldingsRequest>>,
    /// What happens while they are asked for it.
    pub(crate) while_holding: Mutex<Option<Effect>>,
    /// Whether answers say that something is missing.
    pub(crate) partial: AtomicBool,
    /// Spans that were refused of the trace.
    pub(crate) refused_spans: AtomicU64,
    /// Calls that fail before one succeeds.
    pub(crate) failures: Mutex<Vec<Status>>,
}

impl RecentData {
    fn happen_to_holdings(&self) {
        if let Some(effect) = &*self.while_holding.lock() {
            effect();
        }
    }

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
        request: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        self.calls.pass().await;
        self.happen()?;
        let found = part_of(self.trace.lock().clone(), request.get_ref());
        let partial = self.partial.load(Ordering::Relaxed);
        Ok(Response::new(FindTraceResponse {
            inspected_bytes: 1,
            partial,
            refused_spans: self.refused_spans.load(Ordering::Relaxed),
            ..found
        }))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let request = request.into_inner();
        if request.so_far() == SoFar::Asked {
            let traces = std::mem::take(&mut *self.traces_so_far.lock());
            return Ok(Response::new(SearchResponse { traces, ..SearchResponse::default() }));
        }
        let explanations = explanations(request.explain, "recent");
        self.searches.lock().push(request);
        self.calls.pass().await;
        self.happen()?;
        let metrics =
            SearchMetrics { inspected_traces: 1, inspected_bytes: 10, ..SearchMetrics::default() };
        let traces = self.traces.lock().clone();
        let partial = self.partial.load(Ordering::Relaxed);
        Ok(Response::new(SearchResponse { traces, metrics: Some(metrics), explanations, partial }))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        let request = request.into_inner();
        if request.so_far() == SoFar::Asked {
            return Ok(Response::new(std::mem::take(&mut *self.tags_so_far.lock())));
        }
        self.tags_requests.lock().push(request);
        self.calls.pass().await;
        let partial = self.partial.load(Ordering::Relaxed);
        Ok(Response::new(TagsResponse { partial, ..self.tags.lock().clone() }))
    }

    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let request = request.into_inner();
        if request.so_far() == SoFar::Asked {
            return Ok(Response::new(std::mem::take(&mut *self.values_so_far.lock())));
        }
        self.values_requests.lock().push(request);
        self.calls.pass().await;
        let partial = self.partial.load(Ordering::Relaxed);
        Ok(Response::new(TagValuesResponse { partial, ..self.values.lock().clone() }))
    }

    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let request = request.into_inner();
        let explanations = explanations(request.explain, "recent");
        self.metrics_requests.lock().push(request);
        self.calls.pass().await;
        self.happen()?;
        let answer = self.series.lock().clone();
        let partial = self.partial.load(Ordering::Relaxed);
        Ok(Response::new(MetricsResponse { explanations, partial, ..answer }))
    }

    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        self.holdings_requests.lock().push(request.into_inner());
        self.happen_to_holdings();
        let (holders, partial) =
            (self.holders.lock().clone(), self.partial.load(Ordering::Relaxed));
        Ok(Response::new(HoldingsResponse { holders, partial, ..Default::default() }))
    }
}

/// A trace or a slice of it, of which only the size is told if it is too large.
fn part_of(trace: Bytes, find: &FindTraceRequest) -> FindTraceResponse {
    let slice = SpanSlice::new(find.slice, find.slices).expect("a slice that exists");
    let mut trace = trace;
    if !slice.is_whole() {
        let mut spans = TracesData::decode(trace).expect("a trace");
        let resources = spans.resource_spans.iter_mut();
        for scope in resources.flat_map(|resource| &mut resource.scope_spans) {
            scope.spans.retain(|span| slice.has(SpanId::from_slice(&span.span_id)));
        }
        trace = spans.encode_to_vec().into();
    }
    let bytes = trace.len() as u64;
    let is_large = find.max_part_bytes != 0 && bytes > find.max_part_bytes;
    let is_part = is_large || !slice.is_whole();
    FindTraceResponse {
        trace: if is_large { Bytes::new() } else { trace },
        is_part,
        part_bytes: if is_part { bytes } else { 0 },
        ..FindTraceResponse::default()
    }
}

/// What a job on `source` says of itself.
fn explanations(asked: bool, source: &str) -> Vec<JobExplanation> {
    let job = || JobExplanation {
        shared_cache_bytes: 0,
        source: source.to_owned(),
        parts: 2,
        pruned: vec![Pruned { reason: "time range".into(), parts: 1 }],
        read_bytes: 100,
        decoded_bytes: 400,
        cached_bytes: 50,
        filter_columns: vec!["name".into()],
        result_columns: Vec::new(),
        phases: vec![Phase { name: "filter".into(), nanos: 1_500_000 }],
        inspected_spans: 7,
        matched_spans: 3,
    };
    asked.then(job).into_iter().collect()
}

/// A querier of blocks that exist in the block list only.
#[derive(Default)]
pub(crate) struct BlockData {
    /// The answer of each block, by its id.
    pub(crate) traces: Mutex<HashMap<String, Vec<TraceSearchMetadata>>>,
    /// Ids of the blocks searched, in order.
    pub(crate) searched: Mutex<Vec<String>>,
    /// The tags of each block, by its id.
    pub(crate) tags: Mutex<HashMap<String, TagsResponse>>,
    /// The values of each block, by its id.
    pub(crate) values: Mutex<HashMap<String, TagValuesResponse>>,
    /// The series of each block, by its id.
    pub(crate) series: Mutex<HashMap<String, MetricsResponse>>,
    /// Metrics jobs, in order.
    pub(crate) metrics_requests: Mutex<Vec<MetricsInBlockRequest>>,
    pub(crate) spans_requests: Mutex<Vec<SpansInBlocksRequest>>,
    /// What blocks have of traces that are asked for.
    pub(crate) stored_traces: Mutex<Vec<TraceSpans>>,
    /// Ids of blocks that cannot have a match.
    pub(crate) unfit: Mutex<HashSet<String>>,
    pub(crate) knows_no_selection: AtomicBool,
    /// Of blocks nothing is known without reading them.
    pub(crate) tells_nothing: AtomicBool,
    /// Blocks that were asked about together.
    pub(crate) selected: Mutex<Vec<Vec<String>>>,
    /// Ids of blocks that cannot be read.
    pub(crate) damaged: Mutex<Vec<String>>,
    pub(crate) calls: Calls,
}

#[tonic::async_trait]
impl Querier for BlockData {
    async fn find_trace_in_blocks(
        &self,
        _: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        Err(Status::unimplemented("find_trace_in_blocks"))
    }

    async fn select_blocks(
        &self,
        request: Request<SelectBlocksRequest>,
    ) -> Result<Response<SelectBlocksResponse>, Status> {
        if self.knows_no_selection.load(Ordering::Relaxed) {
            return Err(Status::unimplemented("select_blocks"));
        }
        let (ids, _) = request.get_ref().block_ids.as_chunks();
        let ids: Vec<_> = ids.iter().map(|&id| Uuid::from_bytes(id).to_string()).collect();
        let unfit = self.unfit.lock();
        let fit = (0..).zip(&ids).filter(|(_, id)| !unfit.contains(*id));
        let blocks = fit.map(|(place, _)| place).collect();
        self.selected.lock().push(ids);
        let tells_nothing = self.tells_nothing.load(Ordering::Relaxed);
        Ok(Response::new(SelectBlocksResponse { blocks, inspected_bytes: 7, tells_nothing }))
    }

    async fn search_block(
        &self,
        request: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let SearchBlockRequest { search, part } = request.into_inner();
        let block_id = part.unwrap_or_default().block_id;
        let traces = self.traces.lock().get(&block_id).cloned().unwrap_or_default();
        let explanations = explanations(search.unwrap_or_default().explain, &block_id);
        self.searched.lock().push(block_id);
        self.calls.pass().await;
        let metrics = SearchMetrics { inspected_bytes: 100, ..SearchMetrics::default() };
        let metrics = Some(metrics);
        Ok(Response::new(SearchResponse { traces, metrics, explanations, partial: false }))
    }

    async fn tags_in_block(
        &self,
        request: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        let block_id = request.into_inner().part.unwrap_or_default().block_id;
        let answer = self.tags.lock().get(&block_id).cloned().unwrap_or_default();
        self.searched.lock().push(block_id);
        Ok(Response::new(answer))
    }

    async fn tag_values_in_block(
        &self,
        request: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let block_id = request.into_inner().part.unwrap_or_default().block_id;
        let answer = self.values.lock().get(&block_id).cloned().unwrap_or_default();
        self.searched.lock().push(block_id);
        Ok(Response::new(answer))
    }

    async fn spans_in_blocks(
        &self,
        request: Request<SpansInBlocksRequest>,
    ) -> Result<Response<SpansInBlocksResponse>, Status> {
        self.spans_requests.lock().push(request.into_inner());
        Ok(Response::new(SpansInBlocksResponse {
            traces: self.stored_traces.lock().clone(),
            lacks_blocks: false,
        }))
    }

    async fn metrics_in_block(
        &self,
        request: Request<MetricsInBlockRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let request = request.into_inner();
        let block_id = request.part.clone().unwrap_or_default().block_id;
        let asked = request.metrics.as_ref().is_some_and(|metrics| metrics.explain);
        self.metrics_requests.lock().push(request);
        self.calls.pass().await;
        if self.damaged.lock().contains(&block_id) {
            return Err(Status::data_loss("damaged"));
        }
        let answer = self.series.lock().get(&block_id).cloned().unwrap_or_default();
        let explanations = explanations(asked, &block_id);
        Ok(Response::new(MetricsResponse { explanations, ..answer }))
    }
}

/// A text as labels have it.
pub(crate) fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned().into())) }
}

/// A partial series with these labels and points.
pub(crate) fn series(labels: &[&str], points: &[(u32, f64)]) -> MetricsSeries {
    MetricsSeries {
        labels: labels.iter().map(|label| string(label)).collect(),
        intervals: points.iter().map(|point| point.0).collect(),
        values: points.iter().map(|point| point.1).collect(),
        ..MetricsSeries::default()
    }
}

/// The answer of a job.
pub(crate) fn response(series: Vec<MetricsSeries>) -> MetricsResponse {
    let metrics =
        SearchMetrics { inspected_bytes: 345, inspected_spans: 88, ..SearchMetrics::default() };
    MetricsResponse { series, metrics: Some(metrics), ..MetricsResponse::default() }
}

/// A part of an edge: client, server, connection type, virtual side, measure.
pub(crate) fn part(labels: [&str; 5], bucket: Option<u32>, value: f64) -> MetricsSeries {
    let label = |text: &str| match text {
        "" => AnyValue::default(),
        text => string(text),
    };
    MetricsSeries {
        labels: labels.into_iter().map(label).collect(),
        bucket,
        intervals: vec![0],
        values: vec![value],
        ..MetricsSeries::default()
    }
}

/// A service graph as jobs answer with it.
pub(crate) fn parts() -> Vec<MetricsSeries> {
    vec![
        part(["shop", "cart", "", "", "calls"], None, 30.0),
        part(["shop", "cart", "", "", "calls"], None, 30.0),
        part(["shop", "cart", "", "", "errors"], None, 6.0),
        part(["shop", "cart", "", "", "client_latency"], Some(30), 60.0),
        part(["shop", "cart", "", "", "server_latency"], Some(29), 60.0),
        part(["cart", "pg", "database", "", "calls"], None, 12.0),
        part(["shop", "mail", "messaging_system", "", "calls"], None, 1.0),
        part(["user", "shop", "virtual_node", "client", "calls"], None, 2.0),
        part(["shop", "stripe", "virtual_node", "server", "calls"], None, 3.0),
        // Of no measure, and in no bucket: another version of the protocol.
        part(["shop", "stripe", "virtual_node", "server", "bytes"], None, 3.0),
        part(["shop", "stripe", "virtual_node", "server", "client_latency"], None, 3.0),
    ]
}
