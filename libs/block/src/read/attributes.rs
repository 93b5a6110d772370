//! Attribute lists: the wanted keys, their values, and the attributes with columns of their own.

use tactus_model::{AttributeList, AttributeSelection};

use crate::Result;

use super::columns::{FixedColumn, Leaf, ListColumns};
use super::task::Task;

mod arrays;
mod assemble;
mod fixed;
mod keys;
mod messages;
mod values;
mod walk;

pub(crate) use fixed::{DistinctStrings, read_distinct};
pub(crate) use keys::{KeyScan, scan_keys};
#[cfg(test)]
pub(crate) use messages::from_either;
pub(crate) use messages::from_message;

/// Type of an attribute for which no column has had a value yet.
const NOTHING: u8 = u8::MAX;

/// Types and payloads of some attributes, as in [`AttributeList`].
#[derive(Debug, Default)]
struct Values {
    types: Vec<u8>,
    payloads: Vec<u64>,
}

/// The key column, if any generic attribute is wanted.
pub(crate) fn key_leaf(columns: &ListColumns, selection: &AttributeSelection) -> Option<Leaf> {
    columns.generic.as_ref().filter(|_| !selection.is_none()).map(|generic| generic.key)
}

/// The wanted attributes that have a column of their own.
pub(crate) fn fixed_columns<'c>(
    columns: &'c ListColumns,
    selection: &'c AttributeSelection,
) -> impl Iterator<Item = &'c FixedColumn> {
    columns.fixed.iter().filter(|column| selection.wants(&column.key))
}

/// The columns with the values of generic attributes.
pub(crate) fn value_leaves(columns: &ListColumns) -> Vec<Leaf> {
    let Some(generic) = &columns.generic else { return Vec::new() };
    let leaves = [
        generic.is_array,
        generic.string,
        generic.int,
        generic.double,
        generic.bool,
        generic.unsupported,
        generic.key_values,
        generic.array,
        generic.message,
    ];
    leaves.into_iter().flatten().collect()
}

/// True if values of generic attributes are wanted whatever keys there are. Of keys that have a column, values of other
/// types are fetched when they are found.
pub(crate) fn wants_values(columns: &ListColumns, selection: &AttributeSelection) -> bool {
    match selection {
        AttributeSelection::None | AttributeSelection::Keys(_) => false,
        AttributeSelection::Names(valued) => {
            let has_column = |key: &Vec<u8>| columns.fixed.iter().any(|fixed| fixed.key == *key);
            !valued.iter().all(has_column)
        }
        AttributeSelection::All => true,
    }
}

/// Reads the attributes of all owners of a kind, in the order generic, dedicated, static.
///
/// `keys` is the result of [`scan_keys`]. The columns above must have been fetched; those of values only if it found
/// any wanted key.
pub(crate) fn read_list(
    task: &mut Task<'_>,
    columns: &ListColumns,
    selection: &AttributeSelection,
    keys: KeyScan,
    owners: usize,
) -> Result<AttributeList> {
    let generic = match (&columns.generic, selection) {
        (Some(leaves), AttributeSelection::Names(valued)) if !keys.is_empty() => {
            let codes = valued.iter().map(|key| task.intern(leaves.key, key));
            let picked = keys.picked(&codes.collect::<Result<Vec<_>>>()?);
            let mut generic = assemble::Generic::without_values(keys);
            if !picked.is_empty() {
                // An attribute that has a column of its own may be here with another type.
                let of_values = value_leaves(columns).into_iter();
                let of_values: Vec<_> = of_values.filter(|leaf| !task.is_all_null(*leaf)).collect();
                task.fetch(&of_values)?;
                let values = values::read_values(task, leaves, columns.level, &picked)?;
                generic.fill_in(&picked, &values);
            }
            generic
        }
        (Some(leaves), _) if !keys.is_empty() => {
            let values = values::read_values(task, leaves, columns.level, &keys)?;
            assemble::settle_valueless(task, keys, values)?
        }
        _ => assemble::Generic::empty(owners),
    };
    let mut fixed = Vec::new();
    for column in fixed_columns(columns, selection) {
        let column = fixed::read_fixed(task, column, columns.level, owners)?;
        if !column.owners.is_empty() {
            fixed.push(column);
        }
    }
    Ok(assemble::assemble(generic, fixed))
}
