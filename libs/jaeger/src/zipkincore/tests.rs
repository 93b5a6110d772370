use tactus_proto::jaeger::api_v2::{KeyValue, Span as JaegerSpan, ValueType};

use super::*;
use crate::testing::{bytes, zipkin_spans};

fn host(name: &'static str, ipv4: u32) -> Option<Box<Endpoint>> {
    let service_name = name.into();
    Some(Box::new(Endpoint { ipv4, port: 40_000, service_name, ipv6: Bytes::new() }))
}

fn annotation(timestamp: i64, value: &'static str) -> Annotation {
    Annotation { timestamp, value: value.into(), host: None }
}

fn binary(key: &'static str, annotation_type: i32, value: &'static [u8]) -> BinaryAnnotation {
    let value = Bytes::from_static(value);
    BinaryAnnotation { key: key.into(), value, annotation_type, host: None }
}

fn text(key: &'static str, value: &'static str) -> BinaryAnnotation {
    binary(key, annotation_type::STRING, value.as_bytes())
}

fn shown(tags: &[KeyValue]) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let value = |tag: &KeyValue| match ValueType::try_from(tag.v_type).unwrap() {
        ValueType::String => format!("{:?}", text(&tag.v_str)),
        ValueType::Bool => tag.v_bool.to_string(),
        ValueType::Int64 => tag.v_int64.to_string(),
        ValueType::Float64 => format!("{:?}", tag.v_float64),
        ValueType::Binary => format!("{:?}", &tag.v_binary[..]),
    };
    tags.iter().map(|tag| format!("{}={}", text(&tag.key), value(tag))).collect()
}

/// Start and duration in microseconds.
fn times(span: &JaegerSpan) -> (i64, i64) {
    let (start, duration) = (span.start_time.unwrap(), span.duration.unwrap());
    let micros = |seconds: i64, nanos: i32| seconds * 1_000_000 + i64::from(nanos) / 1_000;
    (micros(start.seconds, start.nanos), micros(duration.seconds, duration.nanos))
}

#[test]
fn list_of_an_http_body_is_read() {
    let body = "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000020a000100060a24181e40000b00020000000273720c00030800017f0000010600021f900b00030000000373766300000a000100060a24181e45dc0b00020000000273730c00030800017f0000010600021f900b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060c00040800017f0000010600021f900b0003000000037376630000020009000a000a00060a24181e40000a000b00000000000005dc0a000c000000000000000100";
    let host = Some(Box::new(Endpoint {
        ipv4: 0x7f00_0001,
        port: 8_080,
        service_name: "svc".into(),
        ipv6: Bytes::new(),
    }));
    let at = |timestamp, value: &'static str| Annotation {
        timestamp,
        value: value.into(),
        host: host.clone(),
    };
    let expected = Span {
        trace_id: 2,
        trace_id_high: Some(1),
        id: 3,
        parent_id: None,
        name: "op".into(),
        annotations: vec![at(1_700_000_000_000_000, "sr"), at(1_700_000_000_001_500, "ss")],
        binary_annotations: vec![BinaryAnnotation {
            host: host.clone(),
            ..text("http.method", "GET")
        }],
        debug: false,
        timestamp: Some(1_700_000_000_000_000),
        duration: Some(1_500),
    };
    assert_eq!(zipkin_spans(bytes(body)), Ok(vec![expected]));
    assert_eq!(zipkin_spans(bytes("0c00000000")), Ok(vec![]));
}

#[test]
fn span_without_an_id_is_refused() {
    let error = zipkin_spans(bytes("0c000000010a0001000000000000000200")).unwrap_err();
    assert_eq!(error.to_string(), "Required field id of zipkincore.Span is not set");
}

#[test]
fn both_sides_of_a_call_are_two_spans() {
    let annotations = [("cs", 10), ("sr", 12), ("ss", 17), ("cr", 20)];
    let span = Span {
        id: 3,
        parent_id: Some(2),
        annotations: annotations.map(|(value, time)| annotation(time, value)).to_vec(),
        binary_annotations: vec![text("a", "b")],
        ..Span::default()
    };
    let spans = convert(span.clone());
    let [client, server] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(shown(&client.tags), [r#"a="b""#, r#"span.kind="client""#]);
    assert_eq!(times(client), (10, 10));
    assert_eq!(shown(&server.tags), [r#"span.kind="server""#]);
    assert_eq!(times(server), (12, 5));
    assert_eq!((&client.span_id, &client.references), (&server.span_id, &server.references));
    // The side that is told of first is the one that the rest belongs to.
    let mut other = span;
    other.annotations.rotate_left(1);
    let spans = convert(other);
    assert_eq!(shown(&spans[0].tags), [r#"a="b""#, r#"span.kind="server""#]);
    assert_eq!(shown(&spans[1].tags), [r#"span.kind="client""#]);
    assert_eq!(times(&spans[1]), (10, 10));
}

#[test]
fn own_times_go_before_those_of_annotations() {
    let span =
        Span { annotations: vec![annotation(12, "sr"), annotation(17, "ss")], ..Span::default() };
    assert_eq!(times(&convert(span.clone())[0]), (12, 5));
    let with_duration = Span { duration: Some(9), ..span.clone() };
    assert_eq!(times(&convert(with_duration)[0]), (12, 9));
    let with_start = Span { timestamp: Some(7), ..span };
    assert_eq!(times(&convert(with_start)[0]), (7, 0));
}

#[test]
fn other_annotations_are_logs() {
    let span = Span {
        annotations: vec![
            annotation(1, "retry"),
            annotation(2, ""),
            annotation(3, r#"{"a":"b","c":"d"}"#),
            annotation(4, r#"{"a":1}"#),
            annotation(5, "{"),
        ],
        ..Span::default()
    };
    let spans = convert(span);
    let logs: Vec<_> = spans[0].logs.iter().map(|log| shown(&log.fields)).collect();
    assert_eq!(
        logs,
        [
            vec![r#"event="retry""#],
            vec![r#"a="b""#, r#"c="d""#],
            vec![r#"event="{\"a\":1}""#],
            vec![r#"event="{""#],
        ]
    );
}

#[test]
fn binary_annotations_are_tags_of_their_type() {
    let tags = vec![
        binary("bool", annotation_type::BOOL, &[1]),
        binary("not", annotation_type::BOOL, &[1, 1]),
        binary("bytes", annotation_type::BYTES, &[7]),
        binary("i16", annotation_type::I16, &[0xff, 0xfe]),
        binary("i32", annotation_type::I32, &[0, 0, 1, 0]),
        binary("i64", annotation_type::I64, &[0xff; 8]),
        binary("double", annotation_type::DOUBLE, &[0x40, 0, 0, 0, 0, 0, 0, 0]),
        binary("short", annotation_type::I64, &[1]),
        binary("unknown", 9, &[1]),
        text("lc", "thing"),
    ];
    let spans = convert(Span { binary_annotations: tags, ..Span::default() });
    assert_eq!(
        shown(&spans[0].tags),
        [
            "bool=true",
            "not=false",
            "bytes=[7]",
            "i16=-2",
            "i32=256",
            "i64=-1",
            "double=2.0",
            r#"short="Cannot parse Zipkin value AQ==: wrong length""#,
            r#"unknown="Cannot parse Zipkin value AQ==: unknown type 9""#,
            r#"component="thing""#,
        ]
    );
}

#[test]
fn address_of_the_other_side_is_a_peer() {
    let mut peer = binary("sa", annotation_type::BOOL, &[1]);
    peer.host = host("db", 0xc0a8_0001);
    let spans = convert(Span { binary_annotations: vec![peer], ..Span::default() });
    assert_eq!(
        shown(&spans[0].tags),
        [r#"peer.service="db""#, "peer.ipv4=3232235521", "peer.port=40000"]
    );
}

#[test]
fn process_is_named_by_the_best_endpoint() {
    let named = |annotations, binary_annotations| {
        let span = Span { annotations, binary_annotations, ..Span::default() };
        let process = convert(span)[0].process.clone().unwrap();
        (String::from_utf8(process.service_name.to_vec()).unwrap(), shown(&process.tags))
    };
    let core = Annotation { host: host("core", 0xc0a8_0001), ..annotation(1, "sr") };
    let other = Annotation { host: host("other", 0), ..annotation(1, "x") };
    let local = BinaryAnnotation { host: host("local", 0), ..text("lc", "") };
    let tag = BinaryAnnotation { host: host("tag", 0), ..text("a", "") };
    let nameless = Annotation { host: host("", 1), ..annotation(1, "cs") };
    let tags = vec![tag, local];
    let name = |annotations, tags| named(annotations, tags).0;
    assert_eq!(
        named(vec![nameless, other.clone(), core], tags.clone()),
        ("core".to_owned(), vec!["ip=3232235521".to_owned()])
    );
    assert_eq!(name(vec![other.clone()], tags.clone()), "local");
    assert_eq!(name(vec![other], tags[..1].to_vec()), "other");
    assert_eq!(name(vec![], tags[..1].to_vec()), "tag");
    assert_eq!(name(vec![], vec![]), "unknown-service-name");
}

#[test]
fn client_library_is_told_of_by_the_process() {
    let tags = vec![text("jaeger.hostname", "h"), text("jaeger.version", "Go-2"), text("a", "b")];
    let spans = convert(Span { binary_annotations: tags, ..Span::default() });
    assert_eq!(shown(&spans[0].tags), [r#"a="b""#]);
    let process = spans[0].process.as_ref().unwrap();
    assert_eq!(shown(&process.tags), [r#"hostname="h""#, r#"jaeger.version="Go-2""#]);
}
