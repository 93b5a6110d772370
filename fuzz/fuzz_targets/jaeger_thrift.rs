//! Any bytes as what Jaeger's clients send in Thrift: a packet to an agent, a batch over HTTP, Zipkin's list of spans.
//! No decoder panics or takes much more memory than the bytes, and what is understood can be written as OTLP.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tactus_jaeger::{agent::Call, span::decode_batch, to_otlp::to_otlp, zipkincore};
use tactus_proto::{jaeger::api_v2::Batch, otlp::ExportTraceServiceRequest};

fn check(batch: Batch) {
    let Ok(request) = to_otlp(batch) else { return };
    ExportTraceServiceRequest::decode(&*request.encode_to_vec()).expect("what was written is read");
}

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    if let Ok((call, _)) = Call::decode(input.clone()) {
        check(call.into_batch());
    }
    if let Ok(batch) = decode_batch(input.clone()) {
        check(batch);
    }
    if let Ok(spans) = zipkincore::decode_spans(input) {
        check(zipkincore::to_batch(spans));
    }
});
