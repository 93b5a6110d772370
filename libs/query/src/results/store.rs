//! Stores cached answers: in memory, and below that in a cache that several processes share.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use moka::sync::Cache as MemoryCache;
use tactus_cache::answer::AnswerScope;
use tactus_cache::{Cache, Key, Role};
use tactus_proto::tactus::v1::BlockPart;

/// Memory of an entry besides its bytes.
const ENTRY_BYTES: usize = 256;

/// Part of each key: another release may answer differently, for example because a bug was fixed.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The key of an answer: everything that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The beginning of the key in a shared cache. A hash of the request follows.
    prefix: String,
    /// The encoded request. It is compared as a whole.
    request: Arc<[u8]>,
}

impl Place {
    /// The key for a request of some kind about part of a tenant's block.
    pub(crate) fn new(kind: &str, tenant: &str, part: &BlockPart, request: Vec<u8>) -> Self {
        let BlockPart { block_id, first_row_group, row_groups } = part;
        let prefix =
            format!("t1{kind}:{RELEASE}:{tenant}:{block_id}:{first_row_group}:{row_groups}");
        Self { prefix, request: request.into() }
    }

    fn key(&self) -> Key {
        // A long key is hashed as a whole, including the request.
        let mut request = String::with_capacity(2 * self.request.len());
        self.request.iter().for_each(|byte| {
            // Writing to a string does not fail.
            let _ = write!(request, "{byte:02x}");
        });
        Key::new(&[&Role::FrontendSearch, &self.prefix, &request])
    }

    pub(super) fn bytes(&self) -> usize {
        self.prefix.len() + self.request.len()
    }
}

/// A cached answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) scope: AnswerScope,
    /// The start of the request's time range, if the answer depends on it.
    pub(crate) base: u64,
    /// The answer as a message.
    pub(crate) answer: Bytes,
}

impl Entry {
    /// Encodes the entry together with its key, which is compared on reading.
    fn encode(&self, place: &Place) -> Vec<u8> {
        let scope = self.scope.to_string();
        let mut out = Vec::with_capacity(place.bytes() + scope.len() + self.answer.len() + 32);
        for part in [place.prefix.as_bytes(), &place.request, scope.as_bytes()] {
            out.put_u64_le(part.len() as u64);
            out.put_slice(part);
        }
        out.put_u64_le(self.base);
        out.put_slice(&self.answer);
        out
    }

    /// Decodes an entry, if it belongs to this key.
    fn decode(mut bytes: Bytes, place: &Place) -> Option<Self> {
        let mut part = || {
            let length = usize::try_from(bytes.try_get_u64_le().ok()?).ok()?;
            (length <= bytes.len()).then(|| bytes.split_to(length))
        };
        let (prefix, request, scope) = (part()?, part()?, part()?);
        if prefix != place.prefix.as_bytes() || request != place.request[..] {
            return None;
        }
        let scope = std::str::from_utf8(&scope).ok()?.parse().ok()?;
        let base = bytes.try_get_u64_le().ok()?;
        Some(Self { scope, base, answer: bytes })
    }
}

type Memory = MemoryCache<Place, Entry>;

/// The entries, in memory and in a shared cache.
pub(crate) struct Store {
    memory: Option<Memory>,
    shared: Option<Cache>,
}

impl Store {
    /// `max_bytes`: memory for entries; 0 keeps none in memory.
    pub(crate) fn new(max_bytes: u64, shared: Option<Cache>) -> Self {
        let weigh = |place: &Place, entry: &Entry| {
            let bytes = place.bytes() + entry.answer.len() + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let memory = (max_bytes > 0)
            .then(|| MemoryCache::builder().max_capacity(max_bytes).weigher(weigh).build());
        Self { memory, shared }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.memory.is_none() && self.shared.is_none()
    }

    /// The entries in memory, for metrics.
    pub(crate) fn memory(&self) -> Option<Memory> {
        self.memory.clone()
    }

    /// Looks these keys up, and returns the first entry that `is_usable` accepts, with the number of its key.
    pub(crate) async fn find(
        &self,
        places: &[Place],
        is_usable: impl Fn(usize, &Entry) -> bool,
    ) -> Option<(usize, Entry)> {
        if let Some(memory) = &self.memory {
            let known = places.iter().map(|place| memory.get(place)).enumerate();
            let mut known = known.filter_map(|(number, entry)| Some((number, entry?)));
            if let Some(found) = known.find(|(number, entry)| is_usable(*number, entry)) {
                return Some(found);
            }
        }
        let shared = self.shared.as_ref()?;
        let keys: Vec<_> = places.iter().map(Place::key).collect();
        let found = shared.get_many(&keys).await;
        for (number, (place, bytes)) in places.iter().zip(found).enumerate() {
            let Some(entry) = bytes.and_then(|bytes| Entry::decode(bytes, place)) else { continue };
            if is_usable(number, &entry) {
                self.remember(place, &entry);
                return Some((number, entry));
            }
        }
        None
    }

    pub(crate) fn keep(&self, place: &Place, entry: &Entry) {
        self.remember(place, entry);
        if let Some(shared) = &self.shared {
            shared.put(&place.key(), &entry.encode(place));
        }
    }

    fn remember(&self, place: &Place, entry: &Entry) {
        if let Some(memory) = &self.memory {
            // The answer is copied, because a slice would keep the whole received buffer in memory.
            let answer = BytesMut::from(&entry.answer[..]).freeze();
            memory.insert(place.clone(), Entry { answer, ..entry.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_cache::answer::Times;

    fn place(kind: &str, tenant: &str, block: &str, groups: (u32, u32), request: &[u8]) -> Place {
        let part = BlockPart {
            block_id: block.to_owned(),
            first_row_group: groups.0,
            row_groups: groups.1,
        };
        Place::new(kind, tenant, &part, request.to_vec())
    }

    proptest! {
        #[test]
        fn entry_is_read_at_its_place_only(
            request in prop::collection::vec(any::<u8>(), 0..40),
            other in prop::collection::vec(any::<u8>(), 0..40),
            answer in prop::collection::vec(any::<u8>(), 0..40),
            (base, row_groups, times) in any::<(u64, u32, (u64, u64))>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let here = place("sj", "t", "b", (0, 1), &request);
            let scope = AnswerScope { row_groups, times: Times::Around(times.0, times.1) };
            let entry = Entry { scope, base, answer: answer.into() };
            let bytes = Bytes::from(entry.encode(&here));
            prop_assert_eq!(Entry::decode(bytes.clone(), &here), Some(entry.clone()));
            let there = place("sj", "t", "b", (0, 1), &other);
            prop_assert_eq!(Entry::decode(bytes.clone(), &there).is_some(), request == other);
            prop_assert_eq!(here.key() == there.key(), request == other);
            for there in [
                place("st", "t", "b", (0, 1), &request),
                place("sj", "u", "b", (0, 1), &request),
                place("sj", "t", "c", (0, 1), &request),
                place("sj", "t", "b", (1, 1), &request),
                place("sj", "t", "b", (0, 2), &request),
            ] {
                prop_assert_eq!(Entry::decode(bytes.clone(), &there), None);
                prop_assert!(here.key() != there.key() && here.key().sent() != there.key().sent());
            }
            // A cut here shortens the answer; the frame of a shared cache checks its length.
            Entry::decode(bytes.slice(..cut.index(bytes.len())), &here);
        }
    }
}
