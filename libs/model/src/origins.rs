//! Origins. An origin is the number of the push of a distributor with which a span came; this module has sets of them.
//!
//! All replicas of a span have the same origin. So copies are recognised by comparing ranges of numbers instead of
//! spans.

/// The low bits of an origin count pushes within a stream; the high bits name the stream.
const SEQUENCE_BITS: u32 = 24;

/// The stream of an origin: pushes of one stream go to the same replicas.
pub fn origin_stream(origin: u64) -> u64 {
    origin >> SEQUENCE_BITS
}

/// A set of origins, stored as ranges.
///
/// Shape: ranges ascend and do not touch; both bounds are part of the range. Consecutive numbers make few ranges.
/// Memory: 16 bytes a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginSet {
    ranges: Vec<(u64, u64)>,
}

impl OriginSet {
    /// An empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// The set with these bounds: first, last, first, last, … The ranges may overlap and be in any order. `None` if a
    /// bound is missing, or a range ends before it starts.
    pub fn from_bounds(bounds: &[u64]) -> Option<Self> {
        let mut pairs = bounds.chunks_exact(2);
        let ranges: Vec<(u64, u64)> = pairs.by_ref().map(|pair| (pair[0], pair[1])).collect();
        let is_sound =
            pairs.remainder().is_empty() && ranges.iter().all(|range| range.0 <= range.1);
        is_sound.then(|| Self::from_ranges(ranges))
    }

    /// The set of these ranges, none of which ends before it starts.
    pub fn from_ranges(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|range| range.0 <= range.1);
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1.saturating_add(1);
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        Self { ranges }
    }

    /// The bounds of all ranges, in the form that [`Self::from_bounds`] takes.
    pub fn bounds(&self) -> Vec<u64> {
        self.ranges.iter().flat_map(|range| [range.0, range.1]).collect()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// True without any origin.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Adds an origin.
    pub fn insert(&mut self, origin: u64) {
        let next = self.ranges.partition_point(|range| range.0 <= origin);
        let joins_before = next > 0 && self.ranges[next - 1].1.saturating_add(1) >= origin;
        let joins_after = self.ranges.get(next).is_some_and(|range| range.0 == origin + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                let last = self.ranges.remove(next).1;
                self.ranges[next - 1].1 = last;
            }
            (true, false) => self.ranges[next - 1].1 = self.ranges[next - 1].1.max(origin),
            (false, true) => self.ranges[next].0 = origin,
            (false, false) => self.ranges.insert(next, (origin, origin)),
        }
    }

    /// True if the set has an origin.
    pub fn contains(&self, origin: u64) -> bool {
        let next = self.ranges.partition_point(|range| range.0 <= origin);
        next > 0 && self.ranges[next - 1].1 >= origin
    }

    /// Adds all of another set.
    pub fn unite(&mut self, other: &Self) {
        match other.ranges.as_slice() {
            [] => {}
            [(first, last)] if first == last => self.insert(*first),
            _ => {
                let mut ranges = std::mem::take(&mut self.ranges);
                ranges.extend_from_slice(&other.ranges);
                *self = Self::from_ranges(ranges);
            }
        }
    }

    /// The origins of this set that the other set does not have.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.ranges.len());
        let mut others = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut first = Some(first);
            while let Some(from) = first {
                let Some(&&(other_first, other_last)) = others.peek() else { break };
                if other_last < from {
                    others.next();
                } else if other_first > last {
                    break;
                } else {
                    if other_first > from {
                        left.push((from, other_first - 1));
                    }
                    // The rest of this range may reach into the next range of the other set.
                    first = (other_last < last).then(|| other_last + 1);
                }
            }
            left.extend(first.map(|from| (from, last)));
        }
        Self { ranges: left }
    }

    /// The origins that both sets have.
    pub fn intersection(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// True if both have an origin.
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) =
            if self.ranges.len() <= other.ranges.len() { (self, other) } else { (other, self) };
        few.ranges.iter().any(|&(first, last)| {
            let next = many.ranges.partition_point(|range| range.1 < first);
            many.ranges.get(next).is_some_and(|range| range.0 <= last)
        })
    }

    /// True if the other set has all of this one.
    pub fn is_within(&self, other: &Self) -> bool {
        self.ranges.iter().all(|&(first, last)| {
            let next = other.ranges.partition_point(|range| range.1 < first);
            other.ranges.get(next).is_some_and(|range| range.0 <= first && range.1 >= last)
        })
    }

    /// The ranges, cut where one stream ends and the next begins, each with its stream.
    pub fn by_stream(&self) -> impl Iterator<Item = (u64, (u64, u64))> {
        self.ranges.iter().flat_map(|&(first, last)| {
            (origin_stream(first)..=origin_stream(last)).map(move |stream| {
                let start = stream << SEQUENCE_BITS;
                let end = start | ((1 << SEQUENCE_BITS) - 1);
                (stream, (first.max(start), last.min(end)))
            })
        })
    }
}

impl FromIterator<u64> for OriginSet {
    fn from_iter<I: IntoIterator<Item = u64>>(origins: I) -> Self {
        Self::from_ranges(origins.into_iter().map(|origin| (origin, origin)).collect())
    }
}

/// Collects the origins of rows. Neighbouring rows often have the same one.
#[derive(Debug, Default)]
pub struct OriginCollector {
    set: OriginSet,
    last: u64,
    has_none: bool,
}

impl OriginCollector {
    /// Adds the origins of these rows. Rows without one (0) are only noted.
    pub fn add(&mut self, origins: &[u64]) {
        for &origin in origins {
            if origin == self.last && origin != 0 {
                continue;
            }
            self.last = origin;
            if origin == 0 {
                self.has_none = true;
            } else {
                self.set.insert(origin);
            }
        }
    }

    /// Notes rows without an origin.
    pub fn add_none(&mut self) {
        self.has_none = true;
    }

    /// The origins, and whether a row had none.
    pub fn finish(self) -> (OriginSet, bool) {
        (self.set, self.has_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn naive(set: &OriginSet) -> BTreeSet<u64> {
        set.ranges().iter().flat_map(|&(first, last)| first..=last).collect()
    }

    fn check_form(set: &OriginSet) {
        assert!(set.ranges().iter().all(|range| range.0 <= range.1), "{set:?}");
        assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{set:?}");
        assert_eq!(OriginSet::from_bounds(&set.bounds()).as_ref(), Some(set));
    }

    #[test]
    fn numbers_in_order_are_one_range_and_late_ones_close_gaps() {
        let mut set = OriginSet::new();
        [5, 6, 8, 9, 4, 7, 7, 5].into_iter().for_each(|origin| set.insert(origin));
        assert_eq!(set.ranges(), [(4, 9)]);
        set.insert(u64::MAX);
        set.insert(0);
        set.insert(u64::MAX - 1);
        set.insert(u64::MAX);
        assert_eq!(set.ranges(), [(0, 0), (4, 9), (u64::MAX - 1, u64::MAX)]);
        assert!(set.contains(u64::MAX) && set.contains(0) && !set.contains(3));
        check_form(&set.without(&OriginSet::from_iter([5, u64::MAX])));
    }

    #[test]
    fn bounds_that_are_no_ranges_are_refused() {
        assert_eq!(OriginSet::from_bounds(&[1]), None);
        assert_eq!(OriginSet::from_bounds(&[1, 2, 3]), None);
        assert_eq!(OriginSet::from_bounds(&[2, 1]), None);
        assert_eq!(OriginSet::from_bounds(&[]), Some(OriginSet::new()));
        let set = OriginSet::from_bounds(&[8, 9, 1, 4, 3, 7]).unwrap();
        assert_eq!(set.ranges(), [(1, 9)]);
    }

    #[test]
    fn ranges_are_cut_at_streams() {
        let set = OriginSet::from_ranges(vec![(0x2ff_fffe, 0x400_0001), (0x700_0005, 0x700_0006)]);
        let cut: Vec<_> = set.by_stream().collect();
        assert_eq!(
            cut,
            [
                (2, (0x2ff_fffe, 0x2ff_ffff)),
                (3, (0x300_0000, 0x3ff_ffff)),
                (4, (0x400_0000, 0x400_0001)),
                (7, (0x700_0005, 0x700_0006)),
            ]
        );
    }

    #[test]
    fn collector_notes_rows_without_an_origin() {
        let mut collector = OriginCollector::default();
        collector.add(&[3, 3, 4, 3]);
        let (set, has_none) = collector.finish();
        assert_eq!((set.ranges(), has_none), (&[(3, 4)][..], false));
        let mut collector = OriginCollector::default();
        collector.add(&[0, 0]);
        assert_eq!(collector.finish(), (OriginSet::new(), true));
    }

    proptest! {
        #[test]
        fn sets_do_what_sets_of_numbers_do(
            one in proptest::collection::vec(0u64..60, 0..40),
            two in proptest::collection::vec(0u64..60, 0..40),
            ranges in proptest::collection::vec((0u64..60, 0u64..6), 0..6),
        ) {
            let mut a = OriginSet::new();
            one.iter().for_each(|&origin| a.insert(origin));
            prop_assert_eq!(&a, &one.iter().copied().collect::<OriginSet>());
            let b = OriginSet::from_ranges(
                ranges.iter().map(|&(first, more)| (first, first + more)).chain(two.iter().map(|&o| (o, o))).collect(),
            );
            let (x, y) = (naive(&a), naive(&b));
            prop_assert_eq!(&x, &one.iter().copied().collect::<BTreeSet<_>>());
            let mut united = a.clone();
            united.unite(&b);
            for set in [&a, &b, &united, &a.without(&b), &a.intersection(&b)] {
                check_form(set);
            }
            prop_assert_eq!(naive(&united), x.union(&y).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(naive(&a.without(&b)), x.difference(&y).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(naive(&a.intersection(&b)), x.intersection(&y).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.intersects(&b), !x.is_disjoint(&y));
            prop_assert_eq!(a.is_within(&b), x.is_subset(&y));
            for origin in 0..70 {
                prop_assert_eq!(a.contains(origin), x.contains(&origin));
            }
        }
    }
}
