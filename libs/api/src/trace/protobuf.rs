//! A trace as protobuf: OTLP TracesData, or the response of the second API version.

use bytes::Bytes;
use tactus_model::wire::{put_bytes_field, put_message_field, put_varint, put_varint_field};

use super::{CombinedTrace, ResourceGroup, ScopeGroup, TraceFacts};

impl CombinedTrace {
    /// The body of the first API version.
    pub fn to_protobuf_v1(&self) -> Vec<u8> {
        let lengths: Vec<_> = self.resources.iter().map(ResourceLengths::new).collect();
        let total = lengths.iter().map(|lengths| field_length(lengths.total)).sum();
        let mut out = Vec::with_capacity(total);
        for (resource, lengths) in self.resources.iter().zip(&lengths) {
            put_header(&mut out, 1, lengths.total);
            put_message_field(&mut out, 1, &resource.resource);
            for (scope, &length) in resource.scopes.iter().zip(&lengths.scopes) {
                put_header(&mut out, 2, length);
                put_message_field(&mut out, 1, &scope.scope);
                for span in &scope.spans {
                    put_message_field(&mut out, 2, span);
                }
            }
        }
        out
    }

    /// The body of the second API version. Trace and metrics are there even if empty: readers rely on it.
    pub fn to_protobuf_v2(&self, facts: &TraceFacts) -> Vec<u8> {
        let trace = self.to_protobuf_v1();
        let mut out = Vec::with_capacity(trace.len() + facts.message.len() + 40);
        put_message_field(&mut out, 1, &trace);
        let mut metrics = Vec::new();
        put_varint_field(&mut metrics, 1, facts.inspected_bytes);
        put_message_field(&mut out, 2, &metrics);
        put_varint_field(&mut out, 3, u64::from(facts.partial));
        put_bytes_field(&mut out, 4, facts.message.as_bytes());
        out
    }
}

/// Lengths of the nested messages, which stand before their content.
struct ResourceLengths {
    total: usize,
    scopes: Vec<usize>,
}

impl ResourceLengths {
    fn new(resource: &ResourceGroup) -> Self {
        let scopes: Vec<_> = resource.scopes.iter().map(scope_length).collect();
        let total = field_length(resource.resource.len())
            + scopes.iter().map(|&length| field_length(length)).sum::<usize>();
        Self { total, scopes }
    }
}

fn scope_length(scope: &ScopeGroup) -> usize {
    let lengths = scope.spans.iter().map(Bytes::len);
    field_length(scope.scope.len()) + lengths.map(field_length).sum::<usize>()
}

/// Bytes of a message field with a one-byte tag.
fn field_length(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + length
}

fn put_header(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, length as u64);
}
