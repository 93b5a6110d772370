//! The values part of a summary: the attributes of a block, and the values of those that have few.

use std::ops::Range;

use tactus_model::wire::put_varint;

use super::{Cursor, MAX_ROW_GROUPS, collect, corrupt, put_bytes, unpack};
use crate::Result;
use crate::attribute_owner::AttributeOwner;

/// A longer part is not read. This is twice what is written.
pub(super) const MAX_BYTES: usize = 2 * collect::MAX_BYTES;
/// The most attributes that are read. This is twice what is written.
const MAX_ATTRIBUTES: usize = MAX_BYTES / collect::ENTRY_BYTES;

/// Bits of a set of row groups.
pub(super) const SET_BITS: u32 = u64::BITS;

/// What the strings belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueOwner {
    /// Attributes of such an owner.
    Attribute(AttributeOwner),
    /// A column that is not an attribute: `name`, `statusMessage`, `eventName`, `scopeName`, `scopeVersion`.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListedValue<T> {
    /// Bytes, mostly UTF-8.
    String(T),
    /// A signed integer.
    Int(i64),
    /// The bits of a double.
    Double(u64),
    /// A boolean.
    Bool(bool),
}

/// An attribute, to be written.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) owner: ValueOwner,
    pub(super) name: Box<[u8]>,
    /// Row groups that have it.
    pub(super) present: u64,
    /// The list covers this many row groups, from the first on. In later ones there were too many values, or values
    /// that cannot be listed.
    pub(super) row_groups: u32,
    /// Each value with the row groups that have it.
    pub(super) values: Vec<(ListedValue<Box<[u8]>>, u64)>,
}

/// All attributes, to be written.
#[derive(Debug)]
pub(crate) struct ListedAttributes {
    pub(super) row_groups: u32,
    pub(super) width: u32,
    pub(super) is_complete: bool,
    pub(super) attributes: Vec<Listed>,
}

/// The values part of a summary.
///
/// A set of row groups has one bit for each `width` of them. A bit that is not set is certain. Values stay encoded as
/// they are stored, because the summaries of thousands of blocks are in memory, and a query needs one attribute of
/// each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockValues {
    row_groups: u32,
    width: u32,
    /// False if the block has attributes that are not in here.
    is_complete: bool,
    raw: Vec<u8>,
    /// By owner and name.
    attributes: Vec<Place>,
}

/// Where the name and the values of an attribute are in the stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    owner: ValueOwner,
    name: Range<u32>,
    /// See [`Listed`].
    present: u64,
    row_groups: u32,
    values: Range<u32>,
}

impl BlockValues {
    /// Row groups of the block.
    pub fn row_groups(&self) -> usize {
        self.row_groups as usize
    }

    /// Names of all attributes of an owner, in no particular order; `None` if not all are known.
    pub fn names(&self, owner: AttributeOwner) -> Option<impl Iterator<Item = &[u8]>> {
        let owner = ValueOwner::Attribute(owner);
        let places = self.attributes.iter().filter(move |place| place.owner == owner);
        self.is_complete.then(|| places.map(|place| self.bytes(&place.name)))
    }

    /// All values of an attribute, in no particular order; `None` if not all are known. Empty if the block does not
    /// have the attribute.
    pub fn values(
        &self,
        owner: ValueOwner,
        name: &[u8],
    ) -> Option<impl Iterator<Item = ListedValue<&[u8]>>> {
        let found = match self.find(owner, name) {
            Some(place) if place.row_groups < self.row_groups => return None,
            None if !self.is_complete => return None,
            found => found,
        };
        Some(found.into_iter().flat_map(|place| self.listed(place)).map(|(value, _)| value))
    }

    /// False if no owner in a row group has the attribute; `None` if unknown.
    pub fn may_be_present(&self, owner: ValueOwner, name: &[u8], row_group: usize) -> Option<bool> {
        match self.find(owner, name) {
            Some(listed) => Some(self.is_in(listed.present, row_group)),
            None => self.is_complete.then_some(false),
        }
    }

    /// For each row group, false if no value of an attribute there satisfies the predicate; `None` if unknown.
    ///
    /// Evaluates the predicate once for each value.
    pub fn may_hold(
        &self,
        owner: ValueOwner,
        name: &[u8],
        predicate: &dyn Fn(ListedValue<&[u8]>) -> bool,
    ) -> Vec<Option<bool>> {
        let all = 0..self.row_groups();
        let Some(listed) = self.find(owner, name) else {
            return vec![self.is_complete.then_some(false); all.len()];
        };
        let held = self.listed(listed).filter(|(value, _)| predicate(*value));
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

    fn find(&self, owner: ValueOwner, name: &[u8]) -> Option<&Place> {
        let order = |place: &Place| (place.owner, self.bytes(&place.name)).cmp(&(owner, name));
        self.attributes.get(self.attributes.binary_search_by(order).ok()?)
    }

    fn bytes(&self, range: &Range<u32>) -> &[u8] {
        self.raw.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// The listed values of an attribute, with the row groups that have them.
    fn listed(&self, place: &Place) -> impl Iterator<Item = (ListedValue<&[u8]>, u64)> {
        let mut input = Cursor { rest: self.bytes(&place.values) };
        std::iter::from_fn(move || (!input.rest.is_empty()).then(|| input.listed_value().ok())?)
    }

    fn is_in(&self, set: u64, row_group: usize) -> bool {
        let bit = row_group / (self.width as usize).max(1);
        bit >= SET_BITS as usize || set >> bit & 1 == 1
    }

    /// Estimated bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.raw.capacity() + self.attributes.capacity() * size_of::<Place>()
    }

    /// Decodes the part of a summary. Errors: `Error::Corrupt`.
    pub fn decode(part: &[u8]) -> Result<Self> {
        let raw = unpack(part, MAX_BYTES)?;
        let mut input = Cursor { rest: &raw };
        // No longer than `MAX_BYTES`.
        let at = |rest: &[u8]| (raw.len() - rest.len()) as u32;
        let number = |input: &mut Cursor<'_>| {
            u32::try_from(input.varint()?).map_err(|_| corrupt("has a number that is too large"))
        };
        let (row_groups, width) = (number(&mut input)?, number(&mut input)?);
        if row_groups > MAX_ROW_GROUPS {
            return Err(corrupt("has too many row groups"));
        }
        let is_complete = input.byte()? != 0;
        let mut attributes = Vec::new();
        for _ in 0..input.varint()? {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(corrupt("has too many attributes"));
            }
            let owner = *ValueOwner::ALL
                .get(usize::from(input.byte()?))
                .ok_or_else(|| corrupt("has an unknown owner"))?;
            let name_bytes = input.bytes()?.len() as u32;
            let name = at(input.rest) - name_bytes..at(input.rest);
            let (present, row_groups) = (input.varint()?, number(&mut input)?);
            let count = input.varint()?;
            let begin = at(input.rest);
            for _ in 0..count {
                input.listed_value()?;
            }
            let values = begin..at(input.rest);
            attributes.push(Place { owner, name, present, row_groups, values });
        }
        let name = |place: &Place| &raw[place.name.start as usize..place.name.end as usize];
        attributes.sort_by(|one, other| (one.owner, name(one)).cmp(&(other.owner, name(other))));
        attributes.shrink_to_fit();
        Ok(Self { row_groups, width, is_complete, raw, attributes })
    }
}

impl<'a> Cursor<'a> {
    /// A value, with the row groups that have it.
    fn listed_value(&mut self) -> Result<(ListedValue<&'a [u8]>, u64)> {
        let value = match self.byte()? {
            0 => ListedValue::String(self.bytes()?),
            1 => ListedValue::Int(self.word()? as i64),
            2 => ListedValue::Double(self.word()?),
            3 => ListedValue::Bool(self.byte()? != 0),
            _ => return Err(corrupt("has an unknown type")),
        };
        Ok((value, self.varint()?))
    }
}

impl ListedAttributes {
    /// The part before it is packed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.row_groups.into());
        put_varint(&mut out, self.width.into());
        out.push(self.is_complete.into());
        let mut all: Vec<_> = self.attributes.iter().collect();
        all.sort_unstable_by_key(|listed| (listed.owner, &listed.name));
        put_varint(&mut out, all.len() as u64);
        for listed in all {
            out.push(listed.owner.code());
            put_bytes(&mut out, &listed.name);
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
}
