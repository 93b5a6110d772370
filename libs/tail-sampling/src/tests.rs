use std::{sync::Arc, time::Duration};

use tactus_config::sections::tail_sampling::TailSampling;
use tactus_model::{
    BatchBuilder, BuilderLimits, SpanBatch, TraceId,
    any_value::{AnyValueRef, encode},
    merge::{gather_traces, merge},
    otlp::encode_traces_data,
    wire::{put_bytes_field, put_fixed64_field, put_message_field, put_varint_field},
};
use tactus_traceql::eval::Bitmap;

use crate::{Decider, Decisions, Policies, bytes_per_trace, spans_per_trace};

mod many;
mod policies;
mod precedence;

const MILLISECOND: u64 = 1_000_000;

/// A span as tests describe it: trace, start and length in milliseconds, and the rest.
#[derive(Clone, Default)]
struct Span<'a> {
    trace: u64,
    start: u64,
    millis: u64,
    status: u64,
    service: &'a str,
    state: &'a str,
    attributes: Vec<(&'a str, AnyValueRef<'a>)>,
}

fn of(trace: u64) -> Span<'static> {
    Span { trace, start: 1_000, millis: 1, service: "shop", ..Span::default() }
}

fn attribute(key: &str, value: AnyValueRef<'_>) -> Vec<u8> {
    let (mut pair, mut encoded) = (Vec::new(), Vec::new());
    put_bytes_field(&mut pair, 1, key.as_bytes());
    encode(&mut encoded, value);
    put_message_field(&mut pair, 2, &encoded);
    pair
}

/// Ids spread as random ones are; the number stands in the last bytes.
fn id(number: u64) -> TraceId {
    let mut id = [0; 16];
    let spread = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id[..8].copy_from_slice(&spread.to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    TraceId(id)
}

fn number(id: TraceId) -> u64 {
    id.0[8..].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn batch<'a>(spans: impl IntoIterator<Item = Span<'a>>) -> SpanBatch {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    for (place, it) in spans.into_iter().enumerate() {
        let mut resource = Vec::new();
        let service = AnyValueRef::String(it.service.as_bytes());
        put_message_field(&mut resource, 1, &attribute("service.name", service));
        let mut span = Vec::new();
        put_message_field(&mut span, 1, &id(it.trace).0);
        put_message_field(&mut span, 2, &(place as u64 + 1).to_be_bytes());
        put_bytes_field(&mut span, 3, it.state.as_bytes());
        put_bytes_field(&mut span, 5, b"operation");
        put_varint_field(&mut span, 6, 2);
        put_fixed64_field(&mut span, 7, it.start * MILLISECOND);
        put_fixed64_field(&mut span, 8, (it.start + it.millis) * MILLISECOND);
        for (key, value) in &it.attributes {
            put_message_field(&mut span, 9, &attribute(key, *value));
        }
        let mut status = Vec::new();
        put_varint_field(&mut status, 3, it.status);
        put_message_field(&mut span, 15, &status);
        let mut scope_spans = Vec::new();
        put_message_field(&mut scope_spans, 2, &span);
        let resource = builder.resource(&resource).unwrap();
        let scope = builder.scope(b"").unwrap();
        builder.append_scope_spans(resource, scope, &scope_spans, |_, _| true).unwrap();
    }
    merge(&[&builder.finish()]).0
}

fn policies(yaml: &str) -> Policies {
    Policies::compile(&TailSampling::parse(yaml).unwrap().policies).unwrap()
}

fn decider(yaml: &str) -> Decider {
    Decider::new(Arc::new(policies(yaml)))
}

/// The reason why policies are refused.
fn refused(yaml: &str) -> String {
    let section = TailSampling::parse(yaml).unwrap();
    Policies::compile(&section.policies).unwrap_err().to_string()
}

fn numbers(batch: &SpanBatch, rows: &Bitmap) -> Vec<u64> {
    let mut numbers: Vec<_> = rows.rows().map(|row| number(batch.traces.ids[row])).collect();
    numbers.sort_unstable();
    numbers
}

/// The traces that are kept.
fn kept(yaml: &str, batch: &SpanBatch) -> Vec<u64> {
    numbers(batch, &decider(yaml).decide(batch).kept)
}

/// The traces that one policy keeps; its fields in YAML's flow style.
fn kept_by(kind: &str, fields: &str, batch: &SpanBatch) -> Vec<u64> {
    let fields = if fields.is_empty() { String::new() } else { format!(", {kind}: {fields}") };
    kept(&format!("policies: [{{name: it, type: {kind}{fields}}}]"), batch)
}
