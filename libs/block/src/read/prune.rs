//! Decides whether a row group can match without reading its values, from dictionaries and statistics.

use tactus_storage::meta::ColumnType;

use crate::Result;
use crate::attribute_owner::AttributeOwner;
use crate::summary::ValueOwner;

use super::File;
use super::columns::{FixedColumn, Leaf, ListColumns};
use super::kept_footer::KeptChunk;

mod dictionaries;

use dictionaries::{AllStrings, visit_all};
pub(crate) use dictionaries::{any_string, dictionary_has};

/// A condition on strings, which can be any function of a string.
pub trait StringPredicate {
    /// True if the string meets the predicate.
    fn holds(&self, string: &[u8]) -> bool;

    /// False if no part of these bytes can satisfy the predicate. Lets many strings be checked at once.
    fn may_hold_within(&self, _bytes: &[u8]) -> bool {
        true
    }
}

impl<F: Fn(&[u8]) -> bool> StringPredicate for F {
    fn holds(&self, string: &[u8]) -> bool {
        self(string)
    }
}

/// A string column, or the string values of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StringColumn {
    /// Span name.
    Name,
    /// Status message of a span. Blocks have no dictionary for it.
    StatusMessage,
    /// Event name.
    EventName,
    /// Scope name.
    ScopeName,
    /// Scope version.
    ScopeVersion,
    /// Service of the root span.
    RootServiceName,
    /// Name of the root span.
    RootSpanName,
    /// An attribute of spans, by key.
    SpanAttribute(Vec<u8>),
    /// An attribute of resources, `service.name` included, by key.
    ResourceAttribute(Vec<u8>),
    /// An attribute of scopes, by key.
    ScopeAttribute(Vec<u8>),
    /// An attribute of events, by key.
    EventAttribute(Vec<u8>),
    /// An attribute of links, by key.
    LinkAttribute(Vec<u8>),
}

impl StringColumn {
    /// The owner and key of an attribute.
    fn attribute(&self) -> Option<(AttributeOwner, &Vec<u8>)> {
        match self {
            Self::SpanAttribute(key) => Some((AttributeOwner::Span, key)),
            Self::ResourceAttribute(key) => Some((AttributeOwner::Resource, key)),
            Self::ScopeAttribute(key) => Some((AttributeOwner::Scope, key)),
            Self::EventAttribute(key) => Some((AttributeOwner::Event, key)),
            Self::LinkAttribute(key) => Some((AttributeOwner::Link, key)),
            _ => None,
        }
    }
}

impl StringColumn {
    /// Where a summary has the strings of the column; that entry may contain more strings.
    pub fn summarized(&self) -> (ValueOwner, &[u8]) {
        match (self, self.attribute()) {
            (_, Some((owner, key))) => (ValueOwner::Attribute(owner), key),
            (Self::StatusMessage, _) => (ValueOwner::Intrinsic, b"statusMessage"),
            (Self::EventName, _) => (ValueOwner::Intrinsic, b"eventName"),
            (Self::ScopeName, _) => (ValueOwner::Intrinsic, b"scopeName"),
            (Self::ScopeVersion, _) => (ValueOwner::Intrinsic, b"scopeVersion"),
            // That of a root is that of a span.
            (Self::RootServiceName, _) => {
                (ValueOwner::Attribute(AttributeOwner::Resource), b"service.name")
            }
            _ => (ValueOwner::Intrinsic, b"name"),
        }
    }
}

/// A column of numbers with statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberColumn {
    /// Start of spans, unix nanoseconds.
    SpanStart,
    /// Duration of spans, nanoseconds.
    SpanDuration,
    /// Kind of spans.
    Kind,
    /// Status code of spans.
    Status,
    /// Start of traces, unix nanoseconds.
    TraceStart,
    /// End of traces, unix nanoseconds.
    TraceEnd,
}

impl File {
    fn string_leaf(&self, column: &StringColumn) -> Option<Leaf> {
        Some(match column {
            StringColumn::Name => self.columns.name,
            StringColumn::StatusMessage => self.columns.status_message,
            StringColumn::EventName => self.columns.event_name,
            StringColumn::ScopeName => self.columns.scope_name,
            StringColumn::ScopeVersion => self.columns.scope_version,
            StringColumn::RootServiceName => self.columns.root_service,
            StringColumn::RootSpanName => self.columns.root_name,
            _ => return None,
        })
    }

    pub(crate) fn list(&self, owner: AttributeOwner) -> &ListColumns {
        match owner {
            AttributeOwner::Span => &self.columns.span_attributes,
            AttributeOwner::Resource => &self.columns.resource_attributes,
            AttributeOwner::Scope => &self.columns.scope_attributes,
            AttributeOwner::Event => &self.columns.event_attributes,
            AttributeOwner::Link => &self.columns.link_attributes,
        }
    }

    /// See [`super::BlockReader::row_group_may_contain_string`].
    pub(crate) fn may_contain_string(
        &self,
        row_group: usize,
        column: &StringColumn,
        predicate: &dyn StringPredicate,
    ) -> Result<bool> {
        let Some((owner, key)) = column.attribute() else {
            let leaf = self.string_leaf(column);
            return leaf.map_or(Ok(true), |leaf| self.leaf_may_have(row_group, leaf, predicate));
        };
        let list = self.list(owner);
        for fixed in list.fixed.iter().filter(|fixed| fixed.key == *key) {
            let is_string = fixed.column_type == ColumnType::String;
            if is_string && self.leaf_may_have(row_group, fixed.leaf, predicate)? {
                return Ok(true);
            }
        }
        if let Some(messages) = list.within {
            return Ok(self.has_messages(row_group, messages));
        }
        let Some(generic) = &list.generic else { return Ok(false) };
        if !self.leaf_may_have(row_group, generic.key, &|found: &[u8]| found == key)? {
            return Ok(false);
        }
        // These have no dictionary, or their values are in a form that the predicate does not understand.
        for encoded in [generic.array, generic.message].into_iter().flatten() {
            if !self.is_all_null(row_group, encoded) {
                return Ok(true);
            }
        }
        let Some(value) = generic.string else { return Ok(false) };
        self.leaf_may_have(row_group, value, predicate)
    }

    /// See [`super::BlockReader::row_group_may_have_key`].
    pub(crate) fn may_have_key(
        &self,
        row_group: usize,
        owner: AttributeOwner,
        key: &[u8],
    ) -> Result<bool> {
        let list = self.list(owner);
        for fixed in list.fixed.iter().filter(|fixed| fixed.key == *key) {
            if self.has_values(row_group, fixed)? != Some(false) {
                return Ok(true);
            }
        }
        if let Some(messages) = list.within {
            return Ok(self.has_messages(row_group, messages));
        }
        let Some(generic) = &list.generic else { return Ok(false) };
        self.leaf_may_have(row_group, generic.key, &|found: &[u8]| found == key)
    }

    /// See [`super::BlockReader::visit_attribute_keys`].
    pub(crate) fn visit_attribute_keys(
        &self,
        row_group: usize,
        owner: AttributeOwner,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let list = self.list(owner);
        for fixed in &list.fixed {
            match self.has_values(row_group, fixed)? {
                Some(true) => visit(&fixed.key),
                Some(false) => {}
                None => return Ok(false),
            }
        }
        if let Some(messages) = list.within {
            return Ok(!self.has_messages(row_group, messages));
        }
        let Some(generic) = &list.generic else { return Ok(true) };
        self.visit_dictionary(row_group, generic.key, &mut |key| {
            visit(key);
            true
        })
    }

    /// See [`super::BlockReader::visit_strings`].
    pub(crate) fn visit_strings(
        &self,
        row_group: usize,
        column: &StringColumn,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let mut visit_all = |leaf: Leaf| {
            self.visit_dictionary(row_group, leaf, &mut |string| {
                visit(string);
                true
            })
        };
        let Some((owner, key)) = column.attribute() else {
            return self.string_leaf(column).map_or(Ok(false), visit_all);
        };
        let list = self.list(owner);
        let mut complete = true;
        for fixed in list.fixed.iter().filter(|fixed| fixed.key == *key) {
            complete &= fixed.column_type == ColumnType::String && visit_all(fixed.leaf)?;
        }
        if let Some(messages) = list.within {
            return Ok(complete && !self.has_messages(row_group, messages));
        }
        // Values of all keys share one dictionary, so it does not show which belong to this key.
        let is_generic = match list.generic.as_ref().filter(|_| complete) {
            Some(generic) => {
                self.leaf_may_have(row_group, generic.key, &|found: &[u8]| found == key)?
            }
            None => false,
        };
        Ok(complete && !is_generic)
    }

    /// Whether an owner has the attribute of a column; `None` if neither statistics nor a dictionary tell.
    fn has_values(&self, row_group: usize, fixed: &FixedColumn) -> Result<Option<bool>> {
        let Some(chunk) = self.chunk(row_group, fixed.leaf) else { return Ok(Some(false)) };
        if chunk.is_all_null || fixed.omit_empty && chunk.is_all_empty {
            return Ok(Some(false));
        }
        if chunk.has_values {
            return Ok(Some(true));
        }
        if fixed.column_type != ColumnType::String {
            return Ok(None);
        }
        Ok(match self.dictionary(row_group, fixed.leaf)? {
            AllStrings::None => Some(false),
            AllStrings::Unknown => None,
            AllStrings::These(strings) => {
                Some(any_string(&strings, &|string| !(fixed.omit_empty && string.is_empty())))
            }
        })
    }

    /// False if no entry of a column has a value.
    fn is_all_null(&self, row_group: usize, leaf: Leaf) -> bool {
        self.chunk(row_group, leaf).is_some_and(|chunk| chunk.is_all_null)
    }

    /// False if all messages of a column are empty.
    fn has_messages(&self, row_group: usize, leaf: Leaf) -> bool {
        let chunk = self.chunk(row_group, leaf);
        !chunk.is_some_and(|chunk| chunk.is_all_empty || chunk.is_all_null)
    }

    fn chunk(&self, row_group: usize, leaf: Leaf) -> Option<&KeptChunk> {
        self.footer.row_groups().get(row_group)?.columns().get(leaf.index)
    }

    fn leaf_may_have(
        &self,
        row_group: usize,
        leaf: Leaf,
        predicate: &dyn StringPredicate,
    ) -> Result<bool> {
        match self.dictionary(row_group, leaf)? {
            AllStrings::None => Ok(false),
            AllStrings::Unknown => Ok(true),
            AllStrings::These(strings) if !predicate.may_hold_within(strings.bytes()) => Ok(false),
            AllStrings::These(strings) => {
                Ok(any_string(&strings, &|string| predicate.holds(string)))
            }
        }
    }

    /// Calls `visit` with every distinct string of a column until it returns false.
    ///
    /// Returns false, without visiting anything, if the column has no dictionary with all its values.
    pub(crate) fn visit_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool> {
        match self.dictionary(row_group, leaf)? {
            AllStrings::None => {}
            AllStrings::Unknown => return Ok(false),
            AllStrings::These(strings) => visit_all(&strings, visit),
        }
        Ok(true)
    }

    /// See [`super::BlockReader::row_group_bounds`].
    pub(crate) fn bounds(&self, row_group: usize, column: NumberColumn) -> Option<(u64, u64)> {
        let leaf = match column {
            NumberColumn::SpanStart => self.columns.start,
            NumberColumn::SpanDuration => self.columns.duration,
            NumberColumn::Kind => self.columns.kind,
            NumberColumn::Status => self.columns.status,
            NumberColumn::TraceStart => self.columns.trace_start,
            NumberColumn::TraceEnd => self.columns.trace_end,
        };
        let chunk = self.chunk(row_group, leaf)?;
        let (least, most) = chunk.integer_bounds()?;
        let (min, max) = (least as u64, most as u64);
        // Bounds in the wrong order mean that unsigned values (or a negative kind) were ordered as signed ones.
        (min <= max).then_some((min, max))
    }
}
