//! Attribute lists: the keys that are wanted, then their values, then the columns of their own.

use tactus_model::any_value::{AnyValueRef, DecodedValue, decode, encode_array};
use tactus_model::{AttributeList, AttributeSelection, ValueType};
use tactus_storage::meta::{BlockVersion, ColumnType};

use crate::Result;
use crate::decoding::DecodeResult;
use crate::decoding::hybrid::Levels;

use super::chunk::{Needs, PageLevels};
use super::columns::{AttributeColumns, FixedColumn, Leaf, ListColumns};
use super::json_value;
use super::spine::add_starts;
use super::strings::StringPool;
use super::task::Task;
use super::values::{Flags, Strings, Words};

mod assemble;
mod keys;

pub(crate) use keys::KeyScan;

/// Type of an attribute for which no column has had a value yet.
const NOTHING: u8 = u8::MAX;

/// The values of some attributes, in the order of their appearance.
#[derive(Debug, Default)]
struct Values {
    types: Vec<u8>,
    payloads: Vec<u64>,
}

/// Arrays of one column: element payloads, and where each array starts.
#[derive(Debug, Default)]
struct Arrays {
    /// Target and first element.
    starts: Vec<(usize, usize)>,
    elements: Vec<u64>,
    /// The target of which elements are still coming.
    open: Option<usize>,
}

/// Attributes with a column of their own: owner and value.
#[derive(Debug, Default)]
struct FixedValues {
    key: u32,
    owners: Vec<u32>,
    values: Values,
}

/// Leaves that [`KeyScan::read`] reads.
pub(crate) fn key_leaves(columns: &ListColumns, selection: &AttributeSelection) -> Vec<Leaf> {
    match (&columns.generic, selection) {
        (_, AttributeSelection::None) | (None, _) => Vec::new(),
        (Some(generic), _) => vec![generic.key],
    }
}

/// Leaves of the columns of their own that [`read_list`] reads.
pub(crate) fn fixed_leaves(columns: &ListColumns, selection: &AttributeSelection) -> Vec<Leaf> {
    wanted_columns(columns, selection).map(|column| column.leaf).collect()
}

/// Leaves of the generic values.
pub(crate) fn value_leaves(columns: &ListColumns) -> Vec<Leaf> {
    let Some(generic) = &columns.generic else { return Vec::new() };
    let leaves = [
        generic.is_array,
        generic.string,
        generic.int,
        generic.double,
        generic.bool,
        generic.unsupported,
    ];
    leaves.into_iter().flatten().collect()
}

fn wanted_columns<'c>(
    columns: &'c ListColumns,
    selection: &'c AttributeSelection,
) -> impl Iterator<Item = &'c FixedColumn> {
    columns.fixed.iter().filter(|column| selection.wants(&column.key))
}

/// Reads the attributes of all owners of a kind.
///
/// `keys` is what the key column gave; all leaves must have been fetched. Order of an owner's
/// attributes: generic, dedicated, static.
pub(crate) fn read_list(
    task: &mut Task<'_>,
    columns: &ListColumns,
    selection: &AttributeSelection,
    keys: KeyScan,
    owners: usize,
) -> Result<AttributeList> {
    let mut generic = assemble::Generic::new(keys.starts, keys.keys);
    if let Some(leaves) = &columns.generic
        && !generic.keys.is_empty()
    {
        generic.values =
            read_values(task, leaves, columns.level, &keys.ordinals, generic.keys.len(), keys.entries)?;
        let drops_valueless = task.version() == BlockVersion::VParquet5;
        generic.settle_valueless(drops_valueless);
    }
    let mut fixed = Vec::new();
    for column in wanted_columns(columns, selection) {
        let values = read_fixed(task, column, columns.level, owners)?;
        if !values.owners.is_empty() {
            fixed.push(values);
        }
    }
    Ok(assemble::assemble(generic, fixed, owners))
}

/// Reads the typed value columns for the attributes with these numbers (`None`: all).
fn read_values(
    task: &mut Task<'_>,
    leaves: &AttributeColumns,
    level: u8,
    ordinals: &Option<Vec<u32>>,
    count: usize,
    entries: usize,
) -> Result<Values> {
    let mut values = Values { types: vec![NOTHING; count], payloads: vec![0; count] };
    let flags = read_array_flags(task, leaves.is_array, ordinals, count)?;
    let mut walk = |task: &mut Task<'_>, leaf: Option<Leaf>, scalar, array| -> Result<()> {
        let Some(leaf) = leaf.filter(|leaf| !task.is_all_null(*leaf)) else { return Ok(()) };
        let mut filler = Filler {
            scalar,
            array,
            flags: &flags,
            values: &mut values,
            arrays: Arrays::default(),
            last_scalar: None,
        };
        // As many entries as the key column means that no attribute has two values.
        let needs = Needs { rep: task.entries(leaf) != entries, def: true };
        let mut walker = Walker::new(level + 1, leaf, ordinals.as_deref());
        match scalar {
            ValueType::String => {
                let mut decoder = Strings::default();
                task.pages(leaf, needs, &mut decoder, |page, strings: &mut Strings, pool| {
                    walker.page(page, |target, continues, value| {
                        let local = strings.local[value];
                        filler.put(target, continues, || {
                            strings.resolve(local, pool).map(u64::from)
                        })
                    })
                })?;
            }
            ValueType::Bool => {
                let mut decoder = Flags::default();
                task.pages(leaf, needs, &mut decoder, |page, flags: &mut Flags, _| {
                    walker.page(page, |target, continues, value| {
                        filler.put(target, continues, || Ok(u64::from(flags.values[value])))
                    })
                })?;
            }
            _ => {
                let mut decoder = Words::default();
                task.pages(leaf, needs, &mut decoder, |page, words: &mut Words, _| {
                    walker.page(page, |target, continues, value| {
                        filler.put(target, continues, || Ok(words.values[value]))
                    })
                })?;
            }
        }
        let arrays = filler.arrays;
        arrays.settle(scalar, &mut values.payloads, task.pool(), leaf, task)
    };
    walk(task, leaves.string, ValueType::String, ValueType::StringArray)?;
    walk(task, leaves.int, ValueType::Int, ValueType::IntArray)?;
    walk(task, leaves.double, ValueType::Double, ValueType::DoubleArray)?;
    walk(task, leaves.bool, ValueType::Bool, ValueType::BoolArray)?;
    read_unsupported(task, leaves.unsupported, level, ordinals, &flags, &mut values)?;
    Ok(values)
}
