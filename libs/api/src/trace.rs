//! One trace out of the partial answers of ingesters and blocks.
//!
//! Spans stay the protobuf bytes they came as: combining reads ids, kind, start and name, and both encodings are
//! written from the bytes. Nothing is decoded into a tree.

mod combine;
mod json;
mod llm;
mod parts;
mod protobuf;
mod seen;
mod span_entry;
mod split;
mod zipkin;

pub use combine::{CombineError, TraceCombiner, WhenTooLarge};
pub use split::{SplitTraces, split_traces};

use bytes::Bytes;

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

/// What goes with a trace in an answer of the second API version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFacts {
    /// Bytes read to find it.
    pub inspected_bytes: u64,
    /// The answer is incomplete.
    pub partial: bool,
    /// Why.
    pub message: String,
}

/// A trace of more spans, or more bytes, takes some milliseconds to write.
const MANY_SPANS: usize = 1_000;
const MANY_BYTES: usize = 256 << 10;

impl CombinedTrace {
    /// True without any span.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Number of spans.
    pub fn spans(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|resource| &resource.scopes);
        scopes.map(|scope| scope.spans.len()).sum()
    }

    /// True if it takes longer to write than threads that serve connections have time for: by its spans, or by their bytes.
    pub fn takes_long(&self) -> bool {
        self.spans() > MANY_SPANS || self.span_bytes() > MANY_BYTES
    }

    /// Bytes of the span messages, about the size of an answer.
    pub(crate) fn span_bytes(&self) -> usize {
        let scopes = self.resources.iter().flat_map(|resource| &resource.scopes);
        scopes.flat_map(|scope| &scope.spans).map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests;
