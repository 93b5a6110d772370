//! The bytes that requests may hold which wait for an endpoint or are on their way, shared by tenants.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_work::memory::may_grow;

/// Each request takes at least this many bytes, so that the number of small requests is bounded, too.
const LEAST_BYTES: u64 = 4096;

/// Room for requests.
#[derive(Debug)]
pub(super) struct Room {
    max_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    /// No tenant has none.
    of: HashMap<TenantId, u64>,
}

/// The bytes of a request. They are given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: Arc<Room>,
    tenant: TenantId,
    bytes: u64,
}

impl Room {
    pub(super) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: Mutex::default() })
    }

    /// Room for a request of so many bytes. One that is larger than all is admitted if it is alone, because otherwise it could
    /// never be sent.
    pub(super) fn take(self: &Arc<Self>, tenant: &TenantId, bytes: u64) -> Option<Taken> {
        let bytes = bytes.max(LEAST_BYTES);
        let mut used = self.used.lock();
        let own = used.of.get(tenant).copied().unwrap_or(0);
        let left = self.max_bytes.saturating_sub(used.bytes);
        if used.bytes > 0 && (bytes > left || !may_grow(own, left)) {
            return None;
        }
        used.bytes += bytes;
        used.of.insert(tenant.clone(), own + bytes);
        Some(Taken { room: Arc::clone(self), tenant: tenant.clone(), bytes })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut used = self.room.used.lock();
        used.bytes -= self.bytes;
        if let Entry::Occupied(mut own) = used.of.entry(self.tenant.clone()) {
            *own.get_mut() -= self.bytes;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    /// As many requests as there is room for.
    fn take_all(room: &Arc<Room>, name: &str) -> Vec<Taken> {
        std::iter::from_fn(|| room.take(&tenant(name), LEAST_BYTES)).take(1_000).collect()
    }

    #[test]
    fn tenant_that_takes_all_it_gets_leaves_room_for_others() {
        let room = Room::new(100 * LEAST_BYTES);
        let first = take_all(&room, "a");
        let second = take_all(&room, "b");
        assert_eq!((first.len(), second.len()), (81, 16));
        assert!(room.take(&tenant("c"), LEAST_BYTES).is_some());
        drop((first, second));
        assert_eq!(take_all(&room, "b").len(), 81);
        let used = room.used.lock();
        assert!(used.bytes == 0 && used.of.is_empty());
    }

    #[test]
    fn small_requests_are_bounded_and_a_large_one_passes_alone() {
        let room = Room::new(2 * LEAST_BYTES);
        let small = [room.take(&tenant("a"), 1), room.take(&tenant("a"), 1)];
        assert!(small.iter().all(Option::is_some) && room.take(&tenant("b"), 1).is_none());
        drop(small);
        let large = room.take(&tenant("a"), 10 * LEAST_BYTES);
        assert!(large.is_some() && room.take(&tenant("b"), 1).is_none());
    }
}
