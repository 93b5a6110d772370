//! Attributes of spans, collected until they are counted together.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::StringCode;
use tactus_work::Held;

use super::counter::Counter;
use crate::eval::value::Value;
use crate::eval::view::BatchView;

/// Attributes of spans that are counted at a time, and the bytes of one of them and of a key with its value.
const ENTRIES_AT_A_TIME: usize = 1 << 16;
const ENTRY_BYTES: usize = 24;
const PAIR_BYTES: usize = 128;

/// The number of an attribute of a comparison.
pub(in crate::metrics::collect) type AttributeNumber = u32;

/// Attributes of some spans of a batch, each with a number for its key and value.
#[derive(Default)]
pub(super) struct Entries<'v> {
    known: HashMap<(StringCode, u8, u64), u32, RandomState>,
    /// Key and value of each number.
    pub(super) pairs: Vec<(StringCode, Value<'v>)>,
    pub(super) numbers: Vec<u32>,
    /// Side and interval of each.
    pub(super) places: Vec<u32>,
    pub(super) weights: Vec<f64>,
    /// Of keys in the batch.
    pub(super) attributes: HashMap<StringCode, AttributeNumber, RandomState>,
    held: Held,
}

impl<'v> Entries<'v> {
    /// Adds an attribute of a span, given by its index among the counted rows.
    pub(super) fn push(
        &mut self,
        attribute: tactus_model::Attribute,
        place: usize,
        counter: &Counter<'_>,
        view: &BatchView<'v>,
    ) {
        let pair = (attribute.key, attribute.value_type as u8, attribute.payload);
        let number = *self.known.entry(pair).or_insert_with(|| {
            let value = Value::of_attribute(attribute, &view.batch.strings);
            self.pairs.push((attribute.key, value));
            self.pairs.len() as u32 - 1
        });
        self.numbers.push(number);
        self.places.push(counter.places[place]);
        self.weights.extend(counter.weights.map(|weights| weights[place]));
        self.held.grow_to(self.numbers.len() * ENTRY_BYTES + self.pairs.len() * PAIR_BYTES);
    }

    /// True once they should be counted.
    pub(super) fn are_enough(&self) -> bool {
        self.numbers.len() >= ENTRIES_AT_A_TIME
    }

    /// Keeps only what was made of keys.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.pairs.clear();
        self.numbers.clear();
        self.places.clear();
        self.weights.clear();
    }
}
