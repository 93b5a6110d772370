//! Any bytes as a request of Zipkin's, in each of its formats: decoding, and what follows it up to an answer of the query
//! API, never panics, and what is answered of the second model reads back. The first byte chooses what is guessed.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tactus_proto::otlp::ExportTraceServiceRequest;
use tactus_zipkin::{
    DecodeOptions, Format, MediaType, Version, decode, spans_from_otlp, write_spans,
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
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
        let request = ExportTraceServiceRequest::decode(request).expect("what was written is read");
        let answer = write_spans(&spans_from_otlp(&request.resource_spans));
        if matches!(found, Format::JsonV2 | Format::ProtobufV2) {
            decode(Format::JsonV2, &answer.into(), &options).expect("an answer reads back");
        }
    }
});
