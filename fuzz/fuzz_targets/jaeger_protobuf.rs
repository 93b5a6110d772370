//! Any bytes as a `PostSpansRequest`: the decoder does not panic, and what is understood can be written as OTLP.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tactus_jaeger::to_otlp::decode_post_spans;
use tactus_proto::otlp::ExportTraceServiceRequest;

fuzz_target!(|input: &[u8]| {
    let Ok(request) = decode_post_spans(Bytes::copy_from_slice(input)) else { return };
    ExportTraceServiceRequest::decode(&*request.encode_to_vec()).expect("what was written is read");
});
