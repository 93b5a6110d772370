//! Which spans of a trace are there already.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tactus_model::SpanIdentity;

use super::span_entry::SpanEntry;

/// The places of spans in a list, by what tells them apart: five bytes a span.
#[derive(Debug, Default)]
pub(super) struct Seen {
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Seen {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, spans: &[SpanEntry], more: usize) {
        let hasher = &self.hasher;
        self.places.reserve(more, |&place| {
            spans.get(place as usize).map_or(0, |span| hasher.hash_one((span.start, span.id)))
        });
    }

    /// False if one of `spans` is the same; else the next one behind them has to become this one.
    pub(super) fn insert(&mut self, spans: &[SpanEntry], identity: &SpanIdentity<&[u8]>) -> bool {
        let hasher = &self.hasher;
        let hash = |span: &SpanEntry| hasher.hash_one((span.start, span.id));
        let is_same = |&place: &u32| {
            spans.get(place as usize).is_some_and(|span| {
                (span.start, span.id) == (identity.start, identity.id)
                    && span.identity() == Some(*identity)
            })
        };
        let rehash = |&place: &u32| spans.get(place as usize).map_or(0, hash);
        let wanted = hasher.hash_one((identity.start, identity.id));
        match self.places.entry(wanted, is_same, rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(spans.len() as u32);
                true
            }
        }
    }
}
