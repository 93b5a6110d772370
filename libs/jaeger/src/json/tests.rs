use bytes::Bytes;
use serde_json::json;
use tactus_model::TraceId;
use tactus_proto::otlp as proto;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Status};

use super::*;

const TRACE: &str = "00000000000000010000000000000002";

fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn text(text: &'static str) -> Value {
    Value::StringValue(Bytes::from_static(text.as_bytes()))
}

fn id() -> TraceId {
    TraceId::from_hex(TRACE).unwrap()
}

/// The span of the documented checks.
fn check_span() -> proto::Span {
    proto::Span {
        trace_id: Bytes::copy_from_slice(&id().0),
        span_id: Bytes::from_static(b"\0\0\0\0\0\0\0\x03"),
        name: Bytes::from_static(b"op"),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_001_500_000,
        status: Some(Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..proto::Span::default()
    }
}

fn of(service: &'static str, spans: Vec<proto::Span>) -> ResourceSpans {
    let attributes = vec![attribute("service.name", text(service))];
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

#[test]
fn trace_has_the_documented_form() {
    let trace = trace(id(), vec![of("svc", vec![check_span()])], Vec::new());
    let expected = [
        r#"{"data":[{"traceID":"00000000000000010000000000000002","spans":[{"traceID":"00000000000000010000000000000002","#,
        r#""spanID":"0000000000000003","operationName":"op","references":[],"startTime":1700000000000000,"duration":1500,"#,
        r#""tags":[{"key":"span.kind","type":"string","value":"server"},{"key":"otel.status_code","type":"string","value":"ERROR"},"#,
        r#"{"key":"error","type":"bool","value":true}],"logs":[],"processID":"p1","warnings":null}],"#,
        r#""processes":{"p1":{"serviceName":"svc","tags":[]}},"warnings":null,"startTime":1700000000000000,"duration":1500}],"#,
        r#""total":0,"limit":0,"offset":0,"errors":null}"#,
    ];
    let envelope = Envelope::new(vec![trace], 0);
    assert_eq!(serde_json::to_string(&envelope).unwrap(), expected.concat());
}

#[test]
fn equal_processes_share_a_name() {
    let spans: Vec<ResourceSpans> = (0..12)
        .map(|n| of(["a", "b", "c"][n % 3], vec![check_span()]))
        .chain([of("unused", vec![])])
        .collect();
    let trace = trace(id(), spans, vec!["cut".to_owned()]);
    let shown = serde_json::to_value(&trace).unwrap();
    let process = |service: &str| json!({"serviceName": service, "tags": []});
    assert_eq!(
        shown["processes"],
        json!({"p1": process("a"), "p2": process("b"), "p3": process("c")})
    );
    assert_eq!(shown["spans"][4]["processID"], "p2");
    assert_eq!(shown["warnings"], json!(["cut"]));
}

#[test]
fn values_that_javascript_cannot_hold_are_strings() {
    let mut span = check_span();
    span.attributes = vec![
        attribute("safe", Value::IntValue((1 << 53) - 1)),
        attribute("big", Value::IntValue(1 << 53)),
        attribute("small", Value::IntValue(i64::MIN)),
        attribute("nan", Value::DoubleValue(f64::NAN)),
        attribute("inf", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("float", Value::DoubleValue(0.25)),
        attribute("bytes", Value::BytesValue(Bytes::from_static(b"\xff\x00"))),
        attribute("bad", Value::StringValue(Bytes::from_static(b"a\xff"))),
    ];
    let shown = serde_json::to_value(trace(id(), vec![of("svc", vec![span])], Vec::new())).unwrap();
    let tags = shown["spans"][0]["tags"].as_array().unwrap();
    let found: Vec<_> =
        tags[..8].iter().map(|tag| (tag["type"].as_str().unwrap(), tag["value"].clone())).collect();
    assert_eq!(
        found,
        [
            ("int64", json!(9_007_199_254_740_991_i64)),
            ("int64", json!("9007199254740992")),
            ("int64", json!("-9223372036854775808")),
            ("float64", json!("NaN")),
            ("float64", json!("-Inf")),
            ("float64", json!(0.25)),
            ("binary", json!("/wA=")),
            ("string", json!("a\u{fffd}")),
        ]
    );
}

#[test]
fn short_trace_ids_have_sixteen_digits() {
    let short = TraceId::from_hex("2a").unwrap();
    let mut span = check_span();
    span.trace_id = Bytes::copy_from_slice(&short.0);
    span.parent_span_id = Bytes::from_static(b"\0\0\0\0\0\0\0\x05");
    span.events =
        vec![Event { time_unix_nano: 1_999, name: Bytes::from_static(b"e"), ..Event::default() }];
    let shown =
        serde_json::to_value(trace(short, vec![of("svc", vec![span])], Vec::new())).unwrap();
    assert_eq!(shown["traceID"], "000000000000002a");
    let span = &shown["spans"][0];
    assert_eq!(
        span["references"],
        json!([{"refType": "CHILD_OF", "traceID": "000000000000002a", "spanID": "0000000000000005"}])
    );
    assert_eq!(
        span["logs"],
        json!([{"timestamp": 1, "fields": [{"key": "event", "type": "string", "value": "e"}]}])
    );
}

#[test]
fn trace_lasts_from_the_first_start_to_the_last_end() {
    let at = |start, end| proto::Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..check_span()
    };
    let whole = trace(
        id(),
        vec![of("a", vec![at(5_000, 9_000)]), of("b", vec![at(2_500, 4_000)])],
        Vec::new(),
    );
    assert_eq!((whole.start_time, whole.duration), (2, 6));
    let backwards = trace(id(), vec![of("a", vec![at(9_000, 5_000)])], Vec::new());
    assert_eq!((backwards.start_time, backwards.duration), (9, 0));
    assert_eq!(serde_json::to_value(&backwards).unwrap()["spans"][0]["duration"], -4);
    let empty = trace(id(), Vec::new(), Vec::new());
    assert_eq!((empty.start_time, empty.duration), (0, 0));
}

#[test]
fn trace_in_pieces_is_the_document_of_the_whole() {
    let later = proto::Span { end_time_unix_nano: 1_700_000_000_009_000_000, ..check_span() };
    let all = [
        of("svc", vec![check_span(), later.clone()]),
        of("other", vec![check_span()]),
        of("svc", vec![check_span()]),
        of("none", Vec::new()),
    ];
    let (begin, end) = around_traces(None).unwrap();
    let document = |trace: &[u8]| [&begin, trace, &end].concat();
    for (warnings, max_bytes) in [(vec![], 1), (vec!["cut".to_owned()], 1 << 20)] {
        let mut writer = TraceWriter::new(id());
        let mut written = writer.begin().unwrap();
        for piece in all.chunks(2) {
            writer.add(piece.to_vec());
            loop {
                let spans = writer.spans(max_bytes).unwrap();
                if spans.is_empty() {
                    break;
                }
                written.extend(spans);
            }
        }
        assert!(writer.heap_bytes() > 0);
        written.extend(writer.end(warnings.clone()).unwrap());
        let whole = Envelope::new([trace(id(), all.to_vec(), warnings)], 0);
        assert_eq!(document(&written), serde_json::to_vec(&whole).unwrap());
    }
    let mut writer = TraceWriter::new(id());
    let written = [writer.begin().unwrap(), writer.end(Vec::new()).unwrap()].concat();
    let nothing = Envelope::new([trace(id(), Vec::new(), Vec::new())], 0);
    assert_eq!(document(&written), serde_json::to_vec(&nothing).unwrap());
}
