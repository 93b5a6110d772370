use bytes::Bytes;
use serde_json::json;
use tactus_model::TraceId;
use tactus_proto::otlp::ArrayValue;
use tactus_proto::otlp::span::SpanKind;
use tactus_proto::otlp::status::StatusCode;

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

#[test]
fn otlp_leaves_out_what_is_zero() {
    let json = serde_json::to_string(&OtlpJson(&[of("svc", vec![check_span()])])).unwrap();
    let expected = [
        r#"[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"svc"}}]},"scopeSpans":[{"spans":["#,
        r#"{"traceId":"00000000000000010000000000000002","spanId":"0000000000000003","name":"op","kind":2,"#,
        r#""startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000001500000","status":{"code":2}}]}]}]"#,
    ];
    assert_eq!(json, expected.concat());
    assert_eq!(serde_json::to_string(&OtlpJson(&[])).unwrap(), "[]");
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
    let shown = serde_json::to_value(OtlpJson(&[of("svc", vec![span])])).unwrap();
    assert_eq!(
        shown[0]["scopeSpans"][0]["spans"][0],
        json!({
            "traceId": TRACE, "spanId": "0000000000000003", "traceState": "a=b", "parentSpanId": "0000000000000005", "flags": 1,
            "name": "op", "kind": 2, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001500000",
            "attributes": [
                {"key": "i", "value": {"intValue": "-1"}},
                {"key": "d", "value": {"doubleValue": "Infinity"}},
                {"key": "y", "value": {"bytesValue": "YWI="}},
                {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": true}]}}},
                {"key": "n", "value": {}},
            ],
            "droppedAttributesCount": 4,
            "events": [{"timeUnixNano": "3", "name": "e"}],
            "links": [{"traceId": TRACE, "spanId": "0000000000000003", "flags": 2}],
            "status": {"code": 2},
        })
    );
}
