//! The identity of a span: two spans with the same one are copies.

use xxhash_rust::xxh64::xxh64;

use crate::{SpanBatch, SpanId, TraceId};

/// What distinguishes the spans of a trace.
///
/// `N` is the name: its bytes where duplicates are removed for good, [`NameHash`] where spans are only counted. The
/// order is by start, then id: of several roots of a trace, the last one in this order names the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanIdentity<N> {
    /// Unix nanoseconds.
    pub start: u64,
    /// Span id; client and server of a call may share it.
    pub id: SpanId,
    /// OTLP kind; a number above 255 is 0.
    pub kind: u8,
    /// Name.
    pub name: N,
}

/// A name in fixed size. Two different names collide once in 2^64, which matters only if the spans have everything else
/// in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameHash(u64);

impl NameHash {
    /// The hash of a name, the same in all processes.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        Self(xxh64(name, 0))
    }
}

/// Distinguishes spans in a fixed size of 48 bytes.
pub type SpanKey = (TraceId, SpanIdentity<NameHash>);

/// A number for a span of a known trace, the same in all processes, for use in messages.
pub fn span_hash(identity: &SpanIdentity<&[u8]>) -> u64 {
    let mut bytes = [0; 25];
    bytes[..8].copy_from_slice(&identity.start.to_le_bytes());
    bytes[8..16].copy_from_slice(&identity.id.0);
    bytes[16..24].copy_from_slice(&NameHash::of(identity.name).0.to_le_bytes());
    bytes[24] = identity.kind;
    xxh64(&bytes, 0)
}

impl SpanBatch {
    /// What distinguishes a span within its trace. Needs the columns that it consists of.
    #[inline]
    pub fn span_identity(&self, row: usize) -> SpanIdentity<&[u8]> {
        let spans = &self.spans;
        SpanIdentity {
            start: spans.start[row],
            id: spans.span_id[row],
            kind: spans.kind[row],
            name: self.strings.get(spans.name[row]),
        }
    }

    /// What distinguishes a span from all others. Needs the columns that it consists of.
    #[inline]
    pub fn span_key(&self, row: usize) -> SpanKey {
        let SpanIdentity { start, id, kind, name } = self.span_identity(row);
        let trace = self.traces.ids[self.spans.trace[row] as usize];
        (trace, SpanIdentity { start, id, kind, name: NameHash::of(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchBuilder, BuilderLimits,
        wire::{put_fixed64_field, put_message_field},
    };

    /// One span, after others with their own strings.
    fn batch_of(name: &str, (id, kind, start): (u8, u8, u64), others: &[&str]) -> SpanBatch {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let mut spans = Vec::new();
        for name in others.iter().chain([&name]) {
            let mut span = Vec::new();
            put_message_field(&mut span, 1, &[1; 16]);
            put_message_field(&mut span, 2, &[id; 8]);
            put_message_field(&mut span, 5, name.as_bytes());
            span.extend_from_slice(&[6 << 3, kind]);
            put_fixed64_field(&mut span, 7, start);
            put_message_field(&mut spans, 2, &span);
        }
        builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
        builder.finish()
    }

    #[test]
    fn key_depends_on_the_identity_and_on_nothing_else() {
        let key = |batch: SpanBatch| batch.span_key(batch.len() - 1);
        let known = key(batch_of("a", (1, 2, 3), &[]));
        assert_eq!(key(batch_of("a", (1, 2, 3), &["x", "y"])), known, "wherever it lies");
        let others = [
            ("b", (1, 2, 3)),
            ("a", (2, 2, 3)),
            ("a", (1, 3, 3)),
            ("a", (1, 2, 4)),
            ("", (1, 2, 3)),
        ];
        for (name, facts) in others {
            assert_ne!(key(batch_of(name, facts, &[])), known, "{name} {facts:?}");
        }
    }

    #[test]
    fn merge_and_keys_agree_on_what_is_the_same_span() {
        let one = batch_of("a", (1, 2, 3), &["b", "a"]);
        let (merged, stats) = crate::merge::merge(&[&one, &batch_of("b", (1, 2, 3), &["c"])]);
        let keys: std::collections::HashSet<_> =
            (0..merged.len()).map(|row| merged.span_key(row)).collect();
        assert_eq!((merged.len(), keys.len(), stats.duplicate_spans), (3, 3, 2));
    }
}
