//! What blocks there are, as this process knows: the last poll plus what it did itself since.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::meta::{BlockMeta, CompactedBlockMeta};

/// The blocks of one tenant at one time. Immutable: a change makes a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantBlocks {
    live: Vec<Arc<BlockMeta>>,
    compacted: Vec<Arc<CompactedBlockMeta>>,
}

impl TenantBlocks {
    /// From metas in any order.
    pub fn new(mut live: Vec<Arc<BlockMeta>>, mut compacted: Vec<Arc<CompactedBlockMeta>>) -> Self {
        live.sort_by_key(|meta| meta.block_id);
        compacted.sort_by_key(|block| block.meta.block_id);
        Self { live, compacted }
    }

    /// Blocks to search, by block id.
    pub fn live(&self) -> &[Arc<BlockMeta>] {
        &self.live
    }

    /// Blocks compacted away that still exist, by block id.
    pub fn compacted(&self) -> &[Arc<CompactedBlockMeta>] {
        &self.compacted
    }

    /// True without any block.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.compacted.is_empty()
    }

    /// The metas of the blocks to query now, each id once: the live ones, and those compacted so
    /// recently that another process may not know of their successor yet.
    pub fn queryable(
        &self,
        now: Timestamp,
        poll_interval: Duration,
    ) -> impl Iterator<Item = &BlockMeta> {
        let recent = self.compacted.iter().filter(move |block| {
            block.is_still_queried(now, poll_interval) && !self.has_live(block.meta.block_id)
        });
        self.live.iter().map(AsRef::as_ref).chain(recent.map(|block| &block.meta))
    }

    /// True when the block is live.
    pub fn has_live(&self, block_id: Uuid) -> bool {
        self.live.binary_search_by_key(&block_id, |meta| meta.block_id).is_ok()
    }

    /// True when the block is compacted.
    pub fn has_compacted(&self, block_id: Uuid) -> bool {
        self.compacted.binary_search_by_key(&block_id, |block| block.meta.block_id).is_ok()
    }

    fn changed_by(&self, changes: &BlockChanges) -> Self {
        let gone: HashSet<_> = changes.remove.iter().copied().collect();
        let cleared: HashSet<_> = changes.remove_compacted.iter().copied().collect();
        let mut live = self.live.clone();
        let mut compacted = self.compacted.clone();
        compacted.extend(
            changes.add_compacted.iter().filter(|b| !self.has_compacted(b.meta.block_id)).cloned(),
        );
        compacted.retain(|block| !cleared.contains(&block.meta.block_id));
        // A block that somebody has compacted since must not come back.
        live.extend(
            changes
                .add
                .iter()
                .filter(|m| !self.has_live(m.block_id) && !self.has_compacted(m.block_id))
                .cloned(),
        );
        live.retain(|meta| !gone.contains(&meta.block_id));
        Self::new(live, compacted)
    }
}

/// Changes that this process made to the blocks of a tenant.
#[derive(Debug, Clone, Default)]
pub struct BlockChanges {
    /// Blocks written.
    pub add: Vec<Arc<BlockMeta>>,
    /// Blocks that are not live any more.
    pub remove: Vec<Uuid>,
    /// Blocks marked compacted (also name them in `remove`).
    pub add_compacted: Vec<Arc<CompactedBlockMeta>>,
    /// Compacted blocks cleared away.
    pub remove_compacted: Vec<Uuid>,
}

/// All tenants' blocks at one time.
pub type Snapshot = Arc<HashMap<String, Arc<TenantBlocks>>>;

/// The shared list: cheap to read from any thread, changed by polls and by this process.
#[derive(Debug, Default)]
pub struct Blocklist {
    current: RwLock<Snapshot>,
    /// Changes since the last poll ended. Also held while `current` is replaced.
    pending: Mutex<Vec<(String, BlockChanges)>>,
}

impl Blocklist {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything known now; the cost is one reference count.
    pub fn snapshot(&self) -> Snapshot {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The blocks of one tenant; empty when it is not known.
    pub fn tenant(&self, tenant: &str) -> Arc<TenantBlocks> {
        self.snapshot().get(tenant).cloned().unwrap_or_default()
    }

    /// The tenants that have blocks, sorted.
    pub fn tenants(&self) -> Vec<String> {
        let mut names: Vec<_> = self.snapshot().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Makes a block that this process just wrote visible at once.
    pub fn add_block(&self, meta: BlockMeta) {
        let tenant = meta.tenant_id.clone();
        self.change(&tenant, BlockChanges { add: vec![Arc::new(meta)], ..BlockChanges::default() });
    }

    /// Applies changes at once, and once more on top of the next poll: it may have listed the
    /// bucket before they were made.
    pub fn change(&self, tenant: &str, changes: BlockChanges) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tenants = self.snapshot().as_ref().clone();
        apply(&mut tenants, tenant, &changes);
        pending.push((tenant.to_owned(), changes));
        self.set(tenants);
    }

    /// Takes the result of a poll.
    pub(crate) fn replace(&self, mut tenants: HashMap<String, Arc<TenantBlocks>>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, changes) in pending.drain(..) {
            apply(&mut tenants, &tenant, &changes);
        }
        self.set(tenants);
    }

    fn set(&self, tenants: HashMap<String, Arc<TenantBlocks>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tenants);
    }
}

fn apply(tenants: &mut HashMap<String, Arc<TenantBlocks>>, tenant: &str, changes: &BlockChanges) {
    let changed = tenants.get(tenant).cloned().unwrap_or_default().changed_by(changes);
    if changed.is_empty() {
        tenants.remove(tenant);
    } else {
        tenants.insert(tenant.to_owned(), Arc::new(changed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::BlockVersion;

    fn meta() -> BlockMeta {
        BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4())
    }

    fn compacted(meta: &BlockMeta, second: i64) -> Arc<CompactedBlockMeta> {
        let compacted_time = Timestamp::from_second(second).unwrap();
        Arc::new(CompactedBlockMeta { meta: meta.clone(), compacted_time })
    }

    fn marked(meta: &BlockMeta) -> BlockChanges {
        BlockChanges {
            remove: vec![meta.block_id],
            add_compacted: vec![compacted(meta, 1000)],
            ..BlockChanges::default()
        }
    }

    #[test]
    fn added_block_is_visible_at_once_and_after_one_older_poll() {
        let list = Blocklist::new();
        let block = meta();
        list.add_block(block.clone());
        assert!(list.tenant("t").has_live(block.block_id));
        list.replace(HashMap::new());
        assert!(list.tenant("t").has_live(block.block_id));
        list.replace(HashMap::new());
        assert!(list.tenants().is_empty());
    }

    #[test]
    fn compacted_block_leaves_the_live_ones_even_if_a_poll_still_lists_it() {
        let list = Blocklist::new();
        let block = meta();
        list.add_block(block.clone());
        list.change("t", marked(&block));
        let check = || {
            let tenant = list.tenant("t");
            assert!(!tenant.has_live(block.block_id) && tenant.has_compacted(block.block_id));
        };
        check();
        let polled = TenantBlocks::new(vec![Arc::new(block.clone())], Vec::new());
        list.replace(HashMap::from([("t".to_owned(), Arc::new(polled))]));
        check();
    }

    #[test]
    fn added_block_that_another_process_compacted_does_not_come_back() {
        let list = Blocklist::new();
        let block = meta();
        list.add_block(block.clone());
        let polled = TenantBlocks::new(Vec::new(), vec![compacted(&block, 1000)]);
        list.replace(HashMap::from([("t".to_owned(), Arc::new(polled))]));
        assert!(!list.tenant("t").has_live(block.block_id));
    }

    #[test]
    fn tenant_without_blocks_is_not_listed() {
        let list = Blocklist::new();
        let block = meta();
        list.change("t", marked(&block));
        assert_eq!(list.tenants(), ["t"]);
        let cleared =
            BlockChanges { remove_compacted: vec![block.block_id], ..BlockChanges::default() };
        list.change("t", cleared);
        assert!(list.tenants().is_empty());
    }

    #[test]
    fn queryable_has_each_recent_block_once() {
        let (live, recent, old) = (meta(), meta(), meta());
        let blocks = TenantBlocks::new(
            vec![Arc::new(live.clone())],
            vec![compacted(&live, 1000), compacted(&recent, 1000), compacted(&old, 10)],
        );
        let now = Timestamp::from_second(1100).unwrap();
        let queried = blocks.queryable(now, Duration::from_secs(60));
        let ids: Vec<_> = queried.map(|meta| meta.block_id).collect();
        assert_eq!(ids, [live.block_id, recent.block_id]);
    }

    #[test]
    fn snapshot_does_not_change_later() {
        let list = Blocklist::new();
        let before = list.snapshot();
        list.add_block(meta());
        assert!(before.is_empty() && !list.snapshot().is_empty());
    }
}
