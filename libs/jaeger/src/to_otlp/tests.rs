use tactus_model::wire::put_message_field;
use tactus_proto::jaeger::api_v2::{
    Batch, KeyValue as Tag, Log, PostSpansRequest, Span as JaegerSpan, SpanRef, ValueType,
};
use tactus_proto::otlp::{AnyValue, Span, Status, any_value::Value};

use super::*;
use crate::testing::{PROTOBUF, bytes, decoded, expected, to_otlp};

fn tag(key: &'static str, value: impl Into<Value>) -> Tag {
    let mut tag = Tag { key: key.into(), ..Tag::default() };
    match value.into() {
        Value::StringValue(text) => tag.v_str = text,
        Value::BoolValue(value) => (tag.v_type, tag.v_bool) = (ValueType::Bool.into(), value),
        Value::IntValue(value) => (tag.v_type, tag.v_int64) = (ValueType::Int64.into(), value),
        Value::DoubleValue(value) => {
            (tag.v_type, tag.v_float64) = (ValueType::Float64.into(), value);
        }
        Value::BytesValue(value) => {
            (tag.v_type, tag.v_binary) = (ValueType::Binary.into(), value);
        }
        other => panic!("no tag has {other:?}"),
    }
    tag
}

fn text(value: &'static str) -> Value {
    Value::StringValue(value.into())
}

fn attribute(key: &'static str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

const TRACE: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];

fn with_tags(tags: Vec<Tag>) -> JaegerSpan {
    JaegerSpan {
        trace_id: Bytes::from_static(TRACE),
        span_id: bytes("0000000000000003"),
        tags,
        ..JaegerSpan::default()
    }
}

fn convert(span: JaegerSpan) -> Span {
    let batch = Batch { spans: vec![span], process: None };
    let mut request = to_otlp(batch).unwrap();
    request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0)
}

fn status(code: i32, message: &'static str) -> Option<Status> {
    Some(Status { code, message: message.into() })
}

#[test]
fn posted_spans_give_the_span() {
    let message = bytes(PROTOBUF);
    assert_eq!(message.len(), 93);
    assert_eq!(decoded(post_spans_to_otlp(&message)).unwrap(), expected());
    assert_eq!(post_spans_to_otlp(&Bytes::new()), Ok(Bytes::new()));
}

#[test]
fn http_status_sets_the_status_by_kind() {
    let of = |code: Value, kind: Option<&'static str>| {
        let mut tags = vec![tag("http.status_code", code), tag("http.status_message", text("m"))];
        tags.extend(kind.map(|kind| tag("span.kind", text(kind))));
        convert(with_tags(tags)).status
    };
    let code = Value::IntValue;
    for (value, kind, expected) in [
        (code(404), Some("server"), None),
        (code(404), Some("client"), status(2, "m")),
        (code(404), None, status(2, "m")),
        (code(500), Some("server"), status(2, "m")),
        (code(399), None, None),
        (code(200), Some("client"), None),
        (code(99), None, status(2, "m")),
        (text("503"), None, status(2, "m")),
        (text("5xx"), None, None),
        (Value::DoubleValue(503.0), None, status(2, "m")),
        (Value::DoubleValue(404.0), Some("server"), None),
        (Value::DoubleValue(200.0), None, None),
        (Value::DoubleValue(503.5), None, None),
        (Value::DoubleValue(f64::NAN), None, None),
        (Value::DoubleValue(f64::INFINITY), None, None),
    ] {
        assert_eq!(of(value.clone(), kind), expected, "{value:?} {kind:?}");
    }
    // The attributes stay.
    assert_eq!(convert(with_tags(vec![tag("http.status_code", code(404))])).attributes.len(), 1);
}

#[test]
fn error_as_text_is_an_attribute() {
    let span = convert(with_tags(vec![tag("error", text("true"))]));
    assert_eq!(span.status, None);
    assert_eq!(span.attributes, [attribute("error", text("true"))]);
}

#[test]
fn error_goes_before_the_status_code() {
    let span = convert(with_tags(vec![
        tag("error", Value::BoolValue(true)),
        tag("otel.status_code", text("OK")),
        tag("otel.status_description", text("d")),
    ]));
    assert_eq!(span.status, status(2, "d"));
    assert_eq!(span.attributes, []);
}

#[test]
fn status_code_is_read_in_any_case_and_always_taken() {
    for (value, expected) in [
        (text("Ok"), status(1, "")),
        (text("error"), status(2, "")),
        (text("UNSET"), None),
        (Value::IntValue(2), None),
    ] {
        let tags = vec![tag("otel.status_code", value), tag("error", Value::BoolValue(false))];
        let span = convert(with_tags(tags));
        assert_eq!(span.status, expected);
        assert_eq!(span.attributes, [attribute("error", Value::BoolValue(false))]);
    }
}

#[test]
fn message_of_an_error_may_be_that_of_the_http_call() {
    let tags = vec![tag("error", Value::BoolValue(true)), tag("http.status_message", text("Gone"))];
    let span = convert(with_tags(tags));
    assert_eq!(span.status, status(2, "Gone"));
    assert_eq!(span.attributes, [attribute("http.status_message", text("Gone"))]);
}

#[test]
fn tags_that_become_other_parts_keep_their_values_whatever_their_types() {
    let span = with_tags(vec![
        tag("otel.scope.name", Value::IntValue(7)),
        tag("otel.scope.version", Value::DoubleValue(1.5)),
        tag("otel.status_code", text("ERROR")),
        tag("otel.status_description", Value::BoolValue(false)),
        tag("w3c.tracestate", Value::IntValue(5)),
    ]);
    let mut request = to_otlp(Batch { spans: vec![span], process: None }).unwrap();
    let scope_spans = request.resource_spans.remove(0).scope_spans.remove(0);
    let scope = scope_spans.scope.unwrap();
    assert_eq!((&scope.name[..], &scope.version[..]), (&b"7"[..], &b"1.5"[..]));
    let span = &scope_spans.spans[0];
    assert_eq!(span.status, status(2, "false"));
    assert_eq!(&span.trace_state[..], b"5");
    assert_eq!(span.attributes, []);
    let tags =
        vec![tag("error", Value::BoolValue(true)), tag("http.status_message", Value::IntValue(9))];
    assert_eq!(convert(with_tags(tags)).status, status(2, "9"));
}

#[test]
fn kind_is_read_in_lower_case_only_and_always_taken() {
    for (value, kind) in [
        (text("client"), 3),
        (text("server"), 2),
        (text("producer"), 4),
        (text("consumer"), 5),
        (text("internal"), 1),
        (text("SERVER"), 0),
        (Value::IntValue(1), 0),
    ] {
        let span = convert(with_tags(vec![tag("span.kind", value)]));
        assert_eq!((span.kind, span.attributes.len()), (kind, 0));
    }
}

#[test]
fn repeated_tag_has_its_last_value_at_its_first_place() {
    let few = vec![tag("a", text("1")), tag("b", text("2")), tag("a", text("3"))];
    let expected = [attribute("a", text("3")), attribute("b", text("2"))];
    assert_eq!(convert(with_tags(few.clone())).attributes, expected);
    let many = few.into_iter().cycle().take(300).collect();
    assert_eq!(convert(with_tags(many)).attributes, expected);
}

#[test]
fn tags_keep_their_types() {
    let values = [
        text("s"),
        Value::BoolValue(true),
        Value::IntValue(-1),
        Value::DoubleValue(0.5),
        Value::BytesValue("b".into()),
    ];
    for value in values {
        let span = convert(with_tags(vec![tag("k", value.clone())]));
        assert_eq!(span.attributes, [attribute("k", value)]);
    }
    let unknown = Tag { key: "k".into(), v_type: 9, ..Tag::default() };
    let span = convert(with_tags(vec![unknown]));
    assert_eq!(span.attributes, [attribute("k", text("<Unknown Jaeger TagType \"9\">"))]);
}

#[test]
fn logs_are_events_named_by_their_field_event() {
    let timestamp = Some(prost_types::Timestamp { seconds: 2, nanos: 5 });
    let named = Log {
        timestamp,
        fields: vec![tag("a", Value::IntValue(1)), tag("event", Value::IntValue(7))],
    };
    let unnamed = Log { timestamp, fields: vec![tag("message", text("m"))] };
    let span = convert(JaegerSpan { logs: vec![named, unnamed], ..with_tags(vec![]) });
    assert_eq!(span.events[0].time_unix_nano, 2_000_000_005);
    assert_eq!(&span.events[0].name[..], b"7");
    assert_eq!(span.events[0].attributes, [attribute("a", Value::IntValue(1))]);
    assert!(span.events[1].name.is_empty());
    assert_eq!(span.events[1].attributes, [attribute("message", text("m"))]);
}

fn reference(trace_id: &[u8], id: u8, ref_type: i32) -> SpanRef {
    let trace_id = Bytes::copy_from_slice(trace_id);
    SpanRef { trace_id, span_id: Bytes::from(vec![0, 0, 0, 0, 0, 0, 0, id]), ref_type }
}

/// Last byte of the parent, and of the span of each link with its type.
fn related(references: Vec<SpanRef>) -> (Option<u8>, Vec<(u8, String)>) {
    let span = convert(JaegerSpan { references, ..with_tags(vec![]) });
    let links = span.links.iter().map(|link| {
        let [attribute] = &link.attributes[..] else { panic!("{link:?}") };
        assert_eq!(&attribute.key[..], b"opentracing.ref_type");
        let kind = String::from_utf8(attributes::text_value(attribute).unwrap().to_vec()).unwrap();
        (link.span_id[7], kind)
    });
    (span.parent_span_id.last().copied(), links.collect())
}

#[test]
fn parent_is_the_first_reference_within_the_trace() {
    let other: &[u8] = &[9; 16];
    let (child, follows) = ("child_of".to_owned(), "follows_from".to_owned());
    assert_eq!(related(vec![]), (None, vec![]));
    // A parent goes before a predecessor, which is a link.
    let references = vec![reference(TRACE, 4, 1), reference(TRACE, 5, 0), reference(TRACE, 6, 0)];
    assert_eq!(related(references), (Some(5), vec![(4, follows.clone()), (6, child.clone())]));
    // A predecessor that is the parent is a link as well.
    assert_eq!(related(vec![reference(TRACE, 4, 1)]), (Some(4), vec![(4, follows)]));
    // A parent of another trace is only a link.
    assert_eq!(related(vec![reference(other, 4, 0)]), (None, vec![(4, child)]));
    // Short ids are of the same trace if their high half is zero.
    let mut span = with_tags(vec![]);
    span.trace_id = bytes("0000000000000002");
    span.references = vec![reference(&TRACE[8..], 5, 0)];
    let span = convert(span);
    assert_eq!(span.trace_id, bytes("00000000000000000000000000000002"));
    assert_eq!(span.parent_span_id, bytes("0000000000000005"));
}

#[test]
fn ids_of_a_wrong_length_are_refused() {
    let refused = |span| to_otlp(Batch { spans: vec![span], process: None }).unwrap_err();
    let span = JaegerSpan { trace_id: Bytes::from_static(b"123"), ..with_tags(vec![]) };
    assert_eq!(refused(span).to_string(), "invalid length for TraceID: 3 bytes");
    let span = JaegerSpan { span_id: Bytes::from_static(b"123"), ..with_tags(vec![]) };
    assert_eq!(refused(span).to_string(), "invalid length for SpanID: 3 bytes");
    let references = vec![SpanRef { span_id: Bytes::from_static(b"1"), ..SpanRef::default() }];
    let span = JaegerSpan { references, ..with_tags(vec![]) };
    assert_eq!(refused(span), ModelError::SpanId(1));
}

#[test]
fn spans_are_grouped_by_process_and_scope_in_order() {
    let process = |name: &'static str| Process { service_name: name.into(), tags: vec![] };
    let span = |id: u8, own: Option<&'static str>, scope: Option<(&'static str, &'static str)>| {
        let mut tags = Vec::new();
        if let Some((name, version)) = scope {
            tags.extend([tag("otel.scope.name", text(name))]);
            tags.extend([tag("otel.scope.version", text(version))]);
        }
        let mut span = with_tags(tags);
        span.span_id = Bytes::from(vec![0, 0, 0, 0, 0, 0, 0, id]);
        span.process = own.map(process);
        span
    };
    let spans = vec![
        span(1, Some("own"), Some(("s", "1"))),
        span(2, None, None),
        JaegerSpan::default(),
        JaegerSpan {
            trace_id: Bytes::from(vec![0; 16]),
            span_id: Bytes::from(vec![0; 8]),
            start_time: Some(prost_types::Timestamp::default()),
            duration: Some(prost_types::Duration::default()),
            ..JaegerSpan::default()
        },
        span(3, Some("own"), Some(("s", "2"))),
        span(4, Some("batch"), None),
        span(5, Some("own"), Some(("s", "1"))),
    ];
    let request = to_otlp(Batch { spans, process: Some(process("batch")) }).unwrap();
    let mut shown = Vec::new();
    for group in &request.resource_spans {
        let name = &group.resource.as_ref().unwrap().attributes[0];
        let name = String::from_utf8_lossy(attributes::text_value(name).unwrap());
        for scope in &group.scope_spans {
            let of = scope.scope.as_ref().unwrap();
            let of = [&of.name[..], &of.version[..]].map(String::from_utf8_lossy).join("");
            let ids: Vec<_> = scope.spans.iter().map(|span| span.span_id[7]).collect();
            assert!(scope.spans.iter().all(|span| span.attributes.is_empty()));
            shown.push(format!("{name} {of} {ids:?}"));
        }
    }
    assert_eq!(shown, ["own s1 [1, 5]", "own s2 [3]", "batch  [2, 4]"]);
}

#[test]
fn processes_are_bounded_by_the_bytes_of_the_request() {
    let request = |spans: usize, tags: &[Tag]| {
        let process = |number: usize| Process {
            service_name: format!("s{number}").into(),
            tags: tags.to_vec(),
        };
        let span = |number| JaegerSpan { process: Some(process(number)), ..with_tags(vec![]) };
        let batch = Batch { spans: (0..spans).map(span).collect(), process: None };
        Bytes::from(PostSpansRequest { batch: Some(batch) }.encode_to_vec())
    };
    let error = post_spans_to_otlp(&request(5_000, &[])).unwrap_err();
    assert_eq!(error.to_string(), "too many services for the size of the request");
    assert!(post_spans_to_otlp(&request(4_000, &[])).is_ok());
    let tags = [tag("hostname", text("shop-7d4b9c-x2x9z"))];
    let made = decoded(post_spans_to_otlp(&request(20_000, &tags))).unwrap();
    assert_eq!(made.resource_spans.len(), 20_000);
}

#[test]
fn process_that_comes_in_parts_is_counted_as_a_whole() {
    let posted = |tags: usize, parts: usize| {
        let (mut part, mut batch, mut message) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..tags {
            put_message_field(&mut part, 2, b"");
        }
        put_message_field(&mut batch, 1, &with_tags(vec![]).encode_to_vec());
        for _ in 0..parts {
            put_message_field(&mut batch, 2, &part);
        }
        put_message_field(&mut message, 1, &batch);
        post_spans_to_otlp(&message.into())
    };
    assert!(posted(30_000, 2).is_ok());
    assert_eq!(posted(30_000, 3), Err(ModelError::TooManyElements));
}

#[test]
fn spans_of_a_large_process_cost_the_same_as_of_a_small_one() {
    let process = Process { service_name: vec![b'a'; 8 << 20].into(), tags: vec![] };
    let mut made = OtlpWriter::new(Some(&process), 0);
    let began = std::time::Instant::now();
    for _ in 0..20_000 {
        made.push(with_tags(vec![])).unwrap();
    }
    assert!(began.elapsed().as_secs() < 5);
    // An equal process of a span's own is the same group.
    made.push(JaegerSpan { process: Some(process), ..with_tags(vec![]) }).unwrap();
    let request = decoded(Ok(made.finish())).unwrap();
    assert_eq!(request.resource_spans.len(), 1);
    assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), 20_001);
}

#[test]
fn version_of_a_scope_without_name_stays_an_attribute() {
    let span = convert(with_tags(vec![tag("otel.scope.version", text("1"))]));
    assert_eq!(span.attributes, [attribute("otel.scope.version", text("1"))]);
}

#[test]
fn process_is_the_resource() {
    let of = |name: &'static str, tags| {
        let process = Some(Process { service_name: name.into(), tags });
        let mut request = to_otlp(Batch { spans: vec![with_tags(vec![])], process }).unwrap();
        request.resource_spans.remove(0).resource.unwrap().attributes
    };
    assert_eq!(
        of("svc", vec![tag("hostname", text("h")), tag("jaeger.version", text("Go-2"))]),
        [
            attribute("service.name", text("svc")),
            attribute("host.name", text("h")),
            attribute("opencensus.exporterversion", text("Jaeger-Go-2")),
        ]
    );
    // What the new keys hold already stays, and so do the tags of the old ones.
    let both = vec![
        tag("hostname", text("h")),
        tag("host.name", text("n")),
        tag("jaeger.version", text("1")),
        tag("opencensus.exporterversion", text("x")),
    ];
    assert_eq!(of("", both).len(), 4);
    assert_eq!(
        of("svc", vec![tag("service.name", text("tag"))]),
        [attribute("service.name", text("tag"))]
    );
    assert_eq!(
        of("OTLPResourceNoServiceName", vec![tag("a", text("b"))]),
        [attribute("a", text("b"))]
    );
}

#[test]
fn trace_state_is_taken_from_its_tag() {
    let span = convert(with_tags(vec![tag("w3c.tracestate", text("a=b"))]));
    assert_eq!((&span.trace_state[..], span.attributes.len()), (&b"a=b"[..], 0));
}

#[test]
fn negative_duration_ends_before_the_start() {
    let span = convert(JaegerSpan {
        start_time: Some(prost_types::Timestamp { seconds: 10, nanos: 0 }),
        duration: Some(prost_types::Duration { seconds: -1, nanos: -500_000_000 }),
        ..with_tags(vec![])
    });
    assert_eq!(span.start_time_unix_nano, 10_000_000_000);
    assert_eq!(span.end_time_unix_nano, 8_500_000_000);
}
