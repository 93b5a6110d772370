//! Checks whether the positions of spans in their tree are possible.

use std::ops::Range;

use tactus_model::SpanBatch;
use tactus_model::nested_set::NestedSet;

/// Checks traces one after the other, reusing its memory.
#[derive(Debug, Default)]
pub(super) struct TreeCheck {
    expected: NestedSet,
    /// Left and right numbers, sorted by left.
    intervals: Vec<(i32, i32)>,
}

impl TreeCheck {
    /// False if the numbers of a trace contradict each other, or are missing for spans below a root.
    ///
    /// Siblings may be numbered in any order, because writers store them in different orders.
    pub(super) fn is_plausible(&mut self, batch: &SpanBatch, rows: Range<usize>) -> bool {
        let spans = &batch.spans;
        let columns = [&spans.nested_left, &spans.nested_right, &spans.nested_parent];
        if columns.iter().any(|column| column.len() < rows.end) {
            return false;
        }
        let [left, right, parent] = columns.map(|column| &column[rows.clone()]);
        self.expected.compute(
            &spans.span_id[rows.clone()],
            &spans.parent_span_id[rows.clone()],
            &spans.kind[rows],
        );
        let expected = &self.expected;
        if (left, right, parent) == (&expected.left[..], &expected.right[..], &expected.parent[..])
        {
            return true;
        }
        self.intervals.clear();
        self.intervals.extend(left.iter().copied().zip(right.iter().copied()).filter(|i| i.0 != 0));
        self.intervals.sort_unstable();
        if self.intervals.windows(2).any(|two| two[0].0 == two[1].0) {
            return false;
        }
        let within_parent = |left: i32, right: i32, parent: i32| {
            let found = self.intervals.binary_search_by_key(&parent, |interval| interval.0);
            found.is_ok_and(|place| left > parent && right < self.intervals[place].1)
        };
        (0..left.len()).all(|row| match (left[row], right[row], parent[row]) {
            (0, 0, 0) => expected.left[row] == 0,
            (left, right, _) if left <= 0 || right <= left => false,
            (_, _, -1) => true,
            (left, right, parent) => parent > 0 && within_parent(left, right, parent),
        })
    }
}

#[cfg(test)]
mod tests {
    use tactus_model::SpanId;

    use super::*;

    /// A root 1 with children 2 and 3; 4 hangs below 2.
    fn check(left: [i32; 4], right: [i32; 4], parent: [i32; 4]) -> bool {
        let id = |byte: u8| SpanId([0, 0, 0, 0, 0, 0, 0, byte]);
        let mut batch = SpanBatch::default();
        batch.spans.span_id = [1, 2, 3, 4].map(id).to_vec().into();
        batch.spans.parent_span_id = [0, 1, 1, 2].map(id).to_vec().into();
        batch.spans.kind = vec![0; 4].into();
        batch.spans.nested_left = left.to_vec().into();
        batch.spans.nested_right = right.to_vec().into();
        batch.spans.nested_parent = parent.to_vec().into();
        TreeCheck::default().is_plausible(&batch, 0..4)
    }

    #[test]
    fn numbers_of_the_own_order_and_of_others_are_possible() {
        assert!(check([1, 2, 6, 3], [8, 5, 7, 4], [-1, 1, 1, 2]));
        assert!(check([1, 4, 2, 5], [8, 7, 3, 6], [-1, 1, 1, 4]));
    }

    #[test]
    fn contradictions_are_found() {
        assert!(!check([1, 2, 6, 3], [8, 5, 7, 4], [-1, 1, 1, 6]), "outside of its parent");
        assert!(!check([1, 2, 6, 3], [8, 5, 7, 4], [-1, 1, 9, 2]), "no such parent");
        assert!(!check([1, 2, 2, 3], [8, 5, 7, 4], [-1, 1, 1, 2]), "a number twice");
        assert!(!check([1, 2, 6, 0], [8, 5, 7, 0], [-1, 1, 1, 0]), "missing");
        assert!(!check([1, 5, 6, 3], [8, 2, 7, 4], [-1, 1, 1, 2]), "right before left");
    }
}
