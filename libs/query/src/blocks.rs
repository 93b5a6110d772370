//! Chooses the blocks that a query reads, and splits them into parts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tactus_proto::tactus::v1::BlockPart;
use tactus_storage::blocklist::TenantBlocks;
use tactus_storage::meta::time_from_unix_nanos;
use tactus_storage::{BlockMeta, Blocklist, Uuid};

mod known;

pub(crate) use known::KnownBlocks;

/// What the frontend needs to know of a block that a query reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryBlock {
    pub(crate) block_id: Uuid,
    /// Compressed bytes.
    pub(crate) size: u64,
    /// Number of row groups in the block's meta.
    pub(crate) row_groups: u32,
    /// Whole seconds since 1970, rounded down.
    pub(crate) start_seconds: i64,
    /// Whole seconds since 1970, rounded up.
    pub(crate) end_seconds: i64,
    /// Parts that it is read in at most.
    pub(crate) max_parts: u32,
}

/// The blocks of a tenant that may have spans within `window` (unix seconds, inclusive; 0 is unbounded), the newest
/// first.
///
/// The times of a block are rounded outwards, so that no span at the edge is missed.
pub(crate) fn select(
    blocklist: &Blocklist,
    tenant: &str,
    window: (i64, i64),
    blocklist_poll: Duration,
) -> Vec<QueryBlock> {
    select_from(&blocklist.tenant(tenant), window, blocklist_poll)
}

/// As [`select`], from a block list that was taken before.
pub(crate) fn select_from(
    blocks: &TenantBlocks,
    window: (i64, i64),
    blocklist_poll: Duration,
) -> Vec<QueryBlock> {
    let now = time_from_unix_nanos(tactus_clock::unix_nanos());
    in_window(blocks.queryable(now, blocklist_poll), window)
}

/// As [`select_from`], but without blocks whose spans an ingester counted itself. If such a block was merged into
/// another one, the other sources of the merged block are read instead, provided that all of them are still known.
pub(crate) fn select_uncounted(
    blocks: &TenantBlocks,
    counted: &HashSet<Uuid>,
    window: (i64, i64),
    blocklist_poll: Duration,
) -> Vec<QueryBlock> {
    let selected = select_from(blocks, window, blocklist_poll);
    if counted.is_empty() {
        return selected;
    }
    let mut uncounted = Uncounted {
        blocks,
        counted,
        metas: BTreeMap::new(),
        added: HashSet::new(),
        holds_counted: HashMap::new(),
    };
    for meta in selected.iter().filter_map(|block| blocks.meta(block.block_id)) {
        uncounted.add(meta, MAX_MERGES);
    }
    in_window(uncounted.metas.into_values(), window)
}

/// Most parts of a block. A meta that claims billions of row groups must not cause as many jobs; a larger block is read
/// in larger parts.
pub(crate) const MAX_PARTS: u32 = 1_024;
/// Approximate limit on the parts of all blocks of a query, because each is a job that waits in memory.
const MAX_ALL_PARTS: usize = 1 << 17;

/// How many merges are followed back to find the sources of a block. They are deleted an hour after the merge.
const MAX_MERGES: usize = 4;

/// Chooses the blocks of which an ingester counted no spans.
///
/// Metas may name the same sources again and again, so the result for a block and a number of merges is computed once.
struct Uncounted<'a> {
    blocks: &'a TenantBlocks,
    counted: &'a HashSet<Uuid>,
    metas: BTreeMap<Uuid, &'a BlockMeta>,
    added: HashSet<(Uuid, usize)>,
    holds_counted: HashMap<(Uuid, usize), bool>,
}

impl<'a> Uncounted<'a> {
    fn add(&mut self, meta: &'a BlockMeta, merges: usize) {
        if self.counted.contains(&meta.block_id) || !self.added.insert((meta.block_id, merges)) {
            return;
        }
        let known = |&id: &Uuid| self.blocks.meta(id);
        let sources: Option<Vec<_>> = meta.sources().iter().map(known).collect();
        match sources.filter(|_| merges > 0 && self.holds_counted(meta, merges)) {
            Some(sources) => {
                for source in sources {
                    self.add(source, merges - 1);
                }
            }
            None => drop(self.metas.insert(meta.block_id, meta)),
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
            self.counted.contains(&id)
                || (self.blocks.meta(id))
                    .is_some_and(|source| self.holds_counted(source, merges - 1))
        });
        self.holds_counted.insert(key, holds);
        holds
    }
}

/// The blocks that these were made of, among which [`select_uncounted`] may choose; or the block itself if some of its
/// sources are unknown.
pub(crate) fn select_sources(
    blocks: &TenantBlocks,
    selected: impl IntoIterator<Item = Uuid>,
) -> Vec<(&BlockMeta, QueryBlock)> {
    let (mut metas, mut added) = (BTreeMap::new(), HashSet::new());
    for meta in selected.into_iter().filter_map(|id| blocks.meta(id)) {
        add_sources(blocks, meta, &mut metas, &mut added, MAX_MERGES);
    }
    metas.into_values().map(|meta| (meta, query_block(meta))).collect()
}

fn add_sources<'a>(
    blocks: &'a TenantBlocks,
    meta: &'a BlockMeta,
    metas: &mut BTreeMap<Uuid, &'a BlockMeta>,
    added: &mut HashSet<(Uuid, usize)>,
    merges: usize,
) {
    // Metas may name the same sources again and again.
    if !added.insert((meta.block_id, merges)) {
        return;
    }
    let sources: Option<Vec<_>> = meta.sources().iter().map(|&id| blocks.meta(id)).collect();
    match sources.filter(|sources| merges > 0 && !sources.is_empty()) {
        Some(sources) => {
            for source in sources {
                add_sources(blocks, source, metas, added, merges - 1);
            }
        }
        None => drop(metas.insert(meta.block_id, meta)),
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

/// The blocks among `ids` that `now` knows and `before` does not, even if they were merged meanwhile.
pub(crate) fn select_new(
    ids: impl IntoIterator<Item = Uuid>,
    before: &TenantBlocks,
    now: &TenantBlocks,
    window: (i64, i64),
) -> Vec<QueryBlock> {
    let new = ids.into_iter().filter(|&id| before.meta(id).is_none());
    in_window(new.filter_map(|id| now.meta(id)), window)
}

fn in_window<'a>(
    metas: impl Iterator<Item = &'a BlockMeta>,
    window: (i64, i64),
) -> Vec<QueryBlock> {
    let mut selected: Vec<_> = metas
        .filter(|meta| meta.size > 0 && meta.total_records > 0)
        .map(query_block)
        .filter(|block| block.is_within(window))
        .collect();
    selected.sort_unstable_by(|one, other| {
        other.end_seconds.cmp(&one.end_seconds).then(one.block_id.cmp(&other.block_id))
    });
    let fair = u32::try_from(MAX_ALL_PARTS / selected.len().max(1)).unwrap_or(MAX_PARTS);
    let max_parts = fair.clamp(1, MAX_PARTS);
    selected.iter_mut().for_each(|block| block.max_parts = max_parts);
    selected
}

fn query_block(meta: &BlockMeta) -> QueryBlock {
    let fraction = meta.end_time.subsec_nanosecond() != 0;
    let times = (meta.start_unix_seconds(), meta.end_unix_seconds() + i64::from(fraction));
    // A block that ends before it starts may have spans of any time.
    let is_sound = meta.start_time <= meta.end_time;
    let (start_seconds, end_seconds) = if is_sound { times } else { (i64::MIN, i64::MAX) };
    QueryBlock {
        block_id: meta.block_id,
        size: meta.size,
        row_groups: meta.total_records,
        start_seconds,
        end_seconds,
        max_parts: MAX_PARTS,
    }
}

/// The number of blocks that a query without a window reads.
pub(crate) fn count(blocklist: &Blocklist, tenant: &str, blocklist_poll: Duration) -> usize {
    select(blocklist, tenant, (0, 0), blocklist_poll).len()
}

impl QueryBlock {
    /// True if the block may have spans within `window`: see [`select`].
    pub(crate) fn is_within(&self, window: (i64, i64)) -> bool {
        // A block without times has those of the year 1.
        (window.1 == 0 || self.start_seconds <= window.1)
            && (window.0 == 0 || self.end_seconds >= window.0)
    }

    /// No span of the block starts later; unix nanoseconds. Tempo's ingesters cut the times of a meta to whole seconds, so
    /// its last second counts to the end.
    pub(crate) fn last_nanosecond(&self) -> u64 {
        let end = u64::try_from(self.end_seconds.saturating_add(1)).unwrap_or(0);
        end.saturating_mul(1_000_000_000).saturating_sub(1)
    }

    /// Splits the block into parts of about `target_bytes`, in file order. A part has whole row groups. The last part
    /// is open-ended: it includes row groups that the file has and the meta does not count.
    pub(crate) fn parts(&self, target_bytes: u64) -> Vec<BlockPart> {
        self.parts_of(|_| target_bytes)
    }

    /// As [`Self::parts`], but the first parts are an eighth, a quarter and a half of `target_bytes`, because somebody
    /// is waiting for a first result.
    pub(crate) fn parts_that_grow(&self, target_bytes: u64) -> Vec<BlockPart> {
        self.parts_of(|number| target_bytes >> 3usize.saturating_sub(number))
    }

    /// Splits the block into parts; `bytes_of` gives the size of each by its number.
    fn parts_of(&self, bytes_of: impl Fn(usize) -> u64) -> Vec<BlockPart> {
        let row_group_bytes = (self.size / u64::from(self.row_groups.max(1))).max(1);
        let smallest = u64::from(self.row_groups.div_ceil(self.max_parts.max(1)).max(1));
        let mut parts = Vec::new();
        let mut first = 0u32;
        loop {
            let bytes = bytes_of(parts.len());
            let step = u32::try_from((bytes / row_group_bytes).max(smallest)).unwrap_or(u32::MAX);
            let next = first.saturating_add(step);
            let is_whole = first == 0 && self.size < bytes;
            let is_last = is_whole || next >= self.row_groups;
            parts.push(BlockPart {
                block_id: self.block_id.to_string(),
                first_row_group: first,
                row_groups: if is_last { 0 } else { step },
            });
            if is_last {
                return parts;
            }
            first = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tactus_storage::meta::{BlockVersion, Extension};

    fn meta(start_nanos: u64, end_nanos: u64) -> BlockMeta {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
        meta.set_time_range_unix_nanos(start_nanos, end_nanos);
        (meta.size, meta.total_records) = (100, 1);
        meta
    }

    fn selected(metas: Vec<BlockMeta>, window: (i64, i64)) -> Vec<i64> {
        let list = Blocklist::new();
        metas.into_iter().for_each(|meta| list.add_block(meta));
        let blocks = select(&list, "t", window, Duration::ZERO);
        blocks.iter().map(|block| block.end_seconds).collect()
    }

    #[test]
    fn blocks_at_the_edges_of_the_window_are_read_newest_first() {
        let second = 1_000_000_000;
        let metas = || {
            vec![
                meta(second, 2 * second),
                meta(2 * second, 9 * second + 1),
                meta(20 * second + 5, 30 * second),
                meta(21 * second, 31 * second),
            ]
        };
        assert_eq!(selected(metas(), (10, 20)), [30, 10]);
        assert_eq!(selected(metas(), (2, 20)), [30, 10, 2]);
        assert_eq!(selected(metas(), (0, 0)), [31, 30, 10, 2]);
        assert_eq!(selected(metas(), (31, 0)), [31]);
        // A meta that contradicts itself says nothing.
        let wrong = meta(31 * second, 2 * second);
        for window in [(10, 20), (40, 50), (1, 1)] {
            assert_eq!(selected(vec![wrong.clone()], window), [i64::MAX]);
        }
        let mut empty = meta(second, 2 * second);
        empty.size = 0;
        assert!(selected(vec![empty], (0, 0)).is_empty());
    }

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

    #[test]
    fn blocks_of_very_many_row_groups_have_fewer_parts_the_more_blocks_there_are() {
        let large = || {
            let mut large = meta(1_000_000_000, 2_000_000_000);
            (large.size, large.total_records) = (1 << 40, u32::MAX);
            Arc::new(large)
        };
        let parts = |count: usize| -> usize {
            let blocks = TenantBlocks::new((0..count).map(|_| large()).collect(), Vec::new());
            let selected = select_from(&blocks, (0, 0), Duration::ZERO);
            assert_eq!(selected.len(), count);
            selected.iter().map(|block| block.parts(1 << 20).len()).sum()
        };
        assert_eq!(parts(3), 3 * MAX_PARTS as usize);
        assert!((MAX_ALL_PARTS / 2..=MAX_ALL_PARTS).contains(&parts(5_000)));
    }

    #[test]
    fn parts_cover_every_row_group_once() {
        let block = |size, row_groups| QueryBlock {
            block_id: Uuid::nil(),
            size,
            row_groups,
            start_seconds: 0,
            end_seconds: 0,
            max_parts: MAX_PARTS,
        };
        let parts = |size, row_groups, target| {
            let parts = block(size, row_groups).parts(target).into_iter();
            parts.map(|part| (part.first_row_group, part.row_groups)).collect::<Vec<_>>()
        };
        assert_eq!(parts(100, 10, 1_000), [(0, 0)]);
        assert_eq!(parts(100, 10, 40), [(0, 4), (4, 4), (8, 0)]);
        assert_eq!(parts(100, 10, 1), (0..9).map(|i| (i, 1)).chain([(9, 0)]).collect::<Vec<_>>());
        assert_eq!(parts(100, 8, 48), [(0, 4), (4, 0)]);
        // As many as a meta claims that lies.
        let many = parts(u64::MAX, u32::MAX, 1);
        assert_eq!((many.len(), many.last()), (1024, Some(&(1023 << 22, 0))));
        assert!(many.iter().take(1023).all(|(_, row_groups)| *row_groups == 1 << 22));
        assert_eq!(parts(5, 10, 1), (0..9).map(|i| (i, 1)).chain([(9, 0)]).collect::<Vec<_>>());
        let growing = |size, row_groups, target| {
            let parts = block(size, row_groups).parts_that_grow(target).into_iter();
            parts.map(|part| (part.first_row_group, part.row_groups)).collect::<Vec<_>>()
        };
        assert_eq!(growing(800, 80, 400), [(0, 5), (5, 10), (15, 20), (35, 40), (75, 0)]);
        assert_eq!(growing(90, 4, 800), [(0, 0)]);
        assert_eq!(growing(100, 4, 400), [(0, 2), (2, 0)]);
        assert_eq!(growing(100, 1, 100), [(0, 0)]);
    }
}
