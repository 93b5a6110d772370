//! The blocks of one tenant at one time.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::BlockChanges;
use super::covered::{ById, by_id, covered};
use super::names::Names;
use super::sorted::{HasBlockId, edited, find};
use crate::meta::{BlockMeta, CompactedBlockMeta};

/// The blocks of one tenant at one time. Immutable: a change creates a new one.
///
/// A block in the bucket is live, superseded or compacted. Superseded blocks are live in the bucket, but all their
/// spans are also in another live block, whose writer did not get to mark them. A block that is just being marked
/// counts as compacted, and also as live or superseded.
#[derive(Debug, Clone, Default)]
pub struct TenantBlocks {
    live: Vec<Arc<BlockMeta>>,
    superseded: Vec<Superseded>,
    compacted: Vec<Arc<CompactedBlockMeta>>,
    /// Places of the compacted blocks whose spans are not known to be elsewhere.
    uncovered: Vec<u32>,
    no_compact: Arc<HashSet<Uuid>>,
    /// Number of blocks for which there was no room.
    left_out: usize,
    known: Known,
    /// Number of live blocks whose meta cannot be read.
    unread: usize,
    /// Some live block is of a version that this release cannot read.
    has_unreadable: bool,
    names: Arc<Names>,
    /// All blocks that may cover others.
    linked: BTreeSet<Uuid>,
}

/// How much of the tenant's part of the bucket the list has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Known {
    /// What this process wrote or was told of: no poll has looked there yet.
    #[default]
    Told,
    /// A poll could not read the rest, and none could before.
    Part,
    /// What a poll found.
    Polled,
}

#[derive(Debug, Clone)]
struct Superseded {
    meta: Arc<BlockMeta>,
    by: Uuid,
}

impl HasBlockId for Arc<BlockMeta> {
    fn id(&self) -> Uuid {
        self.block_id
    }
}

impl HasBlockId for Arc<CompactedBlockMeta> {
    fn id(&self) -> Uuid {
        self.meta.block_id
    }
}

impl HasBlockId for Superseded {
    fn id(&self) -> Uuid {
        self.meta.block_id
    }
}

impl TenantBlocks {
    /// From metas in any order: all that have a `meta.json`, and all that have a
    /// `meta.compacted.json`. A second meta of a block is dropped.
    pub fn new(live: Vec<Arc<BlockMeta>>, compacted: Vec<Arc<CompactedBlockMeta>>) -> Self {
        Self::with_no_compact(live, compacted, Arc::default())
    }

    /// As [`TenantBlocks::new`], and with the blocks that carry the no-compact flag. Takes some
    /// milliseconds of CPU per ten thousand blocks.
    pub(crate) fn with_no_compact(
        mut live: Vec<Arc<BlockMeta>>,
        mut compacted: Vec<Arc<CompactedBlockMeta>>,
        no_compact: Arc<HashSet<Uuid>>,
    ) -> Self {
        live.sort_by_key(HasBlockId::id);
        live.dedup_by_key(|meta| meta.block_id);
        compacted.sort_by_key(HasBlockId::id);
        compacted.dedup_by_key(|block| block.meta.block_id);
        let (names, linked) = Names::new(&live, &compacted);
        let has_unreadable = live.iter().any(|meta| !meta.is_readable());
        let mut blocks = Self {
            live,
            compacted,
            no_compact,
            has_unreadable,
            names: Arc::new(names),
            linked: linked.into_iter().collect(),
            ..Self::default()
        };
        blocks.set_apart_covered();
        blocks
    }

    /// Blocks to search and to compact, by block id. Includes those of versions that this release
    /// cannot read: they age like all others.
    pub fn live(&self) -> &[Arc<BlockMeta>] {
        &self.live
    }

    /// Blocks with a `meta.json` all of whose spans are in a live block, by block id: not searched,
    /// not compacted, but to be marked compacted.
    pub fn superseded(&self) -> impl ExactSizeIterator<Item = &Arc<BlockMeta>> {
        self.superseded.iter().map(|block| &block.meta)
    }

    /// The live block that has all spans of a superseded one.
    pub fn superseded_by(&self, block_id: Uuid) -> Option<Uuid> {
        find(&self.superseded, block_id).map(|block| block.by)
    }

    /// Blocks compacted away that still exist, by block id.
    pub fn compacted(&self) -> &[Arc<CompactedBlockMeta>] {
        &self.compacted
    }

    /// True when the block is known to carry the flag that keeps it out of compaction. Only a
    /// process that lists the bucket knows: the index does not say.
    pub fn is_no_compact(&self, block_id: Uuid) -> bool {
        self.no_compact.contains(&block_id)
    }

    /// True without any block.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
            && self.superseded.is_empty()
            && self.compacted.is_empty()
            && self.left_out == 0
            && !self.is_part()
            && self.unread == 0
    }

    /// Blocks of the bucket that the list had no room for: queries answer without them.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Live blocks of the bucket whose meta is damaged or cannot be read: queries answer without them.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// True if the bucket may have further blocks that no poll could read yet: queries answer without them.
    pub fn is_part(&self) -> bool {
        self.known == Known::Part
    }

    /// The same list, as a poll found it, with the numbers of blocks that it lacks.
    pub(crate) fn polled(self, left_out: usize, unread: usize) -> Self {
        Self { left_out, unread, known: Known::Polled, ..self }
    }

    /// The same list, of which a poll could not read all.
    pub(crate) fn part(self) -> Self {
        Self { known: Known::Part, ..self }
    }

    /// True if a poll found all of it.
    pub(crate) fn is_polled(&self) -> bool {
        self.known == Known::Polled
    }

    /// Estimated memory of the list, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let live = self.all_live().map(|meta| meta.memory_bytes());
        live.chain(self.compacted.iter().map(|block| block.meta.memory_bytes())).sum()
    }

    /// The metas of the blocks to query now, each id once: the live ones, and those that were compacted so recently
    /// that another process may not know their successor yet. Excludes blocks all of whose spans are in another one of
    /// these, and blocks of versions that this release cannot read.
    pub fn queryable(
        &self,
        now: Timestamp,
        poll_interval: Duration,
    ) -> impl Iterator<Item = &BlockMeta> {
        let uncovered = self.uncovered.iter().map(|place| &self.compacted[*place as usize]);
        let recent: Vec<_> = uncovered
            .filter(|block| block.is_still_queried(now, poll_interval))
            .map(|block| &block.meta)
            .collect();
        let hidden = if recent.iter().any(|meta| !meta.sources().is_empty()) {
            covered(recent.iter().copied(), std::iter::empty(), |id| self.meta(id))
        } else {
            by_id(0)
        };
        let check_versions = self.has_unreadable;
        self.live
            .iter()
            .map(AsRef::as_ref)
            .filter(move |meta: &&BlockMeta| !check_versions || meta.is_readable())
            .chain(recent)
            .filter(move |meta| hidden.is_empty() || !hidden.contains_key(&meta.block_id))
    }

    /// Live blocks of versions that this release cannot read: queries answer without them.
    pub fn unreadable(&self) -> impl Iterator<Item = &Arc<BlockMeta>> {
        let live: &[_] = if self.has_unreadable { &self.live } else { &[] };
        live.iter().filter(|meta| !meta.is_readable())
    }

    /// True when the block has a `meta.json`, be it superseded or not.
    pub fn has_live(&self, block_id: Uuid) -> bool {
        self.any_live(block_id).is_some()
    }

    /// True when the block is compacted.
    pub fn has_compacted(&self, block_id: Uuid) -> bool {
        find(&self.compacted, block_id).is_some()
    }

    /// The meta of a known block, live, superseded or compacted.
    pub fn meta(&self, block_id: Uuid) -> Option<&BlockMeta> {
        let compacted = || find(&self.compacted, block_id).map(|block| &block.meta);
        self.any_live(block_id).map(AsRef::as_ref).or_else(compacted)
    }

    /// As [`Self::meta`], to be kept.
    pub fn shared_meta(&self, block_id: Uuid) -> Option<Arc<BlockMeta>> {
        let compacted = || Some(Arc::new(find(&self.compacted, block_id)?.meta.clone()));
        self.any_live(block_id).cloned().or_else(compacted)
    }

    /// All blocks with a `meta.json`, superseded ones last.
    pub(crate) fn all_live(&self) -> impl Iterator<Item = &Arc<BlockMeta>> {
        self.live.iter().chain(self.superseded())
    }

    /// The meta of a compacted block.
    pub fn compacted_block(&self, block_id: Uuid) -> Option<&Arc<CompactedBlockMeta>> {
        find(&self.compacted, block_id)
    }

    /// The meta of a block that has a `meta.json`.
    pub(crate) fn any_live(&self, block_id: Uuid) -> Option<&Arc<BlockMeta>> {
        let superseded = || find(&self.superseded, block_id).map(|block| &block.meta);
        find(&self.live, block_id).or_else(superseded)
    }

    pub(super) fn changed_by(&self, changes: &BlockChanges) -> Self {
        let gone: HashSet<Uuid> = changes.remove.iter().copied().collect();
        let cleared: HashSet<Uuid> = changes.remove_compacted.iter().copied().collect();
        let marked = changes
            .add_compacted
            .iter()
            .filter(|block| !self.has_compacted(block.id()) && !cleared.contains(&block.id()));
        // A block that somebody has compacted since must not come back.
        let added = changes
            .add
            .iter()
            .filter(|meta| !self.has_compacted(meta.block_id) && !gone.contains(&meta.block_id));
        let mut linked = self.linked.clone();
        let (new, marked_metas) = (added.clone(), marked.clone().map(|block| &block.meta));
        for meta in new.map(AsRef::as_ref).chain(marked_metas) {
            linked.insert(meta.block_id);
            for id in meta.sources().iter().chain([&meta.block_id]) {
                linked.extend(self.names.namers(*id));
            }
        }
        let has_unreadable = self.has_unreadable || added.clone().any(|meta| !meta.is_readable());
        let superseded = self.superseded().filter(|meta| !gone.contains(&meta.block_id));
        let mut blocks = Self {
            // What was superseded is sorted out again.
            live: edited(&self.live, gone.iter().copied(), superseded.chain(added).cloned()),
            compacted: edited(&self.compacted, cleared.iter().copied(), marked.cloned()),
            no_compact: Arc::clone(&self.no_compact),
            left_out: self.left_out,
            known: self.known,
            unread: self.unread,
            has_unreadable,
            names: Arc::clone(&self.names),
            linked,
            ..Self::default()
        };
        blocks.set_apart_covered();
        blocks
    }

    /// Moves the blocks that others cover from `live`, which has all blocks so far, to `superseded`.
    fn set_apart_covered(&mut self) {
        let covered = self.covered();
        if !covered.is_empty() {
            let ids = covered.iter().filter_map(|(id, by)| {
                let meta = Arc::clone(find(&self.live, *id)?);
                Some(Superseded { meta, by: *by })
            });
            self.superseded = ids.collect();
            self.superseded.sort_by_key(HasBlockId::id);
            let ids = self.superseded.iter().map(HasBlockId::id);
            self.live = edited(&self.live, ids, std::iter::empty());
        }
        let is_uncovered = |block: &Arc<CompactedBlockMeta>| {
            let id = block.id();
            !covered.contains_key(&id) && block.meta.is_readable() && find(&self.live, id).is_none()
        };
        let uncovered = (0u32..).zip(&self.compacted).filter(|(_, block)| is_uncovered(block));
        self.uncovered = uncovered.map(|(place, _)| place).collect();
    }

    fn covered(&self) -> ById<Uuid> {
        let linked = || self.linked.iter();
        // A block that is being marked is read as long as it is live.
        let tops = linked().filter_map(|id| find(&self.live, *id)).map(AsRef::as_ref);
        let others = linked().filter_map(|id| find(&self.compacted, *id)).map(|block| &block.meta);
        covered(tops, others, |id| self.meta(id))
    }
}
