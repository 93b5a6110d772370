//! Which spans of a trace are there already.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tactus_model::SpanIdentity;

use super::span_entry::SpanEntry;

/// The places of spans in a list, by what tells them apart: nine bytes a span.
///
/// All that tells spans apart is in the hash, its secret with it: however a sender chooses their ids, times and names, few spans have the
/// same.
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
    /// The hash in the bits that a table looks at.
    fn spread(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Seen {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.places.reserve(more, |place| Place::spread(place.hash));
    }

    /// False if one of `spans` is the same; else the next one behind them has to become this one.
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
