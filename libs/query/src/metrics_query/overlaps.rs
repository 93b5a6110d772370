//! Finds the other blocks that may have spans of a block: those with an overlapping time range, and those with spans of
//! the same pushes.
//!
//! If blocks are not merged, thousands may overlap. So the number that a job is told of is limited, and they are found
//! only when the job starts.

use std::collections::HashSet;

use tactus_storage::Uuid;

use crate::blocks::QueryBlock;

/// The most blocks that a job is told of. Those with spans of the same pushes come first; a span that a client sent again and
/// that is in further ones counts twice until they are merged.
pub(super) const MAX_NAMED: usize = 1_024;
/// Intervals that are looked at for the pushes of one block.
const MAX_LOOKS: usize = 32 * MAX_NAMED;

/// The first and the last of some origins.
pub(super) type Origins = (u64, u64);

/// The blocks that a query reads of a tenant.
#[derive(Debug)]
pub(super) struct Overlaps {
    blocks: Vec<QueryBlock>,
    times: Intervals<i64>,
    origins: Intervals<u64>,
    /// Of each block, one after the other, and where those of the next block begin.
    all_origins: Vec<Origins>,
    ends: Vec<usize>,
}

impl Overlaps {
    /// `origins_of`: of the pushes that a block has spans of.
    pub(super) fn new(
        blocks: Vec<QueryBlock>,
        mut origins_of: impl FnMut(Uuid, &mut Vec<Origins>),
    ) -> Self {
        let (mut all_origins, mut ends) = (Vec::new(), Vec::new());
        let (mut times, mut origins) = (Vec::new(), Vec::new());
        for (place, block) in (0..).zip(&blocks) {
            let (first, last) = block.copy_seconds;
            times.push((first, last, place));
            let begin = all_origins.len();
            origins_of(block.block_id, &mut all_origins);
            origins.extend(all_origins[begin..].iter().map(|&(first, last)| (first, last, place)));
            ends.push(all_origins.len());
        }
        let (times, origins) = (Intervals::new(times), Intervals::new(origins));
        Self { blocks, times, origins, all_origins, ends }
    }

    /// The other blocks that may have spans of the one at this place, in their order, and whether there may be more.
    pub(super) fn others(&self, place: usize) -> (impl Iterator<Item = Uuid>, bool) {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        let own = &self.all_origins[begin..self.ends[place]];
        let mut found = HashSet::new();
        let mut add = |other: u32| {
            let is_new = other as usize != place && !found.contains(&other);
            let has_room = found.len() < MAX_NAMED;
            if is_new && has_room {
                found.insert(other);
            }
            has_room || !is_new
        };
        let mut left = MAX_LOOKS;
        let mut add_origin = |other| {
            left = left.saturating_sub(1);
            left > 0 && add(other)
        };
        let is_whole = own.iter().all(|&range| self.origins.each_touching(range, &mut add_origin));
        let time = self.blocks[place].copy_seconds;
        let is_whole = self.times.each_touching(time, &mut add) && is_whole;
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        let id = |other: u32| self.blocks[other as usize].block_id;
        (found.into_iter().map(id), !is_whole)
    }
}

/// Intervals with their blocks, for queries of those that touch another one.
#[derive(Debug)]
struct Intervals<T> {
    /// First, last and block, ordered by the first.
    all: Vec<(T, T, u32)>,
    /// A heap-shaped tree of the largest last one below each node. The leaves are the second half.
    latest: Vec<Option<T>>,
}

impl<T: Ord + Copy> Intervals<T> {
    fn new(mut all: Vec<(T, T, u32)>) -> Self {
        all.sort_unstable();
        let leaves = all.len().next_power_of_two();
        let mut latest = vec![None; 2 * leaves];
        for (leaf, (_, last, _)) in latest[leaves..].iter_mut().zip(&all) {
            *leaf = Some(*last);
        }
        for node in (1..leaves).rev() {
            latest[node] = latest[2 * node].max(latest[2 * node + 1]);
        }
        Self { all, latest }
    }

    /// Calls `visit` with the block of each interval that touches this one, from the one that begins last on, until it returns
    /// false. Returns whether it never did. Takes a few steps for each visit.
    fn each_touching(&self, (first, last): (T, T), visit: &mut impl FnMut(u32) -> bool) -> bool {
        let end = self.all.partition_point(|interval| interval.0 <= last);
        let leaves = self.latest.len() / 2;
        // The node, the first of its leaves and their number.
        let mut todo = vec![(1, 0, leaves)];
        while let Some((node, begin, count)) = todo.pop() {
            if begin >= end || self.latest[node].is_none_or(|latest| latest < first) {
                continue;
            }
            if node >= leaves {
                if !visit(self.all[begin].2) {
                    return false;
                }
                continue;
            }
            let half = count / 2;
            todo.push((2 * node, begin, half));
            todo.push((2 * node + 1, begin + half, half));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(number: usize, copy_seconds: (i64, i64)) -> QueryBlock {
        QueryBlock {
            block_id: Uuid::from_u128(number as u128),
            size: 100,
            row_groups: 1,
            start_seconds: copy_seconds.0,
            end_seconds: copy_seconds.1,
            copy_seconds,
            max_parts: 1,
        }
    }

    /// Of blocks at these times.
    fn overlaps(times: &[(i64, i64)], origins: &[Vec<Origins>]) -> Overlaps {
        let blocks = times.iter().enumerate().map(|(number, &times)| block(number, times));
        Overlaps::new(blocks.collect(), |id, out| {
            out.extend(origins.get(id.as_u128() as usize).into_iter().flatten());
        })
    }

    fn named(overlaps: &Overlaps, place: usize) -> Vec<usize> {
        overlaps.others(place).0.map(|id| id.as_u128() as usize).collect()
    }

    fn ranges<T>(value: T) -> impl Strategy<Value = (T::Value, T::Value)>
    where
        T: Strategy + Clone,
        T::Value: Ord + Copy,
    {
        (value.clone(), value).prop_map(|(one, other)| (one.min(other), one.max(other)))
    }

    proptest! {
        #[test]
        fn blocks_of_the_same_time_or_pushes_are_named(
            times in proptest::collection::vec(ranges(0..40i64), 0..40),
            origins in proptest::collection::vec(proptest::collection::vec(ranges(0..90u64), 0..4), 0..40),
        ) {
            let overlaps = overlaps(&times, &origins);
            let touch = |one: (u64, u64), other: (u64, u64)| one.0 <= other.1 && other.0 <= one.1;
            let of = |place: usize| origins.get(place).map_or(&[][..], Vec::as_slice);
            for place in 0..times.len() {
                let expected: Vec<_> = (0..times.len()).filter(|&other| {
                    let is_then = times[place].0 <= times[other].1 && times[other].0 <= times[place].1;
                    let has_copies = of(place).iter().any(|&one| of(other).iter().any(|&it| touch(one, it)));
                    other != place && (is_then || has_copies)
                }).collect();
                prop_assert_eq!(named(&overlaps, place), expected);
                prop_assert!(!overlaps.others(place).1);
            }
        }
    }

    #[test]
    fn of_too_many_blocks_those_of_the_same_pushes_are_named_first() {
        let count = 3 * MAX_NAMED;
        let mut origins = vec![vec![(5, 9)]; 10];
        origins.resize(count, Vec::new());
        origins[count - 1] = vec![(1, 3), (9, 9)];
        let overlaps = overlaps(&vec![(100, 200); count], &origins);
        let (others, has_more) = overlaps.others(count - 1);
        let others: Vec<_> = others.map(|id| id.as_u128() as usize).collect();
        assert_eq!((others.len(), has_more), (MAX_NAMED, true));
        assert_eq!(others[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn origins_of_very_many_ranges_end_the_search_for_more() {
        // Each range of one touches each of the other.
        let origins = vec![vec![(0, u64::MAX); 1_000]; 100];
        let overlaps = overlaps(&[(1, 1); 100], &origins);
        let began = std::time::Instant::now();
        let (others, has_more) = overlaps.others(0);
        assert_eq!((others.count(), has_more), (99, true), "by their times");
        assert!(began.elapsed().as_secs() < 1, "{:?}", began.elapsed());
    }
}
