//! Whole bodies through [`decode`], and back.

mod damage;
mod round_trip;

use bytes::Bytes;
use prost::Message;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{ExportTraceServiceRequest, KeyValue, ResourceSpans, Span};

use crate::{DecodeOptions, Error, Format, MediaType, Version};

/// What [`crate::decode`] makes of a body, as messages.
pub(crate) fn decode(
    format: Format,
    body: &Bytes,
    options: &DecodeOptions,
) -> Result<ExportTraceServiceRequest, Error> {
    let (_, request) = crate::decode(format, body, options)?;
    Ok(ExportTraceServiceRequest::decode(request).expect("what was written is read"))
}

/// The spans of a request, each with its resource's attributes.
pub(crate) fn spans(request: &ExportTraceServiceRequest) -> Vec<(Vec<(String, Value)>, Span)> {
    let of_group = |group: &ResourceSpans| {
        let resource = attributes(&group.resource.clone().unwrap_or_default().attributes);
        let spans = group.scope_spans.iter().flat_map(|scope| scope.spans.clone());
        spans.map(|span| (resource.clone(), span)).collect::<Vec<_>>()
    };
    request.resource_spans.iter().flat_map(of_group).collect()
}

/// The one span of a body and its resource's attributes.
pub(crate) fn one(format: Format, body: impl Into<Bytes>) -> (Vec<(String, Value)>, Span) {
    one_with(format, body, &DecodeOptions::default())
}

pub(crate) fn one_with(
    format: Format,
    body: impl Into<Bytes>,
    options: &DecodeOptions,
) -> (Vec<(String, Value)>, Span) {
    let request = decode(format, &body.into(), options).unwrap();
    let mut spans = spans(&request);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

pub(crate) fn error(format: Format, body: impl Into<Bytes>) -> String {
    decode(format, &body.into(), &DecodeOptions::default()).unwrap_err().to_string()
}

pub(crate) fn attributes(attributes: &[KeyValue]) -> Vec<(String, Value)> {
    let pair = |attribute: &KeyValue| {
        let value = attribute.value.clone().and_then(|value| value.value);
        (String::from_utf8(attribute.key.to_vec()).unwrap(), value.unwrap())
    };
    attributes.iter().map(pair).collect()
}

pub(crate) fn text(text: &str) -> Value {
    Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn pairs(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Trace 1/2, span 3, name `op`, kind server, service `svc`, 1.5 ms, with the status and attributes given.
#[track_caller]
fn check_common(
    (resource, span): (Vec<(String, Value)>, Span),
    status: i32,
    rest: &[(&str, Value)],
) {
    assert_eq!(resource.first(), pairs(&[("service.name", text("svc"))]).first());
    assert_eq!(&span.trace_id[..], unhex("00000000000000010000000000000002"));
    assert_eq!(&span.span_id[..], unhex("0000000000000003"));
    assert!(span.parent_span_id.is_empty());
    assert_eq!((&*span.name, span.kind), (&b"op"[..], 2));
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_700_000_000_001_500_000);
    let found = span.status.unwrap_or_default();
    assert_eq!((found.code, &*found.message), (status, &b""[..]));
    assert_eq!(attributes(&span.attributes), pairs(rest));
    assert!(span.events.is_empty() && span.links.is_empty());
}

const PROTOBUF: &str = "0a440a10000000000000000100000000000000021a08000000000000000320022a026f703100401e18240a060038dc0b42050a037376635a0d0a056572726f72120474727565";

#[test]
fn protobuf_of_the_second_model_is_read() {
    let (resource, span) = one(Format::ProtobufV2, unhex(PROTOBUF));
    assert_eq!(resource, pairs(&[("service.name", text("svc"))]));
    check_common((resource, span), 2, &[]);
}

#[test]
fn json_of_the_first_model_is_read() {
    let body = r#"[{"traceId":"00000000000000010000000000000002","id":"0000000000000003","name":"op","annotations":[{"timestamp":1700000000000000,"value":"sr","endpoint":{"serviceName":"svc"}},{"timestamp":1700000000001500,"value":"ss","endpoint":{"serviceName":"svc"}}],"binaryAnnotations":[{"key":"http.status_code","value":"500"}]}]"#;
    let found = one(Format::JsonV1, body);
    assert_eq!(found.0.len(), 1);
    check_common(found, 2, &[("http.status_code", text("500"))]);
}

#[test]
fn thrift_of_the_first_model_is_read() {
    let body = unhex(
        "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000020a000100060a24181e40000b00020000000273720c00030800017f0000010600021f900b00030000000373766300000a000100060a24181e45dc0b00020000000273730c00030800017f0000010600021f900b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060c00040800017f0000010600021f900b0003000000037376630000020009000a000a00060a24181e40000a000b00000000000005dc0a000c000000000000000100",
    );
    let (mut resource, span) = one(Format::ThriftV1, body);
    resource.sort_by(|(a, _), (b, _)| a.cmp(b));
    let expected =
        [("ipv4", text("127.0.0.1")), ("port", text("8080")), ("service.name", text("svc"))];
    assert_eq!(resource, pairs(&expected));
    let name = vec![("service.name".to_owned(), text("svc"))];
    check_common((name, span), 0, &[("http.method", text("GET"))]);
}

#[test]
fn json_of_the_second_model_is_read() {
    let body = r#"[{"traceId":"5982fe77008310cc80f1da5e10147519","parentId":"90394f6bcffb5d13","id":"67fae42571535f60","kind":"CLIENT","name":"get /m","timestamp":1516781775726000,"duration":26000,"localEndpoint":{"serviceName":"api","ipv4":"10.0.0.1","port":8080},"remoteEndpoint":{"serviceName":"db"},"tags":{"error":"timeout","n":"1"},"annotations":[{"timestamp":1516781775726100,"value":"retry"}]}]"#;
    let (resource, span) = one(Format::JsonV2, body);
    assert_eq!(resource, pairs(&[("service.name", text("api"))]));
    assert_eq!(&span.parent_span_id[..], unhex("90394f6bcffb5d13"));
    assert_eq!((span.kind, span.status.unwrap().code), (3, 2));
    assert_eq!(span.start_time_unix_nano, 1_516_781_775_726_000_000);
    assert_eq!(span.end_time_unix_nano, 1_516_781_775_752_000_000);
    let expected = [
        ("error", text("timeout")),
        ("n", text("1")),
        ("net.host.ip", text("10.0.0.1")),
        ("net.host.port", Value::IntValue(8080)),
        ("peer.service", text("db")),
    ];
    assert_eq!(attributes(&span.attributes), pairs(&expected));
    assert_eq!(span.events.len(), 1);
    assert_eq!(&*span.events[0].name, b"retry");
    assert_eq!(span.events[0].time_unix_nano, 1_516_781_775_726_100_000);
}

#[test]
fn text_is_a_slice_of_the_body() {
    let body = Bytes::from(r#"[{"traceId":"1","id":"2","name":"plain","tags":{"a":"x\n"}}]"#);
    let mut spans = Vec::new();
    let keep = |span| {
        spans.push(span);
        Ok(())
    };
    crate::v2::json::decode(&body, keep).unwrap();
    let place = spans[0].name.as_ptr() as usize - body.as_ptr() as usize;
    assert_eq!(&body[place..place + 5], b"plain");
    assert_eq!(&*spans[0].tags[0].1, b"x\n");
}

#[test]
fn no_spans_are_no_error() {
    for format in [Format::JsonV1, Format::JsonV2, Format::ThriftV1, Format::ProtobufV2] {
        assert!(
            spans(&decode(format, &Bytes::new(), &DecodeOptions::default()).unwrap()).is_empty()
        );
    }
    for body in ["[]", " [ ] \n", "\n"] {
        assert!(decode(Format::JsonV2, &body.into(), &DecodeOptions::default()).is_ok());
    }
    let empty_list = unhex("0c00000000");
    assert!(decode(Format::ThriftV1, &empty_list.into(), &DecodeOptions::default()).is_ok());
}

#[test]
fn format_is_told_by_first_bytes_then_by_media_type() {
    use Format::{JsonV1, JsonV2, ProtobufV2, ThriftV1};
    let protobuf = unhex(PROTOBUF);
    let mut of_length_91 = vec![0x0a, b'[', 0x0a, 16];
    of_length_91.resize(93, 0);
    for (version, content_type, body, format) in [
        (Version::V2, "application/x-protobuf", &protobuf[..], ProtobufV2),
        (Version::V2, "application/x-protobuf; charset=utf-8", &protobuf, ProtobufV2),
        (Version::V2, "application/json", &protobuf, ProtobufV2),
        (Version::V2, "", &of_length_91, ProtobufV2),
        (Version::V2, "", b"[{}]", JsonV2),
        (Version::V2, "text/plain", b" \n[]", JsonV2),
        (Version::V2, "application/json", b"\n [\n {", JsonV2),
        (Version::V2, "Application/X-Protobuf", b" [{", JsonV2),
        (Version::V2, "application/x-protobuf", b"\x12\x00", ProtobufV2),
        (Version::V2, "application/json; charset=utf-8", b"[", JsonV2),
        (Version::V1, "application/x-thrift", b"\x0c\x00\x00\x00\x00", ThriftV1),
        (Version::V1, "application/x-thrift; a=b", b"\x0f\x00", ThriftV1),
        (Version::V1, "", b"\x0c\x00\x00\x00\x00", ThriftV1),
        (Version::V1, "application/x-thrift", b"[]", JsonV1),
        (Version::V1, "application/json", b"[]", JsonV1),
        (Version::V1, "application/json", b"\n[{", JsonV1),
        (Version::V1, "application/x-protobuf", &protobuf, ProtobufV2),
        (Version::V2, "application/x-thrift", b"\x0c\x00\x00\x00\x00", ThriftV1),
        (Version::V2, "", b"\x0c\x00\x00\x00\x00", ThriftV1),
    ] {
        let found = Format::detect(version, MediaType::of(content_type.as_bytes()), body);
        assert_eq!(found, format, "{version:?} {content_type} {body:?}");
    }
}

/// A span with these further members.
fn json_span(id: u8, members: &str) -> String {
    format!(r#"{{"traceId":"000000000000000a","id":"000000000000000{id}"{members}}}"#)
}

#[test]
fn json_is_read_in_the_version_that_its_content_shows() {
    use Format::{JsonV1, JsonV2};
    let plain = json_span(1, r#","name":"a""#);
    for (members, expected) in [
        (r#","binaryAnnotations":[{"key":"http.path","value":"/a"}]"#, Some(JsonV1)),
        (r#","annotations":[],"binaryAnnotations":[]"#, Some(JsonV1)),
        (
            r#","annotations":[{"timestamp":1,"value":"sr","endpoint":{"serviceName":"s"}}]"#,
            Some(JsonV1),
        ),
        (r#","annotations":[{"value":"sr","endpoint":{"serviceName":"s"}}]"#, Some(JsonV1)),
        (r#","localEndpoint":{"serviceName":"s"}"#, Some(JsonV2)),
        (r#","remoteEndpoint":{"serviceName":"s"}"#, Some(JsonV2)),
        (r#","tags":{"http.path":"/a"}"#, Some(JsonV2)),
        (r#","kind":"CLIENT""#, Some(JsonV2)),
        (
            r#","tags":{},"annotations":[{"timestamp":1,"value":"ws","endpoint":{"serviceName":"s"}}]"#,
            Some(JsonV2),
        ),
        (r#","binaryAnnotations":null,"tags":null,"kind":null"#, None),
        (r#","annotations":[{"timestamp":1,"value":"sr"}]"#, None),
    ] {
        for path in [JsonV1, JsonV2] {
            // A span that does not tell is of the version of its neighbour.
            let marked = json_span(2, members);
            for list in [
                format!("[{marked}]"),
                format!("[{plain},{marked}]"),
                format!("[{marked},{plain}]"),
            ] {
                let (format, request) =
                    crate::decode(path, &Bytes::from(list.clone()), &DecodeOptions::default())
                        .unwrap();
                assert_eq!(format, expected.unwrap_or(path), "{list}");
                let request = ExportTraceServiceRequest::decode(request).unwrap();
                assert_eq!(spans(&request).len(), list.matches("traceId").count(), "{list}");
            }
        }
    }
}

#[test]
fn first_model_on_the_path_of_the_second_keeps_what_it_holds() {
    let span = json_span(
        2,
        r#","name":"op","annotations":[{"timestamp":1,"value":"sr","endpoint":{"serviceName":"svc"}},
            {"timestamp":3,"value":"ss","endpoint":{"serviceName":"svc"}}],
            "binaryAnnotations":[{"key":"http.path","value":"/a","endpoint":{"serviceName":"svc"}}]"#,
    );
    let body = format!("[{span}]");
    assert_eq!(one(Format::JsonV2, body.clone()), one(Format::JsonV1, body));
}

#[test]
fn list_of_both_versions_is_refused_by_name() {
    let first = json_span(1, r#","binaryAnnotations":[]"#);
    let second = json_span(2, r#","tags":{}"#);
    for format in [Format::JsonV1, Format::JsonV2] {
        for list in [format!("[{first},{second}]"), format!("[{second},{first}]")] {
            let text = error(format, list);
            assert_eq!(
                text,
                "the list holds spans of both versions of the model: JSON_V1 and JSON_V2"
            );
        }
    }
}

#[test]
fn error_names_the_span() {
    let body = r#"[{"traceId":"1","id":"2"},{"id":"2"}]"#;
    assert_eq!(error(Format::JsonV2, body), "valid traceId required (span 1 of the list)");
    let result = decode(Format::JsonV2, &Bytes::from("{}"), &DecodeOptions::default());
    assert!(matches!(result, Err(Error::Json { .. })));
    assert!(error(Format::JsonV2, "[] 1").contains("trailing characters"));
}
