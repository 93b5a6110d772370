//! Streams that end early: the client waits no longer, or there is nothing to find.

use tactus_proto::tempopb::TraceByIdRequest;
use tactus_proto::tempopb::querier_server::Querier as _;

use super::*;

#[tokio::test(start_paused = true)]
async fn query_ends_when_its_client_waits_no_longer() {
    let settings = Settings::default();
    let longest = settings.section.api_timeout.as_std();
    let blocks = Blocks::new(settings).await;
    blocks.api.recent.calls.hang(true);
    for (sent, is_respected) in [("2S", true), ("2x", false), ("1H", false)] {
        let mut request = tonic::Request::new(search("{}"));
        request.metadata_mut().insert("grpc-timeout", sent.parse().unwrap());
        let asked = tokio::time::Instant::now();
        let (_, status) = read(blocks.streaming.search(request).await).await;
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{sent}");
        // Time that is paused goes on when nothing else does.
        assert_eq!(asked.elapsed() < longest, is_respected, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn lookup_ends_when_its_client_waits_no_longer() {
    let settings = Settings::default();
    let longest = settings.section.api_timeout.as_std();
    let blocks = Blocks::new(settings).await;
    blocks.api.recent.calls.hang(true);
    let by_id = TraceByIdRequest { trace_id: vec![1].into(), ..TraceByIdRequest::default() };
    let mut request = tonic::Request::new(by_id);
    request.metadata_mut().insert("grpc-timeout", "2S".parse().unwrap());
    let asked = tokio::time::Instant::now();
    let status = blocks.streaming.find_trace_by_id(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(asked.elapsed() < longest);
}

#[tokio::test(start_paused = true)]
async fn query_of_the_future_is_one_empty_message() {
    let blocks = Blocks::new(eager()).await;
    *blocks.api.recent.traces.lock() = vec![trace(1, 50)];
    let (start, end) = (4_000_000_000, 4_000_000_060);
    let request = tonic::Request::new(SearchRequest { start, end, ..search("{}") });
    let answers = messages(blocks.streaming.search(request).await).await;
    assert!(answers.len() == 1 && answers[0].traces.is_empty(), "{answers:?}");
    let tag_name = "span.a".to_owned();
    let request = SearchTagValuesRequest { tag_name, start, end, ..Default::default() };
    let request = tonic::Request::new(request);
    let answers = messages(blocks.streaming.search_tag_values_v2(request).await).await;
    assert!(answers.len() == 1 && answers[0].tag_values.is_empty(), "{answers:?}");
}
