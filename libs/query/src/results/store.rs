//! Where answers are kept: in memory, and below that in a cache that several processes share.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use moka::sync::Cache as MemoryCache;
use tactus_cache::answer::AnswerScope;
use tactus_cache::{Cache, Key, Role};
use tactus_proto::tactus::v1::BlockPart;

/// What an entry takes besides its bytes.
const ENTRY_BYTES: usize = 256;

/// Another release may answer otherwise, if only because it has fewer faults.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The name of an answer: all that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// What stands in the key of a shared cache. The request follows as a hash.
    prefix: String,
    /// The request as a message. The whole of it is compared.
    request: Arc<[u8]>,
}

impl Place {
    /// Of an answer to a request of some kind about part of a tenant's block.
    pub(crate) fn new(kind: &str, tenant: &str, part: &BlockPart, request: Vec<u8>) -> Self {
        let BlockPart { block_id, first_row_group, row_groups } = part;
        let prefix =
            format!("t1{kind}:{RELEASE}:{tenant}:{block_id}:{first_row_group}:{row_groups}");
        Self { prefix, request: request.into() }
    }

    fn key(&self) -> Key {
        // The key is hashed as it is too long, and the request with it.
        let mut request = String::with_capacity(2 * self.request.len());
        self.request.iter().for_each(|byte| {
            // Writing to a string does not fail.
            let _ = write!(request, "{byte:02x}");
        });
        Key::new(&[&Role::FrontendSearch, &self.prefix, &request])
    }

    fn bytes(&self) -> usize {
        self.prefix.len() + self.request.len()
    }
}

/// A kept answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) scope: AnswerScope,
    /// The start of the request's time range, if it matters.
    pub(crate) base: u64,
    /// The answer as a message.
    pub(crate) answer: Bytes,
}

impl Entry {
    /// The entry with its place, which tells on reading whose it is.
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

    /// The entry, if it is that of the place.
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

/// Keeps entries.
pub(crate) struct Store {
    memory: Option<Memory>,
    shared: Option<Cache>,
}

impl Store {
    /// `max_bytes` in memory; 0 keeps none there.
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

    /// What is in memory, to be measured.
    pub(crate) fn memory(&self) -> Option<Memory> {
        self.memory.clone()
    }

    /// What `usable` makes of the first entry that it wants, of those at these places.
    pub(crate) async fn find<T>(
        &self,
        places: &[Place],
        usable: impl Fn(usize, &Entry) -> Option<T>,
    ) -> Option<T> {
        if let Some(memory) = &self.memory {
            for (number, place) in places.iter().enumerate() {
                let found = memory.get(place).and_then(|entry| usable(number, &entry));
                if found.is_some() {
                    return found;
                }
            }
        }
        let shared = self.shared.as_ref()?;
        let keys: Vec<_> = places.iter().map(Place::key).collect();
        let found = shared.get_many(&keys).await;
        for (number, (place, bytes)) in places.iter().zip(found).enumerate() {
            let Some(entry) = bytes.and_then(|bytes| Entry::decode(bytes, place)) else { continue };
            if let Some(found) = usable(number, &entry) {
                self.remember(place, &entry);
                return Some(found);
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
            // A part of what came over the network would hold all of it.
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
            // The end is the answer's: the frame of a shared cache sees to its length.
            Entry::decode(bytes.slice(..cut.index(bytes.len())), &here);
        }
    }
}
