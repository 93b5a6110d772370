//! Attribute values that are lists: collects the elements, then encodes them.

use tactus_model::ValueType;
use tactus_model::any_value::{AnyValueRef, encode_array};

use crate::decoding::DecodeResult;
use crate::read::strings::StringPool;

/// The arrays of one column.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    /// Target of each array, and its first element.
    starts: Vec<(usize, usize)>,
    elements: Vec<u64>,
}

impl Arrays {
    /// Starts the array of a target attribute with its first element.
    pub(super) fn start(&mut self, target: usize, element: u64) {
        self.starts.push((target, self.elements.len()));
        self.elements.push(element);
    }

    /// The target of the last array.
    pub(super) fn last(&self) -> Option<usize> {
        self.starts.last().map(|&(target, _)| target)
    }

    /// Appends to the last array.
    pub(super) fn push(&mut self, element: u64) {
        self.elements.push(element);
    }

    /// Sets the payload of each target attribute to the code of its encoded array.
    pub(super) fn settle(
        self,
        element_type: ValueType,
        payloads: &mut [u64],
        pool: &mut StringPool,
    ) -> DecodeResult<()> {
        let ends = self.starts.iter().skip(1).map(|&(_, start)| start);
        let ends = ends.chain([self.elements.len()]);
        for (&(target, start), end) in self.starts.iter().zip(ends) {
            let elements = self.elements[start..end].iter();
            let encoded = encode_array(elements.map(|&payload| match element_type {
                ValueType::Int => AnyValueRef::Int(payload as i64),
                ValueType::Double => AnyValueRef::Double(f64::from_bits(payload)),
                ValueType::Bool => AnyValueRef::Bool(payload != 0),
                _ => AnyValueRef::String(pool.get(payload as u32)),
            }));
            payloads[target] = u64::from(pool.intern(&encoded)?);
        }
        Ok(())
    }
}

/// The array type for elements of this scalar type.
pub(super) fn array_of(element_type: ValueType) -> ValueType {
    match element_type {
        ValueType::Int => ValueType::IntArray,
        ValueType::Double => ValueType::DoubleArray,
        ValueType::Bool => ValueType::BoolArray,
        _ => ValueType::StringArray,
    }
}
