//! Searches whose answer comes from several blocks: which are asked, and what becomes of a trace that several have.

use std::sync::atomic::Ordering;

use prost::Message as _;
use tactus_proto::tempopb::{SearchResponse, ServiceStats, SpanSet, TraceSearchMetadata};
use tactus_storage::meta::BlockVersion;

use super::*;

/// Times below are seconds after this.
const BASE: u64 = 1_700_000_000;

struct Blocks {
    api: Api,
    querier: Arc<BlockData>,
}

impl Blocks {
    async fn new() -> Self {
        let querier = Arc::new(BlockData::default());
        let settings = one_job_at_a_time();
        let api = Api::new(Setup {
            settings,
            tenancy: Tenancy::by_header(true),
            blocks: &[],
            querier: Some(Arc::clone(&querier)),
            ..Setup::default()
        });
        Self { api: api.await, querier }
    }

    /// Adds a block that holds spans of these seconds and answers with these traces.
    fn add(&self, tenant: &str, seconds: (u64, u64), traces: &[TraceSearchMetadata]) {
        let id = Uuid::from_u128(u128::from(seconds.1));
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, tenant, id);
        meta.set_time_range_unix_nanos(nanos(seconds.0), nanos(seconds.1));
        (meta.size, meta.total_records) = (1, 1);
        self.api.blocklist.add_block(meta);
        self.querier.traces.lock().insert(id.to_string(), traces.to_vec());
    }

    async fn search(&self, tenants: &str, query: &str, limit: u32) -> SearchResponse {
        let path = format!("/api/search?q={query}&limit={limit}&{RANGE}");
        let request = Request::get(path)
            .header("X-Scope-OrgID", tenants)
            .header("accept", "application/protobuf")
            .body(Body::empty());
        let answer = self.api.request(request.unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        SearchResponse::decode(answer.body).unwrap()
    }

    /// Ids of the traces found, and the ends of the blocks that were asked for them.
    async fn asked(&self, tenants: &str, query: &str, limit: u32) -> (Vec<String>, Vec<u128>) {
        self.querier.searched.lock().clear();
        let found = self.search(tenants, query, limit).await.traces;
        let searched = self.querier.searched.lock();
        let end = |id: &String| Uuid::parse_str(id).unwrap().as_u128();
        (
            found.into_iter().map(|trace| trace.trace_id).collect(),
            searched.iter().map(end).collect(),
        )
    }
}

fn nanos(seconds: u64) -> u64 {
    (BASE + seconds) * 1_000_000_000
}

fn trace(id: &str, start: u64) -> TraceSearchMetadata {
    TraceSearchMetadata {
        trace_id: id.to_owned(),
        start_time_unix_nano: nanos(start),
        ..TraceSearchMetadata::default()
    }
}

const ANY: &str = "{}";
const NEWEST: &str = "{}with(most_recent=true)";

#[tokio::test]
async fn newest_traces_are_looked_for_wherever_they_may_be() {
    let blocks = Blocks::new().await;
    blocks.add("t", (100, 200), &[trace("a", 140)]);
    blocks.add("t", (50, 150), &[trace("b", 145)]);
    blocks.add("t", (40, 140), &[trace("c", 139)]);
    blocks.add("t", (10, 90), &[trace("d", 80)]);
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(blocks.asked("t", ANY, 1).await, (ids(&["a"]), vec![200]));
    // The block to 150 may have a newer trace than the one of 140, and has; the one to 140 cannot have any.
    assert_eq!(blocks.asked("t", NEWEST, 1).await, (ids(&["b"]), vec![200, 150]));
    assert_eq!(blocks.asked("t", NEWEST, 2).await, (ids(&["b", "a"]), vec![200, 150, 140]));
    assert_eq!(blocks.asked("t", NEWEST, 3).await, (ids(&["b", "a", "c"]), vec![200, 150, 140]));
    assert_eq!(blocks.asked("t", NEWEST, 9).await.1, [200, 150, 140, 90]);
    // Recent data does not make an answer full as long as a block may have newer traces.
    *blocks.api.recent.traces.lock() = vec![trace("e", 143)];
    assert_eq!(blocks.asked("t", ANY, 1).await, (ids(&["e"]), vec![]));
    assert_eq!(blocks.asked("t", NEWEST, 1).await, (ids(&["b"]), vec![200, 150]));
    *blocks.api.recent.traces.lock() = vec![trace("e", 300)];
    assert_eq!(blocks.asked("t", NEWEST, 1).await, (ids(&["e"]), vec![]));
}

#[tokio::test]
async fn newest_trace_may_start_within_the_last_second_of_a_block() {
    let blocks = Blocks::new().await;
    let within = |id: &str, start: u64, millis: u64| TraceSearchMetadata {
        start_time_unix_nano: nanos(start) + millis * 1_000_000,
        ..trace(id, start)
    };
    blocks.add("t", (100, 200), &[within("a", 150, 500)]);
    // Tempo's ingesters cut the times of a block to whole seconds.
    blocks.add("t", (50, 150), &[within("b", 150, 900)]);
    blocks.add("t", (40, 149), &[within("c", 149, 900)]);
    let (ids, asked) = blocks.asked("t", NEWEST, 1).await;
    assert_eq!((ids, asked), (vec!["b".to_owned()], vec![200, 150]));
}

#[tokio::test]
async fn trace_that_turns_out_older_makes_room_for_others() {
    let blocks = Blocks::new().await;
    blocks.add("t", (100, 200), &[trace("a", 140)]);
    // The beginning of the trace: it starts before everything in the next block.
    blocks.add("t", (50, 150), &[trace("a", 60)]);
    blocks.add("t", (10, 90), &[trace("b", 80)]);
    let (ids, asked) = blocks.asked("t", NEWEST, 1).await;
    assert_eq!((ids, asked), (vec!["b".to_owned()], vec![200, 150, 90]));
}

#[tokio::test]
async fn blocks_of_several_tenants_are_read_newest_first() {
    let blocks = Blocks::new().await;
    blocks.add("one", (0, 100), &[trace("a", 90)]);
    blocks.add("one", (0, 300), &[trace("b", 290)]);
    blocks.add("two", (0, 200), &[trace("c", 190)]);
    let (ids, asked) = blocks.asked("one|two", NEWEST, 2).await;
    assert_eq!((ids, asked), (vec!["b".to_owned(), "c".to_owned()], vec![300, 200]));
    assert_eq!(blocks.asked("two", NEWEST, 9).await, (vec!["c".to_owned()], vec![200]));
}

#[tokio::test]
async fn trace_in_several_places_is_one_with_the_best_of_each() {
    let blocks = Blocks::new().await;
    let set = |matched| SpanSet { matched, ..SpanSet::default() };
    let stats = |span_count, error_count| ServiceStats { span_count, error_count };
    let mut recent = trace("a", 30);
    recent.span_sets = vec![set(2)];
    recent.duration_ms = 7;
    recent.service_stats = [("shop".to_owned(), stats(5, 1))].into();
    let mut with_root = trace("a", 20);
    with_root.root_service_name = "shop".into();
    with_root.root_trace_name = "buy".into();
    with_root.span_sets = vec![set(1)];
    with_root.service_stats = [("shop".to_owned(), stats(3, 2))].into();
    let mut larger = trace("a", 25);
    larger.span_sets = vec![set(4)];
    larger.duration_ms = 5;
    larger.service_stats = [("pay".to_owned(), stats(1, 0))].into();
    *blocks.api.recent.traces.lock() = vec![recent];
    blocks.add("t", (0, 50), &[with_root]);
    blocks.add("t", (0, 60), &[larger]);
    let found = blocks.search("t", ANY, 20).await;
    let expected = TraceSearchMetadata {
        root_service_name: "shop".into(),
        root_trace_name: "buy".into(),
        duration_ms: 7,
        span_set: Some(set(4)),
        span_sets: vec![set(4)],
        service_stats: [("shop".to_owned(), stats(5, 2)), ("pay".to_owned(), stats(1, 0))].into(),
        ..trace("a", 20)
    };
    assert_eq!(found.traces, [expected]);
}

#[tokio::test]
async fn blocks_that_touch_the_window_are_asked() {
    let blocks = Blocks::new().await;
    for (from, to) in [(0, 10), (5, 11), (20, 30), (21, 31)] {
        blocks.add("t", (from, to), &[]);
    }
    let (start, end) = (BASE + 11, BASE + 20);
    let path = format!("/api/search?q={{}}&start={start}&end={end}");
    blocks.api.get_as(&path, "X-Scope-OrgID", "t").await.json();
    let searched: Vec<_> = blocks.querier.searched.lock().clone();
    let ends = searched.iter().map(|id| Uuid::parse_str(id).unwrap().as_u128());
    assert_eq!(ends.collect::<Vec<_>>(), [30, 11]);
}

#[tokio::test]
async fn of_many_blocks_those_are_read_that_may_match() {
    let blocks = Blocks::new().await;
    let name = |end: u64| Uuid::from_u128(end.into()).to_string();
    for end in 1..=400 {
        let traces = [trace(&format!("{end:x}"), end)];
        blocks.add("t", (0, end), if end % 100 == 0 { &traces } else { &[] });
        if end % 50 != 0 {
            blocks.querier.unfit.lock().insert(name(end));
        }
    }
    // What is found does not depend on whether blocks are left out, nor does the order.
    let newest_blocks = (369..=400).rev();
    let (ids, asked) = blocks.asked("t", ANY, 9).await;
    assert_eq!(ids, ["190", "12c", "c8", "64"]);
    assert_eq!(
        asked,
        newest_blocks.clone().chain([350, 300, 250, 200, 150, 100, 50]).collect::<Vec<_>>()
    );
    let questions = blocks.querier.selected.lock().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(questions, [64, 128, 176], "each block once, the newest first");
    // An answer that is full needs no more.
    blocks.querier.selected.lock().clear();
    assert_eq!(blocks.asked("t", ANY, 1).await, (vec!["190".to_owned()], vec![400]));
    assert!(blocks.querier.selected.lock().is_empty());
    let (ids, asked) = blocks.asked("t", NEWEST, 2).await;
    assert_eq!(ids, ["190", "12c"]);
    assert_eq!(asked, newest_blocks.chain([350, 300]).collect::<Vec<_>>());
    let metrics = blocks.search("t", ANY, 9).await.metrics.unwrap();
    assert_eq!((metrics.total_blocks, metrics.total_jobs, metrics.completed_jobs), (400, 401, 401));
    // A querier that knows no such question is none that has nothing.
    blocks.querier.knows_no_selection.store(true, Ordering::Relaxed);
    assert_eq!(blocks.asked("t", ANY, 9).await.1.len(), 400);
}

#[tokio::test]
async fn many_blocks_of_several_tenants_are_asked_about_by_tenant() {
    let blocks = Blocks::new().await;
    for end in 1..=160 {
        let tenant = if end % 2 == 0 { "one" } else { "two" };
        blocks.add(tenant, (0, end), &[trace(&format!("{end:x}"), end)]);
    }
    blocks.querier.unfit.lock().insert(Uuid::from_u128(7).to_string());
    let (ids, asked) = blocks.asked("one|two", ANY, 200).await;
    assert_eq!((ids.len(), asked.len()), (159, 159));
    let questions = blocks.querier.selected.lock().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(questions, [64, 64]);
}

#[tokio::test]
async fn where_summaries_tell_nothing_they_are_not_asked_again() {
    let blocks = Blocks::new().await;
    for end in 1..=400 {
        blocks.add("t", (0, end), &[trace(&format!("{end:x}"), end)]);
    }
    blocks.querier.tells_nothing.store(true, Ordering::Relaxed);
    let (ids, asked) = blocks.asked("t", ANY, 400).await;
    assert_eq!((ids.len(), asked.len()), (400, 400));
    assert!(asked.is_sorted_by(|one, other| one > other), "the newest first");
    let questions = blocks.querier.selected.lock().iter().map(Vec::len).sum::<usize>();
    assert!(questions < 400, "{questions}");
}
