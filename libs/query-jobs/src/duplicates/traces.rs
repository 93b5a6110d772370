//! A compact index of the traces of a row group, used to find the spans that two blocks have in common.

use tactus_model::SpanBatch;

/// The traces of a row group, ascending by id.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// Ids as numbers, whose order is that of their bytes.
    ids: Vec<u128>,
    /// Number of spans of each trace.
    spans: Vec<u32>,
}

impl Traces {
    pub(super) fn of(batch: &SpanBatch) -> Self {
        let ids: Vec<_> = batch.traces.ids.iter().map(|id| u128::from_be_bytes(id.0)).collect();
        let mut spans = vec![0; ids.len()];
        batch.spans.trace.iter().for_each(|&trace| spans[trace as usize] += 1);
        Self { ids, spans }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.ids.len() * (size_of::<u128>() + size_of::<u32>())
    }

    /// How many spans stand before a row.
    pub(super) fn spans_before(&self, row: usize) -> usize {
        self.spans[..row].iter().map(|&spans| spans as usize).sum()
    }

    /// The traces of which another row group has spans too.
    pub(super) fn in_common(&self, other: &Self) -> Vec<Common> {
        let (Some(first), Some(other_first)) = (self.ids.first(), other.ids.first()) else {
            return Vec::new();
        };
        let mut row = self.ids.partition_point(|id| id < other_first);
        let mut other_row = other.ids.partition_point(|id| id < first);
        let mut common = Vec::new();
        while let (Some(id), Some(other_id)) = (self.ids.get(row), other.ids.get(other_row)) {
            if id == other_id {
                let (spans, other_spans) = (self.spans[row], other.spans[other_row]);
                if spans > 0 && other_spans > 0 {
                    common.push(Common { row, other_row, is_left: spans <= other_spans });
                }
            }
            // Without a branch, because the processor cannot predict which block has the next trace.
            let (moves, other_moves) = (id <= other_id, other_id <= id);
            row += usize::from(moves);
            other_row += usize::from(other_moves);
        }
        common
    }
}

/// A trace of two row groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) row: usize,
    pub(super) other_row: usize,
    /// Spans in both are left to the other one: that has no fewer of the trace.
    pub(super) is_left: bool,
}

/// The approximate time range in which the spans of each trace start. It is never smaller than the exact range.
#[derive(Debug, Default)]
pub(super) struct TraceTimes {
    /// Unix nanoseconds.
    base: u64,
    /// Times are differences from `base`, shifted right by this many bits.
    shift: u32,
    /// First and last start; nothing that starts is at or after the first of a trace without spans.
    bounds: Vec<(u32, u32)>,
}

impl TraceTimes {
    pub(super) fn of(batch: &SpanBatch) -> Self {
        let mut starts = batch.spans.start.as_slice();
        let mut ranges = vec![(u64::MAX, 0); batch.traces.ids.len()];
        // The spans of a trace stand one after the other.
        for spans in batch.spans.trace.as_slice().chunk_by(|one, next| one == next) {
            let (of_trace, rest) = starts.split_at(spans.len());
            starts = rest;
            let (first, last) = &mut ranges[spans[0] as usize];
            for &start in of_trace {
                *first = start.min(*first);
                *last = start.max(*last);
            }
        }
        let base = ranges.iter().map(|&(first, _)| first).min().unwrap_or(u64::MAX);
        let end = ranges.iter().map(|&(_, last)| last).max().unwrap_or(0);
        let bits = u64::BITS - end.saturating_sub(base).leading_zeros();
        let shift = bits.saturating_sub(u32::BITS);
        // It fits: the range of all starts has 32 bits more than the shift at most.
        let at = |start: u64| ((start - base) >> shift) as u32;
        let bound =
            |(first, last)| if first <= last { (at(first), at(last)) } else { (u32::MAX, 0) };
        let bounds = ranges.into_iter().map(bound).collect();
        Self { base, shift, bounds }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bounds.len() * size_of::<(u32, u32)>()
    }

    /// True if a span of a trace may start when one of another trace does.
    pub(super) fn touch(&self, row: usize, other: &Self, other_row: usize) -> bool {
        let (first, last) = self.nanos(row);
        let (other_first, other_last) = other.nanos(other_row);
        first <= other_last && other_first <= last
    }

    fn nanos(&self, row: usize) -> (u64, u64) {
        let (first, last) = self.bounds[row];
        let unit = 1u64 << self.shift;
        let first = self.base.saturating_add(u64::from(first) * unit);
        (first, self.base.saturating_add(u64::from(last) * unit + (unit - 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_model::TraceId;

    use super::*;

    /// A batch of traces with spans of these starts.
    fn batch(traces: &[(u8, Vec<u64>)]) -> SpanBatch {
        let mut batch = SpanBatch::default();
        for (row, (id, starts)) in (0..).zip(traces) {
            batch.traces.ids.push(TraceId([*id; 16]));
            for &start in starts {
                batch.spans.trace.push(row);
                batch.spans.start.push(start);
            }
        }
        batch
    }

    fn sorted() -> impl Strategy<Value = Vec<(u8, Vec<u64>)>> {
        let start = prop_oneof![0u64..100, 1u64 << 40..(1 << 40) + 9, Just(u64::MAX), any::<u64>()];
        let traces =
            proptest::collection::btree_map(0u8..12, proptest::collection::vec(start, 0..4), 0..9);
        traces.prop_map(|traces| traces.into_iter().collect())
    }

    proptest! {
        #[test]
        fn common_traces_are_left_to_the_block_with_more_spans(one in sorted(), other in sorted()) {
            let common = Traces::of(&batch(&one)).in_common(&Traces::of(&batch(&other)));
            let mut expected = Vec::new();
            for (row, (id, starts)) in one.iter().enumerate() {
                let found = other.iter().position(|(other_id, _)| other_id == id);
                if let Some(other_row) = found {
                    let (spans, others) = (starts.len(), other[other_row].1.len());
                    if spans > 0 && others > 0 {
                        expected.push(Common { row, other_row, is_left: others >= spans });
                    }
                }
            }
            prop_assert_eq!(common, expected);
        }

        #[test]
        fn traces_with_spans_of_the_same_start_touch(one in sorted(), other in sorted()) {
            let (times, other_times) = (TraceTimes::of(&batch(&one)), TraceTimes::of(&batch(&other)));
            for (row, (_, starts)) in one.iter().enumerate() {
                for (other_row, (_, others)) in other.iter().enumerate() {
                    let is_common = starts.iter().any(|start| others.contains(start));
                    prop_assert!(!is_common || times.touch(row, &other_times, other_row));
                }
            }
        }
    }

    #[test]
    fn traces_apart_do_not_touch() {
        const HOUR: u64 = 3_600_000_000_000;
        let one = TraceTimes::of(&batch(&[(1, vec![5, 9]), (2, vec![HOUR, HOUR + 300])]));
        let other = TraceTimes::of(&batch(&[(1, vec![10_000]), (2, vec![HOUR + 100])]));
        assert!(!one.touch(0, &other, 0) && !one.touch(1, &other, 0));
        assert!(one.touch(1, &other, 1));
    }
}
