//! Finds the attributes that have a column of their own.

use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{AttributeList, Dictionary, StringCode, ValueType};
use tactus_storage::meta::ColumnType;

use super::attributes::elements;
use crate::schema::AttributeColumn;

/// Stands for a type that no value has.
const NO_TYPE: u8 = u8::MAX;

/// The columns for attributes of one scope, by attribute name.
#[derive(Debug)]
pub(super) struct SlotNames {
    names: Vec<(Vec<u8>, u8)>,
    /// What each slot accepts. The slots are the columns passed to [`Self::new`], in that order.
    takes: Vec<Takes>,
}

/// Which types of values go to a slot.
#[derive(Clone, Copy, Debug)]
struct Takes {
    single: u8,
    /// Arrays of two or more elements; or [`NO_TYPE`].
    array: u8,
    /// Whether an empty string goes there as well.
    empty: bool,
}

impl SlotNames {
    pub(super) fn new(columns: &[AttributeColumn]) -> Self {
        let names = columns.iter().zip(0..).filter_map(|(column, slot)| {
            column.name.as_ref().map(|name| (name.as_bytes().to_vec(), slot))
        });
        let takes = columns.iter().map(|column| {
            let (single, array) = match column.column_type {
                ColumnType::String => (ValueType::String, ValueType::StringArray),
                ColumnType::Int => (ValueType::Int, ValueType::IntArray),
            };
            let array = if column.takes_arrays { array as u8 } else { NO_TYPE };
            Takes { single: single as u8, array, empty: !column.omits_empty }
        });
        Self { names: names.collect(), takes: takes.collect() }
    }

    /// The slots of a batch's keys.
    pub(super) fn of_batch<'a>(&'a self, strings: &'a Dictionary) -> BatchSlots<'a> {
        let wanted: HashMap<&[u8], u8, RandomState> =
            self.names.iter().map(|(name, slot)| (name.as_slice(), *slot)).collect();
        let longest = self.names.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut lengths = vec![false; longest + 1];
        for (name, _) in &self.names {
            lengths[name.len()] = true;
        }
        let mut by_key = vec![0; strings.len()];
        for code in 0..strings.len() as u32 {
            let name = strings.get(code);
            if lengths.get(name.len()) == Some(&true)
                && let Some(slot) = wanted.get(name)
            {
                by_key[code as usize] = slot + 1;
            }
        }
        BatchSlots { by_key, takes: &self.takes, strings }
    }
}

/// [`SlotNames`] by the key codes of one batch.
#[derive(Debug)]
pub(super) struct BatchSlots<'a> {
    /// For each string as a key, its slot plus 1; 0 for none.
    by_key: Vec<u8>,
    takes: &'a [Takes],
    strings: &'a Dictionary,
}

impl BatchSlots<'_> {
    /// Number of slots.
    pub(super) fn count(&self) -> usize {
        self.takes.len()
    }

    /// Looks at the keys of an owner, which has these `entries` of a list.
    #[inline]
    pub(super) fn of_owner<'l>(
        &'l self,
        list: &'l AttributeList,
        entries: Range<usize>,
    ) -> OwnerSlots<'l> {
        let (mut seen, mut repeated) = (SlotSet::default(), SlotSet::default());
        for &key in &list.keys.as_slice()[entries] {
            let number = self.by_key[key as usize];
            if number != 0 && !seen.insert(number) {
                repeated.insert(number);
            }
        }
        OwnerSlots { slots: self, list, repeated }
    }

    #[inline]
    fn of_value(
        &self,
        key: StringCode,
        value_type: u8,
        payload: impl FnOnce() -> u64,
    ) -> Option<(usize, SlotValue)> {
        let slot = usize::from(self.by_key[key as usize]).checked_sub(1)?;
        let takes = self.takes[slot];
        if takes.single == value_type {
            let payload = payload();
            return (takes.empty || payload != 0)
                .then_some((slot, SlotValue { payload, is_array: false }));
        }
        if takes.array != value_type {
            return None;
        }
        let payload = payload();
        let count = elements(self.strings.get(payload as StringCode)).take(2).count();
        (count == 2).then_some((slot, SlotValue { payload, is_array: true }))
    }
}

/// The slots of one owner's attributes.
pub(super) struct OwnerSlots<'a> {
    slots: &'a BatchSlots<'a>,
    list: &'a AttributeList,
    repeated: SlotSet,
}

impl OwnerSlots<'_> {
    /// The slot for one of the owner's entries; `None` if it stays generic.
    ///
    /// If an owner has a key more than once, all its values stay generic: generic attributes are read first and in
    /// order, and the first one counts.
    #[inline]
    pub(super) fn of(&self, entry: usize) -> Option<(usize, SlotValue)> {
        let (list, key) = (self.list, self.list.keys[entry]);
        let found = self.slots.of_value(key, list.types[entry], || list.payloads[entry])?;
        (!self.repeated.contains(self.slots.by_key[key as usize])).then_some(found)
    }
}

/// A set of slots.
#[derive(Clone, Copy, Default)]
struct SlotSet([u64; 4]);

impl SlotSet {
    /// Returns false if it was there.
    #[inline]
    fn insert(&mut self, number: u8) -> bool {
        let is_new = !self.contains(number);
        self.0[usize::from(number / 64)] |= 1 << (number % 64);
        is_new
    }

    #[inline]
    fn contains(self, number: u8) -> bool {
        self.0[usize::from(number / 64)] >> (number % 64) & 1 == 1
    }
}

/// A value for a slot, with its payload in the batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SlotValue {
    pub(super) payload: u64,
    pub(super) is_array: bool,
}
