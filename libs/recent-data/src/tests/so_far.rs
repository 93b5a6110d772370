//! What a query has found is told before it is done.

use tactus_api::job::SearchJob;
use tactus_proto::tactus::v1::{
    SearchRequest, SearchResponse, SoFar, TagValuesRequest, TagValuesResponse, TagsRequest,
    TagsResponse,
};
use tactus_traceql::eval::TraceMatch;

use super::*;

#[tokio::test]
async fn search_tells_of_traces_as_it_finds_them() {
    let bench = Bench::new();
    let ingester = bench.open();
    // Four traces lie in one segment each, three in both and in live spans.
    for trace in 0..4 {
        ingester.push(&push_of("t1", &[span(trace, trace, 1_000)]), &tenant()).unwrap();
    }
    for _ in 0..2 {
        for trace in 4..7 {
            ingester.push(&push_of("t1", &[span(trace, trace, 1_000)]), &tenant()).unwrap();
        }
        ingester.seal().await.unwrap();
    }
    ingester.push(&push_of("t1", &[span(4, 100, 2_000)]), &tenant()).unwrap();
    let request = SearchRequest {
        tenant: "t1".into(),
        query: "{ }".into(),
        limit: 20,
        ..SearchRequest::default()
    };
    let job = SearchJob::compile(&request, &[]).unwrap();
    let told = std::cell::RefCell::new(Vec::new());
    let tell = |found: &TraceMatch| told.borrow_mut().push(found.clone());
    let view = ingester.recent_view(&tenant());
    let found = view.search_recent(&job.query, (job.window, job.options), &tell).unwrap().traces;
    let by_id = |mut traces: Vec<TraceMatch>| {
        traces.sort_unstable_by_key(|trace| trace.trace_id);
        traces
    };
    assert_eq!(found.len(), 7);
    assert_eq!(by_id(told.into_inner()), by_id(found), "each once, and as the answer has it");
}

#[tokio::test]
async fn findings_of_a_query_that_does_not_run_are_none() {
    let bench = Bench::new();
    let ingester = bench.open();
    ingester.push(&push_of("t1", &[span(1, 1, 1_000)]), &tenant()).unwrap();
    let (tenant, so_far) = ("t1".to_owned(), SoFar::Asked.into());
    let search = SearchRequest { query: "{ }".into(), limit: 20, so_far, ..Default::default() };
    let search = SearchRequest { tenant: tenant.clone(), ..search };
    let found = ingester.search(tonic::Request::new(search)).await.unwrap().into_inner();
    assert_eq!(found, SearchResponse::default());
    let tags = TagsRequest { tenant: tenant.clone(), so_far, ..Default::default() };
    let found = ingester.tags(tonic::Request::new(tags)).await.unwrap().into_inner();
    assert_eq!(found, TagsResponse::default());
    let tag = "span.n".to_owned();
    let values = TagValuesRequest { tenant, tag, so_far, ..Default::default() };
    let found = ingester.tag_values(tonic::Request::new(values)).await.unwrap().into_inner();
    assert_eq!(found, TagValuesResponse::default());
}
