//! Structural operators, evaluated with nested-set numbers.
//!
//! The intervals of a tree are nested. So to find out whether some left span encloses a span, it is enough to look at
//! the largest right number among the left spans that start before it. Sorting once for each spanset replaces comparing
//! all pairs.

use tactus_model::Projection;
use tactus_work::tick;

use super::bitmap::Bitmap;
use super::nested::NestedColumns;
use super::plan::units;
use super::view::{BatchView, RowGroups};
use crate::{Relation, RelationMode};

/// Up to this many pairs of spans in a group are compared one by one.
const FEW_PAIRS: usize = 256;

/// Adds the columns that show whether spans are in a relation to a projection.
pub(crate) fn project(relation: Relation, columns: &mut Projection) {
    let is_enclosing = matches!(relation, Relation::Descendant | Relation::Ancestor);
    columns.nested_left |= relation != Relation::Sibling;
    columns.nested_right |= is_enclosing;
    columns.nested_parent |= !is_enclosing;
}

/// The spans that `left relation right` returns. Rows are related only within one group.
pub(crate) fn related_spans(
    relation: Relation,
    mode: RelationMode,
    [left, right]: [&Bitmap; 2],
    group_of: &[u32],
    groups: usize,
    view: &BatchView<'_>,
) -> Bitmap {
    let mut result = Bitmap::none(view.spans());
    let nothing = match mode {
        RelationMode::Negated => right.is_empty(),
        RelationMode::Plain | RelationMode::Union => left.is_empty() || right.is_empty(),
    };
    if nothing || tick(units(view)) {
        return result;
    }
    let nested = view.nested();
    let mut relate = |left_rows: &[u32], right_rows: &[u32]| {
        if tick(1 + (left_rows.len() + right_rows.len()) as u32 * 8) {
            return;
        }
        let wanted = mode != RelationMode::Negated;
        for_each_related(relation, left_rows, right_rows, nested, |row, related| {
            if related == wanted {
                result.insert(row as usize);
            }
        });
        if mode == RelationMode::Union {
            let relation = inverse(relation);
            for_each_related(relation, right_rows, left_rows, nested, |row, related| {
                if related {
                    result.insert(row as usize);
                }
            });
        }
    };
    let rows = |bits: &Bitmap| -> Vec<u32> { bits.rows().map(|row| row as u32).collect() };
    let (left_rows, right_rows) = (rows(left), rows(right));
    let group = |row: &u32| group_of[*row as usize];
    if left_rows.is_sorted_by_key(group) && right_rows.is_sorted_by_key(group) {
        let mut sources = left_rows.as_slice();
        for rows in right_rows.chunk_by(|one, other| group(one) == group(other)) {
            let own = group(&rows[0]);
            let before = sources.iter().take_while(|row| group(row) < own).count();
            sources = &sources[before..];
            let count = sources.iter().take_while(|row| group(row) == own).count();
            relate(&sources[..count], rows);
            sources = &sources[count..];
        }
        return result;
    }
    let by_group = |rows: &[u32]| {
        let entries: Vec<_> = rows.iter().map(|row| (group(row), *row)).collect();
        RowGroups::new(groups, entries.iter().copied())
    };
    let (left_rows, right_rows) = (by_group(&left_rows), by_group(&right_rows));
    for group in 0..groups {
        relate(left_rows.rows(group), right_rows.rows(group));
    }
    result
}

/// Calls back for each row with whether it is in `relation` to one of the sources, which are all of one group.
fn for_each_related(
    relation: Relation,
    sources: &[u32],
    rows: &[u32],
    nested: NestedColumns<'_>,
    mut visit: impl FnMut(u32, bool),
) {
    if sources.len() * rows.len() <= FEW_PAIRS {
        for &row in rows {
            let related = |&source: &u32| is_related(relation, source, row, nested);
            visit(row, sources.iter().any(related));
        }
        return;
    }
    let index = SourceIndex::new(relation, sources, nested);
    rows.iter().for_each(|&row| visit(row, index.relates(row, sources, nested)));
}

/// True if a row is in `relation` to another row, the source.
#[inline]
fn is_related(relation: Relation, source: u32, row: u32, nested: NestedColumns<'_>) -> bool {
    let place = |row: u32| (nested.left(row), nested.right(row), nested.parent(row));
    let ((left, right, parent), (source_left, source_right, source_parent)) =
        (place(row), place(source));
    match relation {
        Relation::Child => parent > 0 && source_left == parent,
        Relation::Parent => left > 0 && source_parent == left,
        Relation::Descendant => source_left > 0 && source_left < left && source_right > right,
        Relation::Ancestor => left > 0 && source_left > left && source_right < right,
        Relation::Sibling => {
            let has_parent = parent > 0 || parent == -1;
            source != row && has_parent && source_parent == parent
        }
    }
}

/// The relation of left to right, if right is in `relation` to left.
fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// The spans of one side, prepared for the question whether a span is in the relation to one of them.
struct SourceIndex {
    relation: Relation,
    /// Sorted numbers: left numbers for `Child`, `Descendant` and `Ancestor`; parent numbers for `Parent` and
    /// `Sibling`.
    numbers: Vec<i32>,
    /// `Descendant`: the largest right number up to here. `Ancestor`: the smallest from here on.
    bounds: Vec<i32>,
}

impl SourceIndex {
    fn new(relation: Relation, rows: &[u32], nested: NestedColumns<'_>) -> Self {
        let number = |&row: &u32| match relation {
            Relation::Parent | Relation::Sibling => nested.parent(row),
            _ => nested.left(row),
        };
        let mut sorted: Vec<(i32, i32)> = rows
            .iter()
            .map(|row| (number(row), nested.right(*row)))
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

    /// True if a span is in the relation to some source. `sources` are the rows of the sources, ascending.
    fn relates(&self, row: u32, sources: &[u32], nested: NestedColumns<'_>) -> bool {
        let is_source = || sources.binary_search(&row).is_ok();
        let (left, right, parent) = (nested.left(row), nested.right(row), nested.parent(row));
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
                let others = 1 + usize::from(is_source());
                parent != 0 && siblings.take(2).count() >= others
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_model::SpanId;
    use tactus_model::nested_set::NestedSet;

    proptest! {
        #[test]
        fn index_agrees_with_pairs(
            parents in proptest::collection::vec(0u64..40, 1..40),
            sides in proptest::collection::vec((any::<bool>(), any::<bool>()), 40),
        ) {
            let id = |id: u64| SpanId(id.to_be_bytes());
            let ids: Vec<SpanId> = (1..=parents.len() as u64).map(id).collect();
            let parents: Vec<SpanId> = parents.iter().map(|&parent| id(parent)).collect();
            let mut set = NestedSet::default();
            set.compute(&ids, &parents, &vec![0; ids.len()]);
            let nested = NestedColumns { left: &set.left, right: &set.right, parent: &set.parent };
            let rows = || 0..ids.len() as u32;
            let sources: Vec<u32> = rows().filter(|&row| sides[row as usize].0).collect();
            for relation in [
                Relation::Child,
                Relation::Parent,
                Relation::Descendant,
                Relation::Ancestor,
                Relation::Sibling,
            ] {
                let index = SourceIndex::new(relation, &sources, nested);
                for row in rows().filter(|&row| sides[row as usize].1) {
                    let expected =
                        sources.iter().any(|&source| is_related(relation, source, row, nested));
                    prop_assert_eq!(index.relates(row, &sources, nested), expected);
                }
            }
        }
    }
}
