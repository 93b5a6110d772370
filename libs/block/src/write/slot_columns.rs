//! Writes the columns of single attributes.

use tactus_model::{StringCode, any_value::DecodedValue};
use tactus_storage::meta::ColumnType;

use super::attributes::elements;
use super::leaves::{ARRAY, LeafWriter, ListLevels, Shape};
use super::levels::Levels;
use super::slots::SlotValue;
use super::strings::Strings;
use crate::error::Result;
use crate::schema::AttributeColumn;

/// The value of one owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Its owner, by number in the file order.
    pub(super) owner: u32,
    pub(super) value: SlotValue,
}

/// Memory that one column after another uses.
#[derive(Debug, Default)]
pub(super) struct SlotScratch {
    flags: Vec<u8>,
    lists: ListLevels,
    codes: Vec<StringCode>,
    integers: Vec<i64>,
    /// Values of each slot.
    pub(super) found: Vec<Vec<Found>>,
}

impl SlotScratch {
    /// Forgets what was found; there are `slots` slots.
    pub(super) fn clear(&mut self, slots: usize) {
        self.found.iter_mut().for_each(Vec::clear);
        self.found.resize_with(self.found.len().max(slots), Vec::new);
    }

    /// Writes the column of a slot. Its values are in `found`, in order of their owners, which are the elements of
    /// `owners`. An owner has at most one value.
    pub(super) fn write(
        &mut self,
        writer: &mut LeafWriter<'_>,
        column: &AttributeColumn,
        slot: usize,
        owners: &mut Levels,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        let Self { flags, lists, codes, integers, found } = self;
        let found = &found[slot];
        if found.is_empty() {
            return writer.null(column.leaf, owners);
        }
        let mut values = found.iter().map(|found| found.value);
        let mut has_arrays = false;
        flags.clear();
        flags.resize(owners.element_count(), 0);
        for one in found {
            has_arrays |= one.value.is_array;
            flags[one.owner as usize] = if one.value.is_array { ARRAY } else { 1 };
        }
        owners.align(flags, 0);
        codes.clear();
        integers.clear();
        let mut put = |value: SlotValue| match column.column_type {
            ColumnType::String => put_strings(value, strings, codes),
            ColumnType::Int => put_integers(value, strings, integers),
        };
        let shape = if has_arrays {
            lists.set(owners, flags, |_, _| values.next().map_or(0, &mut put));
            Shape::Lists(lists)
        } else {
            values.for_each(|value| {
                put(value);
            });
            Shape::Optional(flags)
        };
        match column.column_type {
            ColumnType::Int => writer.integers(column.leaf, owners, shape, integers),
            ColumnType::String if column.is_blob => {
                writer.bytes(column.leaf, owners, shape, |value| strings.get(codes[value]))
            }
            ColumnType::String => {
                writer.strings(column.leaf, owners, shape, codes.iter().copied(), strings)
            }
        }
    }
}

/// Appends a text, or the texts of an array. Returns how many.
#[inline]
fn put_strings(value: SlotValue, strings: &mut Strings<'_>, codes: &mut Vec<StringCode>) -> usize {
    if !value.is_array {
        codes.push(value.payload as StringCode);
        return 1;
    }
    let before = codes.len();
    let message = strings.get(value.payload as StringCode).to_vec();
    for element in elements(&message) {
        if let DecodedValue::String(text) = element {
            codes.push(strings.intern(text));
        }
    }
    codes.len() - before
}

/// Appends a number, or the numbers of an array. Returns how many.
#[inline]
fn put_integers(value: SlotValue, strings: &Strings<'_>, integers: &mut Vec<i64>) -> usize {
    if !value.is_array {
        integers.push(value.payload as i64);
        return 1;
    }
    let before = integers.len();
    for element in elements(strings.get(value.payload as StringCode)) {
        if let DecodedValue::Int(number) = element {
            integers.push(number);
        }
    }
    integers.len() - before
}
