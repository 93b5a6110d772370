//! Chooses the blocks that a query reads, and splits them into parts.

use std::time::Duration;

use tactus_proto::tactus::v1::BlockPart;
use tactus_storage::blocklist::TenantBlocks;
use tactus_storage::meta::time_from_unix_nanos;
use tactus_storage::{BlockMeta, Uuid};

mod known;
mod sources;

pub(crate) use known::KnownBlocks;
pub(crate) use sources::{add_with_sources, select_sources, select_uncounted};

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
    /// The time range in which a block lies that may have copies of its spans: its own, and when spans start that came late.
    pub(crate) copy_seconds: (i64, i64),
    /// Parts that it is read in at most.
    pub(crate) max_parts: u32,
}

/// The blocks of a tenant that may have spans within `window` (unix seconds, inclusive; 0 is unbounded), the newest
/// first.
///
/// The times of a block are rounded outwards, so that no span at the edge is missed.
pub(crate) fn select(
    blocks: &TenantBlocks,
    window: (i64, i64),
    blocklist_poll: Duration,
) -> Vec<QueryBlock> {
    let now = time_from_unix_nanos(tactus_clock::unix_nanos());
    in_window(blocks.queryable(now, blocklist_poll), window)
}

/// Most parts of a block. A meta that claims billions of row groups must not cause as many jobs; a larger block is read
/// in larger parts.
pub(crate) const MAX_PARTS: u32 = 1_024;
/// Approximate limit on the parts of all blocks of a query, because each is a job that waits in memory.
const MAX_ALL_PARTS: usize = 1 << 17;

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
        copy_seconds: meta.starts().map_or((start_seconds, end_seconds), |(first, last)| {
            (first.min(start_seconds), last.max(end_seconds))
        }),
        max_parts: MAX_PARTS,
    }
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
    use tactus_storage::Blocklist;
    use tactus_storage::meta::BlockVersion;

    pub(super) fn meta(start_nanos: u64, end_nanos: u64) -> BlockMeta {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
        meta.set_time_range_unix_nanos(start_nanos, end_nanos);
        (meta.size, meta.total_records) = (100, 1);
        meta
    }

    fn selected(metas: Vec<BlockMeta>, window: (i64, i64)) -> Vec<i64> {
        let list = Blocklist::new();
        metas.into_iter().for_each(|meta| list.add_block(meta));
        let blocks = select(&list.tenant("t"), window, Duration::ZERO);
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

    #[test]
    fn blocks_of_very_many_row_groups_have_fewer_parts_the_more_blocks_there_are() {
        let large = || {
            let mut large = meta(1_000_000_000, 2_000_000_000);
            (large.size, large.total_records) = (1 << 40, u32::MAX);
            Arc::new(large)
        };
        let parts = |count: usize| -> usize {
            let blocks = TenantBlocks::new((0..count).map(|_| large()).collect(), Vec::new());
            let selected = select(&blocks, (0, 0), Duration::ZERO);
            assert_eq!(selected.len(), count);
            selected.iter().map(|block| block.parts(1 << 20).len()).sum()
        };
        assert_eq!(parts(3), 3 * MAX_PARTS as usize);
        assert!((MAX_ALL_PARTS / 2..=MAX_ALL_PARTS).contains(&parts(5_000)));
    }

    #[test]
    fn block_may_have_copies_of_spans_that_came_late() {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::nil());
        meta.set_time_range_unix_nanos(9_000_000_000_000, 9_500_000_000_000);
        assert_eq!(query_block(&meta).copy_seconds, (9_000, 9_500));
        meta.note_starts(8_000_000_000_000, 9_500_000_000_000);
        let block = query_block(&meta);
        assert_eq!((block.start_seconds, block.copy_seconds), (9_000, (8_000, 9_501)));
    }

    #[test]
    fn parts_cover_every_row_group_once() {
        let block = |size, row_groups| QueryBlock {
            block_id: Uuid::nil(),
            size,
            row_groups,
            start_seconds: 0,
            end_seconds: 0,
            copy_seconds: (0, 0),
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
