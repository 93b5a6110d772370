//! Search.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use prost::Message as _;
use serde_json::json;
use tactus_proto::tactus::v1::SearchRequest;
use tactus_proto::tempopb::{self, TraceSearchMetadata};

use super::cancellation::until;
use super::*;

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn search_that_is_no_stream_sleeps_until_there_is_an_answer() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    api.recent.calls.hang(true);
    let mut request = Box::pin(api.get("/api/search?q={}"));
    until(&mut request, || api.recent.calls.running() == 1).await;
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(request.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
}

/// Traces and spans of an answer.
fn counts(answer: &Answer) -> (usize, u64) {
    let json = answer.json();
    let traces = json["traces"].as_array().unwrap();
    let sets = traces.iter().flat_map(|trace| trace["spanSets"].as_array().unwrap());
    (traces.len(), sets.map(|set| set["matched"].as_u64().unwrap()).sum())
}

fn recent_trace(id: &str, start: u64) -> TraceSearchMetadata {
    TraceSearchMetadata {
        trace_id: id.to_owned(),
        start_time_unix_nano: start,
        ..TraceSearchMetadata::default()
    }
}

#[tokio::test]
async fn sample_queries_have_the_documented_answers() {
    for blocks in [&[V4], &[V5]] {
        let api = Api::new(Setup { blocks, ..Setup::default() }).await;
        for (query, traces, spans) in [
            ("{}", 64, 252),
            (r#"{ name="GET /api" }"#, 1, 1),
            ("{ span.http.status_code = 500 }", 1, 1),
            (r#"{ resource.ip="10.0.0.1" }"#, 1, 3),
            (r#"{ span.customer="cust-1" }"#, 12, 48),
            (r#"{ event.exception.message="kaboom" }"#, 1, 1),
            ("{ span.n > 1 }", 60, 120),
            ("{ status = error }", 1, 1),
            ("{ nestedSetParent < 0 }", 63, 64),
            ("{ duration > 100ms }", 2, 3),
            (r#"{ trace:id = "af7651916cd43dd8448eb211c80319c" }"#, 1, 4),
            (r#"{ span:id = "b7ad6b7169203331" }"#, 1, 1),
            ("{ kind = client }", 2, 2),
            ("{ traceDuration > 200ms }", 3, 11),
        ] {
            let answer = api.search(query, "&spss=100").await;
            assert_eq!(counts(&answer), (traces, spans), "{query}");
        }
    }
}

#[tokio::test]
async fn small_jobs_give_the_same_answer() {
    let mut settings = Settings { querier_parallelism: 1, ..Settings::default() };
    settings.section.search.target_bytes_per_job = 1;
    let api = Api::new(Setup { settings, ..Setup::default() }).await;
    let answer = api.search("{ span.n = 1 }", "").await;
    assert_eq!(counts(&answer), (60, 60));
    // Three parts of the block, and the ingester.
    assert_eq!(answer.json()["metrics"]["totalJobs"], 4);
    assert_eq!(answer.json()["metrics"]["completedJobs"], 4);
    // The same trace of two blocks is one trace.
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    assert_eq!(counts(&api.search("{ span.n = 1 }", "").await), (60, 60));
}

#[tokio::test]
async fn answer_without_hits_has_an_empty_list() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let answer = api.get("/api/search?q={}").await;
    assert!(answer.text().starts_with(r#"{"traces":[],"metrics":{"#), "{}", answer.text());
    let never = api.get("/api/search?q={false}").await;
    assert_eq!(never.text(), r#"{"traces":[],"metrics":{}}"#);
}

#[tokio::test]
async fn shown_spans_are_cut_and_the_first_set_is_repeated() {
    let api = Api::new(Setup::default()).await;
    let answer = api.search(r#"{ span.customer = "cust-1" } | count() > 3"#, "").await.json();
    let trace = &answer["traces"][0];
    assert_eq!(trace["spanSet"], trace["spanSets"][0]);
    assert_eq!(trace["spanSets"][0]["matched"], 4);
    assert_eq!(trace["spanSets"][0]["spans"].as_array().unwrap().len(), 3);
    assert_eq!(
        trace["spanSets"][0]["spans"][0]["attributes"],
        json!([{"key": "customer", "value": {"stringValue": "cust-1"}}])
    );
    assert_eq!(
        trace["spanSets"][0]["attributes"],
        json!([{"key": "count()", "value": {"intValue": "4"}}])
    );
    let orphan = api.search(r#"{ name = "orphan" }"#, "").await;
    assert!(orphan.text().contains(
        r#""traceID":"5b8efff798038103d269b633813fc60c","rootServiceName":"\u003croot span not yet received\u003e","startTimeUnixNano""#
    ), "{}", orphan.text());
}

#[tokio::test]
async fn newest_traces_come_first() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    let answer = api.search("{ span.n = 0 } with (most_recent=true)", "&limit=9").await;
    let starts = |answer: &Answer| {
        let json = answer.json();
        let traces = json["traces"].as_array().unwrap().iter();
        traces.map(|trace| trace["startTimeUnixNano"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<String> = starts(&answer);
    assert!(all.len() == 60 && all.is_sorted_by(|one, other| one >= other));
    let path = format!("/api/search?q=%7Bspan.n=0%7D%20with%20(most_recent=true)&{RANGE}&limit=5");
    let five: Vec<String> = starts(&api.get(&path).await);
    assert_eq!(five, all[..5]);
    let any = api.get(&format!("/api/search?q=%7Bspan.n=0%7D&{RANGE}")).await;
    assert_eq!(starts(&any).len(), 20);
}

#[tokio::test]
async fn search_is_read_as_protobuf() {
    let api = Api::new(Setup::default()).await;
    let path = format!("/api/search?q={{status=error}}&{RANGE}");
    let accept = "text/html,application/protobuf;q=0.1";
    let answer = api.get_as(&path, "accept", accept).await;
    assert_eq!(answer.headers["content-type"], "application/protobuf");
    let message = tempopb::SearchResponse::decode(answer.body).unwrap();
    assert_eq!(message.traces[0].root_trace_name, "GET /api");
    assert!(message.traces[0].span_set.is_some());
}

#[tokio::test]
async fn search_by_tags_has_traces_only() {
    let api = Api::new(Setup::default()).await;
    let path = format!("/api/search?tags=customer%3Dcust-1&maxDuration=1s&limit=100&{RANGE}");
    let json = api.get(&path).await.json();
    let traces = json["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 12);
    assert!(traces.iter().all(|trace| trace.get("spanSets").is_none()));
}

#[tokio::test]
async fn recent_data_is_asked_whatever_the_range() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let metrics = api.search("{}", "").await.json()["metrics"].clone();
    assert_eq!((&metrics["totalJobs"], &metrics["completedJobs"]), (&json!(1), &json!(1)));
    api.get("/api/search?q={name!=nil}&spss=7&since=1h").await;
    api.get("/api/search?q={}with(most_recent=true)&limit=3").await;
    api.get(&format!("/api/search?tags=a%3Db&minDuration=1s&maxDuration=2s&{RANGE}")).await;
    let [old, recent, newest, by_tags] = &api.recent.searches.lock()[..] else {
        panic!("four searches")
    };
    let expected = SearchRequest {
        tenant: TENANT.into(),
        query: "{}".into(),
        start: 1_699_999_000,
        end: 1_700_001_000,
        limit: 1_000,
        spans_per_span_set: 3,
        ..SearchRequest::default()
    };
    assert_eq!(*old, expected);
    assert_eq!((&*recent.tenant, &*recent.query), (TENANT, "{name!=nil}"));
    assert_eq!((recent.limit, recent.spans_per_span_set), (20, 7));
    assert!((3_600..=3_601).contains(&(recent.end - recent.start)));
    assert!(!recent.most_recent);
    assert_eq!((newest.limit, newest.most_recent), (3, true));
    assert!((900..=901).contains(&(newest.end - newest.start)));
    let expected = SearchRequest {
        query: String::new(),
        tags: [("a".to_owned(), "b".to_owned())].into(),
        min_duration_ms: 1_000,
        max_duration_ms: 2_000,
        limit: 20,
        ..expected
    };
    assert_eq!(*by_tags, expected);
}

#[tokio::test]
async fn search_in_the_future_finds_nothing_and_asks_nobody() {
    let api = Api::new(Setup::default()).await;
    *api.recent.traces.lock() = vec![recent_trace("1", 1_700_000_500_000_000_000)];
    for what in ["q={}", "tags=a%3Db"] {
        let answer = api.get(&format!("/api/search?{what}&{FUTURE}")).await;
        assert_eq!(answer.text(), r#"{"traces":[],"metrics":{}}"#);
    }
    assert!(api.recent.searches.lock().is_empty());
}

#[tokio::test]
async fn constant_false_asks_nobody() {
    let api = Api::new(Setup::default()).await;
    api.search("{ false }", "").await.json();
    assert!(api.recent.searches.lock().is_empty());
}

#[tokio::test]
async fn recent_data_and_blocks_are_combined() {
    let api = Api::new(Setup::default()).await;
    let sample = "af7651916cd43dd8448eb211c80319c";
    let known = recent_trace(sample, 1_699_999_999_000_000_000);
    *api.recent.traces.lock() = vec![recent_trace("1", 1_700_000_500_000_000_000), known];
    let json = api.search("{ status = error }", "").await.json();
    let traces = json["traces"].as_array().unwrap();
    let ids: Vec<_> = traces.iter().map(|trace| trace["traceID"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", sample]);
    assert_eq!(traces[1]["startTimeUnixNano"], "1699999999000000000");
    assert_eq!(traces[1]["rootServiceName"], "frontend");
    assert_eq!(json["metrics"]["totalJobs"], 2);
    // Recent data alone fills the answer, so that no block is read.
    let full = api.get(&format!("/api/search?q={{}}&{RANGE}&limit=2")).await.json();
    assert_eq!(full["metrics"]["completedJobs"], 1);
    assert_eq!(full["metrics"]["totalBlocks"], 1);
}

#[tokio::test]
async fn block_that_appears_while_the_ingester_answers_is_searched() {
    let api = Api::new(Setup::default()).await;
    let meta = api.blocklist.tenant(TENANT).live()[0].as_ref().clone();
    let remove = tactus_storage::blocklist::BlockChanges {
        remove: vec![meta.block_id],
        ..Default::default()
    };
    api.blocklist.change(TENANT, remove);
    let list = Arc::clone(&api.blocklist);
    *api.recent.meanwhile.lock() = Some(Box::new(move || list.add_block(meta.clone())));
    assert_eq!(counts(&api.search("{ status = error }", "").await), (1, 1));
}

#[tokio::test]
async fn every_tenant_of_a_list_is_searched() {
    let tenancy = Tenancy::by_header(true);
    let api = Api::new(Setup { tenancy, ..Setup::default() }).await;
    let path = format!("/api/search?q={{status=error}}&{RANGE}");
    let answer = api.get_as(&path, "X-Scope-OrgID", "single-tenant|other").await;
    assert_eq!(counts(&answer), (1, 1));
    let tenants: Vec<_> =
        api.recent.searches.lock().iter().map(|search| search.tenant.clone()).collect();
    assert_eq!(tenants, ["other", "single-tenant"]);
    let other = api.get_as(&path, "X-Scope-OrgID", "other").await;
    assert_eq!(counts(&other), (0, 0));
}

#[tokio::test]
async fn damaged_block_makes_an_answer_partial() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    api.cut_data(V4);
    let answer = api.search("{}", "").await;
    assert_eq!(counts(&answer), (64, 252));
    assert_eq!(answer.headers["x-tactus-partial"], "true");
}
