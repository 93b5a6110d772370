//! The values by which spans are grouped.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::eval::operand::Place;
use crate::eval::program::BoundProgram;
use crate::eval::value::Value;
use crate::eval::view::BatchView;

/// Estimated bytes of a value by which spans are grouped. Its text belongs to the batch.
const VALUE_BYTES: usize = 96;

/// Numbers the different values of an expression.
pub(super) struct DistinctValues<'v> {
    program: BoundProgram<'v>,
    pub(super) values: Vec<Value<'v>>,
    numbers: HashMap<ValueKey<'v>, u32, RandomState>,
    /// Neighbours mostly have the same value.
    last: Option<(ValueKey<'v>, u32)>,
    /// Estimated bytes of `values` and `numbers`.
    pub(super) bytes: usize,
    /// The number of each resource's value, [`UNKNOWN`] at first, if the value depends only on the resource.
    of_resources: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl<'v> DistinctValues<'v> {
    pub(super) fn new(program: BoundProgram<'v>) -> Self {
        Self {
            program,
            values: Vec::new(),
            numbers: HashMap::default(),
            last: None,
            bytes: 0,
            of_resources: Vec::new(),
        }
    }

    pub(super) fn number(&mut self, row: usize, view: &BatchView<'_>) -> u32 {
        if !self.program.reads_only_resources() {
            return self.computed(row);
        }
        let resource = view.batch.spans.resource[row] as usize;
        if self.of_resources.is_empty() {
            self.of_resources.resize(view.batch.resources.len(), UNKNOWN);
        }
        match self.of_resources.get(resource) {
            None => self.computed(row),
            Some(&UNKNOWN) => {
                let number = self.computed(row);
                self.of_resources[resource] = number;
                number
            }
            Some(&known) => known,
        }
    }

    fn computed(&mut self, row: usize) -> u32 {
        let value = self.program.value(Place::of_span(row)).of_group();
        let key = ValueKey::of(value);
        if let Some((last, number)) = &self.last
            && last.is_surely(&key)
        {
            return *number;
        }
        let number = *self.numbers.entry(key).or_insert_with(|| {
            self.values.push(value);
            self.bytes += VALUE_BYTES;
            self.values.len() as u32 - 1
        });
        self.last = Some((key, number));
        number
    }
}

/// Differs for values of different type or content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ValueKey<'v> {
    /// The type, and the value.
    Bits(u8, u64),
    Text(&'v [u8]),
    Array(&'v [u8]),
}

impl<'v> ValueKey<'v> {
    fn of(value: Value<'v>) -> Self {
        match value {
            Value::NoRow | Value::Nil => Self::Bits(0, 0),
            Value::Bool(value) => Self::Bits(1, u64::from(value)),
            Value::Int(value) => Self::Bits(2, value as u64),
            Value::Float(value) => Self::Bits(3, value.to_bits()),
            Value::Duration(value) => Self::Bits(4, value as u64),
            Value::Status(status) => Self::Bits(5, status as u64),
            Value::Kind(kind) => Self::Bits(6, kind as u64),
            Value::String(text) => Self::Text(text),
            Value::Array(array) => Self::Array(array.encoded),
        }
    }

    /// True only if they are equal. Texts are the same place in the batch's dictionary then, and are not compared.
    fn is_surely(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bits(..), Self::Bits(..)) => self == other,
            (Self::Text(a), Self::Text(b)) | (Self::Array(a), Self::Array(b)) => {
                std::ptr::eq(*a, *b)
            }
            _ => false,
        }
    }
}
