use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tactus_proto::otlp::span::SpanKind;
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValueList, ScopeSpans, Status};

use super::*;

fn string(text: &str) -> Value {
    Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))
}

fn attribute(key: &str, value: Value) -> tactus_proto::otlp::KeyValue {
    let key = Bytes::copy_from_slice(key.as_bytes());
    tactus_proto::otlp::KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}

fn id(last: u8, length: usize) -> Bytes {
    let mut id = vec![0; length];
    id[length - 1] = last;
    id.into()
}

fn shown(tags: &[KeyValue]) -> Vec<(String, ValueType, String)> {
    let text = |tag: &KeyValue| match value_type(tag) {
        ValueType::String => String::from_utf8_lossy(&tag.v_str).into_owned(),
        ValueType::Bool => tag.v_bool.to_string(),
        ValueType::Int64 => tag.v_int64.to_string(),
        ValueType::Float64 => tag.v_float64.to_string(),
        ValueType::Binary => format!("{:?}", tag.v_binary),
    };
    tags.iter()
        .map(|tag| (String::from_utf8_lossy(&tag.key).into_owned(), value_type(tag), text(tag)))
        .collect()
}

fn keys(tags: &[KeyValue]) -> Vec<String> {
    shown(tags).into_iter().map(|(key, _, _)| key).collect()
}

#[test]
fn resource_becomes_a_process() {
    let attributes = vec![
        attribute("host.name", string("h")),
        attribute("service.name", string("svc")),
        attribute("n", Value::IntValue(1)),
    ];
    let resource = Resource { attributes, ..Resource::default() };
    let process = process(Some(&resource));
    assert_eq!(
        (&process.service_name[..], keys(&process.tags)),
        (&b"svc"[..], vec!["host.name".to_owned(), "n".to_owned()])
    );
    let number = vec![attribute("service.name", Value::IntValue(7))];
    let named = super::process(Some(&Resource { attributes: number, ..Resource::default() }));
    assert_eq!(&named.service_name[..], b"7");
    for resource in [None, Some(Resource::default())] {
        let process = super::process(resource.as_ref());
        assert_eq!(
            (&process.service_name[..], process.tags.len()),
            (NO_SERVICE_NAME.as_bytes(), 0)
        );
    }
}

#[test]
fn values_keep_their_types() {
    let array = ArrayValue {
        values: vec![
            AnyValue { value: Some(string("a\"b")) },
            AnyValue { value: Some(Value::IntValue(1)) },
            AnyValue { value: None },
            AnyValue { value: Some(Value::DoubleValue(f64::NAN)) },
        ],
    };
    let list = KeyValueList {
        values: vec![
            attribute("z", Value::BoolValue(true)),
            attribute("a", Value::BytesValue(Bytes::from_static(b"\x01"))),
        ],
    };
    let attributes = vec![
        attribute("s", string("x")),
        attribute("b", Value::BoolValue(true)),
        attribute("i", Value::IntValue(-5)),
        attribute("d", Value::DoubleValue(0.5)),
        attribute("y", Value::BytesValue(Bytes::from_static(b"ab"))),
        attribute("l", Value::ArrayValue(array)),
        attribute("m", Value::KvlistValue(list)),
    ];
    let tags = shown(&span(None, &Span { attributes, ..Span::default() }).tags);
    let expected = [
        ("s", ValueType::String, "x"),
        ("b", ValueType::Bool, "true"),
        ("i", ValueType::Int64, "-5"),
        ("d", ValueType::Float64, "0.5"),
        ("y", ValueType::Binary, "b\"ab\""),
        ("l", ValueType::String, r#"["a\"b",1,null,"NaN"]"#),
        ("m", ValueType::String, r#"{"a":"AQ==","z":true}"#),
    ];
    assert_eq!(tags, expected.map(|(key, kind, text)| (key.to_owned(), kind, text.to_owned())));
}

#[test]
fn tags_stand_in_the_documented_order() {
    let scope = InstrumentationScope {
        name: Bytes::from_static(b"lib"),
        version: Bytes::from_static(b"1"),
        ..InstrumentationScope::default()
    };
    let status = Status { message: Bytes::from_static(b"m"), code: StatusCode::Error.into() };
    let converted = span(
        Some(&scope),
        &Span {
            attributes: vec![attribute("z", string("1")), attribute("a", string("2"))],
            kind: SpanKind::Consumer.into(),
            status: Some(status),
            trace_state: Bytes::from_static(b"congo=t61rcWkgMzE"),
            ..Span::default()
        },
    );
    let expected = [
        "otel.scope.name",
        "otel.scope.version",
        "z",
        "a",
        "span.kind",
        "otel.status_code",
        "error",
        "otel.status_description",
        "w3c.tracestate",
    ];
    assert_eq!(keys(&converted.tags), expected);
    for (code, expected) in
        [(StatusCode::Unset, vec![]), (StatusCode::Ok, vec!["otel.status_code"])]
    {
        let status = Some(Status { code: code.into(), ..Status::default() });
        assert_eq!(keys(&span(None, &Span { status, ..Span::default() }).tags), expected);
    }
}

#[test]
fn parent_and_links_are_references() {
    let link = |trace: u8, span: u8, ref_type: Option<&str>| Link {
        trace_id: id(trace, 16),
        span_id: id(span, 8),
        attributes: ref_type
            .map(|text| attribute("opentracing.ref_type", string(text)))
            .into_iter()
            .collect(),
        ..Link::default()
    };
    let of = |parent: Bytes, links: Vec<Link>| {
        let converted = span(
            None,
            &Span { trace_id: id(1, 16), parent_span_id: parent, links, ..Span::default() },
        );
        let reference = |reference: &SpanRef| {
            (reference.trace_id[15], reference.span_id[7], reference.ref_type())
        };
        converted.references.iter().map(reference).collect::<Vec<_>>()
    };
    use SpanRefType::{ChildOf, FollowsFrom};
    assert_eq!(of(Bytes::new(), vec![]), []);
    assert_eq!(of(id(0, 8), vec![link(1, 0, None)]), [(1, 0, FollowsFrom)]);
    assert_eq!(
        of(id(2, 8), vec![link(9, 2, None), link(1, 3, Some("child_of")), link(1, 4, Some("x"))]),
        [(1, 2, ChildOf), (9, 2, FollowsFrom), (1, 3, ChildOf), (1, 4, FollowsFrom)]
    );
    assert_eq!(of(id(2, 8), vec![link(1, 2, Some("follows_from"))]), [(1, 2, FollowsFrom)]);
    assert_eq!(of(id(2, 8), vec![link(1, 2, Some("child_of"))]), [(1, 2, ChildOf)]);
}

#[test]
fn events_are_logs() {
    let event = |name: &'static str, attributes| Event {
        time_unix_nano: 1_500_000_000_000_000_001,
        name: Bytes::from_static(name.as_bytes()),
        attributes,
        ..Event::default()
    };
    let fields = |event: Event| {
        let converted = span(None, &Span { events: vec![event], ..Span::default() });
        shown(&converted.logs[0].fields)
            .into_iter()
            .map(|(key, _, text)| format!("{key}={text}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(event("e", vec![attribute("a", string("1"))])), ["event=e", "a=1"]);
    assert_eq!(fields(event("", vec![attribute("message", string("m"))])), ["message=m"]);
    assert_eq!(fields(event("e", vec![attribute("event", string("own"))])), ["event=own"]);
    let converted = span(None, &Span { events: vec![event("e", vec![])], ..Span::default() });
    let time = converted.logs[0].timestamp.unwrap();
    assert_eq!((time.seconds, time.nanos), (1_500_000_000, 1));
}

#[test]
fn duration_may_be_negative() {
    let of = |start, end| {
        let times =
            Span { start_time_unix_nano: start, end_time_unix_nano: end, ..Span::default() };
        let duration = span(None, &times).duration.unwrap();
        (duration.seconds, duration.nanos)
    };
    assert_eq!(of(1, 2_000_000_003), (2, 2));
    assert_eq!(of(2_000_000_003, 1), (-2, -2));
}

#[test]
fn duration_fits_into_64_bits_with_a_sign() {
    let longest = (9_223_372_036, 854_775_807);
    let of = |start, end| {
        let duration = duration(start, end);
        (duration.seconds, duration.nanos)
    };
    assert_eq!([of(0, u64::MAX), of(1, 1 + i64::MAX.unsigned_abs())], [longest; 2]);
    assert_eq!(of(u64::MAX, 0), (-longest.0, -longest.1));
}

#[test]
fn warnings_are_no_tag() {
    let values =
        vec![AnyValue { value: Some(string("one")) }, AnyValue { value: Some(Value::IntValue(2)) }];
    let attributes = vec![attribute(WARNINGS, Value::ArrayValue(ArrayValue { values }))];
    let converted = span(None, &Span { attributes, ..Span::default() });
    assert!(converted.tags.is_empty());
    assert_eq!(converted.warnings, ["one", "2"]);
}

#[test]
fn span_has_its_process_and_ids_of_full_length() {
    let span = Span { trace_id: id(7, 3), span_id: id(8, 1), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource = Resource {
        attributes: vec![attribute("service.name", string("svc"))],
        ..Resource::default()
    };
    let all: Vec<_> = spans(vec![ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..ResourceSpans::default()
    }])
    .collect();
    assert_eq!((&all[0].trace_id, &all[0].span_id), (&id(7, 16), &id(8, 8)));
    assert_eq!(&all[0].process.as_ref().unwrap().service_name[..], b"svc");
}

proptest! {
    #[test]
    fn any_message_is_converted(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(found) = Span::decode(&bytes[..]) {
            let _ = span(None, &found);
        }
        if let Ok(found) = Resource::decode(&bytes[..]) {
            let _ = process(Some(&found));
        }
    }
}
