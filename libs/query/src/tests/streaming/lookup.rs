//! Single traces in a message.

use prost::Message as _;
use tactus_proto::tempopb::querier_server::Querier as _;
use tactus_proto::tempopb::{TraceByIdRequest, TraceByIdResponse};
use tonic::{Code, Request};

use super::*;

/// A trace of the sample blocks.
const SAMPLE: &str = "463ac35c9f6413ad";

async fn find(api: &Api, request: TraceByIdRequest) -> Result<TraceByIdResponse, Status> {
    let service = Streaming::new(Arc::clone(&api.frontend));
    service.find_trace_by_id(Request::new(request)).await.map(Response::into_inner)
}

fn by_id(id: &str) -> TraceByIdRequest {
    TraceByIdRequest { trace_id: hex(id).into(), ..TraceByIdRequest::default() }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[tokio::test]
async fn trace_is_the_one_over_http() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    let path = format!("/api/v2/traces/{SAMPLE}");
    let body = api.get_as(&path, "accept", "application/protobuf").await.body;
    let over_http = TraceByIdResponse::decode(body).unwrap();
    assert!(!over_http.trace.as_ref().unwrap().resource_spans.is_empty());
    let found = find(&api, by_id(SAMPLE)).await.unwrap();
    assert_eq!(found.trace, over_http.trace);
    // The sender may have padded the id.
    let padded = find(&api, by_id(&format!("{SAMPLE:0>32}"))).await.unwrap();
    assert_eq!(padded.trace, over_http.trace);
    // Nobody has this one, and recent data have none.
    for request in
        [by_id("01"), TraceByIdRequest { query_mode: "ingesters".into(), ..by_id(SAMPLE) }]
    {
        let absent = find(&api, request).await.unwrap();
        assert!(absent.trace.unwrap().resource_spans.is_empty());
        assert_eq!(absent.status, 0);
    }
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let unknown = TraceByIdRequest { query_mode: "some".into(), ..by_id("01") };
    for (request, text) in [
        (by_id(""), "traceID has 0 bytes instead of 1 to 16"),
        (by_id(&"1".repeat(34)), "traceID has 17 bytes instead of 1 to 16"),
        (unknown, "invalid value for mode some"),
    ] {
        let error = find(&api, request).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidArgument, text));
    }
}
