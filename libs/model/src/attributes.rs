//! Attribute lists in columns.

use crate::{
    Buffer, Dictionary, StringCode,
    any_value::{AnyValueRef, ValueType},
};

/// One attribute of a list.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Attribute {
    /// Code of the key.
    pub key: StringCode,
    /// Type of the value.
    pub value_type: ValueType,
    /// The value, as [`ValueType`] says.
    pub payload: u64,
}

/// The attributes of all owners (resources, scopes, spans, events or links) of a batch.
///
/// Owner `i` has entries `starts[i]..starts[i + 1]`, in the order they were received. `starts` has one
/// more element than there are owners; the other columns are of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeList {
    /// First entry of each owner, and the end.
    pub starts: Buffer<u32>,
    /// Key code of each entry.
    pub keys: Buffer<StringCode>,
    /// [`ValueType`] of each entry.
    pub types: Buffer<u8>,
    /// Payload of each entry.
    pub payloads: Buffer<u64>,
}

impl Default for AttributeList {
    fn default() -> Self {
        Self {
            starts: vec![0].into(),
            keys: Buffer::new(),
            types: Buffer::new(),
            payloads: Buffer::new(),
        }
    }
}

impl AttributeList {
    /// Number of owners.
    pub fn owners(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of attributes of all owners.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if no owner has an attribute.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends an attribute to the current owner, which the next [`Self::end_owner`] closes.
    #[inline]
    pub fn push(&mut self, attribute: Attribute) {
        self.keys.push(attribute.key);
        self.types.push(attribute.value_type as u8);
        self.payloads.push(attribute.payload);
    }

    /// Ends the current owner. It owns the attributes that were pushed since the previous call.
    #[inline]
    pub fn end_owner(&mut self) {
        let end = self.keys.len() as u32;
        self.starts.push(end);
    }

    /// Entries of an owner; empty for an owner that does not exist.
    #[inline]
    pub fn range(&self, owner: usize) -> std::ops::Range<usize> {
        match self.starts.get(owner..owner + 2) {
            Some(bounds) => bounds[0] as usize..bounds[1] as usize,
            None => 0..0,
        }
    }

    /// The attribute at an entry.
    #[inline]
    pub fn at(&self, entry: usize) -> Attribute {
        Attribute {
            key: self.keys[entry],
            value_type: ValueType::from_u8(self.types[entry]).unwrap_or(ValueType::Unset),
            payload: self.payloads[entry],
        }
    }

    /// The attributes of an owner, in order.
    pub fn of(&self, owner: usize) -> impl Iterator<Item = Attribute> + '_ {
        self.range(owner).map(|entry| self.at(entry))
    }

    /// The first attribute of an owner with this key.
    pub fn find(&self, owner: usize, key: StringCode) -> Option<Attribute> {
        self.of(owner).find(|attribute| attribute.key == key)
    }

    /// The string value of an owner's first attribute with this key; `None` if absent or no string.
    pub fn find_string(&self, owner: usize, key: StringCode) -> Option<StringCode> {
        let attribute = self.find(owner, key)?;
        (attribute.value_type == ValueType::String).then_some(attribute.payload as StringCode)
    }

    /// Drops all owners from `owners` on, and attributes that were pushed without a call of [`Self::end_owner`].
    pub(crate) fn truncate_owners(&mut self, owners: usize) {
        self.starts.truncate(owners + 1);
        let entries = self.starts[owners] as usize;
        self.keys.truncate(entries);
        self.types.truncate(entries);
        self.payloads.truncate(entries);
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.starts.heap_bytes()
            + self.keys.heap_bytes()
            + self.types.heap_bytes()
            + self.payloads.heap_bytes()
    }
}

impl Attribute {
    /// The value with its strings looked up.
    pub fn value<'a>(&self, strings: &'a Dictionary) -> AnyValueRef<'a> {
        match self.value_type {
            ValueType::Unset => AnyValueRef::Unset,
            ValueType::String => AnyValueRef::String(strings.get(self.payload as StringCode)),
            ValueType::Int => AnyValueRef::Int(self.payload as i64),
            ValueType::Double => AnyValueRef::Double(f64::from_bits(self.payload)),
            ValueType::Bool => AnyValueRef::Bool(self.payload != 0),
            _ => AnyValueRef::Encoded(strings.get(self.payload as StringCode)),
        }
    }
}
