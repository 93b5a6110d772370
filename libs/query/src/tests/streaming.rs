//! Streams: what they carry on the way, and that in the end it is the answer over HTTP.

mod bounds;
mod events;
mod lookup;
mod merge;
mod network;
mod slow_recent;

use futures_util::StreamExt as _;
use serde_json::json;
use tactus_config::GoDuration;
use tactus_proto::tactus::v1::{
    MetricsResponse, TagScope, TagValue, TagValuesResponse, TagsResponse,
};
use tactus_proto::tempopb::streaming_querier_server::StreamingQuerier as _;
use tactus_proto::tempopb::{
    MetadataMetrics, QueryInstantRequest, QueryRangeRequest, SearchRequest, SearchTagValuesRequest,
    SearchTagsRequest, TraceSearchMetadata,
};
use tactus_storage::meta::BlockVersion;
use tonic::{Response, Status};

use super::metrics::{response, series};
use super::*;
use crate::{Answers, Streaming};

/// Times of blocks and traces below are seconds after this.
const BASE: u64 = 1_700_000_000;
const SECOND: u64 = 1_000_000_000;

struct Blocks {
    api: Api,
    querier: Arc<BlockData>,
    streaming: Streaming,
}

/// A difference after every job, one job at a time.
fn eager() -> Settings {
    let mut settings = one_job_at_a_time();
    settings.section.streaming_interval = GoDuration::ZERO;
    settings.section.metrics.concurrent_jobs = 1;
    settings
}

impl Blocks {
    async fn new(settings: Settings) -> Self {
        let querier = Arc::new(BlockData::default());
        let setup = Setup {
            settings,
            blocks: &[],
            querier: Some(Arc::clone(&querier)),
            ..Setup::default()
        };
        let api = Api::new(setup).await;
        let streaming = Streaming::new(Arc::clone(&api.frontend));
        Self { api, querier, streaming }
    }

    /// Adds a block of these seconds, and returns its id.
    fn add(&self, number: usize, seconds: (u64, u64)) -> String {
        let id = Uuid::from_u128(number as u128 + 1);
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
        let nanos = |seconds: u64| (BASE + seconds) * SECOND;
        meta.set_time_range_unix_nanos(nanos(seconds.0), nanos(seconds.1));
        (meta.size, meta.total_records) = (1, 1);
        self.api.blocklist.add_block(meta);
        id.to_string()
    }
}

fn trace(id: u64, start: u64) -> TraceSearchMetadata {
    TraceSearchMetadata {
        trace_id: format!("{id:x}"),
        start_time_unix_nano: (BASE + start) * SECOND,
        ..TraceSearchMetadata::default()
    }
}

fn search(query: &str) -> SearchRequest {
    SearchRequest {
        query: query.to_owned(),
        start: (BASE - 1_000) as u32,
        end: (BASE + 1_000) as u32,
        ..SearchRequest::default()
    }
}

/// All messages, and the status at the end.
async fn read<M: Send + 'static>(
    answers: Result<Response<Answers<M>>, Status>,
) -> (Vec<M>, Status) {
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), status),
    };
    let mut messages = Vec::new();
    while let Some(message) = answers.next().await {
        match message {
            Ok(message) => messages.push(message),
            Err(status) => return (messages, status),
        }
    }
    (messages, Status::ok(""))
}

/// All messages of a stream that ends well.
async fn messages<M: Send + 'static>(answers: Result<Response<Answers<M>>, Status>) -> Vec<M> {
    let (messages, status) = read(answers).await;
    assert_eq!(status.code(), tonic::Code::Ok, "{status}");
    assert!(!status.metadata().contains_key("x-tactus-partial"));
    messages
}

#[tokio::test(start_paused = true)]
async fn short_query_is_one_message() {
    let blocks = Blocks::new(Settings::default()).await;
    for query in ["{}", "{ false }"] {
        let request =
            tonic::Request::new(SearchRequest { query: query.into(), ..Default::default() });
        let answers = messages(blocks.streaming.search(request).await).await;
        assert_eq!(answers.len(), 1);
        assert!(answers[0].traces.is_empty() && answers[0].metrics.is_some());
    }
    for number in 0..9 {
        let id = blocks.add(number, (0, 100));
        blocks.querier.traces.lock().insert(id, vec![trace(number as u64, 50)]);
    }
    let answers = messages(blocks.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].traces.len(), 9);
}

#[tokio::test]
async fn search_shows_what_is_new_and_how_far_it_is() {
    let blocks = Blocks::new(eager()).await;
    *blocks.api.recent.traces.lock() = vec![trace(1, 90)];
    // Newest first: the second block has nothing new, the third changes what the first had.
    let mut longer = trace(2, 70);
    longer.duration_ms = 9;
    for (number, traces) in
        [vec![trace(2, 70)], vec![trace(2, 70)], vec![longer.clone(), trace(3, 5)]]
            .into_iter()
            .enumerate()
    {
        let id = blocks.add(number, (0, 100 - number as u64));
        blocks.querier.traces.lock().insert(id, traces);
    }
    let answers = messages(blocks.streaming.search(tonic::Request::new(search("{}"))).await).await;
    let ids: Vec<Vec<&str>> = answers
        .iter()
        .map(|answer| answer.traces.iter().map(|trace| &*trace.trace_id).collect())
        .collect();
    let (differences, last) = ids.split_at(ids.len() - 1);
    assert_eq!(last, [["1", "2", "3"]]);
    // A difference is left out while the one before is not read yet: what it would have shown is in the next.
    let shown: Vec<_> = differences.iter().flatten().collect();
    assert!(shown.iter().any(|id| **id == "1"), "{ids:?}");
    let progress: Vec<_> = answers
        .iter()
        .map(|answer| answer.metrics.unwrap())
        .map(|metrics| (metrics.completed_jobs, metrics.total_jobs))
        .collect();
    assert!(progress.is_sorted(), "{progress:?}");
    assert_eq!(progress.last(), Some(&(4, 4)));
    // A query does not look as if it were done before its blocks are chosen.
    assert!(progress[0].0 == 1 && progress.iter().all(|(_, total)| *total == 4), "{progress:?}");
    assert_eq!(answers.last().unwrap().metrics.unwrap().inspected_bytes, 310);
    assert_eq!(answers.last().unwrap().traces[1].duration_ms, 9);
}

#[tokio::test]
async fn names_and_values_are_shown_once_before_the_end() {
    let blocks = Blocks::new(eager()).await;
    let tags = |names: &[&str]| TagsResponse {
        scopes: vec![TagScope {
            name: "span".into(),
            tags: names.iter().map(|name| (*name).to_owned()).collect(),
        }],
        inspected_bytes: 7,
        ..TagsResponse::default()
    };
    let value = |value: &str| TagValue { r#type: "string".into(), value: value.into() };
    let values = |texts: &[&str]| TagValuesResponse {
        values: texts.iter().map(|text| value(text)).collect(),
        inspected_bytes: 7,
        ..TagValuesResponse::default()
    };
    *blocks.api.recent.tags.lock() = tags(&["b"]);
    *blocks.api.recent.values.lock() = values(&["b"]);
    for (number, names) in [["b", "a"], ["a", "c"]].iter().enumerate() {
        let id = blocks.add(number, (0, 100 - number as u64));
        blocks.querier.tags.lock().insert(id.clone(), tags(names));
        blocks.querier.values.lock().insert(id, values(names));
    }
    let (start, end) = ((BASE - 1_000) as u32, (BASE + 1_000) as u32);
    let request = || {
        let request = SearchTagsRequest { start, end, ..Default::default() };
        tonic::Request::new(request)
    };
    let answers = messages(blocks.streaming.search_tags(request()).await).await;
    let (last, differences) = answers.split_last().unwrap();
    assert_eq!(last.tag_names, ["a", "b", "c"]);
    let shown: Vec<_> = differences.iter().flat_map(|answer| &answer.tag_names).collect();
    assert!(shown.len() <= 3 && shown.contains(&&"b".to_owned()), "{answers:?}");
    let metrics = last.metrics.unwrap();
    assert_eq!((metrics.total_jobs, metrics.completed_jobs, metrics.total_blocks), (3, 3, 2));
    assert_eq!((metrics.inspected_bytes, metrics.total_block_bytes), (21, 2));

    let answers = messages(blocks.streaming.search_tags_v2(request()).await).await;
    let scopes = &answers.last().unwrap().scopes;
    assert_eq!((&*scopes[0].name, scopes[0].tags.len()), ("span", 3));
    assert_eq!(&*scopes[1].name, "intrinsic");

    let request = |tag: &str| {
        let tag_name = tag.to_owned();
        tonic::Request::new(SearchTagValuesRequest { tag_name, start, end, ..Default::default() })
    };
    let answers = messages(blocks.streaming.search_tag_values(request("x")).await).await;
    assert_eq!(answers.last().unwrap().tag_values, ["a", "b", "c"]);
    let answers = messages(blocks.streaming.search_tag_values_v2(request(".x")).await).await;
    let texts = answers.last().unwrap().tag_values.iter().map(|value| &*value.value);
    assert_eq!(texts.collect::<Vec<_>>(), ["a", "b", "c"]);
    let fixed = messages(blocks.streaming.search_tag_values_v2(request("status")).await).await;
    assert_eq!((fixed.len(), fixed[0].tag_values.len()), (1, 3));
}

#[tokio::test]
async fn names_and_values_go_with_the_same_totals_over_http() {
    let blocks = Blocks::new(eager()).await;
    let scopes = vec![TagScope { name: "span".into(), tags: vec!["a".into(), "b".into()] }];
    *blocks.api.recent.tags.lock() =
        TagsResponse { scopes, inspected_bytes: 7, ..TagsResponse::default() };
    let value = |value: &str| TagValue { r#type: "string".into(), value: value.into() };
    let values = vec![value("a"), value("b")];
    *blocks.api.recent.values.lock() =
        TagValuesResponse { values, inspected_bytes: 7, ..TagValuesResponse::default() };
    for number in 0..2 {
        let id = blocks.add(number, (0, 100));
        let tags = TagsResponse { inspected_bytes: 20, ..TagsResponse::default() };
        blocks.querier.tags.lock().insert(id.clone(), tags);
        let values = TagValuesResponse { inspected_bytes: 20, ..TagValuesResponse::default() };
        blocks.querier.values.lock().insert(id, values);
    }
    let (start, end) = ((BASE - 1_000) as u32, (BASE + 1_000) as u32);
    // Names or values of recent data alone may be enough: blocks are known by then, and not read.
    for (max_tag_values, jobs_done, bytes) in [(0, 3, 47), (1, 1, 7)] {
        let work = MetadataMetrics {
            inspected_bytes: bytes,
            total_jobs: 3,
            completed_jobs: jobs_done,
            total_blocks: 2,
            total_block_bytes: 2,
        };
        let tags = SearchTagsRequest {
            start,
            end,
            max_tags_per_scope: max_tag_values,
            ..Default::default()
        };
        let answers = blocks.streaming.search_tags(tonic::Request::new(tags)).await;
        assert_eq!(messages(answers).await.last().unwrap().metrics, Some(work));
        let values = SearchTagValuesRequest {
            tag_name: ".x".into(),
            start,
            end,
            max_tag_values,
            ..Default::default()
        };
        let answers = blocks.streaming.search_tag_values_v2(tonic::Request::new(values)).await;
        assert_eq!(messages(answers).await.last().unwrap().metrics, Some(work));
        for path in [
            "/api/search/tags",
            "/api/v2/search/tags",
            "/api/search/tag/x/values",
            "/api/v2/search/tag/.x/values",
        ] {
            let path = format!("{path}?start={start}&end={end}&limit={max_tag_values}");
            let shown = blocks.api.get(&path).await.json();
            let expected = json!({
                "inspectedBytes": bytes.to_string(), "totalJobs": 3, "completedJobs": jobs_done, "totalBlocks": 2,
                "totalBlockBytes": "2"
            });
            assert_eq!(shown["metrics"], expected, "{path}");
        }
    }
}

#[tokio::test]
async fn client_that_does_not_read_holds_no_job_up() {
    let blocks = Blocks::new(eager()).await;
    for number in 0..50 {
        let id = blocks.add(number, (0, 100));
        blocks.querier.traces.lock().insert(id, vec![trace(number as u64, number as u64)]);
    }
    let request = SearchRequest { limit: 100, ..search("{}") };
    let answers = blocks.streaming.search(tonic::Request::new(request)).await;
    while blocks.querier.searched.lock().len() < 50 {
        tokio::task::yield_now().await;
    }
    // One difference waited, and the complete answer comes after it.
    let answers = messages(answers).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1].traces.len(), 50);
}

#[tokio::test]
async fn metrics_show_the_intervals_that_are_done() {
    let blocks = Blocks::new(eager()).await;
    *blocks.api.recent.series.lock() = response(vec![series(&[], &[(2, 1.0)])]);
    // The intervals end at 40, 100 and 160.
    for (number, (seconds, points)) in
        [((101, 150), [(2, 20.0)]), ((50, 90), [(1, 300.0)]), ((0, 30), [(0, 4_000.0)])]
            .into_iter()
            .enumerate()
    {
        let id = blocks.add(number, seconds);
        blocks.querier.series.lock().insert(id, response(vec![series(&[], &points)]));
    }
    let request = QueryRangeRequest {
        query: "{} | count_over_time()".into(),
        start: (BASE + 40) * SECOND,
        end: (BASE + 160) * SECOND,
        step: 60 * SECOND,
        ..QueryRangeRequest::default()
    };
    let answers =
        messages(blocks.streaming.metrics_query_range(tonic::Request::new(request)).await).await;
    let (last, differences) = answers.split_last().unwrap();
    let samples = |answer: &tactus_proto::tempopb::QueryRangeResponse| -> Vec<(i64, f64)> {
        let samples = answer.series.iter().flat_map(|series| &series.samples);
        samples.map(|sample| (sample.timestamp_ms / 1_000 - BASE as i64, sample.value)).collect()
    };
    assert_eq!(samples(last), [(40, 4_000.0), (100, 300.0), (160, 21.0)]);
    for sample in differences.iter().flat_map(samples) {
        assert!(samples(last).contains(&sample), "{sample:?}");
    }
    let metrics = last.metrics.unwrap();
    assert_eq!((metrics.completed_jobs, metrics.total_jobs), (4, 4));

    let request = QueryInstantRequest {
        query: "{} | count_over_time()".into(),
        start: BASE * SECOND,
        end: (BASE + 160) * SECOND,
    };
    blocks.querier.series.lock().clear();
    *blocks.api.recent.series.lock() = response(vec![series(&[], &[(0, 7.0)])]);
    let answers =
        messages(blocks.streaming.metrics_query_instant(tonic::Request::new(request)).await).await;
    assert_eq!(answers.last().unwrap().series[0].value, 7.0);
}

#[tokio::test]
async fn large_answers_come_in_packets() {
    let mut settings = Settings::default();
    settings.section.max_grpc_streaming_packet_size = 400;
    let blocks = Blocks::new(settings).await;
    *blocks.api.recent.traces.lock() = (0..100).map(|number| trace(number, number)).collect();
    let request = SearchRequest { limit: 100, ..search("{}") };
    let answers = messages(blocks.streaming.search(tonic::Request::new(request)).await).await;
    assert!(answers.len() > 5, "{}", answers.len());
    use prost::Message as _;
    assert!(answers.iter().all(|answer| answer.encoded_len() <= 400));
    assert_eq!(answers.iter().map(|answer| answer.traces.len()).sum::<usize>(), 100);
}

#[tokio::test]
async fn refused_queries_have_the_texts_and_codes_of_the_documents() {
    let blocks = Blocks::new(Settings::default()).await;
    let check = |(messages, status): (usize, Status), code: tonic::Code, text: &str| {
        assert_eq!((messages, status.code(), status.message()), (0, code, text));
    };
    let invalid = tonic::Code::InvalidArgument;
    let search = async |request: SearchRequest| {
        let (messages, status) =
            read(blocks.streaming.search(tonic::Request::new(request)).await).await;
        (messages.len(), status)
    };
    let (_, status) = search(self::search("{resource.service.name=article}")).await;
    assert_eq!(status.code(), invalid);
    assert!(status.message().starts_with("invalid TraceQL query: "), "{status}");
    check(
        search(SearchRequest { limit: 262_145, ..self::search("{}") }).await,
        invalid,
        "limit 262145 exceeds max limit 262144",
    );
    check(
        search(SearchRequest { start: 1, end: 604_802, ..self::search("{}") }).await,
        invalid,
        "range specified by start and end exceeds 168h0m0s. received start=1 end=604802",
    );
    let tags = [("a".to_owned(), "b".to_owned())].into();
    check(
        search(SearchRequest { tags, ..self::search("{}") }).await,
        invalid,
        "invalid request: can't specify tags and q in the same query",
    );
    let request = SearchTagsRequest { scope: "foo".into(), ..Default::default() };
    let (messages, status) =
        read(blocks.streaming.search_tags(tonic::Request::new(request)).await).await;
    check((messages.len(), status), invalid, "invalid scope: foo");
    let request = SearchTagsRequest { start: 5, ..Default::default() };
    let (messages, status) =
        read(blocks.streaming.search_tags_v2(tonic::Request::new(request)).await).await;
    check(
        (messages.len(), status),
        invalid,
        "error parsing date range: only one of start and end provided: must provide both or neither",
    );
    let request = SearchTagsRequest { start: 20, end: 10, ..Default::default() };
    let (messages, status) =
        read(blocks.streaming.search_tags_v2(tonic::Request::new(request)).await).await;
    check(
        (messages.len(), status),
        invalid,
        "http parameter start must be before end. received start=20 end=10",
    );
    let request = SearchTagValuesRequest { tag_name: "app.user.id".into(), ..Default::default() };
    let (messages, status) =
        read(blocks.streaming.search_tag_values_v2(tonic::Request::new(request)).await).await;
    check(
        (messages.len(), status),
        invalid,
        "please provide a valid tagName: failed to parse identifier app.user.id: parse error at line 1, col 2: unknown identifier: app",
    );
    let request = QueryRangeRequest { query: "{} | rate()".into(), ..Default::default() };
    let (messages, status) =
        read(blocks.streaming.metrics_query_range(tonic::Request::new(request)).await).await;
    check((messages.len(), status), invalid, "start required");
    let request = QueryInstantRequest { query: "{}".into(), start: 1, end: 2 };
    let (messages, status) =
        read(blocks.streaming.metrics_query_instant(tonic::Request::new(request)).await).await;
    check((messages.len(), status), invalid, "not a metrics query");
}

#[tokio::test]
async fn failed_query_ends_its_stream_with_the_status() {
    let mut settings = Settings::default();
    settings.section.max_outstanding_per_tenant = 0;
    let full = Blocks::new(settings.clone()).await;
    let (_, status) = read(full.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!(
        (status.code(), status.message()),
        (tonic::Code::ResourceExhausted, "job queue full")
    );
    settings = Settings::default();
    settings.section.max_retries = 1;
    settings.url_deny_list = vec![regex::Regex::new("start=5.*end=7").unwrap()];
    let blocks = Blocks::new(settings).await;
    *blocks.api.recent.failures.lock() = vec![Status::internal("broken")];
    let (_, status) = read(blocks.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!((status.code(), status.message()), (tonic::Code::Internal, "broken"));
    let request = SearchRequest { start: 5, end: 7, ..search("{}") };
    let (_, status) = read(blocks.streaming.search(tonic::Request::new(request)).await).await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().starts_with("Invalid request /api/search?q="), "{status}");
    let url_deny_list = vec![regex::Regex::new("^/tempo/api/search[?].*q=").unwrap()];
    let settings =
        Settings { url_deny_list, path_prefix: "/tempo/".to_owned(), ..Settings::default() };
    let below = Blocks::new(settings).await;
    let (_, status) = read(below.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let mut settings = Settings::default();
    settings.section.search.timeout = Duration::from_millis(1).into();
    let slow = Blocks::new(settings).await;
    slow.api.recent.calls.hang(true);
    let (_, status) = read(slow.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn stream_that_is_dropped_ends_its_jobs() {
    let mut settings = Settings::default();
    settings.section.max_outstanding_per_tenant = 1;
    let blocks = Blocks::new(settings).await;
    blocks.api.recent.calls.hang(true);
    let answers = blocks.streaming.search(tonic::Request::new(search("{}"))).await.unwrap();
    while blocks.api.recent.calls.running() == 0 {
        tokio::task::yield_now().await;
    }
    drop(answers);
    while blocks.api.recent.calls.running() > 0 {
        tokio::task::yield_now().await;
    }
    blocks.api.recent.calls.hang(false);
    while read(blocks.streaming.search(tonic::Request::new(search("{}"))).await).await.0.is_empty()
    {
        tokio::task::yield_now().await;
    }
    let canceled = format!(
        r#"tempo_query_frontend_queries_total{{tenant="{TENANT}",op="search",result="canceled"}} 1"#
    );
    assert!(blocks.api.registry.encode().contains(&canceled));
}

#[tokio::test]
async fn something_unread_is_told_in_a_trailer() {
    let blocks = Blocks::new(Settings::default()).await;
    blocks.api.recent.partial.store(true, std::sync::atomic::Ordering::Relaxed);
    let (answers, status) =
        read(blocks.streaming.search(tonic::Request::new(search("{}"))).await).await;
    assert_eq!((answers.len(), status.code()), (1, tonic::Code::Ok));
    assert_eq!(status.metadata().get("x-tactus-partial").unwrap(), "true");
    let request =
        QueryInstantRequest { query: "{} | rate()".into(), start: SECOND, end: 2 * SECOND };
    *blocks.api.recent.series.lock() = MetricsResponse::default();
    let (answers, status) =
        read(blocks.streaming.metrics_query_instant(tonic::Request::new(request)).await).await;
    assert_eq!(status.metadata().get("x-tactus-partial").unwrap(), "true");
    assert_eq!(answers[0].status, 1);
    assert!(answers[0].message.starts_with("Some data could not be read"));
}
