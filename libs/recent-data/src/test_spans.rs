//! Pushes for tests.

use std::ops::Range;

use bytes::Bytes;
use tactus_model::{
    BatchBuilder, BuilderLimits, SpanBatch,
    any_value::{AnyValueRef, encode},
    wire::{put_bytes_field, put_fixed64_field, put_message_field},
};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

fn attribute(key: &str, value: AnyValueRef<'_>) -> Vec<u8> {
    let (mut pair, mut encoded) = (Vec::new(), Vec::new());
    put_bytes_field(&mut pair, 1, key.as_bytes());
    encode(&mut encoded, value);
    put_message_field(&mut pair, 2, &encoded);
    pair
}

/// A Span message. `trace` and `id` are the last bytes of its ids.
pub(crate) fn span(trace: u16, id: u16, start: u64) -> Vec<u8> {
    let (mut trace_id, mut span_id, mut out) = ([1; 16], [1; 8], Vec::new());
    trace_id[14..].copy_from_slice(&trace.to_be_bytes());
    span_id[6..].copy_from_slice(&id.to_be_bytes());
    put_message_field(&mut out, 1, &trace_id);
    put_message_field(&mut out, 2, &span_id);
    put_bytes_field(&mut out, 5, format!("operation {}", id % 7).as_bytes());
    put_fixed64_field(&mut out, 7, start);
    put_fixed64_field(&mut out, 8, start + 1_000);
    put_message_field(&mut out, 9, &attribute("n", AnyValueRef::Int(i64::from(id))));
    let text = format!("value {id}");
    put_message_field(&mut out, 9, &attribute("text", AnyValueRef::String(text.as_bytes())));
    out
}

fn scope_spans(spans: &[Vec<u8>]) -> Bytes {
    let mut out = Vec::new();
    spans.iter().for_each(|span| put_message_field(&mut out, 2, span));
    out.into()
}

fn resource() -> Bytes {
    let mut out = Vec::new();
    put_message_field(&mut out, 1, &attribute("service.name", AnyValueRef::String(b"shop")));
    out.into()
}

/// A push of these spans under one resource and scope.
pub(crate) fn push_of(tenant: &str, spans: &[Vec<u8>]) -> PushRequest {
    PushRequest {
        tenant: tenant.to_owned(),
        resources: vec![resource()],
        scopes: vec![Bytes::from_static(b"\x0a\x03lib")],
        runs: vec![SpanRun { resource: 0, scope: 0, scope_spans: scope_spans(spans), origin: 0 }],
    }
}

/// Spans with these ids, spread over `traces` traces.
pub(crate) fn batch_of_spans(ids: Range<u16>, traces: u16) -> SpanBatch {
    let spans: Vec<_> = ids.map(|id| span(id % traces, id, 1_000)).collect();
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let resource = builder.resource(&resource()).unwrap();
    let scope = builder.scope(b"\x0a\x03lib").unwrap();
    builder.append_scope_spans(resource, scope, &scope_spans(&spans), |_, _| true).unwrap();
    builder.finish()
}
