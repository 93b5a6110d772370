//! Zipkin's formats, and on to OTLP and to an answer of its query API.

use bytes::Bytes;
use prost::Message;
use tactus_proto::otlp::ExportTraceServiceRequest;
use tactus_zipkin::{
    DecodeOptions, Format, MediaType, Version, decode, spans_from_otlp, write_span,
};

use super::{otlp, unhex};
use crate::sample;

/// The first byte: what the sender says of the body.
pub(crate) fn feed(input: &[u8]) {
    let Some((&choice, body)) = input.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    let options = DecodeOptions { parse_string_tags: choice & 1 != 0, now_unix_nanos: 1 };
    let media_type = match choice >> 1 & 3 {
        0 => MediaType::Protobuf,
        1 => MediaType::Thrift,
        _ => MediaType::Other,
    };
    let first = Format::detect(Version::V1, media_type, &body);
    let second = Format::detect(Version::V2, media_type, &body);
    for format in [first, second] {
        let Ok((found, request)) = decode(format, &body, &options) else { continue };
        otlp::check(&sample::spans_of(&request, 0).expect("what is written is walked"));
        let request = ExportTraceServiceRequest::decode(request).expect("what is written is read");
        let mut answer = vec![b'['];
        for (number, span) in spans_from_otlp(request.resource_spans).enumerate() {
            if number > 0 {
                answer.push(b',');
            }
            write_span(&span, &mut answer);
        }
        answer.push(b']');
        if matches!(found, Format::JsonV2 | Format::ProtobufV2) {
            decode(Format::JsonV2, &answer.into(), &options).expect("an answer reads back");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let protobuf = "0a440a10000000000000000100000000000000021a08000000000000000320022a026f703100401e18240a060038dc0b42050a037376635a0d0a056572726f72120474727565";
    let thrift = "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000010a000100060a24181e40000b00020000000273720c00030800017f0000010600021f900b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060000";
    let second = r#"[{"traceId":"1","id":"2","kind":"CLIENT","name":"a","timestamp":1,"duration":2,"localEndpoint":{"serviceName":"s","ipv4":"1.2.3.4","port":1},"tags":{"otlp.link.0":"1|2||{}|0","error":"x"},"annotations":[{"timestamp":1,"value":"a|{\"b\":1}|2"}]}]"#;
    let first = r#"[{"traceId":"0000000000000001","id":"0000000000000002","annotations":[{"timestamp":1,"value":"sr","endpoint":{"serviceName":"s"}}],"binaryAnnotations":[{"key":"lc","value":1.5}]}]"#;
    vec![
        [&[0][..], &unhex(protobuf)].concat(),
        [&[3][..], &unhex(thrift)].concat(),
        [&[5][..], second.as_bytes()].concat(),
        [&[4][..], first.as_bytes()].concat(),
    ]
}
