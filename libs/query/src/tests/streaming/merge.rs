//! What a receiver makes of all messages is the answer over HTTP.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use prost::Message as _;
use tactus_api::metrics::range_response;
use tactus_api::request::{MetricsQuery, range_params};
use tactus_api::search::newest_first;
use tactus_model::TenantId;
use tactus_proto::tempopb::{QueryRangeResponse, SearchResponse, SearchTagsV2Response};

use super::*;

/// Traces of a block: number and second.
type Found = Vec<(u64, u64)>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// By id the last counts; newest first, as many as were asked for.
fn merged(messages: &[SearchResponse], limit: usize) -> Vec<TraceSearchMetadata> {
    let traces = messages.iter().flat_map(|message| &message.traces);
    let by_id: HashMap<_, _> = traces.map(|trace| (&trace.trace_id, trace.clone())).collect();
    let mut traces: Vec<_> = by_id.into_values().collect();
    traces.sort_by(newest_first);
    traces.truncate(limit);
    traces
}

async fn search_both(blocks: Vec<Found>, limit: u32, query: &str, packet_bytes: usize) {
    let mut settings = eager();
    settings.section.max_grpc_streaming_packet_size = packet_bytes;
    let stored = Blocks::new(settings).await;
    for (number, traces) in blocks.into_iter().enumerate() {
        let last = traces.iter().map(|(_, second)| *second).max().unwrap_or(0);
        let id = stored.add(number, (0, last));
        let traces = traces.into_iter().map(|(id, second)| trace(id, second)).collect();
        stored.querier.traces.lock().insert(id, traces);
    }
    let encoded = encoded(query);
    let path = format!("/api/search?q={encoded}&{RANGE}&limit={limit}");
    let http = stored.api.get_as(&path, "accept", "application/protobuf").await;
    let http = SearchResponse::decode(http.body).unwrap();
    let request = SearchRequest { limit, ..search(query) };
    let messages = messages(stored.streaming.search(tonic::Request::new(request)).await).await;
    let streamed = merged(&messages, limit as usize);
    assert_eq!(messages.last().unwrap().metrics, http.metrics);
    let shown = messages.iter().flat_map(|message| &message.traces);
    let shown: BTreeSet<_> = shown.map(|trace| &trace.trace_id).collect();
    if packet_bytes == 0 {
        assert_eq!(messages.last().unwrap().traces, streamed);
    }
    if http.traces.len() == limit as usize && !query.contains("most_recent") {
        // There may be more than were asked for, and what was shown first stays.
        assert_eq!(shown.len(), http.traces.len());
        return;
    }
    assert_eq!(streamed, http.traces);
    if packet_bytes == 0 {
        assert_eq!(messages.last(), Some(&http));
    }
}

/// Points of each series: labels as text, then time.
fn points(messages: &[QueryRangeResponse]) -> BTreeMap<String, BTreeMap<i64, u64>> {
    let mut points: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for series in messages.iter().flat_map(|message| &message.series) {
        let samples = points.entry(format!("{:?}", series.labels)).or_default();
        let values = series.samples.iter().map(|point| (point.timestamp_ms, point.value.to_bits()));
        samples.extend(values);
    }
    points
}

/// Blocks of one interval each: its number, and the values of two services.
async fn count_both(blocks: Vec<(u32, Vec<(bool, f64)>)>, query: &str, packet_bytes: usize) {
    let mut settings = eager();
    settings.section.max_grpc_streaming_packet_size = packet_bytes;
    let stored = Blocks::new(settings).await;
    for (number, (interval, values)) in blocks.into_iter().enumerate() {
        // Intervals end at 40, 100, …
        let end = 40 + 60 * u64::from(interval);
        let id = stored.add(number, (end - 30, end - 20));
        let one = |(other, value): (bool, f64)| {
            series(&[if other { "b" } else { "a" }], &[(interval, value)])
        };
        let answer = response(values.into_iter().map(one).collect());
        stored.querier.series.lock().insert(id, answer);
    }
    let request = QueryRangeRequest {
        query: query.to_owned(),
        start: (BASE + 40) * SECOND,
        end: (BASE + 400) * SECOND,
        step: 60 * SECOND,
        ..QueryRangeRequest::default()
    };
    let params = range_params(&request).unwrap();
    let frontend = &stored.api.frontend;
    let limits = frontend.limits_of(&[TenantId::single()]);
    let limits = frontend.settings.metrics_limits(&limits);
    let query =
        MetricsQuery::parse_range(&tactus_api::QueryParams::parse(&params), &limits, 0).unwrap();
    let found = frontend.query_metrics(&[TenantId::single()], &query).await.unwrap();
    let unary = range_response(found.answer, &found.grid, found.facts);
    let messages =
        messages(stored.streaming.metrics_query_range(tonic::Request::new(request)).await).await;
    assert_eq!(points(&messages), points(std::slice::from_ref(&unary)));
    // What is shown early stays.
    for (labels, early) in points(&messages[..messages.len() - 1]) {
        let all = &points(&messages)[&labels];
        assert!(early.iter().all(|(time, value)| all[time] == *value));
    }
    assert_eq!(messages.last().unwrap().metrics, unary.metrics);
    if packet_bytes == 0 {
        assert_eq!(messages.last(), Some(&unary));
    }
}

async fn tags_both(blocks: Vec<BTreeSet<String>>) {
    let stored = Blocks::new(eager()).await;
    for (number, tags) in blocks.into_iter().enumerate() {
        let id = stored.add(number, (0, 100));
        let scopes = vec![TagScope { name: "span".into(), tags: tags.into_iter().collect() }];
        stored.querier.tags.lock().insert(id, TagsResponse { scopes, ..TagsResponse::default() });
    }
    let path = format!("/api/v2/search/tags?{RANGE}");
    let http = stored.api.get_as(&path, "accept", "application/protobuf").await;
    let http = SearchTagsV2Response::decode(http.body).unwrap();
    let (start, end) = ((BASE - 1_000) as u32, (BASE + 1_000) as u32);
    let request = SearchTagsRequest { start, end, ..SearchTagsRequest::default() };
    let messages =
        messages(stored.streaming.search_tags_v2(tonic::Request::new(request)).await).await;
    let set = |messages: &[SearchTagsV2Response]| -> BTreeSet<(String, String)> {
        let scopes = messages.iter().flat_map(|message| &message.scopes);
        scopes
            .flat_map(|scope| scope.tags.iter().map(|tag| (scope.name.clone(), tag.clone())))
            .collect()
    };
    assert_eq!(set(&messages), set(std::slice::from_ref(&http)));
    assert_eq!(messages.last().unwrap().scopes, http.scopes);
    // Before the last nothing comes twice.
    let early = &messages[..messages.len() - 1];
    let names: usize =
        early.iter().flat_map(|message| &message.scopes).map(|scope| scope.tags.len()).sum();
    assert_eq!(names, set(early).len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn search_is_the_same_as_over_http(
        blocks in proptest::collection::vec(
            proptest::collection::vec((0_u64..30, 0_u64..500), 0..6),
            0..12,
        ),
        limit in 1_u32..20,
        most_recent in any::<bool>(),
        packet_bytes in prop_oneof![Just(0_usize), Just(200)],
    ) {
        let query = if most_recent { "{} with (most_recent=true)" } else { "{}" };
        // A trace has one start wherever it is found, as receivers keep the first they see.
        let blocks = blocks
            .into_iter()
            .map(|traces| traces.into_iter().map(|(id, _)| (id, id * 16)).collect())
            .collect();
        runtime().block_on(search_both(blocks, limit, query, packet_bytes));
    }

    #[test]
    fn series_are_the_same_as_over_http(
        blocks in proptest::collection::vec(
            (0_u32..7, proptest::collection::vec((any::<bool>(), 1.0..100.0), 0..3)),
            0..12,
        ),
        query in prop_oneof![
            Just("{} | count_over_time() by (resource.service.name)"),
            Just("{} | count_over_time() by (resource.service.name) > 50"),
            Just("{} | count_over_time() by (resource.service.name) | topk(1)"),
        ],
        packet_bytes in prop_oneof![Just(0_usize), Just(300)],
    ) {
        runtime().block_on(count_both(blocks, query, packet_bytes));
    }

    #[test]
    fn tags_are_the_same_as_over_http(
        blocks in proptest::collection::vec(
            proptest::collection::btree_set("[a-e]{1,2}", 0..6),
            0..8,
        ),
    ) {
        runtime().block_on(tags_both(blocks));
    }
}
