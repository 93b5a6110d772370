//! The seven leaf columns of an attribute list.

use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{
    AttributeList, StringCode, ValueType,
    any_value::{self, DecodedValue},
};

use super::json::put_any_value;
use super::leaves::{ARRAY, LeafWriter, ListLevels, Shape};
use super::levels::Levels;
use super::strings::Strings;
use crate::error::Result;
use crate::schema::leaf::AttributeLeaves;

/// The value in [`AttributeScratch::types`] for an owner without attributes. It is not a [`ValueType`].
const NO_ATTRIBUTE: u8 = u8::MAX;

/// Memory that is reused for one attribute list after the other.
#[derive(Debug, Default)]
pub(super) struct AttributeScratch {
    levels: Levels,
    /// For each attribute in file order, its entry in the batch's list. Has gaps while values are written.
    sources: Vec<u32>,
    /// [`ValueType`] of each entry.
    types: Vec<u8>,
    flags: Vec<u8>,
    lists: ListLevels,
    codes: Vec<StringCode>,
    integers: Vec<i64>,
    doubles: Vec<f64>,
    booleans: Vec<u8>,
    counts: Vec<u32>,
}

impl AttributeScratch {
    /// Clears the attributes. Then call [`Self::add_owner`] for each owner, in file order.
    pub(super) fn clear(&mut self) {
        self.sources.clear();
        self.counts.clear();
    }

    /// Adds the attributes of the next owner: the `entries` of the list for which `keep` returns true.
    #[inline]
    pub(super) fn add_owner(&mut self, entries: Range<usize>, mut keep: impl FnMut(usize) -> bool) {
        let before = self.sources.len();
        for entry in entries {
            if keep(entry) {
                self.sources.push(entry as u32);
            }
        }
        self.counts.push((self.sources.len() - before) as u32);
    }

    /// Writes the attributes of all owners, which are the elements of `owners`.
    pub(super) fn write(
        &mut self,
        writer: &mut LeafWriter<'_>,
        leaves: AttributeLeaves,
        owners: &Levels,
        list: &AttributeList,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        self.levels.set_children(owners, self.counts.iter().map(|&count| count as usize));
        let types = list.types.as_slice();
        self.types.clear();
        self.types.extend(self.sources.iter().map(|&source| types[source as usize]));
        self.levels.align(&mut self.types, NO_ATTRIBUTE);
        let mut found: Found = [false; 256];
        for &value_type in &self.types {
            found[usize::from(value_type)] = true;
        }

        let keys = list.keys.as_slice();
        let key_codes = self.sources.iter().map(|&source| keys[source as usize]);
        writer.strings(leaves.key, &mut self.levels, Shape::Required, key_codes, strings)?;
        self.levels.align(&mut self.sources, u32::MAX);
        let listed = Listed { list, found };
        self.write_is_array(writer, leaves, &listed.found)?;
        self.write_strings(writer, leaves, &listed, strings)?;
        self.write_numbers(writer, leaves, &listed, strings)?;
        self.write_unsupported(writer, leaves, &listed, strings)
    }

    fn write_is_array(
        &mut self,
        writer: &mut LeafWriter<'_>,
        leaves: AttributeLeaves,
        found: &Found,
    ) -> Result<()> {
        let arrays = ValueType::StringArray as usize..=ValueType::EmptyArray as usize;
        if !found[arrays.clone()].contains(&true) {
            return writer.all_false(leaves.is_array, &mut self.levels);
        }
        self.flags.clear();
        let attributes = self.types.iter().filter(|&&value_type| value_type != NO_ATTRIBUTE);
        self.flags.extend(
            attributes.map(|&value_type| u8::from(arrays.contains(&usize::from(value_type)))),
        );
        writer.booleans(leaves.is_array, &mut self.levels, Shape::Required, &self.flags)
    }

    fn write_strings(
        &mut self,
        writer: &mut LeafWriter<'_>,
        leaves: AttributeLeaves,
        listed: &Listed<'_>,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        // The same array is often used many times, because resources repeat in every trace.
        let mut known: HashMap<u64, Vec<StringCode>, RandomState> = HashMap::default();
        let mut codes = std::mem::take(&mut self.codes);
        codes.clear();
        let kind = self.locate(listed, ValueType::String, ValueType::StringArray, |value| {
            let array = match value {
                Located::Single(payload) => {
                    codes.push(payload as StringCode);
                    return 1;
                }
                Located::Array(payload) => payload,
            };
            let elements = known.entry(array).or_insert_with(|| {
                let message = strings.get(array as StringCode).to_vec();
                let texts = elements(&message).filter_map(|element| match element {
                    DecodedValue::String(text) => Some(strings.intern(text)),
                    _ => None,
                });
                texts.collect()
            });
            codes.extend_from_slice(elements);
            elements.len()
        });
        self.codes = codes;
        let shape = kind.shape(&self.flags, &self.lists);
        writer.strings(leaves.value, &mut self.levels, shape, self.codes.iter().copied(), strings)
    }

    /// Collects the values of one type in `values`, and records where they are.
    fn collect<T>(
        &mut self,
        listed: &Listed<'_>,
        strings: &Strings<'_>,
        (single, array): (ValueType, ValueType),
        values: &mut Vec<T>,
        from_payload: impl Fn(u64) -> T,
        from_element: impl Fn(DecodedValue<'_>) -> Option<T>,
    ) -> Kind {
        values.clear();
        self.locate(listed, single, array, |value| {
            let before = values.len();
            match value {
                Located::Single(payload) => values.push(from_payload(payload)),
                Located::Array(code) => {
                    let message = strings.get(code as StringCode);
                    values.extend(elements(message).filter_map(&from_element));
                }
            }
            values.len() - before
        })
    }

    /// Calls `on_value` with all values of one type, in order, and records in `flags` or `lists` where they are.
    /// `on_value` returns how many values it took out of an array.
    fn locate(
        &mut self,
        listed: &Listed<'_>,
        single: ValueType,
        array: ValueType,
        mut on_value: impl FnMut(Located) -> usize,
    ) -> Kind {
        let (sources, payloads) = (self.sources.as_slice(), listed.list.payloads.as_slice());
        let payload = |entry: usize| payloads[sources[entry] as usize];
        let found = &listed.found;
        if !found[single as usize] && !found[array as usize] {
            return Kind::Null;
        }
        self.flags.clear();
        self.flags.extend(self.types.iter().map(|&value_type| {
            u8::from(value_type == single as u8) | if value_type == array as u8 { ARRAY } else { 0 }
        }));
        if found[array as usize] {
            self.lists.set(&self.levels, &self.flags, |entry, is_array| {
                let payload = payload(entry);
                on_value(if is_array { Located::Array(payload) } else { Located::Single(payload) })
            });
            return Kind::Lists;
        }
        for (entry, &flag) in self.flags.iter().enumerate() {
            if flag != 0 {
                on_value(Located::Single(payload(entry)));
            }
        }
        Kind::Optional
    }

    fn write_numbers(
        &mut self,
        writer: &mut LeafWriter<'_>,
        leaves: AttributeLeaves,
        listed: &Listed<'_>,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let mut integers = std::mem::take(&mut self.integers);
        let types = (ValueType::Int, ValueType::IntArray);
        let kind = self.collect(
            listed,
            strings,
            types,
            &mut integers,
            |payload| payload as i64,
            |element| if let DecodedValue::Int(value) = element { Some(value) } else { None },
        );
        let shape = kind.shape(&self.flags, &self.lists);
        writer.integers(leaves.value_int, &mut self.levels, shape, &integers)?;
        self.integers = integers;

        let mut doubles = std::mem::take(&mut self.doubles);
        let types = (ValueType::Double, ValueType::DoubleArray);
        let kind = self.collect(listed, strings, types, &mut doubles, f64::from_bits, |element| {
            if let DecodedValue::Double(value) = element { Some(value) } else { None }
        });
        let shape = kind.shape(&self.flags, &self.lists);
        writer.doubles(leaves.value_double, &mut self.levels, shape, &doubles)?;
        self.doubles = doubles;

        let mut booleans = std::mem::take(&mut self.booleans);
        let types = (ValueType::Bool, ValueType::BoolArray);
        let kind = self.collect(
            listed,
            strings,
            types,
            &mut booleans,
            |payload| u8::from(payload != 0),
            |element| {
                if let DecodedValue::Bool(value) = element { Some(u8::from(value)) } else { None }
            },
        );
        let shape = kind.shape(&self.flags, &self.lists);
        writer.booleans(leaves.value_bool, &mut self.levels, shape, &booleans)?;
        self.booleans = booleans;
        Ok(())
    }

    fn write_unsupported(
        &mut self,
        writer: &mut LeafWriter<'_>,
        leaves: AttributeLeaves,
        listed: &Listed<'_>,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let (unset, other) = (ValueType::Unset as u8, ValueType::Other as u8);
        let found = &listed.found;
        if !found[usize::from(unset)] && !found[usize::from(other)] {
            return writer.null(leaves.value_unsupported, &mut self.levels);
        }
        let (mut json, mut ends) = (Vec::new(), Vec::new());
        self.flags.clear();
        for (&source, &value_type) in self.sources.iter().zip(&self.types) {
            let is_unsupported = value_type == unset || value_type == other;
            self.flags.push(u8::from(is_unsupported));
            if is_unsupported {
                let code = listed.list.payloads[source as usize] as StringCode;
                put_any_value(&mut json, if value_type == other { strings.get(code) } else { b"" });
                ends.push(json.len());
            }
        }
        let shape = Shape::Optional(&self.flags);
        writer.bytes(leaves.value_unsupported, &mut self.levels, shape, |value| {
            let start = if value == 0 { 0 } else { ends[value - 1] };
            &json[start..ends[value]]
        })
    }
}

/// For each [`ValueType`], true if there is an attribute of that type.
type Found = [bool; 256];

/// A list of the batch, and the types of those of its attributes that are written.
struct Listed<'a> {
    list: &'a AttributeList,
    found: Found,
}

/// A value of the type asked for, or an array of it; with its payload.
enum Located {
    Single(u64),
    Array(u64),
}

/// Which elements of a leaf column have values, without the levels themselves.
#[derive(Clone, Copy)]
enum Kind {
    Null,
    Optional,
    Lists,
}

impl Kind {
    fn shape<'a>(self, flags: &'a [u8], lists: &'a ListLevels) -> Shape<'a> {
        match self {
            Self::Null => Shape::Null,
            Self::Optional => Shape::Optional(flags),
            Self::Lists => Shape::Lists(lists),
        }
    }
}

/// The elements of an encoded array; none for a message that is not an array.
pub(super) fn elements(message: &[u8]) -> impl Iterator<Item = DecodedValue<'_>> {
    let array = match any_value::decode(message) {
        Ok(DecodedValue::Array(array)) => array,
        _ => b"",
    };
    any_value::array_elements(array).flatten()
}
