//! Positions of a trace's spans in its tree, as nested-set numbers.
//!
//! A span's descendants are those whose left number lies between its own left and right. Source: the row rules of
//! the block format; readers of blocks rely on them for structural queries.

use crate::SpanId;

const NONE: u32 = u32::MAX;
const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;

/// Computes positions trace by trace, reusing its memory.
#[derive(Debug, Default)]
pub struct NestedSet {
    /// Left number of each span of the last trace; 0 if unknown.
    pub left: Vec<i32>,
    /// Right number; 0 if unknown.
    pub right: Vec<i32>,
    /// Left number of the parent; -1 for a root, 0 if unknown.
    pub parent: Vec<i32>,
    of_rows: (Vec<SpanId>, Vec<SpanId>, Vec<u8>),
    by_id: Vec<(SpanId, u32)>,
    parent_row: Vec<u32>,
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
}

impl NestedSet {
    /// As [`Self::compute`], of the spans in these rows of columns, in this order.
    pub fn compute_rows(&mut self, rows: &[u32], ids: &[SpanId], parents: &[SpanId], kinds: &[u8]) {
        let (mut of_ids, mut of_parents, mut of_kinds) = std::mem::take(&mut self.of_rows);
        gather(&mut of_ids, ids, rows);
        gather(&mut of_parents, parents, rows);
        gather(&mut of_kinds, kinds, rows);
        self.compute(&of_ids, &of_parents, &of_kinds);
        self.of_rows = (of_ids, of_parents, of_kinds);
    }

    /// Numbers the spans of one trace, given in the order of the file.
    ///
    /// All numbers are 0 if the trace has no root or an id is held by more than two spans.
    pub fn compute(&mut self, ids: &[SpanId], parents: &[SpanId], kinds: &[u8]) {
        let count = ids.len();
        for numbers in [&mut self.left, &mut self.right, &mut self.parent] {
            numbers.clear();
            numbers.resize(count, 0);
        }
        self.by_id.clear();
        self.by_id.extend(ids.iter().copied().zip(0..));
        self.by_id.sort_unstable();
        let thrice = self.by_id.windows(3).any(|three| three[0].0 == three[2].0);
        if thrice || !parents.iter().any(|parent| parent.is_zero()) {
            return;
        }
        self.parent_row.clear();
        for (&parent, &kind) in parents.iter().zip(kinds) {
            let parent = self.find_parent(parent, kind, kinds);
            self.parent_row.push(parent);
        }
        self.link_children();
        let mut counter = 1;
        for (row, parent) in (0..).zip(parents) {
            if parent.is_zero() {
                self.number_tree(row, &mut counter);
            }
        }
    }

    /// The row of a span's parent. Two spans may have the parent's id, if client and server report one call under the
    /// same id. Then a server span's parent is the client span; every other span's parent is the server span. If both are of
    /// that kind none is: the order of rows is another one in each block.
    fn find_parent(&self, parent: SpanId, kind: u8, kinds: &[u8]) -> u32 {
        if parent.is_zero() {
            return NONE;
        }
        let first = self.by_id.partition_point(|&(id, _)| id < parent);
        let mut candidates = self.by_id[first..].iter().take_while(|&&(id, _)| id == parent);
        let Some(&(_, one)) = candidates.next() else { return NONE };
        let Some(&(_, two)) = candidates.next() else { return one };
        let wanted = if kind == KIND_SERVER { KIND_CLIENT } else { KIND_SERVER };
        match [one, two].map(|row| kinds[row as usize] == wanted) {
            [true, false] => one,
            [false, true] => two,
            _ => NONE,
        }
    }

    fn link_children(&mut self) {
        let count = self.parent_row.len();
        self.first_child.clear();
        self.first_child.resize(count, NONE);
        self.next_sibling.clear();
        self.next_sibling.resize(count, NONE);
        for row in (0..count).rev() {
            let parent = self.parent_row[row];
            if parent != NONE && parent as usize != row {
                self.next_sibling[row] = self.first_child[parent as usize];
                self.first_child[parent as usize] = row as u32;
            }
        }
    }

    /// Walks one tree depth first without recursion: traces are as deep as their senders make them.
    fn number_tree(&mut self, root: u32, counter: &mut i32) {
        self.enter(root, -1, counter);
        let mut row = root;
        loop {
            let child = self.first_child[row as usize];
            if child != NONE {
                self.enter(child, self.left[row as usize], counter);
                row = child;
                continue;
            }
            loop {
                self.right[row as usize] = *counter;
                *counter += 1;
                if row == root {
                    return;
                }
                let sibling = self.next_sibling[row as usize];
                let parent = self.parent_row[row as usize];
                if sibling != NONE {
                    self.enter(sibling, self.left[parent as usize], counter);
                    row = sibling;
                    break;
                }
                row = parent;
            }
        }
    }

    fn enter(&mut self, row: u32, parent_left: i32, counter: &mut i32) {
        self.left[row as usize] = *counter;
        self.parent[row as usize] = parent_left;
        *counter += 1;
    }
}

fn gather<T: Copy>(to: &mut Vec<T>, column: &[T], rows: &[u32]) {
    to.clear();
    to.extend(rows.iter().map(|&row| column[row as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spans: &[(u8, u8, u8)], expected: &[(i32, i32, i32)]) {
        let id = |byte: u8| SpanId([0, 0, 0, 0, 0, 0, 0, byte]);
        let ids: Vec<_> = spans.iter().map(|span| id(span.0)).collect();
        let parents: Vec<_> = spans.iter().map(|span| id(span.1)).collect();
        let kinds: Vec<_> = spans.iter().map(|span| span.2).collect();
        let mut set = NestedSet::default();
        set.compute(&ids, &parents, &kinds);
        let got: Vec<_> =
            (0..ids.len()).map(|i| (set.left[i], set.right[i], set.parent[i])).collect();
        assert_eq!(got, expected);
        // The same spans in columns that have others, too, and in another order.
        let rows: Vec<u32> =
            (0..ids.len() as u32).map(|row| 2 * (ids.len() as u32 - row)).collect();
        let spread = |row: usize| (row + 1) * 2;
        let (mut far_ids, mut far_parents, mut far_kinds) = (
            vec![id(0xee); spread(ids.len())],
            vec![id(0xee); spread(ids.len())],
            vec![9; spread(ids.len())],
        );
        for (place, &row) in rows.iter().enumerate() {
            far_ids[row as usize] = ids[place];
            far_parents[row as usize] = parents[place];
            far_kinds[row as usize] = kinds[place];
        }
        set.compute_rows(&rows, &far_ids, &far_parents, &far_kinds);
        let got: Vec<_> =
            (0..ids.len()).map(|i| (set.left[i], set.right[i], set.parent[i])).collect();
        assert_eq!(got, expected, "by rows");
    }

    #[test]
    fn shared_ids_hang_by_kind() {
        check(
            &[(0xb1, 0, 2), (0xb2, 0xb1, 3), (0xb2, 0xb1, 2), (0xb3, 0xb2, 1)],
            &[(1, 8, -1), (2, 3, 1), (4, 7, 1), (5, 6, 4)],
        );
    }

    #[test]
    fn none_of_two_spans_of_one_id_and_kind_is_a_parent() {
        let alone = (1, 2, -1);
        check(&[(1, 0, 2), (1, 7, 2), (3, 1, 1)], &[alone, (0, 0, 0), (0, 0, 0)]);
        check(&[(1, 7, 2), (1, 0, 2), (3, 1, 1)], &[(0, 0, 0), alone, (0, 0, 0)]);
    }

    #[test]
    fn second_root_continues_the_count() {
        check(&[(1, 0, 0), (2, 1, 0), (3, 0, 0)], &[(1, 4, -1), (2, 3, 1), (5, 6, -1)]);
    }

    #[test]
    fn unknown_positions_are_zero() {
        check(&[(2, 1, 0)], &[(0, 0, 0)]);
        check(&[(1, 0, 0), (1, 0, 1), (1, 0, 2)], &[(0, 0, 0); 3]);
        check(&[(1, 0, 0), (5, 4, 0), (6, 5, 0)], &[(1, 2, -1), (0, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn cycles_and_own_parents_are_left_out() {
        check(
            &[(1, 0, 0), (2, 3, 0), (3, 2, 0), (4, 4, 0)],
            &[(1, 2, -1), (0, 0, 0), (0, 0, 0), (0, 0, 0)],
        );
    }

    #[test]
    fn deep_chains_do_not_recurse() {
        let count = 300_000u64;
        let ids: Vec<_> = (1..=count).map(|i| SpanId(i.to_be_bytes())).collect();
        let parents: Vec<_> = (0..count).map(|i| SpanId(i.to_be_bytes())).collect();
        let mut set = NestedSet::default();
        set.compute(&ids, &parents, &vec![0; count as usize]);
        assert_eq!((set.left[0], set.right[0]), (1, 2 * count as i32));
    }
}
