use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Span, Status,
};

use super::{spans_from_otlp, text_of};

fn attribute(key: &str, value: Value) -> KeyValue {
    let key = Bytes::copy_from_slice(key.as_bytes());
    KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}

fn text(text: &str) -> Value {
    Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))
}

fn id(low: u8, length: usize) -> Bytes {
    let mut id = vec![0; length];
    id[length - 1] = low;
    id.into()
}

/// The JSON of one span of a resource with these attributes.
fn json(resource: &[KeyValue], scope: InstrumentationScope, span: Span) -> String {
    let span = Span { trace_id: id(1, 16), span_id: id(2, 8), ..span };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }];
    let resource = Resource { attributes: resource.to_vec(), ..Resource::default() };
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    serde_json::to_string(&spans_from_otlp(vec![group]).collect::<Vec<_>>()).unwrap()
}

fn svc() -> Vec<KeyValue> {
    vec![attribute("service.name", text("svc"))]
}

#[track_caller]
fn check(span: Span, expected: &str) {
    let found = json(&svc(), InstrumentationScope::default(), span);
    let expected = format!(
        r#"[{{{}"traceId":"0000000000000001","id":"0000000000000002",{}}}]"#,
        expected.split('~').next().unwrap(),
        expected.split('~').nth(1).unwrap(),
    );
    assert_eq!(found, expected);
}

const LOCAL: &str = r#""localEndpoint":{"serviceName":"svc"}"#;

#[test]
fn events_without_a_time_are_shown_at_the_start_of_their_span() {
    let at = |start_time_unix_nano| {
        let events = vec![Event { name: "n".into(), ..Event::default() }];
        let span = Span { start_time_unix_nano, events, ..Span::default() };
        json(&svc(), InstrumentationScope::default(), span)
    };
    assert!(at(7_000).contains(r#""annotations":[{"timestamp":7,"value":"n"}]"#), "{}", at(7_000));
    assert!(!at(0).contains("annotations"), "no receiver takes one without a time");
}

#[test]
fn everything_has_its_place_and_order() {
    let span = Span {
        parent_span_id: id(9, 8),
        trace_state: "a=b".into(),
        name: "GET /M".into(),
        kind: 3,
        start_time_unix_nano: 1_700_000_000_000_000_499,
        end_time_unix_nano: 1_700_000_000_001_500_999,
        attributes: vec![
            attribute("net.host.ip", text("10.0.0.1")),
            attribute("net.host.port", Value::IntValue(8080)),
            attribute("peer.service", text("DB")),
            attribute("net.peer.ip", text("::1")),
            attribute("net.peer.port", text("5432")),
            attribute("n", Value::IntValue(1)),
            attribute("x", text("span")),
        ],
        events: vec![Event {
            time_unix_nano: 1_700_000_000_000_100_500,
            name: "e".into(),
            ..Event::default()
        }],
        status: Some(Status { code: 2, message: "why".into() }),
        ..Span::default()
    };
    let scope = InstrumentationScope {
        name: "lib".into(),
        version: "1".into(),
        attributes: vec![attribute("x", text("scope")), attribute("y", text("scope"))],
        ..InstrumentationScope::default()
    };
    let resource = [
        attribute("service.name", text("Api")),
        attribute("y", text("resource")),
        attribute("z", text("resource")),
    ];
    let expected = concat!(
        r#"[{"timestamp":1700000000000000,"duration":1501,"traceId":"0000000000000001","id":"0000000000000002","#,
        r#""parentId":"0000000000000009","name":"get /m","kind":"CLIENT","#,
        r#""localEndpoint":{"serviceName":"api","ipv4":"10.0.0.1","port":8080},"#,
        r#""remoteEndpoint":{"serviceName":"db","ipv6":"::1","port":5432},"#,
        r#""annotations":[{"timestamp":1700000000000101,"value":"e"}],"#,
        r#""tags":{"error":"true","n":"1","otel.library.name":"lib","otel.library.version":"1","#,
        r#""otel.status_code":"STATUS_CODE_ERROR","otel.status_description":"why","w3c.tracestate":"a=b","#,
        r#""x":"span","y":"scope","z":"resource"}}]"#,
    );
    assert_eq!(json(&resource, scope, span), expected);
}

#[test]
fn times_are_rounded_and_short_ones_are_one() {
    let span = |start: u64, end: u64| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    };
    check(span(1_000, 1_001), &format!(r#""timestamp":1,"duration":1,~{LOCAL}"#));
    check(span(1_499, 1_499), &format!(r#""timestamp":1,~{LOCAL}"#));
    check(span(1_500, 4_000), &format!(r#""timestamp":2,"duration":3,~{LOCAL}"#));
    check(span(0, 0), &format!("~{LOCAL}"));
    check(span(5_000, 2_000), &format!(r#""timestamp":5,~{LOCAL}"#));
}

#[test]
fn status_and_error_tag() {
    let span = |code: i32, error: &[KeyValue]| Span {
        status: Some(Status { code, ..Status::default() }),
        attributes: error.to_vec(),
        ..Span::default()
    };
    let error = |value| [attribute("error", value)];
    let is_error = r#""otel.status_code":"STATUS_CODE_ERROR""#;
    check(span(2, &[]), &format!(r#"~{LOCAL},"tags":{{"error":"true",{is_error}}}"#));
    check(
        span(2, &error(text("timeout"))),
        &format!(r#"~{LOCAL},"tags":{{"error":"timeout",{is_error}}}"#),
    );
    let not = error(Value::BoolValue(false));
    check(span(2, &not), &format!(r#"~{LOCAL},"tags":{{"error":"true",{is_error}}}"#));
    check(span(0, &error(text("x"))), &format!("~{LOCAL}"));
    let is_ok = format!(r#"~{LOCAL},"tags":{{"otel.status_code":"STATUS_CODE_OK"}}"#);
    check(span(1, &error(text("x"))), &is_ok);
}

#[test]
fn internal_kind_is_a_tag() {
    let span = |kind: i32| Span { kind, ..Span::default() };
    check(span(1), &format!(r#"~{LOCAL},"tags":{{"span.kind":"internal"}}"#));
    check(span(0), &format!("~{LOCAL}"));
    check(span(5), &format!(r#"~"kind":"CONSUMER",{LOCAL}"#));
    check(span(77), &format!("~{LOCAL}"));
}

#[test]
fn service_is_looked_for_in_other_keys() {
    let found = |attributes: &[(&str, &str)]| {
        let resource: Vec<_> =
            attributes.iter().map(|(key, value)| attribute(key, text(value))).collect();
        json(&resource, InstrumentationScope::default(), Span::default())
    };
    assert!(found(&[]).contains(r#""serviceName":"otlpresourcenoservicename"}}]"#));
    let named = found(&[("process.executable.name", "exe"), ("faas.name", "fn")]);
    let expected = r#""localEndpoint":{"serviceName":"fn"},"tags":{"otlp.service.name.source":"faas.name","process.executable.name":"exe"}}]"#;
    assert!(named.ends_with(expected), "{named}");
}

#[test]
fn events_with_attributes_and_links_are_texts() {
    let link = Link {
        trace_id: id(7, 16),
        span_id: id(8, 8),
        trace_state: "k=v".into(),
        attributes: vec![attribute("a", text("x"))],
        dropped_attributes_count: 2,
        flags: 1,
    };
    let event = Event {
        time_unix_nano: 1_000,
        name: "e".into(),
        attributes: vec![attribute("b", Value::BoolValue(true))],
        dropped_attributes_count: 1,
    };
    let span = Span { links: vec![link], events: vec![event], ..Span::default() };
    let expected = concat!(
        r#","annotations":[{"timestamp":1,"value":"e|{\"b\":true}|1"}],"#,
        r#""tags":{"otlp.link.0":"00000000000000000000000000000007|0000000000000008|k=v|{\"a\":\"x\"}|2"}"#,
    );
    check(span, &format!("~{LOCAL}{expected}"));
}

#[test]
fn first_value_of_a_key_counts_and_that_of_the_span_before_others() {
    let double = |key: &'static str, [one, two]: [&'static str; 2]| {
        vec![attribute(key, text(one)), attribute(key, text(two))]
    };
    let resource = [double("a", ["r1", "r2"]), double("b", ["r3", "r4"])].concat();
    let span = Span { attributes: double("a", ["s1", "s2"]), ..Span::default() };
    let found = json(&resource, InstrumentationScope::default(), span);
    assert!(found.ends_with(r#""tags":{"a":"s1","b":"r3"}}]"#), "{found}");
}

#[test]
fn values_have_a_text() {
    let array = ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(1)) }] };
    for (value, expected) in [
        (Value::DoubleValue(1.0), "1"),
        (Value::DoubleValue(0.25), "0.25"),
        (Value::DoubleValue(1e300), "1e300"),
        (Value::DoubleValue(-0.0), "-0"),
        (Value::DoubleValue(f64::NAN), "NaN"),
        (Value::BoolValue(false), "false"),
        (Value::BytesValue(Bytes::from_static(b"hi")), "aGk="),
        (Value::ArrayValue(array), "[1]"),
    ] {
        assert_eq!(text_of(&value), expected.as_bytes());
    }
}

#[test]
fn ports_and_addresses_that_are_none_stay_tags() {
    let span = Span {
        attributes: vec![
            attribute("net.peer.ip", text("nowhere")),
            attribute("net.peer.port", Value::IntValue(70_000)),
        ],
        ..Span::default()
    };
    let tags = r#""tags":{"net.peer.ip":"nowhere","net.peer.port":"70000"}"#;
    check(span, &format!("~{LOCAL},{tags}"));
}

#[test]
fn mark_of_an_absent_start_goes_with_the_start() {
    let span = Span {
        start_time_unix_nano: 5_000,
        end_time_unix_nano: 6_000,
        attributes: vec![attribute("otel.zipkin.absentField.startTime", Value::BoolValue(true))],
        ..Span::default()
    };
    check(span, &format!(r#""duration":1,~{LOCAL}"#));
}
