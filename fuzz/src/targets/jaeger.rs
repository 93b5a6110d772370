//! What Jaeger's clients send.

use bytes::Bytes;
use prost::Message;
use tactus_jaeger::to_otlp::{ModelError, post_spans_to_otlp};
use tactus_jaeger::{agent::call_to_otlp, span::batch_to_otlp, thrift::ThriftError, zipkincore};
use tactus_proto::otlp::ExportTraceServiceRequest;

use super::{otlp, unhex};
use crate::sample;

/// What is understood can be written as OTLP, which is taken.
fn check(made: Result<Bytes, ModelError>) {
    let Ok(bytes) = made else { return };
    ExportTraceServiceRequest::decode(&*bytes).expect("what is written is read");
    otlp::check(&sample::spans_of(&bytes, 0).expect("what is written is walked"));
}

/// A packet to an agent, a batch over HTTP, Zipkin's list of spans.
pub(crate) fn feed_thrift(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    check(call_to_otlp(input.clone()));
    check(batch_to_otlp(input.clone()));
    let _damage = zipkincore::read_each_span(input, |_| Ok::<_, ThriftError>(()));
}

/// A `PostSpansRequest`.
pub(crate) fn feed_protobuf(input: &[u8]) {
    check(post_spans_to_otlp(&Bytes::copy_from_slice(input)));
}

pub(crate) fn thrift_seeds() -> Vec<Vec<u8>> {
    let binary = "0c00010b000100000003737663000f00020c000000010a000100000000000000020a000200000000000000010a000300000000000000030a000400000000000000000b0005000000026f70080007000000010a000800060a24181e40000a000900000000000005dc0f000a0c000000020b0001000000097370616e2e6b696e64080002000000000b000300000006736572766572000b0001000000056572726f720800020000000202000501000000";
    let seeds = [
        // Calls of `emitBatch`, compact and strict binary, and of `emitZipkinBatch`.
        "82810009656d697442617463681c1c180373766300191c160416021606160018026f702502168080f2818389850616b817192c18097370616e2e6b696e64150018067365727665720018056572726f7215043100000000".to_owned(),
        format!("8001000400000009656d69744261746368000000000c0001{binary}00"),
        "8221000f656d69745a69706b696e4261746368191c160428026f701606292c168080f28183898506180273721c15828080f00f14a07e1803737663000016b897f28183898506180273731c15828080f00f14a07e18037376630000291c180b687474702e6d6574686f641803474554150c1c15828080f00f14a07e1803737663000012168080f2818389850616b81716020000".to_owned(),
        binary.to_owned(),
        // Zipkin's spans over HTTP.
        "0c000000010a000100000000000000020b0003000000026f700a000400000000000000030f00060c000000010a000100060a24181e40000b00020000000273720c00030800017f0000010600021f900b00030000000373766300000f00080c000000010b00010000000b687474702e6d6574686f640b000200000003474554080003000000060000".to_owned(),
    ];
    seeds.iter().map(|seed| unhex(seed)).collect()
}

pub(crate) fn protobuf_seeds() -> Vec<Vec<u8>> {
    vec![unhex(
        "0a5b0a520a1000000000000000010000000000000002120800000000000000031a026f70280132060880e2cfaa063a0410e0c65b42130a097370616e2e6b696e641a06736572766572420b0a056572726f721001200112050a03737663",
    )]
}
