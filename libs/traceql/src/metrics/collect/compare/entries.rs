//! Attributes of spans, collected until they are counted together.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::{Attribute, StringCode, ValueType};
use tactus_work::Held;

use super::counter::Counter;
use crate::eval::value::Value;
use crate::eval::view::BatchView;

/// Attributes that are counted at a time, and values among them.
const MAX_ENTRIES: usize = 1 << 18;
const MAX_VALUES: usize = 1 << 16;
/// Estimated bytes of an attribute and of a value, and for each string of the batch.
const ENTRY_BYTES: usize = 32;
const VALUE_BYTES: usize = 128;
const STRING_BYTES: usize = 16;

/// The number of an attribute of a comparison.
pub(in crate::metrics::collect) type AttributeNumber = u32;

/// Attributes of some spans of a batch, each with a number for its key and value.
pub(super) struct Entries<'v> {
    /// What is known of each key, by its code.
    keys: Vec<Key>,
    /// The codes of the keys with values.
    pub(super) keys_with_values: Vec<StringCode>,
    /// By the code of a string: the key that had it as value first, and the number of that value plus 1.
    of_string: Vec<(StringCode, u32)>,
    /// The numbers of other values.
    of_other: HashMap<(StringCode, u8, u64), u32, RandomState>,
    /// Index of the key of each number in [`Self::keys_with_values`], and the value.
    pub(super) values: Vec<(u32, Value<'v>)>,
    pub(super) numbers: Vec<u32>,
    /// Side and interval of each.
    pub(super) places: Vec<u32>,
    pub(super) weights: Vec<f64>,
    held: Held,
}

#[derive(Clone, Copy, Default)]
struct Key {
    /// The last span that has it plus 1, because a span may have a key twice.
    last_owner: u32,
    /// Its index among those with values plus 1, or 0.
    index: u32,
}

impl<'v> Entries<'v> {
    pub(super) fn of(view: &BatchView<'v>) -> Self {
        let strings = view.batch.strings.len();
        Self {
            keys: vec![Key::default(); strings],
            keys_with_values: Vec::new(),
            of_string: vec![(0, 0); strings],
            of_other: HashMap::default(),
            values: Vec::new(),
            numbers: Vec::new(),
            places: Vec::new(),
            weights: Vec::new(),
            held: Held::of(strings * STRING_BYTES),
        }
    }

    /// Adds an attribute of a span, given by its row, and by its index among the counted rows. Only the first one of each
    /// key of a span counts, if it has a value.
    pub(super) fn push(
        &mut self,
        attribute: Attribute,
        row: usize,
        place: usize,
        counter: &Counter<'_>,
        view: &BatchView<'v>,
    ) {
        let owner = row as u32 + 1;
        match self.keys.get_mut(attribute.key as usize) {
            Some(key) if key.last_owner != owner => key.last_owner = owner,
            _ => return,
        }
        let Some(number) = self.number(attribute, view) else { return };
        self.numbers.push(number);
        self.places.push(counter.places[place]);
        self.weights.extend(counter.weights.map(|weights| weights[place]));
    }

    /// The number of a key with a value; `None` if there is no value.
    fn number(&mut self, attribute: Attribute, view: &BatchView<'v>) -> Option<u32> {
        let (key, payload) = (attribute.key, attribute.payload);
        let is_string = attribute.value_type == ValueType::String;
        if is_string && let Some(&(first_key, number)) = self.of_string.get(payload as usize) {
            if number == 0 {
                let number = self.add(attribute, view)?;
                self.of_string[payload as usize] = (key, number + 1);
                return Some(number);
            }
            if first_key == key {
                return Some(number - 1);
            }
        }
        let value = (key, attribute.value_type as u8, payload);
        if let Some(&number) = self.of_other.get(&value) {
            return Some(number);
        }
        let number = self.add(attribute, view)?;
        self.of_other.insert(value, number);
        Some(number)
    }

    fn add(&mut self, attribute: Attribute, view: &BatchView<'v>) -> Option<u32> {
        let value = Value::of_attribute(attribute, &view.batch.strings);
        if !value.exists() {
            return None;
        }
        let key = &mut self.keys[attribute.key as usize];
        if key.index == 0 {
            self.keys_with_values.push(attribute.key);
            key.index = self.keys_with_values.len() as u32;
        }
        self.values.push((key.index - 1, value));
        Some(self.values.len() as u32 - 1)
    }

    /// The index of the key of each attribute.
    pub(super) fn key_indexes(&self) -> Vec<u32> {
        self.numbers.iter().map(|&number| self.values[number as usize].0).collect()
    }

    /// True once they should be counted. To be asked after each span.
    pub(super) fn are_enough(&mut self) -> bool {
        let (entries, values) = (self.numbers.len(), self.values.len());
        let bytes = self.keys.len() * STRING_BYTES + entries * ENTRY_BYTES + values * VALUE_BYTES;
        let has_room = self.held.grow_to(bytes);
        // Counts of spans with weights take several times the memory.
        let most = if self.weights.is_empty() { MAX_ENTRIES } else { MAX_ENTRIES / 4 };
        entries >= most || values >= MAX_VALUES || !has_room
    }

    /// Keeps only what is known of keys.
    pub(super) fn clear(&mut self) {
        self.of_string.fill((0, 0));
        self.of_other.clear();
        self.values.clear();
        self.numbers.clear();
        self.places.clear();
        self.weights.clear();
    }
}
