//! Which attributes a block has, and the values of those that have few.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::wire::put_varint;

use super::{Cursor, corrupt, put_bytes, unpack};
use crate::Result;
use crate::attribute_owner::AttributeOwner;

/// Longer parts are not read: writers stay far below.
const MAX_BYTES: usize = 64 << 20;

/// Bits of a set of row groups.
pub(super) const SET_BITS: u32 = u64::BITS;

/// Whose strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueOwner {
    /// Attributes of these.
    Attribute(AttributeOwner),
    /// A column of its own: `name`, `statusMessage`, `eventName`, `scopeName`, `scopeVersion`.
    Intrinsic,
}

impl ValueOwner {
    const ALL: [Self; 6] = [
        Self::Attribute(AttributeOwner::Span),
        Self::Attribute(AttributeOwner::Resource),
        Self::Attribute(AttributeOwner::Scope),
        Self::Attribute(AttributeOwner::Event),
        Self::Attribute(AttributeOwner::Link),
        Self::Intrinsic,
    ];

    pub(super) fn code(self) -> u8 {
        Self::ALL.iter().position(|owner| *owner == self).unwrap_or(0) as u8
    }
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListedValue {
    /// Bytes, mostly UTF-8.
    String(Box<[u8]>),
    /// A signed integer.
    Int(i64),
    /// The bits of a double.
    Double(u64),
    /// A boolean.
    Bool(bool),
}

/// What is known of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Listed {
    /// Row groups that have it.
    pub(super) present: u64,
    /// The list is of this many row groups, from the first on; after them there were too many values, or ones that are
    /// not listed.
    pub(super) row_groups: u32,
    /// Each value with the row groups that have it.
    pub(super) values: Vec<(ListedValue, u64)>,
}

/// The values part of a summary.
///
/// Sets of row groups have a bit for each `width` of them. A bit that is not set is certain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockValues {
    pub(super) row_groups: u32,
    pub(super) width: u32,
    /// False if there are attributes that are not in here.
    pub(super) is_complete: bool,
    pub(super) attributes: HashMap<(ValueOwner, Box<[u8]>), Listed, RandomState>,
}

impl BlockValues {
    /// Row groups of the block.
    pub fn row_groups(&self) -> usize {
        self.row_groups as usize
    }

    /// Names of all attributes of an owner, in no order; `None` if not all are known.
    pub fn names(&self, owner: AttributeOwner) -> Option<impl Iterator<Item = &[u8]>> {
        let owner = ValueOwner::Attribute(owner);
        let names = self.attributes.keys().filter(move |(found, _)| *found == owner);
        self.is_complete.then(|| names.map(|(_, name)| &**name))
    }

    /// All values of an attribute, in no order; `None` if not all are known. An attribute that the block does not have
    /// has none.
    pub fn values(
        &self,
        owner: ValueOwner,
        name: &[u8],
    ) -> Option<impl Iterator<Item = &ListedValue>> {
        let found = match self.find(owner, name) {
            Some(listed) if listed.row_groups < self.row_groups => return None,
            None if !self.is_complete => return None,
            found => found,
        };
        Some(found.into_iter().flat_map(|listed| &listed.values).map(|(value, _)| value))
    }

    /// False if no owner of a row group has the attribute; `None` if that is not known.
    pub fn may_be_present(&self, owner: ValueOwner, name: &[u8], row_group: usize) -> Option<bool> {
        match self.find(owner, name) {
            Some(listed) => Some(self.is_in(listed.present, row_group)),
            None => self.is_complete.then_some(false),
        }
    }

    /// For each row group, false if no string of an attribute there meets the predicate; `None` if that is not known.
    ///
    /// Asks the predicate once a value.
    pub fn may_hold(
        &self,
        owner: ValueOwner,
        name: &[u8],
        predicate: &dyn Fn(&[u8]) -> bool,
    ) -> Vec<Option<bool>> {
        let all = 0..self.row_groups();
        let Some(listed) = self.find(owner, name) else {
            return vec![self.is_complete.then_some(false); all.len()];
        };
        let holds = |value: &ListedValue| match value {
            ListedValue::String(text) => predicate(text),
            _ => false,
        };
        let held = listed.values.iter().filter(|(value, _)| holds(value));
        let held = held.fold(0, |all, (_, set)| all | set);
        let of_row_group = |row_group| {
            if !self.is_in(listed.present, row_group) {
                Some(false)
            } else if row_group < listed.row_groups as usize {
                Some(self.is_in(held, row_group))
            } else {
                None
            }
        };
        all.map(of_row_group).collect()
    }

    fn find(&self, owner: ValueOwner, name: &[u8]) -> Option<&Listed> {
        // Looked up once a condition and block.
        self.attributes.get(&(owner, name.into()))
    }

    fn is_in(&self, set: u64, row_group: usize) -> bool {
        let bit = row_group / (self.width as usize).max(1);
        bit >= SET_BITS as usize || set >> bit & 1 == 1
    }

    /// Bytes of memory held, about.
    pub fn heap_bytes(&self) -> usize {
        const ENTRY_BYTES: usize = 96;
        let of_value = |value: &ListedValue| match value {
            ListedValue::String(text) => text.len(),
            _ => 0,
        };
        let of_attribute = |((_, name), listed): (&(ValueOwner, Box<[u8]>), &Listed)| {
            let values: usize = listed.values.iter().map(|(value, _)| of_value(value)).sum();
            ENTRY_BYTES
                + name.len()
                + values
                + listed.values.len() * size_of::<(ListedValue, u64)>()
        };
        self.attributes.iter().map(of_attribute).sum()
    }

    /// The part before it is packed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.row_groups.into());
        put_varint(&mut out, self.width.into());
        out.push(self.is_complete.into());
        let mut all: Vec<_> = self.attributes.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        put_varint(&mut out, all.len() as u64);
        for ((owner, name), listed) in all {
            out.push(owner.code());
            put_bytes(&mut out, name);
            put_varint(&mut out, listed.present);
            put_varint(&mut out, listed.row_groups.into());
            put_varint(&mut out, listed.values.len() as u64);
            for (value, set) in &listed.values {
                match value {
                    ListedValue::String(text) => {
                        out.push(0);
                        put_bytes(&mut out, text);
                    }
                    ListedValue::Int(number) => {
                        out.push(1);
                        out.extend_from_slice(&number.to_le_bytes());
                    }
                    ListedValue::Double(bits) => {
                        out.push(2);
                        out.extend_from_slice(&bits.to_le_bytes());
                    }
                    ListedValue::Bool(value) => out.extend_from_slice(&[3, u8::from(*value)]),
                }
                put_varint(&mut out, *set);
            }
        }
        out
    }

    /// Decodes the part of a summary. Errors: `Error::Corrupt`.
    pub fn decode(part: &[u8]) -> Result<Self> {
        let raw = unpack(part, MAX_BYTES)?;
        let mut input = Cursor { rest: &raw };
        let number = |input: &mut Cursor<'_>| {
            u32::try_from(input.varint()?).map_err(|_| corrupt("has a number that is too large"))
        };
        let (row_groups, width) = (number(&mut input)?, number(&mut input)?);
        let is_complete = input.byte()? != 0;
        let mut attributes = HashMap::default();
        for _ in 0..input.varint()? {
            let owner = *ValueOwner::ALL
                .get(usize::from(input.byte()?))
                .ok_or_else(|| corrupt("has an unknown owner"))?;
            let name = input.bytes()?.into();
            let present = input.varint()?;
            let row_groups = number(&mut input)?;
            let mut values = Vec::new();
            for _ in 0..input.varint()? {
                let value = match input.byte()? {
                    0 => ListedValue::String(input.bytes()?.into()),
                    1 => ListedValue::Int(input.word()? as i64),
                    2 => ListedValue::Double(input.word()?),
                    3 => ListedValue::Bool(input.byte()? != 0),
                    _ => return Err(corrupt("has an unknown type")),
                };
                values.push((value, input.varint()?));
            }
            attributes.insert((owner, name), Listed { present, row_groups, values });
        }
        Ok(Self { row_groups, width, is_complete, attributes })
    }
}
