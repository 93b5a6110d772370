//! What combining traces needs to know of a span.

use bytes::Bytes;
use tactus_model::wire::{FieldValue, Reader, WireError};
use tactus_model::{SpanId, SpanIdentity};

/// A span and what combining needs to know of it.
#[derive(Debug, Clone)]
pub(super) struct SpanEntry {
    pub(super) resource: u32,
    pub(super) scope: u32,
    pub(super) id: SpanId,
    pub(super) parent: SpanId,
    pub(super) kind: u64,
    pub(super) start: u64,
    pub(super) message: Bytes,
}

impl SpanEntry {
    /// What tells the span from others; `None` only if the message is none.
    pub(super) fn identity(&self) -> Option<SpanIdentity<&[u8]>> {
        Some(SpanFields::read(&self.message).ok()?.identity(self.id))
    }
}

/// The fields of a Span message that combining reads.
pub(super) struct SpanFields<'a> {
    pub(super) parent: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) kind: u64,
    pub(super) start: u64,
}

impl<'a> SpanFields<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Self { parent: b"", name: b"", kind: 0, start: 0 };
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match (field, value) {
                (4, FieldValue::Bytes(parent)) => fields.parent = parent,
                (5, FieldValue::Bytes(name)) => fields.name = name,
                (6, FieldValue::Varint(kind)) => fields.kind = kind,
                (7, FieldValue::Fixed64(start)) => fields.start = start,
                _ => {}
            }
        }
        Ok(fields)
    }

    /// What tells the span from others of its trace.
    pub(super) fn identity(&self, id: SpanId) -> SpanIdentity<&'a [u8]> {
        let kind = u8::try_from(self.kind).ok().filter(|&kind| kind <= 5).unwrap_or(0);
        SpanIdentity { start: self.start, id, kind, name: self.name }
    }
}
