//! The seven leaf columns of an attribute list.

use std::io::Write;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{
    AttributeList, StringCode, ValueType,
    any_value::{self, DecodedValue},
};

use super::json::put_any_value;
use super::leaves::{LeafWriter, ListLevels, Shape};
use super::levels::Levels;
use super::strings::Strings;
use crate::error::Result;
use crate::schema::AttributeLeaves;

/// Memory that one attribute list after another uses.
#[derive(Debug, Default)]
pub(super) struct AttributeScratch {
    levels: Levels,
    /// Entry of the batch's list of each attribute, in file order.
    sources: Vec<u32>,
    /// [`ValueType`] of each attribute.
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
    /// Forgets the attributes; then [`Self::add_owner`] for each owner, in file order.
    pub(super) fn clear(&mut self) {
        self.sources.clear();
        self.counts.clear();
    }

    /// Adds the attributes of the next owner: those `entries` of the list that `keep` wants.
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
    pub(super) fn write<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        leaves: AttributeLeaves,
        owners: &Levels,
        list: &AttributeList,
        strings: &mut Strings<'_>,
    ) -> Result<()> {
        self.levels.set_children(owners, self.counts.iter().map(|&count| count as usize));
        let types = list.types.as_slice();
        self.types.clear();
        self.types.extend(self.sources.iter().map(|&source| types[source as usize]));
        let mut totals = [0usize; 256];
        for &value_type in &self.types {
            totals[usize::from(value_type)] += 1;
        }
        let total = |value_type: ValueType| totals[value_type as usize];

        let keys = list.keys.as_slice();
        let key_codes = self.sources.iter().map(|&source| keys[source as usize]);
        writer.strings(leaves.key, &mut self.levels, Shape::Required, key_codes, strings)?;
        self.write_is_array(writer, leaves, &totals)?;
        self.write_strings(writer, leaves, list, strings, total(ValueType::StringArray) > 0)?;
        self.write_integers(writer, leaves, list, strings, &totals)?;
        self.write_doubles(writer, leaves, list, strings, &totals)?;
        self.write_booleans(writer, leaves, list, strings, &totals)?;
        self.write_unsupported(writer, leaves, list, strings, &totals)
    }

    fn write_is_array<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        leaves: AttributeLeaves,
        totals: &[usize; 256],
    ) -> Result<()> {
        let arrays = ValueType::StringArray as usize..=ValueType::EmptyArray as usize;
        if totals[arrays.clone()].iter().all(|&total| total == 0) {
            return writer.all_false(leaves.is_array, &mut self.levels);
        }
        self.flags.clear();
        self.flags.extend(
            self.types.iter().map(|&value_type| u8::from(arrays.contains(&usize::from(value_type)))),
        );
        writer.booleans(leaves.is_array, &mut self.levels, Shape::Required, &self.flags)
    }

    fn write_strings<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        leaves: AttributeLeaves,
        list: &AttributeList,
        strings: &mut Strings<'_>,
        has_arrays: bool,
    ) -> Result<()> {
        let payloads = list.payloads.as_slice();
        self.codes.clear();
        if !has_arrays {
            self.set_flags(ValueType::String);
            for (&source, &flag) in self.sources.iter().zip(&self.flags) {
                if flag != 0 {
                    self.codes.push(payloads[source as usize] as StringCode);
                }
            }
            let shape = if self.codes.is_empty() { Shape::Null } else { Shape::Optional(&self.flags) };
            let codes = self.codes.iter().copied();
            return writer.strings(leaves.value, &mut self.levels, shape, codes, strings);
        }
        // The same array stands in many places: resources repeat in every trace.
        let mut known: HashMap<StringCode, Vec<StringCode>, RandomState> = HashMap::default();
        let codes = &mut self.codes;
        let (single, array) = (ValueType::String, ValueType::StringArray);
        let sources = &self.sources;
        self.lists.set(&self.levels, &self.types, single, array, |attribute, is_array| {
            let payload = payloads[sources[attribute] as usize] as StringCode;
            if !is_array {
                codes.push(payload);
                return 1;
            }
            let elements = known.entry(payload).or_insert_with(|| {
                let message = strings.get(payload).to_vec();
                let texts = elements(&message).filter_map(|element| match element {
                    DecodedValue::String(text) => Some(strings.intern(text)),
                    _ => None,
                });
                texts.collect()
            });
            codes.extend_from_slice(elements);
            elements.len()
        });
        let shape = Shape::Lists(&self.lists);
        writer.strings(leaves.value, &mut self.levels, shape, self.codes.iter().copied(), strings)
    }

    fn write_integers<W: Write + Send>(
        &mut self,
        writer: &mut LeafWriter<'_, W>,
        leaves: AttributeLeaves,
        list: &AttributeList,
        strings: &Strings<'_>,
        totals: &[usize; 256],
    ) -> Result<()> {
        let mut values = std::mem::take(&mut self.integers);
        values.clear();
        let (single, array) = (ValueType::Int, ValueType::IntArray);
        let shape = self.values(list, strings, totals, single, array, |value| match value {
            Scalar::Payload(payload) => values.push(payload as i64),
            Scalar::Element(DecodedValue::Int(number)) => values.push(number),
            Scalar::Element(_) => {}
        });
        let result = writer.integers(leaves.value_int, shape.0, shape.1, &values);
        self.integers = values;
        result
    }
}
