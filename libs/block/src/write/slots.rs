//! Which attributes have a column of their own.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{Dictionary, StringCode, ValueType};
use tactus_storage::meta::{ColumnScope, ColumnType, DedicatedColumn};

use crate::schema::{self, leaf};

/// No string in an optional column.
pub(super) const NULL: StringCode = StringCode::MAX;

/// The columns that attributes of one scope can go to, by attribute name.
#[derive(Debug)]
pub(super) struct SlotNames {
    names: Vec<(Vec<u8>, Slot)>,
    /// Leaf of each slot.
    pub(super) leaves: Vec<usize>,
}

/// A column for one attribute: a position in [`SlotNames::leaves`], and the type it takes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    position: u8,
    takes: ValueType,
}

impl SlotNames {
    /// For resources: static columns, then dedicated ones.
    pub(super) fn resource(dedicated: &[DedicatedColumn]) -> Self {
        let mut slots = Self { names: Vec::new(), leaves: Vec::new() };
        for (name, leaf) in schema::RESOURCE_COLUMNS {
            slots.add(name, leaf, ValueType::String);
        }
        slots.add_dedicated(dedicated, ColumnScope::Resource, leaf::RESOURCE_DEDICATED);
        slots
    }

    /// For spans: static columns, then dedicated ones.
    pub(super) fn span(dedicated: &[DedicatedColumn]) -> Self {
        let mut slots = Self { names: Vec::new(), leaves: Vec::new() };
        for (name, leaf) in schema::SPAN_COLUMNS {
            slots.add(name, leaf, ValueType::String);
        }
        slots.add(schema::HTTP_STATUS_CODE, leaf::SPAN_HTTP_STATUS_CODE, ValueType::Int);
        slots.add_dedicated(dedicated, ColumnScope::Span, leaf::SPAN_DEDICATED);
        slots
    }

    fn add(&mut self, name: &str, leaf: usize, takes: ValueType) {
        if self.names.iter().all(|(known, _)| known != name.as_bytes()) {
            let position = self.leaves.len() as u8;
            self.names.push((name.as_bytes().to_vec(), Slot { position, takes }));
        }
        // A column whose attribute has a column already stays empty, but keeps its place.
        self.leaves.push(leaf);
    }

    fn add_dedicated(&mut self, dedicated: &[DedicatedColumn], scope: ColumnScope, first: usize) {
        let strings = dedicated
            .iter()
            .filter(|column| column.scope == scope && column.column_type == ColumnType::String)
            .take(schema::DEDICATED_SLOTS);
        for (slot, column) in strings.enumerate() {
            self.add(&column.name, first + slot, ValueType::String);
        }
    }

    /// The slots of a batch's keys.
    pub(super) fn of_batch(&self, strings: &Dictionary) -> BatchSlots {
        let wanted: HashMap<&[u8], Slot, RandomState> =
            self.names.iter().map(|(name, slot)| (name.as_slice(), *slot)).collect();
        let longest = self.names.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut lengths = vec![false; longest + 1];
        for (name, _) in &self.names {
            lengths[name.len()] = true;
        }
        let mut slots = BatchSlots { by_key: vec![0; strings.len()], takes: Vec::new() };
        slots.takes.resize(self.leaves.len(), ValueType::String as u8);
        for code in 0..strings.len() as u32 {
            let name = strings.get(code);
            if lengths.get(name.len()) == Some(&true)
                && let Some(slot) = wanted.get(name)
            {
                slots.by_key[code as usize] = slot.position + 1;
                slots.takes[usize::from(slot.position)] = slot.takes as u8;
            }
        }
        slots
    }
}

/// [`SlotNames`] by the key codes of one batch.
#[derive(Debug)]
pub(super) struct BatchSlots {
    /// One more than the slot of each string as a key; 0 for none.
    by_key: Vec<u8>,
    takes: Vec<u8>,
}

impl BatchSlots {
    /// The slot for an attribute; `None` if it stays generic.
    #[inline]
    pub(super) fn of(&self, key: StringCode, value_type: u8) -> Option<usize> {
        let slot = usize::from(self.by_key[key as usize]).checked_sub(1)?;
        (self.takes[slot] == value_type).then_some(slot)
    }
}
