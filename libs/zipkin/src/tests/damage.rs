//! Whatever is sent: an error or spans, no panic, and no memory out of proportion.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use tactus_proto::otlp::ExportTraceServiceRequest;

use super::{decode, unhex};
use crate::{DecodeOptions, Error, Format, MediaType, Version, spans_from_otlp};

const FORMATS: [Format; 4] = [Format::JsonV1, Format::ThriftV1, Format::JsonV2, Format::ProtobufV2];

fn feed(body: Vec<u8>) {
    let body = Bytes::from(body);
    for version in [Version::V1, Version::V2] {
        Format::detect(version, MediaType::Other, &body);
    }
    for format in FORMATS {
        for parse_string_tags in [false, true] {
            let options = DecodeOptions { parse_string_tags, now_unix_nanos: 1 };
            if let Ok((found, request)) = crate::decode(format, &body, &options) {
                let request = ExportTraceServiceRequest::decode(request).unwrap();
                let answer = serde_json::to_vec(
                    &spans_from_otlp(request.resource_spans).collect::<Vec<_>>(),
                )
                .unwrap();
                if matches!(found, Format::JsonV2 | Format::ProtobufV2) {
                    decode(Format::JsonV2, &answer.into(), &options).unwrap();
                }
            }
        }
    }
}

const SEEDS: [&str; 2] = [
    super::PROTOBUF,
    "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000010a000100060a24181e40000b00020000000273720c00030800017f0000010600021f900b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060000",
];

const JSON_SEEDS: [&str; 2] = [
    r#"[{"traceId":"1","id":"2","kind":"CLIENT","name":"a","timestamp":1,"duration":2,"localEndpoint":{"serviceName":"s","ipv4":"1.2.3.4","port":1},"tags":{"otlp.link.0":"1|2||{}|0","error":"x"},"annotations":[{"timestamp":1,"value":"a|{\"b\":1}|2"}]}]"#,
    r#"[{"traceId":"0000000000000001","id":"0000000000000002","annotations":[{"timestamp":1,"value":"sr","endpoint":{"serviceName":"s"}}],"binaryAnnotations":[{"key":"lc","value":1.5}]}]"#,
];

fn seeds() -> Vec<Vec<u8>> {
    let json = JSON_SEEDS.iter().map(|seed| seed.as_bytes().to_vec());
    SEEDS.iter().map(|seed| unhex(seed)).chain(json).collect()
}

#[test]
fn every_truncation_is_an_error_or_spans() {
    for seed in seeds() {
        for length in 0..seed.len() {
            feed(seed[..length].to_vec());
        }
    }
}

#[test]
fn huge_declared_lengths_and_counts_are_errors() {
    let protobuf = [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0; 9]];
    let options = DecodeOptions::default();
    for (format, body) in [
        (Format::ProtobufV2, protobuf.concat()),
        (Format::ThriftV1, unhex("0c7fffffff00")),
        (Format::ThriftV1, unhex("0c000000010b00037fffffff61")),
        (Format::ThriftV1, unhex("0cffffffff00")),
    ] {
        assert!(decode(format, &body.into(), &options).is_err());
    }
}

#[test]
fn deep_json_is_an_error_or_skipped() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let options = DecodeOptions::default();
    let error = decode(Format::JsonV2, &deep(1_000_000).into(), &options).unwrap_err();
    assert!(matches!(error, Error::Json { .. }));
    // An annotation is never an error: attributes that are too deep are text.
    let value = format!("a|{{\\\"b\\\":{}}}|0", deep(50_000));
    let body = format!(
        r#"[{{"traceId":"1","id":"2","annotations":[{{"timestamp":1,"value":"{value}"}}]}}]"#
    );
    let request = decode(Format::JsonV2, &body.into(), &options).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert!(span.events[0].name.len() > 100_000);
}

#[test]
fn spans_of_nothing_are_refused_at_the_first() {
    let options = DecodeOptions::default();
    let body = [0x0a, 0].repeat(1 << 20);
    let error = decode(Format::ProtobufV2, &body.into(), &options).unwrap_err();
    assert!(error.to_string().contains("span 0 "), "{error}");
    let body = format!("[{}{{}}]", "{},".repeat(1 << 20));
    let error = decode(Format::JsonV2, &body.into(), &options).unwrap_err();
    assert!(error.to_string().contains("span 0 "), "{error}");
}

#[test]
fn services_are_bounded_by_the_bytes_of_the_request() {
    // Ids of 28 bytes, and a service of 4 digits.
    let span = |number: usize| {
        let mut span = unhex("0a240a10000000000000000100000000000000021a0800000000000000034206");
        span.extend_from_slice(format!("\x0a\x04{number}").as_bytes());
        span
    };
    let list = |numbers: std::ops::Range<usize>| Bytes::from_iter(numbers.flat_map(span));
    let options = DecodeOptions::default();
    let error = decode(Format::ProtobufV2, &list(1_000..6_000), &options).unwrap_err();
    assert!(error.to_string().contains("too many services"), "{error}");
    let request = decode(Format::ProtobufV2, &list(1_000..5_000), &options).unwrap();
    assert_eq!(request.resource_spans.len(), 4_000);
}

#[test]
fn equal_keys_without_end_are_one_tag() {
    let mut span = unhex("0a10000000000000000100000000000000021a080000000000000003");
    span.extend([0x5a, 0].repeat(1 << 16));
    let mut body = vec![0x0a];
    tactus_model::wire::put_varint(&mut body, span.len() as u64);
    body.extend(span);
    let request = decode(Format::ProtobufV2, &body.into(), &DecodeOptions::default()).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].attributes.len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_spans(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        feed(body);
    }

    #[test]
    fn flipped_bytes_are_an_error_or_spans(
        seed in 0..4_usize,
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut body = seeds().swap_remove(seed);
        for (place, byte) in flips {
            let place = place % body.len();
            body[place] = byte;
        }
        feed(body);
    }

    #[test]
    fn replaced_parts_of_json_are_an_error_or_spans(
        seed in 0..2_usize,
        place in any::<proptest::sample::Index>(),
        part in r#"([\[\]{},:"0-9a-f.e|-]|null|true|\\u00|\\ud800){0,8}"#,
    ) {
        let mut body = JSON_SEEDS[seed].as_bytes().to_vec();
        let place = place.index(body.len());
        body.splice(place..place + 1, part.into_bytes());
        feed(body);
    }
}

#[test]
fn error_of_json_names_the_field() {
    let options = DecodeOptions::default();
    for (format, list, place) in [
        (Format::JsonV2, r#"[{"id":"a","traceId":5}]"#, " ([0].traceId)"),
        (Format::JsonV2, r#"[{"localEndpoint":{"port":{}}}]"#, " ([0].localEndpoint.port)"),
        (Format::JsonV1, r#"[{"annotations":["a"]}]"#, " ([0].annotations[0])"),
        (Format::JsonV2, r#"[{"tags":{"a":"b"#, " ([0].tags)"),
    ] {
        let error = decode(format, &list.as_bytes().to_vec().into(), &options).unwrap_err();
        assert!(error.to_string().ends_with(place), "{list}: {error}");
    }
    let error = decode(Format::JsonV2, &"{}".into(), &options).unwrap_err();
    assert!(!error.to_string().contains('('), "{error}");
}

#[test]
fn json_of_another_shape_is_refused_in_the_terms_of_zipkin() {
    let options = DecodeOptions::default();
    for (format, list, expected) in [
        (Format::JsonV2, "{}", "invalid type: map, expected a list of spans"),
        (Format::JsonV2, "[1]", "invalid type: integer `1`, expected a span"),
        (Format::JsonV1, "[1]", "invalid type: integer `1`, expected a span"),
        (
            Format::JsonV2,
            r#"[{"localEndpoint":"a"}]"#,
            "invalid type: string \"a\", expected an endpoint",
        ),
        (
            Format::JsonV2,
            r#"[{"annotations":["a"]}]"#,
            "invalid type: string \"a\", expected an annotation",
        ),
        (
            Format::JsonV1,
            r#"[{"annotations":["a"]}]"#,
            "invalid type: string \"a\", expected an annotation",
        ),
        (
            Format::JsonV1,
            r#"[{"binaryAnnotations":["a"]}]"#,
            "invalid type: string \"a\", expected a binary annotation",
        ),
    ] {
        let error = decode(format, &list.as_bytes().to_vec().into(), &options).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{list}: {error}");
    }
}
