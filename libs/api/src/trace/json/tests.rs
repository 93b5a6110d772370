use bytes::Bytes;
use prost::Message as _;
use serde_json::json;
use tactus_model::TraceId;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{
    AnyValue, ArrayValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status,
};

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
fn check_span() -> Span {
    Span {
        trace_id: Bytes::copy_from_slice(&id().0),
        span_id: Bytes::from_static(b"\0\0\0\0\0\0\0\x03"),
        name: Bytes::from_static(b"op"),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_001_500_000,
        status: Some(Status { code: StatusCode::Error.into(), ..Status::default() }),
        ..Span::default()
    }
}

fn of(service: &'static str, spans: Vec<Span>) -> ResourceSpans {
    let attributes = vec![attribute("service.name", text(service))];
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// Resources as elements of a list of OTLP's JSON.
pub(super) fn otlp_elements(resource_spans: &[ResourceSpans]) -> String {
    let data = TracesData { resource_spans: resource_spans.to_vec() };
    let trace = CombinedTrace::of_message(&data.encode_to_vec().into()).unwrap();
    String::from_utf8(trace.to_json_elements(JsonStyle::Otlp).unwrap()).unwrap()
}

#[test]
fn otlp_leaves_out_what_is_zero() {
    let json = otlp_elements(&[of("svc", vec![check_span()])]);
    let expected = [
        r#"{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"scopeSpans":[{"scope":{},"spans":["#,
        r#"{"traceId":"00000000000000010000000000000002","spanId":"0000000000000003","name":"op","kind":2,"#,
        r#""startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000001500000","status":{"code":2}}]}]}"#,
    ];
    assert_eq!(json, expected.concat());
    assert_eq!(otlp_elements(&[]), "");
}

#[test]
fn otlp_shows_every_field() {
    let mut span = check_span();
    span.trace_state = Bytes::from_static(b"a=b");
    span.parent_span_id = Bytes::from_static(b"\0\0\0\0\0\0\0\x05");
    span.flags = 1;
    span.attributes = vec![
        attribute("i", Value::IntValue(-1)),
        attribute("d", Value::DoubleValue(f64::INFINITY)),
        attribute("y", Value::BytesValue(Bytes::from_static(b"ab"))),
        attribute(
            "l",
            Value::ArrayValue(ArrayValue {
                values: vec![AnyValue { value: Some(Value::BoolValue(true)) }],
            }),
        ),
        KeyValue { key: Bytes::from_static(b"n"), value: None },
        attribute("", Value::IntValue(1)),
    ];
    span.dropped_attributes_count = 4;
    span.events =
        vec![Event { time_unix_nano: 3, name: Bytes::from_static(b"e"), ..Event::default() }];
    span.links = vec![Link {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        flags: 2,
        ..Link::default()
    }];
    let json = otlp_elements(&[of("svc", vec![span])]);
    let shown: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        shown["scopeSpans"][0]["spans"][0],
        json!({
            "traceId": TRACE, "spanId": "0000000000000003", "traceState": "a=b", "parentSpanId": "0000000000000005", "flags": 1,
            "name": "op", "kind": 2, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001500000",
            "attributes": [
                {"key": "i", "value": {"intValue": "-1"}},
                {"key": "d", "value": {"doubleValue": "Infinity"}},
                {"key": "y", "value": {"bytesValue": "YWI="}},
                {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": true}]}}},
                {"key": "n"},
                {"key": "", "value": {"intValue": "1"}},
            ],
            "droppedAttributesCount": 4,
            "events": [{"timeUnixNano": "3", "name": "e"}],
            "links": [{"traceId": TRACE, "spanId": "0000000000000003", "flags": 2}],
            "status": {"code": 2},
        })
    );
}
