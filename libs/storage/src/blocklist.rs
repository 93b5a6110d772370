//! The block list of this process: the blocks of the last poll, and the changes made here since then.

mod covered;
mod gaps;
mod last_read;
mod names;
mod sorted;
mod tenant_blocks;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::meta::{BlockMeta, CompactedBlockMeta};

use last_read::LastRead;
pub(crate) use last_read::NotNew;

pub use gaps::ListGaps;
pub use tenant_blocks::TenantBlocks;

/// Tenants whose lists may be a part for lack of room. Others name them, so their memory must be bounded, too.
const MOST_PARTS: usize = 1_000;

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
    /// There were blocks that found no room here: the list is a part until a poll has looked.
    pub is_part: bool,
}

/// All tenants' blocks at one time.
pub type Snapshot = Arc<HashMap<String, Arc<TenantBlocks>>>;

/// The shared list: cheap to read from any thread, changed by polls and by this process.
///
/// Changes by this process stay in the list until a poll has seen them, because a poll may have listed the bucket
/// before, a store may list late, and an index may be older.
#[derive(Debug, Default)]
pub struct Blocklist {
    current: RwLock<Snapshot>,
    /// Also held while `current` is replaced.
    pending: Mutex<Pending>,
    /// A poll has begun.
    is_begun: AtomicBool,
    /// Changes after `current`, so that a list is never older than this says.
    last_read: RwLock<LastRead>,
    /// See [`Blocklist::with_max_age`].
    max_age: Option<Duration>,
}

/// Changes that no poll has seen.
#[derive(Debug, Default)]
struct Pending {
    /// Each with its number, in order; 0 for those that a poll found.
    changes: Vec<(u64, String, BlockChanges)>,
    /// Memory of the blocks that they add.
    added_bytes: u64,
    /// The latest number; the first is 1.
    last: u64,
}

impl Pending {
    fn push(&mut self, number: u64, tenant: String, changes: BlockChanges) {
        let bytes = changes.add.iter().map(|meta| meta.memory_bytes());
        self.added_bytes = bytes.fold(self.added_bytes, u64::saturating_add);
        self.changes.push((number, tenant, changes));
    }
}

/// The state at the start of a poll.
#[derive(Debug)]
pub(crate) struct PollStart {
    /// The list when it started.
    pub(crate) before: Snapshot,
    /// This process's changes that no poll has seen, by tenant. All are in `before`.
    pub(crate) own: HashMap<String, BlockChanges>,
    /// When it started, by a clock that goes on while the machine sleeps.
    begun: Duration,
    /// Number of the last change before the start.
    last: u64,
}

impl Blocklist {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list. `max_age`: when what was read is older than this, it may lack blocks for whose spans no ingester
    /// answers any more. `None`: this process writes all blocks itself, or answers no queries.
    pub fn with_max_age(max_age: Option<Duration>) -> Self {
        Self { max_age, ..Self::default() }
    }

    /// Everything known now; the cost is one reference count.
    pub fn snapshot(&self) -> Snapshot {
        Arc::clone(&self.current.read())
    }

    /// The blocks of one tenant; empty when it is not known.
    pub fn tenant(&self, tenant: &str) -> Arc<TenantBlocks> {
        self.snapshot().get(tenant).cloned().unwrap_or_default()
    }

    /// True if the bucket may have blocks of the tenant that no poll could read yet: queries answer without them.
    pub fn is_part(&self, tenant: &str) -> bool {
        let age = self.age(tenant, tactus_clock::since_boot());
        self.is_unread() || self.is_old(age) || self.tenant(tenant).is_part()
    }

    /// True if that holds for any tenant.
    pub fn is_part_of_any(&self) -> bool {
        let is_part = |blocks: &Arc<TenantBlocks>| blocks.is_part();
        let age = self.last_read.read().oldest_age(tactus_clock::since_boot());
        self.is_unread() || self.is_old(age) || self.snapshot().values().any(is_part)
    }

    /// How old the tenant's list is at this moment of [`tactus_clock::since_boot`]; none if no poll has succeeded.
    pub(crate) fn age(&self, tenant: &str, now: Duration) -> Option<Duration> {
        self.last_read.read().age(tenant, now)
    }

    /// True if a list of this age is too old.
    fn is_old(&self, age: Option<Duration>) -> bool {
        self.max_age.zip(age).is_some_and(|(max_age, age)| age > max_age)
    }

    /// True if polls have begun, and none has succeeded yet.
    fn is_unread(&self) -> bool {
        self.is_begun.load(Ordering::Relaxed) && self.last_read.read().is_never()
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

    /// Makes a block visible that another process announces, until a poll looks for it. A block that is already known
    /// does not change. If the changes that no poll has seen would take more memory than `max_bytes`, the block is left out, and
    /// the tenant's list is a part until a poll. Errors: that holds for too many tenants.
    pub fn add_announced(&self, meta: BlockMeta, max_bytes: u64) -> Result<()> {
        let mut pending = self.pending.lock();
        if self.tenant(&meta.tenant_id).meta(meta.block_id).is_some() {
            return Ok(());
        }
        let (tenant, mut changes) = (meta.tenant_id.clone(), BlockChanges::default());
        if pending.added_bytes.saturating_add(meta.memory_bytes()) <= max_bytes {
            changes.add.push(Arc::new(meta));
        } else {
            // Only the latest block counts: a poll that runs may have listed the bucket before it came.
            pending.changes.retain(|(_, of, earlier)| *of != tenant || !earlier.is_part);
            let parts = pending.changes.iter().filter(|(_, _, earlier)| earlier.is_part);
            if parts.count() >= MOST_PARTS {
                return Err(Error::invalid("announcement", "no room for those of so many tenants"));
            }
            if !self.tenant(&tenant).is_part() {
                tracing::warn!(
                    tenant,
                    "block list has no room for blocks of other processes, answers are partial until the next poll: \
                     raise storage.trace.blocklist_max_bytes"
                );
            }
            changes.is_part = true;
        }
        self.apply_change(&mut pending, &tenant, changes);
        Ok(())
    }

    /// Applies changes at once, and on top of polls until one has seen them.
    pub fn change(&self, tenant: &str, changes: BlockChanges) {
        self.apply_change(&mut self.pending.lock(), tenant, changes);
    }

    fn apply_change(&self, pending: &mut Pending, tenant: &str, changes: BlockChanges) {
        let mut tenants = self.snapshot().as_ref().clone();
        apply(&mut tenants, tenant, &changes);
        pending.last += 1;
        let number = pending.last;
        pending.push(number, tenant.to_owned(), changes);
        self.set(tenants);
    }

    /// The list and this process's unseen changes, for a poll that starts now.
    pub(crate) fn start_poll(&self) -> PollStart {
        let begun = tactus_clock::since_boot();
        let pending = self.pending.lock();
        let mut own: HashMap<String, BlockChanges> = HashMap::new();
        for (_, tenant, changes) in &pending.changes {
            own.entry(tenant.clone()).or_default().extend(changes);
        }
        self.is_begun.store(true, Ordering::Relaxed);
        PollStart { before: self.snapshot(), own, begun, last: pending.last }
    }

    /// Takes the result of a poll. `unseen`: changes from before its start that it did not see
    /// either, but which the result has.
    pub(crate) fn finish_poll(
        &self,
        start: &PollStart,
        mut tenants: HashMap<String, Arc<TenantBlocks>>,
        unseen: Vec<(String, BlockChanges)>,
        not_new: NotNew,
    ) {
        let mut pending = self.pending.lock();
        let earlier = std::mem::take(&mut pending.changes);
        pending.added_bytes = 0;
        for (tenant, changes) in unseen {
            pending.push(0, tenant, changes);
        }
        for (number, tenant, changes) in earlier {
            if number > start.last {
                apply(&mut tenants, &tenant, &changes);
                pending.push(number, tenant, changes);
            }
        }
        self.set(tenants);
        self.last_read.write().note(start.begun, not_new);
    }

    fn set(&self, tenants: HashMap<String, Arc<TenantBlocks>>) {
        *self.current.write() = Arc::new(tenants);
    }
}

impl BlockChanges {
    /// True without any change.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty()
            && self.remove.is_empty()
            && self.add_compacted.is_empty()
            && self.remove_compacted.is_empty()
            && !self.is_part
    }

    fn extend(&mut self, later: &Self) {
        self.add.extend(later.add.iter().cloned());
        self.remove.extend(&later.remove);
        self.add_compacted.extend(later.add_compacted.iter().cloned());
        self.remove_compacted.extend(&later.remove_compacted);
        self.is_part |= later.is_part;
    }
}

fn apply(tenants: &mut HashMap<String, Arc<TenantBlocks>>, tenant: &str, changes: &BlockChanges) {
    let mut changed = tenants.get(tenant).cloned().unwrap_or_default().changed_by(changes);
    if changes.is_part {
        changed = changed.part();
    }
    if changed.is_empty() {
        tenants.remove(tenant);
    } else {
        tenants.insert(tenant.to_owned(), Arc::new(changed));
    }
}

#[cfg(test)]
mod tests;
