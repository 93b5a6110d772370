//! Collects the attributes and values of a block while it is written.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::{AttributeList, Dictionary, SpanBatch, StringCode, ValueType};

use super::filter::{BlockFilter, RowGroupFilter};
use super::found::{Finder, Found, MAX_VALUES};
use super::values::{Listed, ListedAttributes, ListedValue, SET_BITS, ValueOwner};
use crate::attribute_owner::AttributeOwner;

/// Bytes of the values of one attribute.
const MAX_VALUE_BYTES: usize = 64 << 10;
/// Bytes of all names and values.
pub(super) const MAX_BYTES: usize = 2 << 20;
/// Bytes that a name or a value counts in addition to its text.
pub(super) const ENTRY_BYTES: usize = 32;
/// Attributes of a row group that each kind of owner may have in a summary. More names than this could not be listed.
const MAX_ATTRIBUTES: usize = MAX_BYTES / ENTRY_BYTES;

/// Collects the content of [`super::BlockValues`], within limits.
///
/// Memory: a few times `MAX_BYTES`. While a row group is added, also 8 bytes for each of its strings and, with a
/// filter, some 16 bytes for each value of an attribute with many values that may fit into it; and the filter.
#[derive(Debug)]
pub(crate) struct ValueCollector {
    row_groups: u32,
    width: u32,
    is_complete: bool,
    /// False once a row group had too many attributes: a name that is new then may have been there.
    takes_names: bool,
    bytes: usize,
    attributes: HashMap<(ValueOwner, Box<[u8]>), Collected, RandomState>,
    /// `None` if none is wanted.
    filter: Option<BlockFilter>,
}

#[derive(Debug, Default)]
struct Collected {
    present: u64,
    bytes: usize,
    values: HashMap<ListedValue<Box<[u8]>>, u64, RandomState>,
    /// The number of row groups whose values are all listed, once a later one is not.
    closed_at: Option<u32>,
}

impl ValueCollector {
    /// An empty collector. `has_filter`: also collects the values of attributes that have many for a filter.
    pub(crate) fn new(has_filter: bool) -> Self {
        let attributes = HashMap::default();
        let filter = has_filter.then(BlockFilter::default);
        let (is_complete, takes_names) = (true, true);
        Self { row_groups: 0, width: 1, is_complete, takes_names, bytes: 0, attributes, filter }
    }

    /// Adds a row group with all columns, which takes this many bytes in the file.
    pub(crate) fn add(&mut self, batch: &SpanBatch, file_bytes: u64) {
        let mut filtered = Vec::new();
        if self.row_groups == self.width.saturating_mul(SET_BITS) {
            self.widen();
        }
        let bit = 1u64 << (self.row_groups / self.width);
        let (spans, strings) = (&batch.spans, &batch.strings);
        // Tables may have rows that no span uses, which are not in the block.
        let resources = rows_in_use(&spans.resource, batch.resources.attributes.owners());
        let scopes = rows_in_use(&spans.scope, batch.scopes.attributes.owners());
        let max_filtered = self.filter.as_ref().map(|_| RowGroupFilter::max_entries(file_bytes));
        let mut finder = Finder::new(strings.len(), max_filtered);
        let lists: [(AttributeOwner, &AttributeList, Option<&[bool]>); 5] = [
            (AttributeOwner::Span, &batch.span_attributes, None),
            (AttributeOwner::Resource, &batch.resources.attributes, Some(&resources)),
            (AttributeOwner::Scope, &batch.scopes.attributes, Some(&scopes)),
            (AttributeOwner::Event, &batch.events.attributes, None),
            (AttributeOwner::Link, &batch.links.attributes, None),
        ];
        for (owner, list, in_use) in lists {
            let is_complete = finder.find(list, in_use, MAX_ATTRIBUTES);
            let owner = ValueOwner::Attribute(owner);
            if !is_complete {
                self.leave_open(owner, bit);
            }
            for found in finder.take() {
                let name = strings.get(found.key);
                if !self.merge(owner, name, &found, strings, bit) {
                    filtered.extend(found.into_filtered(owner, name));
                }
            }
            self.takes_names &= is_complete;
        }
        let of_scopes = |codes: &[StringCode]| -> Vec<StringCode> {
            let used = codes.iter().zip(&scopes).filter(|(_, in_use)| **in_use);
            used.map(|(code, _)| *code).collect()
        };
        let (names, versions) = (of_scopes(&batch.scopes.name), of_scopes(&batch.scopes.version));
        let columns: [(&str, &[StringCode]); 5] = [
            ("name", &spans.name),
            ("statusMessage", &spans.status_message),
            ("eventName", &batch.events.name),
            ("scopeName", &names),
            ("scopeVersion", &versions),
        ];
        for (name, codes) in columns {
            let found = finder.find_codes(codes);
            let (owner, name) = (ValueOwner::Intrinsic, name.as_bytes());
            if !self.merge(owner, name, &found, strings, bit) {
                filtered.extend(found.into_filtered(owner, name));
            }
        }
        if let Some(filter) = &mut self.filter {
            filter.push(RowGroupFilter::new(filtered, strings, file_bytes));
        }
        self.row_groups += 1;
    }

    /// Says of every attribute of an owner that it may have any value in this row group.
    fn leave_open(&mut self, owner: ValueOwner, bit: u64) {
        self.is_complete = false;
        let of_owner = self.attributes.iter_mut().filter(|((one, _), _)| *one == owner);
        for (_, attribute) in of_owner {
            attribute.present |= bit;
            attribute.closed_at.get_or_insert(self.row_groups);
        }
    }

    /// Halves the number of bits in use.
    fn widen(&mut self) {
        self.width = self.width.saturating_mul(2);
        let sets = self.attributes.values_mut();
        sets.flat_map(|one| std::iter::once(&mut one.present).chain(one.values.values_mut()))
            .for_each(|set| *set = halved(*set));
    }

    /// Adds what was found in a row group. False if its values cannot all be listed.
    fn merge(
        &mut self,
        owner: ValueOwner,
        name: &[u8],
        found: &Found,
        strings: &Dictionary,
        bit: u64,
    ) -> bool {
        let key = (owner, Box::from(name));
        if !self.attributes.contains_key(&key) {
            if !self.takes_names || self.bytes + name.len() + ENTRY_BYTES > MAX_BYTES {
                self.is_complete = false;
                return false;
            }
            self.bytes += name.len() + ENTRY_BYTES;
        }
        let attribute = self.attributes.entry(key).or_default();
        attribute.present |= bit;
        if attribute.closed_at.is_some() {
            return false;
        }
        if !found.is_listed {
            attribute.closed_at = Some(self.row_groups);
            return false;
        }
        let mut new = Vec::new();
        for &(value_type, payload) in &found.values {
            let Some(value) = listed_value(value_type, payload, strings) else { continue };
            match attribute.values.get_mut(&value) {
                Some(set) => *set |= bit,
                None => new.push(value),
            }
        }
        // Sorted, so that the same block always has the same summary.
        new.sort_unstable();
        for value in new {
            let length = match &value {
                ListedValue::String(text) => text.len(),
                _ => 0,
            };
            let bytes = length + ENTRY_BYTES;
            if attribute.values.len() >= MAX_VALUES
                || attribute.bytes + length > MAX_VALUE_BYTES
                || self.bytes + bytes > MAX_BYTES
            {
                // Of the row groups before the list is whole.
                attribute.closed_at = Some(self.row_groups);
                return false;
            }
            attribute.bytes += length;
            self.bytes += bytes;
            attribute.values.insert(value, bit);
        }
        true
    }

    /// What was collected, and the filter.
    pub(crate) fn finish(self) -> (ListedAttributes, BlockFilter) {
        let filter = self.filter.unwrap_or_default();
        let attributes = self.attributes.into_iter().map(|((owner, name), one)| {
            let mut values: Vec<_> = one.values.into_iter().collect();
            values.sort_unstable();
            let row_groups = one.closed_at.unwrap_or(self.row_groups);
            Listed { owner, name, present: one.present, row_groups, values }
        });
        let values = ListedAttributes {
            row_groups: self.row_groups,
            width: self.width,
            is_complete: self.is_complete,
            attributes: attributes.collect(),
        };
        (values, filter)
    }
}

fn listed_value(
    value_type: u8,
    payload: u64,
    strings: &Dictionary,
) -> Option<ListedValue<Box<[u8]>>> {
    Some(match ValueType::from_u8(value_type)? {
        ValueType::String => ListedValue::String(strings.get(payload as StringCode).into()),
        ValueType::Int => ListedValue::Int(payload as i64),
        ValueType::Double => ListedValue::Double(payload),
        ValueType::Bool => ListedValue::Bool(payload != 0),
        _ => return None,
    })
}

fn rows_in_use(rows: &[u32], count: usize) -> Vec<bool> {
    let mut in_use = vec![false; count];
    for &row in rows {
        if let Some(in_use) = in_use.get_mut(row as usize) {
            *in_use = true;
        }
    }
    in_use
}

/// A set with a bit for each two of before.
fn halved(set: u64) -> u64 {
    (0..SET_BITS / 2).filter(|bit| set >> (2 * bit) & 3 != 0).map(|bit| 1 << bit).sum()
}
