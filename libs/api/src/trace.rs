//! Combines the partial answers of ingesters and blocks to one trace.
//!
//! Spans stay the protobuf bytes that were received: combining reads only ids, kind, start and name, and both encodings
//! are written from the bytes. Nothing is decoded into a tree.

mod combine;
mod json;
mod llm;
mod pieces;
mod span_entry;
mod split;
mod text;
mod zipkin;

use bytes::Bytes;
use tactus_model::walk::walk_export;
use tactus_model::wire::{
    WireError, field_size, put_bytes_field, put_message_field, put_message_frame, put_varint_field,
};

use combine::grouped;
pub use combine::{CombineError, SharedIds, TraceCombiner, WhenTooLarge};
pub use llm::service_name;
pub use pieces::Pieces;
pub use split::{SplitTraces, split_traces};
pub use zipkin::with_ids;

/// A combined trace: its spans by resource and scope, in the order of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CombinedTrace {
    pub(crate) resources: Vec<ResourceGroup>,
    /// Spans were left out because the trace is too large.
    pub truncated: bool,
}

/// Spans of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourceGroup {
    /// An OTLP Resource message.
    pub(crate) resource: Bytes,
    pub(crate) scopes: Vec<ScopeGroup>,
}

/// Spans of one scope of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScopeGroup {
    /// An OTLP InstrumentationScope message.
    pub(crate) scope: Bytes,
    /// OTLP Span messages.
    pub(crate) spans: Vec<Bytes>,
}

/// Facts that an answer of the second API version has besides the trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFacts {
    /// Bytes read to find it.
    pub inspected_bytes: u64,
    /// The answer is incomplete.
    pub partial: bool,
    /// The reason.
    pub message: String,
}

/// A trace of more spans, or more bytes, takes some milliseconds to write.
const MANY_SPANS: usize = 1_000;

const MANY_BYTES: usize = 256 << 10;

impl CombinedTrace {
    /// The spans of an OTLP TracesData message as they are. Errors: the message is not valid OTLP.
    pub fn of_message(traces_data: &Bytes) -> Result<Self, WireError> {
        let mut spans = Vec::new();
        let walk = walk_export(traces_data, |span| spans.push((span.run, span.message)))?;
        let spans = spans.into_iter().map(|(run, message)| {
            let run = &walk.runs[run];
            ((run.resource, run.scope), traces_data.slice_ref(message))
        });
        let resource = |row: usize| traces_data.slice(walk.resources[row].clone());
        let scope = |row: usize| traces_data.slice(walk.scopes[row].clone());
        let resources = grouped(spans, resource, scope);
        Ok(Self { resources, truncated: false })
    }

    /// True without any span.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Number of spans.
    pub fn spans(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|resource| &resource.scopes);
        scopes.map(|scope| scope.spans.len()).sum()
    }

    /// True if the trace has so many spans or bytes that it must not be written on a thread that serves connections.
    pub fn takes_long(&self) -> bool {
        self.spans() > MANY_SPANS || self.bytes() > MANY_BYTES
    }

    /// Bytes of the span messages, which is what limits of traces count.
    pub fn span_bytes(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|resource| &resource.scopes);
        scopes.flat_map(|scope| &scope.spans).map(Bytes::len).sum()
    }
}

impl CombinedTrace {
    /// OTLP Resource messages with the Span messages of each, in the order of an answer.
    pub fn spans_by_resource(
        &self,
    ) -> impl Iterator<Item = (&Bytes, impl Iterator<Item = &Bytes>)> {
        self.resources.iter().map(|group| {
            let spans = group.scopes.iter().flat_map(|scope| &scope.spans);
            (&group.resource, spans)
        })
    }

    /// OTLP Resource and InstrumentationScope messages with the Span messages of each, in the order of an answer.
    pub fn spans_by_scope(&self) -> impl Iterator<Item = (&Bytes, &Bytes, &[Bytes])> {
        self.resources.iter().flat_map(|group| {
            let scopes = group.scopes.iter();
            scopes.map(|scope| (&group.resource, &scope.scope, scope.spans.as_slice()))
        })
    }

    /// Bytes of all messages, about the memory that the trace takes.
    pub fn bytes(&self) -> usize {
        let groups = self.resources.iter().map(|group| {
            group.resource.len() + group.scopes.iter().map(|scope| scope.scope.len()).sum::<usize>()
        });
        groups.sum::<usize>() + self.span_bytes()
    }

    /// The spans for whose OTLP Span messages `keep` returns true, with their resources and scopes.
    pub fn filtered(&self, mut keep: impl FnMut(&Bytes) -> bool) -> Self {
        self.filter_mapped(|span| keep(span).then(|| span.clone()))
    }

    /// The OTLP Span messages that `change` makes of those of the trace, with their resources and scopes.
    pub fn filter_mapped(&self, mut change: impl FnMut(&Bytes) -> Option<Bytes>) -> Self {
        let mut resources = Vec::new();
        for group in &self.resources {
            let mut scopes = Vec::new();
            for scope in &group.scopes {
                let spans: Vec<_> = scope.spans.iter().filter_map(&mut change).collect();
                if !spans.is_empty() {
                    scopes.push(ScopeGroup { scope: scope.scope.clone(), spans });
                }
            }
            if !scopes.is_empty() {
                resources.push(ResourceGroup { resource: group.resource.clone(), scopes });
            }
        }
        Self { resources, truncated: self.truncated }
    }
}

impl CombinedTrace {
    /// The body of the first API version.
    pub fn to_protobuf_v1(&self) -> Vec<u8> {
        let (lengths, total) = self.lengths();
        let mut out = Vec::with_capacity(total);
        self.put_resources(&mut out, &lengths);
        out
    }

    /// The lengths of each resource, and the length of all of them as fields.
    fn lengths(&self) -> (Vec<ResourceLengths>, usize) {
        let lengths: Vec<_> = self.resources.iter().map(ResourceLengths::new).collect();
        let total = lengths.iter().map(|lengths| field_size(lengths.total)).sum();
        (lengths, total)
    }

    fn put_resources(&self, out: &mut Vec<u8>, lengths: &[ResourceLengths]) {
        for (resource, lengths) in self.resources.iter().zip(lengths) {
            put_message_frame(out, 1, lengths.total);
            put_message_field(out, 1, &resource.resource);
            for (scope, &length) in resource.scopes.iter().zip(&lengths.scopes) {
                put_message_frame(out, 2, length);
                put_message_field(out, 1, &scope.scope);
                for span in &scope.spans {
                    put_message_field(out, 2, span);
                }
            }
        }
    }

    /// The body of the second API version. Trace and metrics are there even if empty: readers rely on it.
    pub fn to_protobuf_v2(&self, facts: &TraceFacts) -> Vec<u8> {
        let mut out = self.to_protobuf_v2_part();
        out.extend(facts.to_protobuf_end());
        out
    }

    /// The trace in the body of the second API version. Readers merge several of them in a row into one trace.
    pub fn to_protobuf_v2_part(&self) -> Vec<u8> {
        let (lengths, total) = self.lengths();
        let mut out = Vec::with_capacity(field_size(total) + 64);
        put_message_frame(&mut out, 1, total);
        self.put_resources(&mut out, &lengths);
        out
    }
}

impl TraceFacts {
    /// The fields that follow the trace in the body of the second API version.
    pub fn to_protobuf_end(&self) -> Vec<u8> {
        let (mut out, mut metrics) = (Vec::new(), Vec::new());
        put_varint_field(&mut metrics, 1, self.inspected_bytes);
        put_message_field(&mut out, 2, &metrics);
        put_varint_field(&mut out, 3, u64::from(self.partial));
        put_bytes_field(&mut out, 4, self.message.as_bytes());
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
        let total = field_size(resource.resource.len())
            + scopes.iter().map(|&length| field_size(length)).sum::<usize>();
        Self { total, scopes }
    }
}

fn scope_length(scope: &ScopeGroup) -> usize {
    let lengths = scope.spans.iter().map(Bytes::len);
    field_size(scope.scope.len()) + lengths.map(field_size).sum::<usize>()
}

#[cfg(test)]
mod tests;
