//! Shared by the tests of the formats: one span in every form.

use bytes::Bytes;
use prost::Message;
use tactus_proto::jaeger::api_v2::Batch;
use tactus_proto::otlp::{
    ExportTraceServiceRequest, Resource, ResourceSpans, ScopeSpans, Span, Status,
};

use crate::thrift::ThriftError;
use crate::to_otlp::{ModelError, OtlpWriter, string};
use crate::zipkincore::{self, read_each_span};

/// A call of `emitBatch`, compact.
pub(crate) const COMPACT: &str = "82810009656d697442617463681c1c180373766300191c160416021606160018026f702502168080f2818389850616b817192c18097370616e2e6b696e64150018067365727665720018056572726f7215043100000000";

/// A batch, binary, without a call around it.
pub(crate) const BINARY: &str = "0c00010b000100000003737663000f00020c000000010a000100000000000000020a000200000000000000010a000300000000000000030a000400000000000000000b0005000000026f70080007000000010a000800060a24181e40000a000900000000000005dc0f000a0c000000020b0001000000097370616e2e6b696e64080002000000000b000300000006736572766572000b0001000000056572726f720800020000000202000501000000";

/// The start of a strict binary call of `emitBatch`, up to the batch.
pub(crate) const STRICT_CALL: &str = "8001000400000009656d69744261746368000000000c0001";

/// A `PostSpansRequest`.
pub(crate) const PROTOBUF: &str = "0a5b0a520a1000000000000000010000000000000002120800000000000000031a026f70280132060880e2cfaa063a0410e0c65b42130a097370616e2e6b696e641a06736572766572420b0a056572726f721001200112050a03737663";

/// A call of `emitZipkinBatch`, compact, of another span.
pub(crate) const ZIPKIN: &str = "8221000f656d69745a69706b696e4261746368191c160428026f701606292c168080f28183898506180273721c15828080f00f14a07e1803737663000016b897f28183898506180273731c15828080f00f14a07e18037376630000291c180b687474702e6d6574686f641803474554150c1c15828080f00f14a07e1803737663000012168080f2818389850616b81716020000";

pub(crate) fn bytes(hex: &str) -> Bytes {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The message of bytes that were made for it.
pub(crate) fn decoded(
    made: Result<Bytes, ModelError>,
) -> Result<ExportTraceServiceRequest, ModelError> {
    Ok(ExportTraceServiceRequest::decode(made?)?)
}

/// A batch in OTLP.
pub(crate) fn to_otlp(batch: Batch) -> Result<ExportTraceServiceRequest, ModelError> {
    let mut made = OtlpWriter::new(batch.process.as_ref(), 0);
    batch.spans.into_iter().try_for_each(|span| made.push(span))?;
    decoded(Ok(made.finish()))
}

/// Zipkin's spans of an HTTP body.
pub(crate) fn zipkin_spans(body: Bytes) -> Result<Vec<zipkincore::Span>, ThriftError> {
    let mut spans = Vec::new();
    read_each_span(body, |span| {
        spans.push(span);
        Ok::<_, ThriftError>(())
    })?;
    Ok(spans)
}

/// The span of all constants but the last, in OTLP.
pub(crate) fn expected() -> ExportTraceServiceRequest {
    let mut span = expected_span();
    span.status = Some(Status { code: 2, message: Bytes::new() });
    request("svc", span)
}

/// The span without its status.
pub(crate) fn expected_span() -> Span {
    Span {
        trace_id: bytes("00000000000000010000000000000002"),
        span_id: bytes("0000000000000003"),
        name: "op".into(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_001_500_000,
        ..Span::default()
    }
}

pub(crate) fn request(service: &'static str, span: Span) -> ExportTraceServiceRequest {
    let attributes = vec![string("service.name".into(), service.into())];
    let scope =
        ScopeSpans { scope: Some(Default::default()), spans: vec![span], ..Default::default() };
    let resource = Resource { attributes, ..Resource::default() };
    let group =
        ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}
