//! The fields of a span, and what combining traces needs of them.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
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
    /// Resource and scope with the message.
    pub(super) fn owned(self) -> ((u32, u32), Bytes) {
        ((self.resource, self.scope), self.message)
    }

    /// The identity of the span; `None` only if the message is malformed.
    pub(super) fn identity(&self) -> Option<SpanIdentity<&[u8]>> {
        Some(SpanScalars::read(&self.message).ok()?.identity(self.id))
    }
}

/// The fields of a Span message that are no lists.
#[derive(Default)]
pub(super) struct SpanScalars<'a> {
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    pub(super) trace_state: &'a [u8],
    pub(super) parent_span_id: &'a [u8],
    pub(super) flags: u32,
    pub(super) name: &'a [u8],
    pub(super) kind: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) dropped_attributes: u32,
    pub(super) dropped_events: u32,
    pub(super) dropped_links: u32,
    pub(super) status: Option<&'a [u8]>,
}

impl<'a> SpanScalars<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut span = Self::default();
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match (field, value) {
                (1, FieldValue::Bytes(id)) => span.trace_id = id,
                (2, FieldValue::Bytes(id)) => span.span_id = id,
                (3, FieldValue::Bytes(state)) => span.trace_state = state,
                (4, FieldValue::Bytes(id)) => span.parent_span_id = id,
                (5, FieldValue::Bytes(name)) => span.name = name,
                (6, FieldValue::Varint(kind)) => span.kind = kind,
                (7, FieldValue::Fixed64(time)) => span.start = time,
                (8, FieldValue::Fixed64(time)) => span.end = time,
                (10, FieldValue::Varint(count)) => span.dropped_attributes = count as u32,
                (12, FieldValue::Varint(count)) => span.dropped_events = count as u32,
                (14, FieldValue::Varint(count)) => span.dropped_links = count as u32,
                (15, FieldValue::Bytes(status)) => span.status = Some(status),
                (16, FieldValue::Fixed32(flags)) => span.flags = flags,
                _ => {}
            }
        }
        Ok(span)
    }

    /// The identity of the span within its trace.
    pub(super) fn identity(&self, id: SpanId) -> SpanIdentity<&'a [u8]> {
        let kind = u8::try_from(self.kind).unwrap_or(0);
        SpanIdentity { start: self.start, id, kind, name: self.name }
    }
}

/// An index of the spans in a list by their identity. Memory: nine bytes a span.
///
/// The hash is over the whole identity and has a random seed, so that senders cannot cause collisions.
#[derive(Debug, Default)]
pub(super) struct Seen {
    places: HashTable<Place>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    place: u32,
    hash: u32,
}

impl Place {
    /// Spreads the hash over the bits that a table uses.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Seen {
    /// Makes room for this many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.places.reserve(more, |place| Place::spread(place.hash));
    }

    /// Adds the span that the caller appends to `spans` next. False if one of `spans` is the same; then nothing is
    /// added.
    pub(super) fn insert(&mut self, spans: &[SpanEntry], identity: &SpanIdentity<&[u8]>) -> bool {
        let hash = self.hasher.hash_one(identity) as u32;
        let is_same = |known: &Place| {
            known.hash == hash
                && spans.get(known.place as usize).is_some_and(|span| {
                    (span.start, span.id) == (identity.start, identity.id)
                        && span.identity() == Some(*identity)
                })
        };
        let rehash = |place: &Place| Place::spread(place.hash);
        match self.places.entry(Place::spread(hash), is_same, rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Place { place: spans.len() as u32, hash });
                true
            }
        }
    }
}
