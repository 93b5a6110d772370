//! Limits the memory of the block list, and divides it among tenants.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use uuid::Uuid;

use crate::blocklist::TenantBlocks;
use crate::meta::{BlockMeta, CompactedBlockMeta};
use crate::tenant_index::Choose;

/// A tenant may take this many times the memory that is left. So a single tenant gets four fifths, and however much it
/// has, the blocks of others still fit.
const TIMES_THE_REST: u64 = 4;

/// Every meta takes at least this much memory. With less room left, metas are not even read.
const LEAST_META_BYTES: u64 = 512;

/// The memory of all lists of a poller.
#[derive(Debug)]
pub(super) struct Room {
    limit: u64,
    taken: AtomicU64,
}

impl Room {
    /// `limit` in bytes; 0 is no limit. `taken`: bytes that the known blocks take.
    pub(super) fn new(limit: u64, taken: u64) -> Arc<Self> {
        let limit = if limit == 0 { u64::MAX } else { limit };
        Arc::new(Self { limit, taken: taken.into() })
    }

    /// The share of a tenant whose blocks so far hold `held`.
    pub(super) fn share(self: &Arc<Self>, held: u64) -> Share {
        Share { room: Arc::clone(self), held, new: AtomicU64::new(0) }
    }

    /// Notes what the list of a tenant holds now.
    pub(super) fn replace(&self, before: u64, after: u64) {
        let taken = |taken: u64| Some(taken.saturating_sub(before).saturating_add(after));
        let _ = self.taken.fetch_update(Relaxed, Relaxed, taken);
    }
}

/// The share of one tenant while it is polled. What it takes is given back at the end, when the new list counts instead.
#[derive(Debug)]
pub(super) struct Share {
    room: Arc<Room>,
    held: u64,
    new: AtomicU64,
}

impl Share {
    /// Takes memory for a block; false if there is no room for it.
    pub(super) fn take(&self, bytes: u64) -> bool {
        if !self.fits(bytes) {
            return false;
        }
        self.new.fetch_add(bytes, Relaxed);
        self.room.taken.fetch_add(bytes, Relaxed);
        true
    }

    /// False if no block finds room any more.
    pub(super) fn has_room(&self) -> bool {
        self.fits(LEAST_META_BYTES)
    }

    fn fits(&self, bytes: u64) -> bool {
        let taken = self.room.taken.load(Relaxed).saturating_add(bytes);
        let held = self.held.saturating_add(self.new.load(Relaxed)).saturating_add(bytes);
        taken <= self.room.limit && held / TIMES_THE_REST <= self.room.limit - taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.replace(*self.new.get_mut(), 0);
    }
}

/// Blocks that are not taken from an index.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Of another tenant.
    pub(super) foreign: AtomicUsize,
    /// For lack of room.
    pub(super) no_room: AtomicUsize,
}

/// Takes the blocks of a tenant from its index, as far as there is room. Those that were known are not kept twice.
pub(super) struct Choice {
    pub(super) tenant: String,
    pub(super) known: Arc<TenantBlocks>,
    pub(super) share: Arc<Share>,
    pub(super) refused: Arc<Refused>,
}

impl Choice {
    fn takes(&self, meta: &BlockMeta) -> bool {
        if meta.tenant_id != self.tenant {
            self.refused.foreign.fetch_add(1, Relaxed);
            return false;
        }
        let takes = self.share.take(meta.memory_bytes());
        self.refused.no_room.fetch_add(usize::from(!takes), Relaxed);
        takes
    }
}

impl Choose for Choice {
    fn live(&mut self, meta: BlockMeta) -> Option<Arc<BlockMeta>> {
        if let Some(known) = self.known.any_live(meta.block_id)
            && **known == meta
        {
            return Some(Arc::clone(known));
        }
        self.takes(&meta).then(|| Arc::new(meta))
    }

    fn compacted(&mut self, block: CompactedBlockMeta) -> Option<Arc<CompactedBlockMeta>> {
        if let Some(known) = self.known.compacted_block(block.meta.block_id)
            && **known == block
        {
            return Some(Arc::clone(known));
        }
        self.takes(&block.meta).then(|| Arc::new(block))
    }
}

/// Takes, as far as there is room, the wanted ones of the live blocks in an index, each once, and no compacted ones.
pub(super) struct Recalled {
    pub(super) choice: Choice,
    pub(super) wanted: HashSet<Uuid>,
}

impl Choose for Recalled {
    fn live(&mut self, meta: BlockMeta) -> Option<Arc<BlockMeta>> {
        if self.wanted.remove(&meta.block_id) { self.choice.live(meta) } else { None }
    }

    fn compacted(&mut self, _: CompactedBlockMeta) -> Option<Arc<CompactedBlockMeta>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let room = Room::new(1_000_000, 0);
        let greedy = room.share(0);
        let mut blocks = 0;
        while greedy.take(1_000) {
            blocks += 1;
        }
        assert_eq!(blocks, 800);
        assert!(!greedy.has_room());
        let other = room.share(0);
        assert!(other.has_room());
        assert!((0..100).all(|_| other.take(1_000)));
        assert!(!other.take(100_000));
    }

    #[test]
    fn what_a_poll_takes_is_given_back_and_lists_count() {
        let room = Room::new(1_000, 500);
        let share = room.share(500);
        assert!(share.take(300));
        assert!(!share.take(300));
        drop(share);
        room.replace(500, 0);
        assert!(room.share(0).take(800));
        assert!(Room::new(0, u64::MAX / 8).share(0).take(u64::MAX / 8));
    }
}
