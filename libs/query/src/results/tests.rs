use bytes::Bytes;
use proptest::prelude::*;
use tactus_proto::tactus::v1::{
    MetricsInBlockRequest, MetricsRequest, MetricsResponse, MetricsSeries, SearchBlockRequest,
    SearchRequest, SearchResponse, TagValuesInBlockRequest, TagValuesRequest, TagsInBlockRequest,
    TagsRequest,
};
use tactus_proto::tempopb::TraceSearchMetadata;
use tactus_storage::Uuid;
use tactus_work::memory::Budget;

use super::*;

const BLOCKS: [&str; 2] =
    ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"];

const QUERIES: [&str; 5] = ["{}", "{ }", "{ name = \"a\" }", "{name=`a`}", "not a query"];

/// Few values, so that two requests are often alike.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("a".to_owned()), Just("ab".to_owned())]
}

fn block() -> impl Strategy<Value = String> {
    prop::sample::select(&BLOCKS[..]).prop_map(str::to_owned)
}

fn query() -> impl Strategy<Value = String> {
    prop::sample::select(&QUERIES[..]).prop_map(str::to_owned)
}

fn part() -> impl Strategy<Value = Option<BlockPart>> {
    (text(), 0..3u32, 0..3u32).prop_map(|(block_id, first_row_group, row_groups)| {
        Some(BlockPart { block_id, first_row_group, row_groups })
    })
}

prop_compose! {
    fn search()(
        (tenant, query, part) in (text(), query(), part()),
        (start, end, limit, spans_per_span_set) in (0..2u32, 0..2u32, 0..2u32, 0..2u32),
        (most_recent, explain) in any::<(bool, bool)>(),
        tags in prop::collection::btree_map(text(), text(), 0..2),
        (min_duration_ms, max_duration_ms) in (0..2u32, 0..2u32),
    ) -> SearchBlockRequest {
        let search = SearchRequest {
            tenant, query, start, end, limit, spans_per_span_set, most_recent, tags, min_duration_ms, max_duration_ms,
            explain,
            // Of ingesters alone: in a job on a block there are none.
            stored_block_ids: Bytes::new(),
            holders: Vec::new(),
            so_far: 0,
        };
        SearchBlockRequest { search: Some(search), part }
    }
}

prop_compose! {
    fn metrics()(
        (tenant, query, part) in (text(), query(), part()),
        (start_nanos, step_nanos, intervals) in (0..50u64, 1..20u64, 1..4u32),
        (exemplars, max_series_bytes, explain) in (0..2u32, 0..2u64, any::<bool>()),
        counted_block_ids in prop::collection::vec(block(), 0..3),
    ) -> MetricsInBlockRequest {
        let metrics = MetricsRequest {
            tenant, query, start_nanos, step_nanos, intervals, exemplars, max_series_bytes, explain,
            ..MetricsRequest::default()
        };
        MetricsInBlockRequest { metrics: Some(metrics), part, counted_block_ids }
    }
}

prop_compose! {
    fn tags()(
        (tenant, query, part, scope) in (text(), query(), part(), text()),
        (start, end, max_bytes) in (0..2u32, 0..2u32, 0..2u64),
    ) -> TagsInBlockRequest {
        let tags = TagsRequest {
            tenant, scope, start, end, query, max_bytes, stored_block_ids: Bytes::new(), so_far: 0,
        };
        TagsInBlockRequest { tags: Some(tags), part }
    }
}

prop_compose! {
    fn values()(
        (tenant, query, part, tag) in (text(), query(), part(), text()),
        (start, end, max_bytes, max_values) in (0..2u32, 0..2u32, 0..2u64, 0..2u32),
        more_tags in prop::collection::vec(text(), 0..2),
        texts_only in any::<bool>(),
    ) -> TagValuesInBlockRequest {
        let values = TagValuesRequest {
            tenant, tag, start, end, query, max_bytes, max_values, more_tags,
            stored_block_ids: Bytes::new(),
            so_far: 0,
            texts_only,
        };
        TagValuesInBlockRequest { values: Some(values), part }
    }
}

/// Places of the answer for any time, if there can be one, and for the time asked for.
fn places_of<J: BlockJob>(job: &J) -> (Option<Place>, Place) {
    let mut keys = places(job).keys;
    let asked = keys.pop().unwrap();
    (keys.pop(), asked)
}

/// Two requests share a place only if they are the same but for what `unlike` leaves out.
fn check<J: BlockJob + PartialEq>(
    one: &J,
    other: &J,
    without_form: impl Fn(&J) -> J,
    without_time: impl Fn(&J) -> J,
) {
    let ((any, asked), (other_any, other_asked)) = (places_of(one), places_of(other));
    let (one, other) = (without_form(one), without_form(other));
    assert_eq!(asked == other_asked, one == other);
    if let (Some(any), Some(other_any)) = (&any, &other_any) {
        assert_eq!(any == other_any, without_time(&one) == without_time(&other));
        assert!(*any != other_asked && *other_any != asked);
    }
}

fn plain(query: &mut String) {
    *query = match query.as_str() {
        "{ }" => "{}".to_owned(),
        "{name=`a`}" => "{ name = \"a\" }".to_owned(),
        _ => return,
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn searches_share_an_answer_only_if_they_are_the_same((one, other) in (search(), search())) {
        let form = |job: &SearchBlockRequest| {
            let mut job = job.clone();
            let search = job.search.as_mut().unwrap();
            search.explain = false;
            plain(&mut search.query);
            job
        };
        let time = |job: &SearchBlockRequest| {
            let mut job = job.clone();
            let search = job.search.as_mut().unwrap();
            (search.start, search.end) = (0, 0);
            job
        };
        check(&one, &other, form, time);
        check(&one, &form(&one), form, time);
    }

    #[test]
    fn metrics_share_an_answer_only_if_they_are_the_same((one, other) in (metrics(), metrics())) {
        let form = |job: &MetricsInBlockRequest| {
            let mut job = job.clone();
            job.counted_block_ids.sort();
            let metrics = job.metrics.as_mut().unwrap();
            metrics.explain = false;
            plain(&mut metrics.query);
            job
        };
        let time = |job: &MetricsInBlockRequest| {
            let mut job = job.clone();
            let metrics = job.metrics.as_mut().unwrap();
            metrics.start_nanos %= metrics.step_nanos;
            if metrics.exemplars == 0 {
                metrics.intervals = 0;
            }
            job
        };
        check(&one, &other, form, time);
        check(&one, &form(&one), form, time);
        prop_assert!(places_of(&one).0.is_some());
    }

    #[test]
    fn tags_share_an_answer_only_if_they_are_the_same((one, other) in (tags(), tags())) {
        let time = |job: &TagsInBlockRequest| {
            let mut job = job.clone();
            let tags = job.tags.as_mut().unwrap();
            (tags.start, tags.end) = (0, 0);
            job
        };
        check(&one, &other, Clone::clone, time);
    }

    #[test]
    fn values_share_an_answer_only_if_they_are_the_same((one, other) in (values(), values())) {
        let time = |job: &TagValuesInBlockRequest| {
            let mut job = job.clone();
            let values = job.values.as_mut().unwrap();
            (values.start, values.end) = (0, 0);
            job
        };
        check(&one, &other, Clone::clone, time);
    }

    #[test]
    fn intervals_move_with_the_range(
        (old, new, step) in (0..1000u64, 0..1000u64, 1..10u64),
        (intervals, asked) in (prop::collection::vec(0..50u32, 0..5), 1..60u32),
    ) {
        let metrics = MetricsRequest { start_nanos: new, step_nanos: step, intervals: asked, ..Default::default() };
        let job = MetricsInBlockRequest { metrics: Some(metrics), ..Default::default() };
        let series = MetricsSeries { intervals: intervals.clone(), ..Default::default() };
        let mut answer = MetricsResponse { series: vec![series], ..Default::default() };
        let end = |interval: u32| old + u64::from(interval) * step;
        let is_possible = old.abs_diff(new) % step == 0
            && intervals.iter().all(|&i| end(i) >= new && end(i) < new + u64::from(asked) * step);
        prop_assert_eq!(job.rebase(&mut answer, old), is_possible);
        if is_possible {
            for (&was, &is) in intervals.iter().zip(&answer.series[0].intervals) {
                prop_assert_eq!(end(was), new + u64::from(is) * step);
            }
        }
    }
}

fn results() -> Results {
    Results::new(16 << 20, None, &Registry::new())
}

/// Memory for any answer.
fn room() -> Arc<Bodies> {
    Bodies::within(&Budget::new(1 << 30))
}

fn search_of(start: u32, end: u32) -> SearchBlockRequest {
    let search =
        SearchRequest { tenant: "t".into(), query: "{}".into(), start, end, ..Default::default() };
    let part = BlockPart { block_id: "b".into(), first_row_group: 0, row_groups: 0 };
    SearchBlockRequest { search: Some(search), part: Some(part) }
}

fn answer(scope: Option<&str>) -> Response<SearchResponse> {
    let mut response = Response::new(SearchResponse::default());
    if let Some(scope) = scope {
        response.metadata_mut().insert(ANSWER_SCOPE, scope.parse().unwrap());
    }
    response
}

fn keep(results: &Results, (start, end): (u32, u32), answer: &Response<SearchResponse>) {
    let places = results.places(&search_of(start, end));
    results.keep::<SearchBlockRequest>(&places, answer);
}

async fn find(
    results: &Results,
    (start, end): (u32, u32),
    memory: &Arc<Bodies>,
) -> Result<Option<Found<SearchResponse>>> {
    let job = search_of(start, end);
    results.find(&job, &results.places(&job), memory).await
}

#[test]
fn ids_of_blocks_are_short_in_keys_and_must_be_ids() {
    let job = |ids: Vec<String>| MetricsInBlockRequest {
        metrics: Some(MetricsRequest { step_nanos: 1, ..MetricsRequest::default() }),
        part: Some(BlockPart::default()),
        counted_block_ids: ids,
    };
    let ids = (0..1_024).map(|number| Uuid::from_u128(number).to_string()).collect();
    let (any, asked) = places_of(&job(ids));
    let (any_without, asked_without) = places_of(&job(Vec::new()));
    assert_eq!(asked.bytes() - asked_without.bytes(), 16 * 1_024);
    assert_eq!(any.unwrap().bytes() - any_without.unwrap().bytes(), 16 * 1_024);
    assert!(places(&job(vec!["b".to_owned()])).keys.is_empty());
}

#[tokio::test]
async fn answer_is_kept_for_the_ranges_that_it_holds_for() {
    const SECOND: u64 = 1_000_000_000;
    let around = format!("3 {} {}", 20 * SECOND, 30 * SECOND);
    for (scope, kept_for, found, missed) in [
        (
            Some(around.as_str()),
            (10, 40),
            vec![(20, 30), (0, 0), (10, 40)],
            vec![(21, 30), (20, 29)],
        ),
        (Some(around.as_str()), (21, 40), vec![(21, 40)], vec![(20, 40), (21, 41), (0, 0)]),
        (Some("1 any"), (21, 40), vec![(0, 1), (0, 0)], vec![]),
        (Some("1 asked"), (21, 40), vec![(21, 40)], vec![(20, 40), (0, 0)]),
        (Some("nonsense"), (1, 2), vec![], vec![(1, 2)]),
        (None, (1, 2), vec![], vec![(1, 2), (0, 0)]),
    ] {
        let results = results();
        keep(&results, kept_for, &answer(scope));
        for (start, end) in found {
            let found = find(&results, (start, end), &room()).await.unwrap();
            assert!(found.is_some(), "{scope:?} {start} {end}");
        }
        for (start, end) in missed {
            let found = find(&results, (start, end), &room()).await.unwrap();
            assert!(found.is_none(), "{scope:?} {start} {end}");
        }
    }
}

#[tokio::test]
async fn large_answer_is_not_kept() {
    for (bytes, is_kept) in [(MAX_ANSWER_BYTES / 2, true), (MAX_ANSWER_BYTES, false)] {
        let results = results();
        let mut large = answer(Some("1 any"));
        let trace_id = "a".repeat(bytes);
        large.get_mut().traces = vec![TraceSearchMetadata { trace_id, ..Default::default() }];
        keep(&results, (1, 2), &large);
        let found = find(&results, (1, 2), &room()).await.unwrap();
        assert_eq!(found.is_some(), is_kept, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_finds_memory_before_it_is_decoded() {
    let results = results();
    let mut large = answer(Some("1 any"));
    let trace_id = "a".repeat(1_000_000);
    large.get_mut().traces = vec![TraceSearchMetadata { trace_id, ..Default::default() }];
    keep(&results, (1, 2), &large);
    let all = Budget::new(10_000_000);
    let bodies = Bodies::within(&all);
    let found = find(&results, (1, 2), &bodies).await.unwrap().unwrap();
    assert!((8_000_000..8_100_000).contains(&all.used()), "{}", all.used());
    let refused = find(&results, (1, 2), &bodies).await;
    assert_eq!(refused.err(), Some(Error::TooManyBytes));
    drop(found);
    assert!(find(&results, (1, 2), &bodies).await.unwrap().is_some());
    assert_eq!(all.used(), 0);
}

#[tokio::test]
async fn shared_cache_serves_another_process_and_memory_its_own() {
    let registry = Registry::new();
    let shared = Cache::in_memory(&registry, &tokio::runtime::Handle::current());
    let with = |max_bytes, shared| Results::new(max_bytes, shared, &registry);
    let (one, other) = (with(0, Some(shared.clone())), with(1 << 20, Some(shared)));
    keep(&one, (10, 40), &answer(Some("1 any")));
    while find(&one, (10, 40), &room()).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(find(&other, (10, 40), &room()).await.unwrap().is_some());
    let place = places_of(&search_of(10, 40)).0.unwrap();
    assert!(other.store.memory().unwrap().contains_key(&place));
    assert!(find(&with(0, None), (10, 40), &room()).await.unwrap().is_none());
}
