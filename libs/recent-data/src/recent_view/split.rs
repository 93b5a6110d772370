//! Finds the split traces of a tenant: those that are in several of its segments.
//!
//! Comparing the ids of all segments takes time in proportion to the tenant's traces. So the result is kept, and only
//! new segments are compared with the others.

use std::sync::Arc;

use parking_lot::Mutex;
use tactus_model::TraceId;
use tactus_work::{Held, is_over, memory::Reservation};

use crate::segment::OpenSegment;

/// With more new segments than this, all ids are compared again.
const FEW_SEGMENTS: usize = 8;
/// Most memory of the result for one tenant.
const MAX_KEPT_BYTES: usize = 16 << 20;
/// Ids are sorted in rounds of about this many bytes.
const ROUND_BYTES: usize = 8 << 20;
/// If one list is this many times longer than the other, the ids of the shorter one are searched for in it.
const SEARCHES_PER_SCAN: usize = 16;

/// A trace, and the number of a segment that holds it.
pub(super) type Split = (TraceId, u64);

/// The split traces of a tenant, whether a query reads their segments or their blocks.
#[derive(Debug, Default)]
pub(crate) struct SplitTraces(Mutex<Known>);

#[derive(Debug, Default, Clone)]
struct Known {
    /// Numbers of the segments that were compared, sorted.
    segments: Arc<Vec<u64>>,
    /// Sorted. Each trace is there with at least two of these segments.
    split: Arc<Vec<Split>>,
    _memory: Option<Arc<Reservation>>,
}

/// A segment and its number.
type Numbered<'s> = (u64, &'s OpenSegment);

impl SplitTraces {
    /// The split traces of these segments, sorted, each with all segments that hold it; and the memory of what is not
    /// cached.
    pub(super) fn of<'s>(
        &self,
        segments: impl Iterator<Item = &'s OpenSegment>,
    ) -> (Arc<Vec<Split>>, Held) {
        let mut present: Vec<Numbered<'s>> = segments.map(|it| (it.number(), it)).collect();
        present.sort_unstable_by_key(|(number, _)| *number);
        let (Some((_, first)), true) = (present.first(), present.len() > 1) else {
            return Default::default();
        };
        let numbers: Vec<u64> = present.iter().map(|(number, _)| *number).collect();
        // Not locked while segments are read, because a thread that waits for the lock would keep its turn.
        let known = self.0.lock().clone();
        if *known.segments == numbers {
            return (known.split, Held::default());
        }
        let mut held = Held::default();
        let split = match known.renewed(&present) {
            Some(split) => split,
            None => among(&present, &mut held),
        };
        let bytes = split.len() * size_of::<Split>();
        let split = Arc::new(split);
        held.grow_to(bytes);
        held.shrink_to(bytes);
        let is_whole = held.has_room()
            && !is_over()
            && present.iter().all(|(_, segment)| segment.failure().is_none());
        if is_whole && bytes <= MAX_KEPT_BYTES {
            // The old result gives back its memory first.
            *self.0.lock() = Known::default();
            if let Some(memory) = first.split_memory().reserve(bytes as u64) {
                *self.0.lock() = Known {
                    segments: Arc::new(numbers),
                    split: Arc::clone(&split),
                    _memory: Some(Arc::new(memory)),
                };
            }
        }
        (split, held)
    }
}

impl Known {
    /// The result for these segments, derived from the known one; `None` if too many of them are new.
    fn renewed(&self, present: &[Numbered<'_>]) -> Option<Vec<Split>> {
        let is_known = |number: u64| self.segments.binary_search(&number).is_ok();
        let new = || present.iter().filter(|(number, _)| !is_known(*number));
        if new().count() > FEW_SEGMENTS {
            return None;
        }
        let is_present = |number: u64| present.binary_search_by_key(&number, |it| it.0).is_ok();
        let of_present = self.split.iter().filter(|(_, number)| is_present(*number));
        let mut split: Vec<Split> = of_present.copied().collect();
        for (number, segment) in new() {
            // Two new segments are compared once: by the one with the higher number.
            let others = present.iter().filter(|(other, _)| other < number || is_known(*other));
            for (other, of_other) in others {
                let (one, two) = (segment.batch(), of_other.batch());
                each_common(&one.traces.ids, &two.traces.ids, |id| {
                    split.extend([(id, *number), (id, *other)]);
                });
            }
        }
        split.sort_unstable();
        split.dedup();
        let of_several = split.chunk_by(|one, other| one.0 == other.0).filter(|run| run.len() > 1);
        Some(of_several.flatten().copied().collect())
    }
}

/// The result for all these segments, computed from nothing. Ids are processed in rounds, each between two bounds.
fn among(present: &[Numbered<'_>], held: &mut Held) -> Vec<Split> {
    let mut split: Vec<Split> = Vec::new();
    let mut round: Vec<Split> = Vec::new();
    let mut lower = None;
    for upper in bounds(present) {
        round.clear();
        for (number, segment) in present {
            let batch = segment.batch();
            let ids = &batch.traces.ids;
            let from = lower.map_or(0, |lower| ids.partition_point(|id| *id < lower));
            let to = upper.map_or(ids.len(), |upper| ids.partition_point(|id| *id < upper));
            // The ids of a segment that cannot be read may not be sorted.
            let ids = ids.get(from..to).unwrap_or_default();
            let bytes = (split.len() + 2 * (round.len() + ids.len())) * size_of::<Split>();
            if is_over() || !held.grow_to(bytes) {
                return Vec::new();
            }
            round.extend(ids.iter().map(|&id| (id, *number)));
        }
        round.sort_unstable();
        round.dedup();
        let of_several = round.chunk_by(|one, other| one.0 == other.0).filter(|run| run.len() > 1);
        split.extend(of_several.flatten());
        lower = upper;
    }
    split
}

/// Bounds between which there are about as many ids as one round sorts. `None`, the last one, means no bound.
fn bounds(present: &[Numbered<'_>]) -> Vec<Option<TraceId>> {
    let all: usize = present.iter().map(|(_, segment)| segment.traces()).sum();
    let rounds = (all * size_of::<Split>()).div_ceil(ROUND_BYTES).max(1);
    let largest = present.iter().max_by_key(|(_, segment)| segment.traces());
    let batch = largest.map(|(_, segment)| segment.batch()).unwrap_or_default();
    let ids = &batch.traces.ids;
    let bound = |round: usize| ids.get(ids.len() * round / rounds).copied();
    (1..rounds).map(bound).filter(Option::is_some).chain([None]).collect()
}

/// Calls `show` for the ids that are in both of these sorted lists.
fn each_common(one: &[TraceId], two: &[TraceId], mut show: impl FnMut(TraceId)) {
    let (few, mut many) = if one.len() < two.len() { (one, two) } else { (two, one) };
    if few.len() < many.len() / SEARCHES_PER_SCAN {
        for id in few {
            let before = many.partition_point(|other| other < id);
            many = &many[before..];
            if many.first() == Some(id) {
                show(*id);
            }
        }
        return;
    }
    let (mut at, mut of_many) = (0, 0);
    while let (Some(left), Some(right)) = (few.get(at), many.get(of_many)) {
        if left == right {
            show(*left);
        }
        // Without a branch that the processor would mispredict.
        at += usize::from(left <= right);
        of_many += usize::from(right <= left);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: &[u16]) -> Vec<TraceId> {
        let id = |number: &u16| TraceId::from_slice(&number.to_be_bytes());
        let mut ids: Vec<_> = numbers.iter().map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    proptest! {
        #[test]
        fn common_ids_are_found_whatever_the_lengths(
            one in prop::collection::vec(0u16..300, 0..100),
            two in prop::collection::vec(0u16..300, 0..2_000),
        ) {
            let (one, two) = (ids(&one), ids(&two));
            let expected: Vec<_> = one.iter().filter(|id| two.contains(id)).copied().collect();
            for (left, right) in [(&one, &two), (&two, &one)] {
                let mut found = Vec::new();
                each_common(left, right, |id| found.push(id));
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
