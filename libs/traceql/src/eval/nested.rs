//! Nested-set numbers of spans whose batch has none stored, as of live ones.

use tactus_model::SpanId;
use tactus_model::nested_set::NestedSet;

/// Nested-set numbers of every span; 0 if unknown. A column that was not read is empty.
#[derive(Clone, Copy)]
pub(crate) struct NestedColumns<'a> {
    pub(crate) left: &'a [i32],
    pub(crate) right: &'a [i32],
    pub(crate) parent: &'a [i32],
}

impl NestedColumns<'_> {
    pub(crate) fn left(&self, row: u32) -> i32 {
        self.left.get(row as usize).copied().unwrap_or(0)
    }

    pub(crate) fn right(&self, row: u32) -> i32 {
        self.right.get(row as usize).copied().unwrap_or(0)
    }

    pub(crate) fn parent(&self, row: u32) -> i32 {
        self.parent.get(row as usize).copied().unwrap_or(0)
    }
}

/// Numbers the spans of some traces, each given by its rows.
pub(super) fn numbers<'r>(
    (ids, parents, kinds): (&[SpanId], &[SpanId], &[u8]),
    traces: impl Iterator<Item = &'r [u32]>,
) -> [Vec<i32>; 3] {
    let mut columns = std::array::from_fn(|_| vec![0; ids.len()]);
    let mut set = NestedSet::default();
    for rows in traces {
        set.compute_rows(rows, ids, parents, kinds);
        for (place, &row) in rows.iter().enumerate() {
            columns[0][row as usize] = set.left[place];
            columns[1][row as usize] = set.right[place];
            columns[2][row as usize] = set.parent[place];
        }
    }
    columns
}
