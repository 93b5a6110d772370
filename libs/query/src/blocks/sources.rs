//! The blocks that merged blocks were made of, as far as they are known.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tactus_storage::blocklist::TenantBlocks;
use tactus_storage::{BlockMeta, Uuid};

use super::{QueryBlock, in_window, query_block, select};

/// How many merges are followed back to find the sources of a block. They are deleted an hour after the merge.
const MAX_MERGES: usize = 4;

/// As [`select`], but without blocks whose spans an ingester counted itself. If such a block was merged into another
/// one, the other sources of the merged block are read instead, provided that all of them are still known.
pub(crate) fn select_uncounted(
    blocks: &TenantBlocks,
    counted: &HashSet<Uuid>,
    window: (i64, i64),
    blocklist_poll: Duration,
) -> Vec<QueryBlock> {
    let selected = select(blocks, window, blocklist_poll);
    if counted.is_empty() {
        return selected;
    }
    let ids = selected.iter().map(|block| block.block_id);
    in_window(Sources::of(blocks, ids, Some(counted)).into_values(), window)
}

/// The blocks that these were made of, among which [`select_uncounted`] may choose; or the block itself if some of its
/// sources are unknown.
pub(crate) fn select_sources(
    blocks: &TenantBlocks,
    selected: impl IntoIterator<Item = Uuid>,
) -> Vec<(&BlockMeta, QueryBlock)> {
    let metas = Sources::of(blocks, selected, None).into_values();
    metas.map(|meta| (meta, query_block(meta))).collect()
}

/// Replaces blocks by their sources.
///
/// Metas may name the same sources again and again, so the result for a block and a number of merges is computed once.
struct Sources<'a> {
    blocks: &'a TenantBlocks,
    /// Blocks that are left out. Only a block that has any of them in it is replaced; `None`: all that can be.
    counted: Option<&'a HashSet<Uuid>>,
    metas: BTreeMap<Uuid, &'a BlockMeta>,
    added: HashSet<(Uuid, usize)>,
    holds_counted: HashMap<(Uuid, usize), bool>,
}

impl<'a> Sources<'a> {
    fn of(
        blocks: &'a TenantBlocks,
        ids: impl IntoIterator<Item = Uuid>,
        counted: Option<&'a HashSet<Uuid>>,
    ) -> BTreeMap<Uuid, &'a BlockMeta> {
        let (metas, added, holds_counted) = Default::default();
        let mut sources = Self { blocks, counted, metas, added, holds_counted };
        for meta in ids.into_iter().filter_map(|id| blocks.meta(id)) {
            sources.add(meta, MAX_MERGES);
        }
        sources.metas
    }

    fn add(&mut self, meta: &'a BlockMeta, merges: usize) {
        if self.is_counted(meta.block_id) || !self.added.insert((meta.block_id, merges)) {
            return;
        }
        let known = |&id: &Uuid| self.blocks.meta(id);
        let sources: Option<Vec<_>> = meta.sources().iter().map(known).collect();
        match sources.filter(|_| merges > 0 && self.is_replaced(meta, merges)) {
            Some(sources) => {
                for source in sources {
                    self.add(source, merges - 1);
                }
            }
            None => drop(self.metas.insert(meta.block_id, meta)),
        }
    }

    fn is_counted(&self, id: Uuid) -> bool {
        self.counted.is_some_and(|counted| counted.contains(&id))
    }

    fn is_replaced(&mut self, meta: &BlockMeta, merges: usize) -> bool {
        match self.counted {
            Some(_) => self.holds_counted(meta, merges),
            None => !meta.sources().is_empty(),
        }
    }

    fn holds_counted(&mut self, meta: &BlockMeta, merges: usize) -> bool {
        if merges == 0 {
            return false;
        }
        let key = (meta.block_id, merges);
        if let Some(&known) = self.holds_counted.get(&key) {
            return known;
        }
        let holds = meta.sources().iter().any(|&id| {
            self.is_counted(id)
                || (self.blocks.meta(id))
                    .is_some_and(|source| self.holds_counted(source, merges - 1))
        });
        self.holds_counted.insert(key, holds);
        holds
    }
}

/// Adds the id of a block, and the ids of all known blocks that it was made of.
pub(crate) fn add_with_sources(blocks: &TenantBlocks, id: Uuid, ids: &mut HashSet<Uuid>) {
    add_source_ids(blocks, id, ids, MAX_MERGES);
}

fn add_source_ids(blocks: &TenantBlocks, id: Uuid, ids: &mut HashSet<Uuid>, merges: usize) {
    if !ids.insert(id) || merges == 0 {
        return;
    }
    let sources = blocks.meta(id).map_or(&[][..], BlockMeta::sources);
    sources.iter().for_each(|&source| add_source_ids(blocks, source, ids, merges - 1));
}

#[cfg(test)]
mod tests {
    use super::super::tests::meta;
    use super::*;
    use std::sync::Arc;
    use tactus_storage::meta::Extension;

    fn merged(sources: &[&BlockMeta]) -> BlockMeta {
        let mut merged = meta(1_000_000_000, 2_000_000_000);
        merged.compaction_level = 1;
        let sources = sources.iter().map(|source| source.block_id).collect();
        merged.extension = Some(Box::new(Extension { sources, ..Extension::default() }));
        merged
    }

    #[test]
    fn of_a_merged_block_with_a_counted_source_the_other_sources_are_read() {
        let [one, two, three] = [(); 3].map(|()| meta(1_000_000_000, 2_000_000_000));
        let pair = merged(&[&one, &two]);
        let all = merged(&[&pair, &three]);
        let read = |known: &[&BlockMeta], counted: &BlockMeta| {
            let live = known.iter().map(|&meta| Arc::new(meta.clone())).collect();
            let blocks = TenantBlocks::new(live, Vec::new());
            let counted = HashSet::from([counted.block_id]);
            let read = select_uncounted(&blocks, &counted, (0, 0), Duration::ZERO);
            read.into_iter().map(|block| block.block_id).collect::<HashSet<_>>()
        };
        let ids = |metas: &[&BlockMeta]| -> HashSet<Uuid> {
            metas.iter().map(|meta| meta.block_id).collect()
        };
        let everything = [&one, &two, &three, &pair, &all];
        assert_eq!(read(&everything, &two), ids(&[&one, &three]));
        assert_eq!(read(&everything, &pair), ids(&[&three]));
        assert_eq!(read(&everything, &all), ids(&[]));
        let other = meta(0, 1);
        assert_eq!(read(&everything, &other), ids(&[&all]));
        let sources = |known: &[&BlockMeta]| {
            let live = known.iter().map(|&meta| Arc::new(meta.clone())).collect();
            let blocks = TenantBlocks::new(live, Vec::new());
            let sources = select_sources(&blocks, [all.block_id]).into_iter();
            sources.map(|(_, block)| block.block_id).collect::<HashSet<_>>()
        };
        assert_eq!(sources(&everything), ids(&[&one, &two, &three]));
        assert_eq!(sources(&[&two, &pair, &three, &all]), ids(&[&pair, &three]));
        // Not all sources are known, so the block itself is read: better to count a span twice than not at all.
        assert_eq!(read(&[&two, &pair, &three, &all], &two), ids(&[&pair, &three]));
    }

    #[test]
    fn metas_that_name_the_same_sources_again_and_again_take_no_longer() {
        // Each of a generation is made of all of the one before: 300 ways of 300 ways of 300 ways.
        let mut all: Vec<BlockMeta> = Vec::new();
        let mut last: Vec<BlockMeta> = (0..300).map(|_| meta(1, 2_000_000_000)).collect();
        for level in 1..=MAX_MERGES {
            let sources: Vec<_> = last.iter().collect();
            let count = if level == MAX_MERGES { 1 } else { 300 };
            let next: Vec<_> = (0..count).map(|_| merged(&sources)).collect();
            all.append(&mut std::mem::replace(&mut last, next));
        }
        let top = last[0].block_id;
        all.append(&mut last);
        let blocks = TenantBlocks::new(all.into_iter().map(Arc::new).collect(), Vec::new());
        let began = std::time::Instant::now();
        assert_eq!(select_sources(&blocks, [top]).len(), 300);
        let counted = HashSet::from([Uuid::new_v4()]);
        let read = select_uncounted(&blocks, &counted, (0, 0), Duration::ZERO);
        assert_eq!(read.iter().map(|block| block.block_id).collect::<Vec<_>>(), [top]);
        let mut ids = HashSet::new();
        add_with_sources(&blocks, top, &mut ids);
        assert_eq!(ids.len(), 1 + 300 * MAX_MERGES);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
