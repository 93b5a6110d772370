//! Metrics queries: which jobs they become, and how their answers are added.

use parking_lot::Mutex;
use serde_json::json;
use tactus_proto::tactus::v1::{BlockTime, MetricsInBlockRequest, MetricsResponse, TraceSpans};
use tactus_storage::meta::BlockVersion;
use tactus_work::memory::TOO_MANY_BYTES;
use tonic::Status;

use super::metrics::{response, series};
use super::*;

const SECOND: u64 = 1_000_000_000;
/// Block times below are seconds after this.
const BASE: u64 = 1_700_000_000;
const RATE: &str = "{} | count_over_time()";

struct Blocks {
    api: Api,
    querier: Arc<BlockData>,
}

impl Blocks {
    async fn new(settings: Settings, limits: Limits) -> Self {
        let querier = Arc::new(BlockData::default());
        let setup = Setup {
            settings,
            limits,
            blocks: &[],
            querier: Some(Arc::clone(&querier)),
            ..Setup::default()
        };
        Self { api: Api::new(setup).await, querier }
    }

    /// Adds a block that holds spans of these seconds and answers with these points.
    fn add(&self, seconds: (u64, u64), points: &[(u32, f64)]) -> Uuid {
        let id = Uuid::from_u128(u128::from(seconds.1));
        self.querier.series.lock().insert(id.to_string(), response(vec![series(&[], points)]));
        self.api.blocklist.add_block(meta(id, seconds));
        id
    }

    /// Values of the only series.
    async fn values(&self, query: &str) -> Vec<f64> {
        let json = self.api.range(query, "").await.json();
        let samples = json["series"][0]["samples"].as_array().unwrap().iter();
        samples.map(|sample| sample["value"].as_f64().unwrap_or_default()).collect()
    }

    /// The jobs since the last call.
    fn jobs(&self) -> Vec<MetricsInBlockRequest> {
        std::mem::take(&mut *self.querier.metrics_requests.lock())
    }

    /// The ends of the blocks that were asked since the last call.
    fn asked(&self) -> Vec<u128> {
        let id = |job: MetricsInBlockRequest| Uuid::parse_str(&job.part.unwrap().block_id).unwrap();
        self.jobs().into_iter().map(|job| id(job).as_u128()).collect()
    }

    /// How often the ingesters were asked since the last call.
    fn times_asked(&self) -> usize {
        std::mem::take(&mut *self.api.recent.metrics_requests.lock()).len()
    }

    fn recent(&self, points: &[(u32, f64)], counted: &[Uuid], released: &[Uuid]) {
        let ids = |ids: &[Uuid]| ids.iter().map(Uuid::to_string).collect();
        *self.api.recent.series.lock() = MetricsResponse {
            counted_block_ids: ids(counted),
            released_block_ids: ids(released),
            ..response(vec![series(&[], points)])
        };
    }
}

fn meta(id: Uuid, seconds: (u64, u64)) -> BlockMeta {
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
    let nanos = |seconds: u64| (BASE + seconds) * SECOND;
    meta.set_time_range_unix_nanos(nanos(seconds.0), nanos(seconds.1));
    (meta.size, meta.total_records) = (100, 4);
    meta
}

async fn blocks() -> Blocks {
    Blocks::new(Settings::default(), Limits::built_in()).await
}

#[tokio::test]
async fn recent_data_and_blocks_are_added_interval_by_interval() {
    let blocks = blocks().await;
    blocks.recent(&[(1, 1.0), (2, 2.0)], &[], &[]);
    // The intervals of the query end at 40, 100 and 160.
    blocks.add((0, 30), &[(0, 10.0)]);
    blocks.add((50, 90), &[(1, 100.0)]);
    blocks.add((90, 150), &[(1, 1_000.0), (2, 2_000.0)]);
    blocks.add((500, 600), &[(0, 7.0)]);
    assert_eq!(blocks.values(RATE).await, [10.0, 1_101.0, 2_002.0]);
    let jobs = blocks.jobs().into_iter().map(|job| job.metrics.unwrap());
    let grids: Vec<_> =
        jobs.map(|job| (job.start_nanos / SECOND, job.step_nanos, job.intervals)).collect();
    let minute = 60 * SECOND;
    // Late spans lie outside of their block's times: every job asks for the whole range.
    assert_eq!(grids, [(BASE - 20, minute, 3); 3]);
}

#[tokio::test]
async fn blocks_that_an_ingester_counted_are_left_out() {
    let blocks = blocks().await;
    let counted = blocks.add((50, 90), &[(1, 5.0)]);
    blocks.add((50, 91), &[(1, 7.0)]);
    blocks.recent(&[(1, 1.0)], &[counted], &[]);
    assert_eq!(blocks.values(RATE).await, [0.0, 8.0, 0.0]);
    assert_eq!(blocks.asked(), [91]);
}

#[tokio::test]
async fn block_that_appears_while_the_ingester_answers_counts_if_released_before() {
    let blocks = blocks().await;
    let (released, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for id in [released, other] {
        let answer = response(vec![series(&[], &[(1, 5.0)])]);
        blocks.querier.series.lock().insert(id.to_string(), answer);
    }
    blocks.recent(&[(1, 1.0)], &[], &[released]);
    let list = Arc::clone(&blocks.api.blocklist);
    let querier = Arc::clone(&blocks.querier);
    *blocks.api.recent.meanwhile.lock() = Some(Box::new(move || {
        assert!(querier.metrics_requests.lock().is_empty(), "recent data comes first");
        list.add_block(meta(released, (50, 90)));
    }));
    assert_eq!(blocks.values(RATE).await, [0.0, 6.0, 0.0]);
    // The second time for what the ingester shares with it.
    assert_eq!((blocks.asked(), blocks.times_asked()), (vec![1], 2));
    // One that nobody tells of is of an ingester that left before it was asked, or was written after the answer.
    let list = Arc::clone(&blocks.api.blocklist);
    *blocks.api.recent.meanwhile.lock() =
        Some(Box::new(move || list.add_block(meta(other, (50, 90)))));
    assert_eq!(blocks.values(RATE).await, [0.0, 11.0, 0.0]);
    assert_eq!((blocks.asked(), blocks.times_asked()), (vec![1, 2], 2));
}

#[tokio::test]
async fn block_that_is_written_after_the_ingester_counted_its_spans_counts_once() {
    let blocks = blocks().await;
    let id = Uuid::from_u128(1);
    let answer = response(vec![series(&[], &[(1, 5.0)])]);
    blocks.querier.series.lock().insert(id.to_string(), answer);
    blocks.recent(&[(1, 5.0)], &[], &[]);
    let list = Arc::clone(&blocks.api.blocklist);
    let recent = Arc::downgrade(&blocks.api.recent);
    let written = Mutex::new(false);
    *blocks.api.recent.meanwhile.lock() = Some(Box::new(move || {
        // From the second time on, the ingester names the block.
        if std::mem::replace(&mut *written.lock(), true) {
            let recent = recent.upgrade().unwrap();
            recent.series.lock().counted_block_ids = vec![id.to_string()];
        }
        list.add_block(meta(id, (50, 90)));
    }));
    assert_eq!(blocks.values(RATE).await, [0.0, 5.0, 0.0]);
    assert_eq!((blocks.asked(), blocks.times_asked()), (vec![], 2));
}

#[tokio::test]
async fn block_that_is_released_after_the_comparison_is_compared_as_well() {
    let blocks = blocks().await;
    blocks.add((50, 90), &[(1, 5.0)]);
    let released = blocks.add((55, 95), &[(1, 7.0)]);
    let shared = |spans: &[u64]| TraceSpans { trace_id: vec![7; 16].into(), spans: spans.to_vec() };
    *blocks.querier.stored_traces.lock() = vec![shared(&[1])];
    blocks.recent(&[(1, 1.0)], &[released], &[]);
    {
        let mut series = blocks.api.recent.series.lock();
        series.shared_traces = vec![shared(&[1])];
        series.shared_first_nanos = (BASE + 60) * SECOND;
        series.shared_last_nanos = (BASE + 70) * SECOND;
    }
    let recent = Arc::downgrade(&blocks.api.recent);
    let calls = Mutex::new(0);
    *blocks.api.recent.meanwhile.lock() = Some(Box::new(move || {
        *calls.lock() += 1;
        // When it is told of the shared span, the ingester does not count the block any more.
        if *calls.lock() == 2 {
            let recent = recent.upgrade().unwrap();
            recent.series.lock().counted_block_ids.clear();
        }
    }));
    assert_eq!(blocks.values(RATE).await, [0.0, 13.0, 0.0]);
    let looked_into: Vec<_> =
        blocks.querier.spans_requests.lock().iter().map(|it| it.block_ids.len()).collect();
    assert_eq!((looked_into, blocks.times_asked()), (vec![1, 2], 2));
}

#[tokio::test]
async fn ingester_is_asked_once_more_only_if_blocks_have_what_it_counted() {
    let blocks = blocks().await;
    let near = blocks.add((50, 90), &[(1, 5.0)]);
    blocks.add((100, 140), &[(2, 7.0)]);
    let of_trace =
        |spans: &[u64]| TraceSpans { trace_id: vec![7; 16].into(), spans: spans.to_vec() };
    let recent = |counted: &[TraceSpans]| {
        blocks.recent(&[(1, 1.0)], &[], &[]);
        let mut series = blocks.api.recent.series.lock();
        series.shared_traces = counted.to_vec();
        series.shared_first_nanos = (BASE + 60) * SECOND;
        series.shared_last_nanos = (BASE + 70) * SECOND;
    };
    let asked = || std::mem::take(&mut *blocks.api.recent.metrics_requests.lock());
    let looked_up = || std::mem::take(&mut *blocks.querier.spans_requests.lock());
    recent(&[]);
    assert_eq!(blocks.values(RATE).await, [0.0, 6.0, 7.0]);
    let [request] = &asked()[..] else { panic!("asked once") };
    let time = |it: &BlockTime| (it.first_nanos / SECOND - BASE, it.last_nanos / SECOND - BASE);
    let mut times: Vec<_> = request.block_times.iter().map(time).collect();
    times.sort_unstable();
    assert_eq!((&times[..], looked_up().len()), (&[(50, 91), (100, 141)][..], 0));
    // Looked up in the block of that time alone, which has nothing of it.
    recent(&[of_trace(&[1, 2])]);
    assert_eq!(blocks.values(RATE).await, [0.0, 6.0, 7.0]);
    let [lookup] = &looked_up()[..] else { panic!("looked up once") };
    assert_eq!(
        (&lookup.block_ids[..], &lookup.trace_ids[..]),
        (&[near.to_string()][..], &[7; 16][..])
    );
    assert_eq!(asked().len(), 1);
    // It has other spans of the trace.
    *blocks.querier.stored_traces.lock() = vec![of_trace(&[3])];
    assert_eq!(blocks.values(RATE).await, [0.0, 6.0, 7.0]);
    assert_eq!(asked().len(), 1);
    *blocks.querier.stored_traces.lock() = vec![of_trace(&[2, 3])];
    assert_eq!(blocks.values(RATE).await, [0.0, 6.0, 7.0], "one answer counts");
    let stored_of: Vec<_> = asked().into_iter().map(|request| request.stored_traces).collect();
    assert_eq!(stored_of, [vec![], vec![of_trace(&[2])]]);
    let mut jobs = blocks.jobs().into_iter();
    let is_plain = |job: MetricsInBlockRequest| {
        let metrics = job.metrics.unwrap();
        metrics.stored_traces.is_empty() && metrics.block_times.is_empty()
    };
    assert!(jobs.all(is_plain), "what is kept of blocks does not depend on it");
}

#[tokio::test]
async fn jobs_name_the_blocks_that_may_have_the_same_spans() {
    let blocks = blocks().await;
    blocks.add((50, 90), &[]);
    blocks.add((80, 120), &[]);
    blocks.add((0, 10), &[]);
    blocks.values(RATE).await;
    let named: Vec<_> = blocks.jobs().into_iter().map(|job| job.counted_block_ids).collect();
    let id = |end| Uuid::from_u128(end).to_string();
    assert_eq!(named, [vec![id(90)], vec![id(120)], vec![]]);
}

#[tokio::test]
async fn exemplars_of_blocks_go_by_their_time() {
    let mut settings = Settings::default();
    settings.section.metrics.target_bytes_per_job = 50;
    let blocks = Blocks::new(settings, Limits::built_in()).await;
    blocks.add((0, 200), &[]);
    blocks.add((50, 90), &[]);
    blocks.api.range(RATE, "&exemplars=10").await.json();
    assert_eq!(blocks.api.recent.metrics_requests.lock()[0].exemplars, 10);
    let shares: Vec<_> =
        blocks.jobs().into_iter().map(|job| job.metrics.unwrap().exemplars).collect();
    // Two parts each; the first block has all of the time, the second a third.
    assert_eq!(shares, [6, 6, 2, 2]);
}

#[tokio::test]
async fn damaged_block_makes_an_answer_partial() {
    let blocks = blocks().await;
    blocks.add((50, 90), &[(1, 5.0)]);
    let damaged = blocks.add((50, 91), &[(1, 7.0)]);
    let answer = blocks.api.range(RATE, "").await;
    assert!(answer.headers.get("x-tactus-partial").is_none());
    blocks.querier.damaged.lock().push(damaged.to_string());
    let answer = blocks.api.range(RATE, "").await;
    assert_eq!(answer.headers["x-tactus-partial"], "true");
    let json = answer.json();
    assert_eq!(json["series"][0]["samples"][1]["value"], 5.0);
    let metrics = &json["metrics"];
    assert_eq!((&metrics["totalJobs"], &metrics["completedJobs"]), (&json!(3), &json!(2)));
    assert_eq!((&metrics["totalBlocks"], &metrics["totalBlockBytes"]), (&json!(2), &json!("200")));
}

#[tokio::test]
async fn hints_that_cost_need_the_permission() {
    let query = "{} | count_over_time() with (job_size=25, concurrent_blocks=1, exemplars=3)";
    let refused = blocks().await;
    refused.add((50, 90), &[]);
    refused.values(query).await;
    let [job] = &refused.jobs()[..] else { panic!("one job") };
    let metrics = job.metrics.as_ref().unwrap();
    assert_eq!(metrics.query, "{ true } | count_over_time() with(exemplars=3)");
    let limits = limits_with(|limits| limits.read.unsafe_query_hints = true);
    let allowed = Blocks::new(Settings::default(), limits).await;
    allowed.add((50, 90), &[]);
    allowed.values(query).await;
    let jobs = allowed.jobs();
    assert_eq!(jobs.len(), 4);
    assert_eq!(jobs[0].metrics.as_ref().unwrap().query, query);
    allowed.querier.calls.hang(true);
    let mut request = Box::pin(allowed.api.range(query, ""));
    cancellation::until(&mut request, || allowed.querier.calls.running() == 1).await;
    drop(request);
    assert_eq!(allowed.jobs().len(), 1);
}

async fn check(blocks: &Blocks, status: u16, text: &str) {
    let answer = blocks.api.range(RATE, "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (status, text));
}

#[tokio::test]
async fn series_beyond_the_memory_of_a_query_are_refused() {
    let mut settings = Settings::default();
    settings.section.metrics.max_series_bytes = 1;
    let blocks = Blocks::new(settings, Limits::built_in()).await;
    blocks.recent(&[(0, 1.0)], &[], &[]);
    let answer = blocks.api.range(RATE, "").await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("more than 1 bytes"), "{}", answer.text());
    assert!(answer.text().ends_with("(limit: query_frontend.metrics.max_series_bytes)"));
    assert_eq!(blocks.api.recent.metrics_requests.lock()[0].max_series_bytes, 1);
    // As it comes from a job.
    let text = answer.text().replace(" (limit: query_frontend.metrics.max_series_bytes)", "");
    *blocks.api.recent.failures.lock() = vec![Status::resource_exhausted(text)];
    check(&blocks, 422, answer.text()).await;
    *blocks.api.recent.failures.lock() = vec![Status::resource_exhausted("too many series: 5")];
    check(&blocks, 422, "too many series: 5").await;
    let asked = blocks.api.recent.metrics_requests.lock().len();
    *blocks.api.recent.failures.lock() = vec![Status::resource_exhausted(TOO_MANY_BYTES)];
    check(&blocks, 503, TOO_MANY_BYTES).await;
    let again = blocks.api.recent.metrics_requests.lock().len();
    assert_eq!(again, asked + 1, "it is not tried again at once");
}

#[tokio::test]
async fn query_beyond_its_bytes_fails_and_starts_no_further_job() {
    let mut settings = Settings { querier_parallelism: 1, ..Settings::default() };
    settings.section.max_inspected_bytes = 345 * 2;
    let blocks = Blocks::new(settings, Limits::built_in()).await;
    blocks.recent(&[], &[], &[]);
    blocks.add((50, 90), &[]);
    assert_eq!(blocks.values(RATE).await, [0.0; 3]);
    for end in 91..100 {
        blocks.add((50, end), &[]);
    }
    let text = "the query inspected more than 690 bytes; ask for a shorter range or make its conditions more selective (limit: query_frontend.max_inspected_bytes, or max_inspected_bytes of the tenant)";
    blocks.jobs();
    check(&blocks, 422, text).await;
    assert!(blocks.jobs().len() <= 3);
    // Searches have the same limit; their jobs count 10 and 100 bytes here.
    let answer = blocks.api.search("{}", "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (422, text));
}

#[tokio::test]
async fn failing_jobs_are_tried_again_once() {
    let blocks = blocks().await;
    let failures = |failures: Vec<Status>| *blocks.api.recent.failures.lock() = failures;
    failures(vec![Status::unavailable("gone")]);
    assert_eq!(blocks.values(RATE).await, [0.0; 3]);
    failures(vec![Status::unavailable("gone"), Status::unavailable("gone")]);
    check(&blocks, 503, "gone").await;
    failures(vec![Status::invalid_argument("cannot be")]);
    check(&blocks, 400, "cannot be").await;
    let mut wrong = series(&[], &[(0, 1.0)]);
    wrong.values.clear();
    *blocks.api.recent.series.lock() = response(vec![wrong]);
    let answer = blocks.api.range(RATE, "").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().starts_with("malformed series: "), "{}", answer.text());
}

#[tokio::test]
async fn query_whose_client_leaves_frees_its_place_and_its_calls() {
    let mut settings = Settings { querier_parallelism: 3, ..Settings::default() };
    settings.section.max_outstanding_per_tenant = 1;
    let blocks = Blocks::new(settings, Limits::built_in()).await;
    for end in 90..110 {
        blocks.add((50, end), &[]);
    }
    blocks.querier.calls.hang(true);
    let mut request = Box::pin(blocks.api.range(RATE, ""));
    cancellation::until(&mut request, || blocks.querier.calls.running() == 3).await;
    check(&blocks, 429, "job queue full").await;
    drop(request);
    cancellation::soon(|| blocks.querier.calls.running() == 0).await;
    assert_eq!(blocks.jobs().len(), 3);
    blocks.querier.calls.hang(false);
    assert_eq!(blocks.values(RATE).await, [0.0; 3]);
    let metrics = blocks.api.registry.encode();
    let line = format!(
        "tempo_query_frontend_queries_total{{tenant=\"{TENANT}\",op=\"metrics\",result=\"canceled\"}} 1\n"
    );
    assert!(metrics.contains(&line), "{metrics}");
}
