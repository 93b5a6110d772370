//! Structural operators, by nested-set numbers.
//!
//! Intervals of one tree nest, so "some left span encloses this one" is one look at the greatest right number
//! among those that start before it: sorting once per spanset replaces comparing all pairs.

use super::bitmap::Bitmap;
use super::view::{BatchView, NestedColumns, RowGroups};
use crate::{Relation, RelationMode};

/// The spans that `left relation right` returns. Rows relate only within one group.
pub(crate) fn related_spans(
    relation: Relation,
    mode: RelationMode,
    left: &Bitmap,
    right: &Bitmap,
    group_of: &[u32],
    groups: usize,
    view: &BatchView<'_>,
) -> Bitmap {
    let by_group = |bits: &Bitmap| {
        let rows: Vec<_> = bits.rows().map(|row| (group_of[row], row as u32)).collect();
        RowGroups::new(groups, rows.iter().copied())
    };
    let (left_rows, right_rows) = (by_group(left), by_group(right));
    let nested = view.nested();
    let mut result = Bitmap::none(view.spans());
    for group in 0..groups {
        let (left_rows, right_rows) = (left_rows.rows(group), right_rows.rows(group));
        if right_rows.is_empty() {
            continue;
        }
        let index = SourceIndex::new(relation, left_rows, nested);
        for &row in right_rows {
            if index.relates(row, left, nested) != (mode == RelationMode::Negated) {
                result.insert(row as usize);
            }
        }
        if mode == RelationMode::Union {
            let index = SourceIndex::new(inverse(relation), right_rows, nested);
            for &row in left_rows {
                if index.relates(row, right, nested) {
                    result.insert(row as usize);
                }
            }
        }
    }
    result
}

/// What left is to right if right is `relation` to left.
fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// The spans of one side, prepared to be asked whether a span stands in the relation to one of them.
struct SourceIndex {
    relation: Relation,
    /// Sorted numbers: left for `Child`, `Descendant` and `Ancestor`; parent for `Parent` and `Sibling`.
    numbers: Vec<i32>,
    /// `Descendant`: the greatest right number up to here. `Ancestor`: the least from here on.
    bounds: Vec<i32>,
}

impl SourceIndex {
    fn new(relation: Relation, rows: &[u32], nested: NestedColumns<'_>) -> Self {
        let number = |&row: &u32| match relation {
            Relation::Parent | Relation::Sibling => nested.parent[row as usize],
            _ => nested.left[row as usize],
        };
        let mut sorted: Vec<(i32, i32)> = rows
            .iter()
            .map(|row| (number(row), nested.right[*row as usize]))
            .filter(|&(number, _)| number > 0 || (relation == Relation::Sibling && number == -1))
            .collect();
        sorted.sort_unstable();
        let numbers = sorted.iter().map(|pair| pair.0).collect();
        let mut bounds: Vec<i32> = Vec::new();
        match relation {
            Relation::Descendant => {
                bounds.extend(sorted.iter().scan(0, |greatest, pair| {
                    *greatest = pair.1.max(*greatest);
                    Some(*greatest)
                }));
            }
            Relation::Ancestor => {
                bounds.extend(sorted.iter().rev().scan(i32::MAX, |least, pair| {
                    *least = pair.1.min(*least);
                    Some(*least)
                }));
                bounds.reverse();
            }
            _ => {}
        }
        Self { relation, numbers, bounds }
    }

    /// Whether a span is the relation to some source; `sources` holds the source rows.
    fn relates(&self, row: u32, sources: &Bitmap, nested: NestedColumns<'_>) -> bool {
        let row = row as usize;
        let (left, right, parent) = (nested.left[row], nested.right[row], nested.parent[row]);
        match self.relation {
            Relation::Child => parent > 0 && self.numbers.binary_search(&parent).is_ok(),
            Relation::Parent => left > 0 && self.numbers.binary_search(&left).is_ok(),
            Relation::Descendant => {
                let before = self.numbers.partition_point(|&number| number < left);
                left > 0 && before > 0 && self.bounds[before - 1] > right
            }
            Relation::Ancestor => {
                let after = self.numbers.partition_point(|&number| number <= left);
                left > 0 && self.bounds.get(after).is_some_and(|&least| least < right)
            }
            Relation::Sibling => {
                let first = self.numbers.partition_point(|&number| number < parent);
                let siblings = self.numbers[first..].iter().take_while(|&&number| number == parent);
                let others = 1 + usize::from(sources.contains(row));
                parent != 0 && siblings.take(2).count() >= others
            }
        }
    }
}
