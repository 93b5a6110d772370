use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::{AnyValue, KeyValue, Resource, ScopeSpans};

use super::*;
use crate::from_otlp;

const SECOND: u64 = 1_000_000_000;

fn attribute(key: &[u8], value: Value) -> KeyValue {
    KeyValue { key: Bytes::copy_from_slice(key), value: Some(AnyValue { value: Some(value) }) }
}

fn string(text: &str) -> Value {
    Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))
}

fn id(id: u8) -> Bytes {
    Bytes::copy_from_slice(&[id, 0, 0, 0, 0, 0, 0, 0])
}

/// A span of these ids that lasts from second to second.
fn span(own: u8, parent: u8, start: u64, end: u64) -> Span {
    Span {
        trace_id: Bytes::from_static(&[1; 16]),
        span_id: id(own),
        parent_span_id: if parent == 0 { Bytes::new() } else { id(parent) },
        name: Bytes::from_static(b"op"),
        start_time_unix_nano: start * SECOND,
        end_time_unix_nano: end * SECOND,
        ..Span::default()
    }
}

fn of(attributes: Vec<KeyValue>, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn service(spans: Vec<Span>) -> ResourceSpans {
    of(vec![attribute(b"service.name", string("svc"))], spans)
}

fn on_host(host: &str, spans: Vec<Span>) -> ResourceSpans {
    of(
        vec![attribute(b"service.name", string("svc")), attribute(b"host.name", string(host))],
        spans,
    )
}

fn adjusted(mut trace: Vec<ResourceSpans>) -> Vec<ResourceSpans> {
    adjust(&mut trace, Duration::ZERO);
    trace
}

fn warnings(span: &Span) -> Vec<String> {
    let warnings = from_otlp::span(None, span).warnings;
    warnings.iter().map(|warning| String::from_utf8_lossy(warning).into_owned()).collect()
}

fn keys(attributes: &[KeyValue]) -> Vec<&[u8]> {
    attributes.iter().map(|attribute| attribute.key.as_ref()).collect()
}

fn value<'a>(attributes: &'a [KeyValue], key: &[u8]) -> &'a Value {
    let attribute = attributes.iter().find(|attribute| attribute.key == key).unwrap();
    attribute.value.as_ref().unwrap().value.as_ref().unwrap()
}

#[test]
fn service_without_a_name_gets_one() {
    for (attributes, expected) in [
        (vec![], "missing-service-name"),
        (vec![attribute(b"service.name", string(""))], "empty-service-name"),
        (vec![attribute(b"service.name", Value::IntValue(1))], "service-name-wrong-type"),
        (vec![attribute(b"service.name", string("svc"))], "svc"),
    ] {
        let trace = adjusted(vec![of(attributes, vec![span(1, 0, 1, 2)])]);
        assert_eq!(from_otlp::process(trace[0].resource.as_ref()).service_name, expected);
    }
    let trace = adjusted(vec![ResourceSpans { resource: None, ..service(vec![span(1, 0, 1, 2)]) }]);
    assert_eq!(from_otlp::process(trace[0].resource.as_ref()).service_name, "missing-service-name");
}

#[test]
fn odd_spans_are_made_readable() {
    let mut nameless = span(1, 0, 5, 3);
    nameless.name = Bytes::new();
    let mut garbled = span(2, 0, 1, 2);
    garbled.name = Bytes::from_static(b"a\xff");
    garbled.attributes = vec![
        attribute(b"text", Value::StringValue(Bytes::from_static(b"\xfe"))),
        attribute(b"k\xff", Value::IntValue(7)),
    ];
    let trace = adjusted(vec![service(vec![nameless, garbled])]);
    let spans = &trace[0].scope_spans[0].spans;
    assert_eq!(spans[0].name, "empty-span-name");
    assert_eq!(spans[0].end_time_unix_nano, 5 * SECOND);
    assert_eq!(warnings(&spans[0]), ["the span ends before it starts; its duration is shown as 0"]);
    assert_eq!(spans[1].name, "invalid-span-name");
    let attributes = &spans[1].attributes;
    assert_eq!(
        value(attributes, b"invalid-span-name"),
        &Value::BytesValue(Bytes::from_static(b"a\xff"))
    );
    assert_eq!(value(attributes, b"text"), &Value::BytesValue(Bytes::from_static(b"\xfe")));
    assert_eq!(
        value(attributes, b"invalid-tag-key-1"),
        &Value::BytesValue(Bytes::from_static(b"k\xff:7"))
    );
}

#[test]
fn halves_of_a_call_get_ids_of_their_own() {
    let kind = |span: Span, kind: SpanKind| Span { kind: kind.into(), ..span };
    let trace = adjusted(vec![
        service(vec![kind(span(9, 0, 1, 9), SpanKind::Client)]),
        service(vec![kind(span(9, 0, 2, 8), SpanKind::Server), span(3, 9, 3, 4)]),
    ]);
    let server = &trace[1].scope_spans[0].spans[0];
    let new_id = Bytes::copy_from_slice(&1u64.to_be_bytes());
    assert_eq!((&server.span_id, &server.parent_span_id), (&new_id, &id(9)));
    assert_eq!(trace[1].scope_spans[0].spans[1].parent_span_id, new_id);
    assert_eq!(trace[0].scope_spans[0].spans[0].span_id, id(9));
}

#[test]
fn attributes_and_events_are_sorted() {
    let mut one = span(1, 0, 1, 2);
    one.attributes = vec![attribute(b"b", string("1")), attribute(b"a", string("2"))];
    let event = |time, name: &'static [u8]| Event {
        time_unix_nano: time,
        name: Bytes::from_static(name),
        ..Event::default()
    };
    one.events = vec![event(2, b"x"), event(1, b"z"), event(1, b"y")];
    let trace = adjusted(vec![service(vec![one])]);
    let span = &trace[0].scope_spans[0].spans[0];
    assert_eq!(keys(&span.attributes), [b"a", b"b"]);
    let names: Vec<_> = span.events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(names, [b"y", b"z", b"x"]);
}

#[test]
fn equal_spans_are_there_once() {
    let mut other = span(1, 0, 1, 2);
    other.name = Bytes::from_static(b"other");
    let trace = adjusted(vec![
        service(vec![span(1, 0, 1, 2), span(1, 0, 1, 2), other]),
        service(vec![span(1, 0, 1, 2)]),
        on_host("h", vec![span(1, 0, 1, 2)]),
    ]);
    let counts: Vec<_> = trace.iter().map(|resource| resource.scope_spans[0].spans.len()).collect();
    assert_eq!(counts, [2, 0, 1]);
}

#[test]
fn spans_that_share_an_id_do_not_multiply_their_resource() {
    let began = std::time::Instant::now();
    let large = attribute(b"k", string(&"x".repeat(16 << 20)));
    let named = |number: u32| Span { name: number.to_string().into(), ..span(1, 0, 1, 2) };
    let trace = adjusted(vec![of(vec![large], (0..2_000).map(named).collect())]);
    assert_eq!(trace[0].scope_spans[0].spans.len(), 2_000);
    // With one for each they would be 32 GiB.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn addresses_are_written_with_dots() {
    let mut one = span(1, 0, 1, 2);
    one.attributes = vec![
        attribute(b"peer.ipv4", Value::IntValue(-1_062_731_519)),
        attribute(b"other", Value::IntValue(1)),
    ];
    let resource = vec![
        attribute(b"service.name", string("svc")),
        attribute(b"ip", Value::IntValue(2_130_706_433)),
    ];
    let trace = adjusted(vec![of(resource, vec![one])]);
    let of_span = &trace[0].scope_spans[0].spans[0].attributes;
    assert_eq!(value(of_span, b"peer.ipv4"), &string("192.168.1.1"));
    assert_eq!(value(of_span, b"other"), &Value::IntValue(1));
    assert_eq!(value(&trace[0].resource.as_ref().unwrap().attributes, b"ip"), &string("127.0.0.1"));
}

#[test]
fn what_sent_a_span_belongs_to_its_resource() {
    let sdk = |language: &str| {
        vec![attribute(b"telemetry.sdk.language", string(language)), attribute(b"x", string("1"))]
    };
    let with = |own, attributes| Span { attributes, ..span(own, 0, 1, 2) };
    let trace =
        adjusted(vec![service(vec![with(1, sdk("go")), with(2, sdk("go")), with(3, sdk("java"))])]);
    let resource = &trace[0].resource.as_ref().unwrap().attributes;
    assert_eq!(value(resource, b"telemetry.sdk.language"), &string("go"));
    let spans = &trace[0].scope_spans[0].spans;
    assert_eq!(
        (spans[0].attributes.len(), spans[1].attributes.len(), spans[2].attributes.len()),
        (1, 1, 2)
    );
}

#[test]
fn very_many_attributes_of_what_sent_spans_are_moved_at_once() {
    let began = std::time::Instant::now();
    let sdk = |number: u32| {
        attribute(format!("telemetry.sdk.{number}").as_bytes(), string(&number.to_string()))
    };
    let attributes = |own: u32| (own * 50_000..(own + 2) * 50_000).map(sdk).collect();
    let with = |own: u8| Span { attributes: attributes(own.into()), ..span(own, 0, 1, 2) };
    let trace = adjusted(vec![service(vec![with(1), with(2)])]);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    let resource = trace[0].resource.as_ref().unwrap().attributes.iter();
    let moved = resource.filter(|attribute| attribute.key.starts_with(b"telemetry.sdk."));
    assert_eq!(moved.count(), 150_000);
}

#[test]
fn links_to_nowhere_are_removed() {
    let mut one = span(1, 0, 1, 2);
    let link = |trace_id| Link { trace_id, span_id: id(1), ..Link::default() };
    one.links = vec![
        link(Bytes::new()),
        link(Bytes::from_static(&[0; 16])),
        link(Bytes::from_static(&[2; 16])),
    ];
    let trace = adjusted(vec![service(vec![one])]);
    let span = &trace[0].scope_spans[0].spans[0];
    assert_eq!(span.links.len(), 1);
    assert_eq!(warnings(span), ["Invalid span link removed"]);
}

fn skewed() -> Vec<ResourceSpans> {
    vec![
        on_host("a", vec![span(1, 0, 100, 110)]),
        // Its clock is 50 s ahead.
        on_host(
            "b",
            vec![
                span(2, 1, 152, 158),
                Span {
                    events: vec![Event { time_unix_nano: 153 * SECOND, ..Event::default() }],
                    ..span(3, 2, 153, 154)
                },
            ],
        ),
    ]
}

#[test]
fn clocks_are_left_alone_unless_they_may_be_corrected() {
    let trace = adjusted(skewed());
    let spans = &trace[1].scope_spans[0].spans;
    assert_eq!(spans[0].start_time_unix_nano, 152 * SECOND);
    assert_eq!(
        warnings(&spans[0]),
        ["clock skew adjustment disabled; not applying calculated delta of -50s"]
    );
    assert!(warnings(&trace[0].scope_spans[0].spans[0]).is_empty());
}

#[test]
fn span_of_another_host_is_centred_in_its_parent() {
    let mut trace = skewed();
    adjust(&mut trace, Duration::from_secs(60));
    let spans = &trace[1].scope_spans[0].spans;
    let times =
        |span: &Span| (span.start_time_unix_nano / SECOND, span.end_time_unix_nano / SECOND);
    assert_eq!((times(&spans[0]), times(&spans[1])), ((102, 108), (103, 104)));
    assert_eq!(spans[1].events[0].time_unix_nano, 103 * SECOND);
    assert_eq!(warnings(&spans[1]), ["This span's timestamps were adjusted by -50s"]);
    let mut trace = skewed();
    adjust(&mut trace, Duration::from_secs(49));
    let span = &trace[1].scope_spans[0].spans[0];
    assert_eq!(times(span), (152, 158));
    assert_eq!(
        warnings(span),
        ["max clock skew adjustment delta of 49s exceeded; not applying calculated delta of -50s"]
    );
}

#[test]
fn longer_child_starts_no_earlier_than_its_parent() {
    let max_clock_skew = Duration::from_secs(60);
    for (start, expected) in [(90, 100), (105, 105)] {
        let mut trace = vec![
            on_host("a", vec![span(1, 0, 100, 110)]),
            on_host("b", vec![span(2, 1, start, start + 20)]),
        ];
        adjust(&mut trace, max_clock_skew);
        assert_eq!(trace[1].scope_spans[0].spans[0].start_time_unix_nano, expected * SECOND);
    }
}

#[test]
fn spans_that_cannot_be_placed_say_so() {
    let mut named = span(1, 0, 1, 2);
    named.name = Bytes::from_static(b"other");
    let trace = adjusted(vec![service(vec![span(1, 0, 1, 2), named, span(2, 7, 1, 2)])]);
    let spans = &trace[0].scope_spans[0].spans;
    assert_eq!(warnings(&spans[1]), ["duplicate span IDs; skipping clock skew adjustment"]);
    assert_eq!(
        warnings(&spans[2]),
        ["parent span ID=0700000000000000 is not in the trace; skipping clock skew adjustment"]
    );
}

#[test]
fn large_trace_is_cut() {
    let mut trace =
        vec![service(vec![span(1, 0, 1, 2), span(2, 1, 1, 2)]), service(vec![span(3, 1, 1, 2)])];
    assert_eq!(cut(&mut trace, 3), None);
    let warning = cut(&mut trace, 1).unwrap();
    assert_eq!(warning, "trace has more than 1 spans, showing first 1 spans only");
    assert_eq!((trace.len(), trace[0].scope_spans[0].spans.len()), (1, 1));
}

proptest! {
    #[test]
    fn any_trace_is_adjusted(
        ids in proptest::collection::vec((0u8..5, 0u8..5, 0u64..9, 0u64..9, 0i32..6), 0..12),
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let spans = ids.iter().map(|&(own, parent, start, end, kind)| Span { kind, ..span(own, parent, start, end) });
        let mut trace = vec![service(spans.collect())];
        if let Ok(data) = TracesData::decode(&bytes[..]) {
            trace.extend(data.resource_spans);
        }
        adjust(&mut trace, Duration::from_secs(3));
        let _ = crate::json::trace(tactus_model::TraceId::default(), trace, Vec::new());
    }
}
