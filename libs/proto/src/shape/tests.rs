use prost::Message;

use super::Shaped;
use crate::otlp::{AnyValue, any_value::Value};
use crate::tactus::v1::{
    Holder, JobAnswer, KeptTraces, MetricsRequest, MetricsResponse, MetricsSeries, PushRequest,
    SearchRequest, SearchResponse, SpanRun, job_answer,
};

fn times<T: Shaped + Message>(message: &T) -> u64 {
    let bytes = message.encode_to_vec();
    T::decoded_bytes(&bytes) / bytes.len() as u64
}

#[test]
fn empty_messages_take_many_times_their_bytes() {
    let runs = vec![SpanRun::default(); 1_000];
    let push = PushRequest { runs, ..PushRequest::default() };
    assert!(times(&push) > 20, "{}", times(&push));
    let holders = vec![Holder::default(); 1_000];
    let search = SearchRequest { holders: holders.clone(), ..SearchRequest::default() };
    assert!(times(&search) > 20, "{}", times(&search));
    let metrics = MetricsRequest { holders, ..MetricsRequest::default() };
    assert!(times(&metrics) > 20, "{}", times(&metrics));
    let resources = vec![bytes::Bytes::new(); 1_000];
    let push = PushRequest { resources, ..PushRequest::default() };
    assert!(times(&push) > PushRequest::MOST_TIMES, "{}", times(&push));
}

#[test]
fn empty_messages_are_found_within_others() {
    let kept = vec![KeptTraces::default(); 1_000];
    let holder = Holder { kept, ..Holder::default() };
    let search = SearchRequest { holders: vec![holder], ..SearchRequest::default() };
    assert!(times(&search) > SearchRequest::MOST_TIMES, "{}", times(&search));
    let series = vec![MetricsSeries::default(); 1_000];
    let answer = MetricsResponse { series, ..MetricsResponse::default() };
    let result = Some(job_answer::Result::MetricsInBlock(answer));
    let answer = JobAnswer { result, ..JobAnswer::default() };
    assert!(times(&answer) > JobAnswer::MOST_TIMES, "{}", times(&answer));
}

#[test]
fn maps_take_a_node_for_each_entry() {
    let entry = [0x42, 0x00];
    let bytes = entry.repeat(1_000);
    assert!(SearchRequest::decoded_bytes(&bytes) > 20 * bytes.len() as u64);
}

#[test]
fn what_services_send_is_far_from_the_bound() {
    let run = SpanRun { scope_spans: vec![7; 100].into(), origin: u64::MAX, ..SpanRun::default() };
    let push = PushRequest { runs: vec![run; 1_000], ..PushRequest::default() };
    assert!(2 * times(&push) <= PushRequest::MOST_TIMES, "{}", times(&push));
    // A tenant of one push a second.
    let holder = Holder { complete: vec![1 << 40, 1 << 41], ..Holder::default() };
    let metrics = MetricsRequest {
        query: "{ } | rate()".to_owned(),
        holders: vec![holder; 50],
        stored_origins: vec![u64::MAX; 1_000],
        ..MetricsRequest::default()
    };
    assert!(2 * times(&metrics) <= MetricsRequest::MOST_TIMES, "{}", times(&metrics));
    // The shortest series there is: by a small number, in one interval.
    let series = MetricsSeries {
        labels: vec![AnyValue { value: Some(Value::IntValue(7)) }],
        intervals: vec![0],
        values: vec![1.0],
        ..MetricsSeries::default()
    };
    let answer = MetricsResponse { series: vec![series; 1_000], ..MetricsResponse::default() };
    assert!(times(&answer) < MetricsResponse::MOST_TIMES, "{}", times(&answer));
    let trace = crate::tempopb::TraceSearchMetadata {
        trace_id: "0123456789abcdef0123456789abcdef".to_owned(),
        root_service_name: "s".to_owned(),
        root_trace_name: "t".to_owned(),
        start_time_unix_nano: u64::MAX,
        service_stats: [("s".to_owned(), Default::default())].into(),
        ..Default::default()
    };
    let answer = SearchResponse { traces: vec![trace; 1_000], ..SearchResponse::default() };
    assert!(2 * times(&answer) < SearchResponse::MOST_TIMES, "{}", times(&answer));
}

#[test]
fn damaged_messages_are_looked_at_up_to_there() {
    for bytes in [
        &b""[..],
        b"\xff",
        b"\x22",
        b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0b",
        b"\x22\x05a",
        &[0xff; 40],
    ] {
        assert_eq!(PushRequest::decoded_bytes(bytes), 0, "{bytes:?}");
    }
    assert!(PushRequest::decoded_bytes(b"\x22\x00\x0b") > 0);
}
