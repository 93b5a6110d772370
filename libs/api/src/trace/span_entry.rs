//! The fields of a span that combining traces needs.

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
