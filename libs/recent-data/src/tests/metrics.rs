//! Every span is counted once: live, cut, sent again, becoming a block.

use tactus_proto::tactus::v1::{
    MetricsRequest, MetricsResponse, SearchRequest, ingester_server::Ingester as Protocol,
};
use tactus_work::memory::{Budget, QueryMemory, TOO_MANY_BYTES};
use tonic::{Code, Request};

use super::*;

const SPAN_QUERY: &str = "{ span.text != \"no\" } | count_over_time() by (span.n)";
const TRACE_QUERY: &str = "{ } | count() > 1 | count_over_time()";

async fn metrics(ingester: &Ingester, query: &str, explain: bool) -> MetricsResponse {
    let request = MetricsRequest {
        tenant: "t1".to_owned(),
        query: query.to_owned(),
        start_nanos: 0,
        step_nanos: 100,
        intervals: 10,
        explain,
        ..MetricsRequest::default()
    };
    Protocol::metrics(ingester, Request::new(request)).await.unwrap().into_inner()
}

/// The number of counted spans, and of series.
async fn count(ingester: &Ingester, query: &str) -> (f64, usize) {
    let answer = metrics(ingester, query, false).await;
    let values = answer.series.iter().flat_map(|series| &series.values);
    (values.sum(), answer.series.len())
}

#[tokio::test]
async fn span_is_counted_once_wherever_it_lies() {
    let bench = Bench::new();
    let ingester = bench.open();
    // Span 0 starts at 0, on the open edge of the first interval.
    push_all(&ingester, 0..100);
    let both = async |ingester: &Ingester| {
        (count(ingester, SPAN_QUERY).await, count(ingester, TRACE_QUERY).await)
    };
    assert_eq!(both(&ingester).await, ((99.0, 99), (99.0, 1)));
    push_all(&ingester, 50..100);
    assert_eq!(both(&ingester).await, ((99.0, 99), (99.0, 1)), "sent again while live");
    ingester.seal().await.unwrap();
    assert_eq!(both(&ingester).await, ((99.0, 99), (99.0, 1)), "cut");
    push_all(&ingester, 90..120);
    assert_eq!(both(&ingester).await, ((119.0, 119), (119.0, 1)), "live beside a segment");
    ingester.seal().await.unwrap();
    assert_eq!(both(&ingester).await, ((119.0, 119), (119.0, 1)), "two segments");
}

#[tokio::test]
async fn span_and_trace_are_inspected_once_wherever_it_lies() {
    let bench = Bench::new();
    let ingester = bench.open();
    let check = async |spans: u64, state: &str| {
        let traces = all_spans(&ingester).traces.ids.len() as u32;
        for query in [SPAN_QUERY, TRACE_QUERY] {
            let work = metrics(&ingester, query, false).await.metrics.unwrap();
            assert_eq!(work.inspected_spans, spans, "{query} {state}");
        }
        let search =
            SearchRequest { tenant: "t1".into(), query: "{}".into(), ..Default::default() };
        let found = Protocol::search(&*ingester, Request::new(search)).await.unwrap().into_inner();
        assert_eq!(found.metrics.unwrap().inspected_traces, traces, "{state}");
    };
    push_all(&ingester, 1..100);
    check(99, "live").await;
    push_all(&ingester, 50..100);
    check(99, "sent again while live").await;
    ingester.seal().await.unwrap();
    check(99, "cut").await;
    push_all(&ingester, 90..120);
    check(119, "live beside a segment").await;
    ingester.seal().await.unwrap();
    check(119, "two segments").await;
}

#[tokio::test]
async fn block_in_the_making_is_named_and_then_released() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 1..50);
    ingester.seal().await.unwrap();
    let answer = metrics(&ingester, SPAN_QUERY, false).await;
    assert!(answer.counted_block_ids.is_empty() && answer.released_block_ids.is_empty());
    // The bucket cannot be written: the block stays in the making.
    std::fs::remove_dir_all(bench.bucket_path()).unwrap();
    std::fs::write(bench.bucket_path(), "not a directory").unwrap();
    ingester.flush_all().await.unwrap_err();
    let making = metrics(&ingester, SPAN_QUERY, false).await;
    assert_eq!((making.series.len(), making.counted_block_ids.len()), (49, 1));
    std::fs::remove_file(bench.bucket_path()).unwrap();
    std::fs::create_dir_all(bench.bucket_path()).unwrap();
    ingester.flush_all().await.unwrap();
    let done = metrics(&ingester, SPAN_QUERY, true).await;
    assert!(done.series.is_empty() && done.counted_block_ids.is_empty());
    assert_eq!(done.released_block_ids, making.counted_block_ids);
    assert_eq!((done.explanations[0].source.as_str(), done.explanations[0].parts), ("recent", 0));
}

#[tokio::test]
async fn series_beyond_the_limit_of_memory_are_refused() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 1..200);
    let request = MetricsRequest {
        tenant: "t1".to_owned(),
        query: SPAN_QUERY.to_owned(),
        step_nanos: 100,
        intervals: 10,
        max_series_bytes: 1_000,
        ..MetricsRequest::default()
    };
    let status = Protocol::metrics(&*ingester, Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1000"), "{status}");
}

#[tokio::test]
async fn queries_together_hold_no_more_than_their_memory_and_give_it_back() {
    let bench = Bench::new();
    let memory = Budget::new(2_000_000);
    let settings = Settings { query_memory: QueryMemory::within(&memory), ..bench.settings() };
    let ingester = bench.open_with(settings).unwrap();
    push_all(&ingester, 1..1_000);
    for query in [SPAN_QUERY, "{ } | compare({ span.n < 500 })"] {
        assert!(!metrics(&ingester, query, false).await.series.is_empty());
        assert_eq!(memory.used(), 0, "{query}");
        // What other queries have.
        let others = memory.reserve(1_950_000).unwrap();
        let request = MetricsRequest {
            tenant: "t1".to_owned(),
            query: query.to_owned(),
            step_nanos: 100,
            intervals: 10,
            ..MetricsRequest::default()
        };
        let status = Protocol::metrics(&*ingester, Request::new(request)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, TOO_MANY_BYTES));
        assert_eq!(memory.used(), others.bytes(), "{query}");
        let (count, _) = count(&ingester, "{ } | count_over_time()").await;
        assert_eq!(count, 999.0, "a small query needs nothing of others");
    }
}

#[tokio::test]
async fn query_holds_nothing_for_spans_that_are_in_one_place() {
    let bench = Bench::new();
    let memory = Budget::new(2_000_000);
    let settings = Settings { query_memory: QueryMemory::within(&memory), ..bench.settings() };
    let ingester = bench.open_with(settings).unwrap();
    push_all(&ingester, 0..20_000);
    ingester.seal().await.unwrap();
    // A trace of a few spans is in two places; the segment has all the others.
    let spans = [span(20_000, 20_000, 500), span(20_000, 20_001, 500)];
    ingester.push(&push_of("t1", &spans), &tenant()).unwrap();
    ingester.seal().await.unwrap();
    ingester.push(&push_of("t1", &spans[..1]), &tenant()).unwrap();
    let _others = memory.reserve(1_950_000).unwrap();
    let (count, _) = count(&ingester, "{ } | count_over_time()").await;
    assert_eq!(count, 1_002.0, "those of the first 1 000 ns, and the two");
}
