//! Answers about a row group without reading its values: dictionaries and statistics.

use std::sync::Arc;

use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use tactus_storage::meta::ColumnType;

use crate::decoding::byte_arrays::ByteArrays;
use crate::decoding::codec::{Codec, Decompressor};
use crate::decoding::page::{Encoding, PageKind, read_page_header};
use crate::decoding::{DecodeError, DecodeResult, split};
use crate::{Error, Result};

use super::cache::{HeldBytes, Slot};
use super::columns::{Leaf, ListColumns};
use super::{File, footer};

/// What is asked of strings; any function of a string is such a question.
pub trait StringPredicate {
    /// True if the string meets the predicate.
    fn holds(&self, string: &[u8]) -> bool;

    /// False if no string that lies within these bytes can meet the predicate: asked once of many strings.
    fn may_hold_within(&self, _bytes: &[u8]) -> bool {
        true
    }
}

impl<F: Fn(&[u8]) -> bool> StringPredicate for F {
    fn holds(&self, string: &[u8]) -> bool {
        self(string)
    }
}

/// What a dictionary tells of the strings of a column.
enum AllStrings {
    /// There are none.
    None,
    /// There may be others.
    Unknown,
    These(Arc<ByteArrays>),
}

/// A string column, or the string values of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StringColumn {
    /// Span name.
    Name,
    /// Status message of a span. Blocks hold no dictionary of it.
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

/// Kinds of owners of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AttributeOwner {
    Span,
    Resource,
    Scope,
    Event,
    Link,
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
        let Some(generic) = &list.generic else { return Ok(false) };
        let Some(value) = generic.string else { return Ok(false) };
        Ok(self.leaf_may_have(row_group, generic.key, &|found: &[u8]| found == key)?
            && self.leaf_may_have(row_group, value, predicate)?)
    }

    /// See [`super::BlockReader::visit_attribute_keys`].
    pub(crate) fn visit_attribute_keys(
        &self,
        row_group: usize,
        owner: AttributeOwner,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let list = self.list(owner);
        let group = self.metadata.row_groups().get(row_group);
        for fixed in &list.fixed {
            let chunk = group.and_then(|group| group.columns().get(fixed.leaf.index));
            if chunk.is_some_and(|chunk| !footer::is_all_null(chunk)) {
                visit(&fixed.key);
            }
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
        // Values of all keys share a dictionary, so it does not tell those of one.
        let is_generic = match list.generic.as_ref().filter(|_| complete) {
            Some(generic) => {
                self.leaf_may_have(row_group, generic.key, &|found: &[u8]| found == key)?
            }
            None => false,
        };
        Ok(complete && !is_generic)
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
    /// Returns false if the column has no dictionary that tells all its values; nothing is visited then.
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

    /// What the dictionary of a column tells of its strings.
    fn dictionary(&self, row_group: usize, leaf: Leaf) -> Result<AllStrings> {
        let group = self.metadata.row_groups().get(row_group);
        let chunk = group.and_then(|group| group.columns().get(leaf.index));
        let (Some(group), Some(chunk)) = (group, chunk) else {
            return Err(Error::Corrupt { what: format!("row group {row_group} is missing") });
        };
        if footer::is_all_null(chunk) {
            return Ok(AllStrings::None);
        }
        if !footer::is_dictionary_only(chunk) {
            return Ok(AllStrings::Unknown);
        }
        Ok(AllStrings::These(match self.cached_dictionary(row_group, leaf) {
            Some(strings) => strings,
            None => {
                let strings = self.read_dictionary(group, leaf, row_group)?;
                self.cache_dictionary(row_group, leaf, strings)
            }
        }))
    }

    /// The strings of a column's dictionary page, if they are in the cache.
    pub(crate) fn cached_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
    ) -> Option<Arc<ByteArrays>> {
        let found = self.cache.as_ref()?.get(self.id, row_group, &Slot::Dictionary(leaf.index))?;
        let found = found.downcast::<Arc<ByteArrays>>().ok()?;
        Some(Arc::clone(&found))
    }

    /// Decodes the dictionary page of a column of strings for the cache; `None` without a cache, or if the column
    /// holds no strings.
    pub(crate) fn keep_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
        page: &[u8],
    ) -> Result<Option<Arc<ByteArrays>>> {
        let group = self.metadata.row_groups().get(row_group);
        let chunk = group.and_then(|group| group.columns().get(leaf.index));
        let (Some(group), Some(chunk)) = (group, chunk) else { return Ok(None) };
        if self.cache.is_none() || chunk.column_type() != PhysicalType::BYTE_ARRAY {
            return Ok(None);
        }
        let corrupt = |error| self.corrupt(chunk, row_group, error);
        let facts = footer::chunk_facts(group, leaf, self.size).map_err(corrupt)?;
        let strings = read_dictionary_page(facts.codec, page).map_err(corrupt)?;
        Ok(Some(self.cache_dictionary(row_group, leaf, strings)))
    }

    fn cache_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
        strings: ByteArrays,
    ) -> Arc<ByteArrays> {
        let (slot, strings) = (Slot::Dictionary(leaf.index), Arc::new(strings));
        match &self.cache {
            Some(cache) => cache.insert(self.id, row_group, slot, strings),
            None => strings,
        }
    }

    fn corrupt(
        &self,
        chunk: &ColumnChunkMetaData,
        row_group: usize,
        DecodeError(what): DecodeError,
    ) -> Error {
        let path = chunk.column_path();
        Error::Corrupt { what: format!("{what} (column {path}, row group {row_group})") }
    }

    /// The dictionary of a column that has one.
    fn read_dictionary(
        &self,
        group: &RowGroupMetaData,
        leaf: Leaf,
        row_group: usize,
    ) -> Result<ByteArrays> {
        let chunk = group.column(leaf.index);
        let corrupt = |error| self.corrupt(chunk, row_group, error);
        let facts = footer::chunk_facts(group, leaf, self.size).map_err(corrupt)?;
        // The dictionary ends where the first data page starts.
        let end = u64::try_from(chunk.data_page_offset()).unwrap_or(0).min(facts.range.end);
        let bytes = self.source.read(facts.range.start..end.max(facts.range.start))?;
        read_dictionary_page(facts.codec, &bytes).map_err(corrupt)
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
        let chunk = self.metadata.row_groups().get(row_group)?.columns().get(leaf.index)?;
        let statistics = chunk.statistics().filter(|bounds| !bounds.is_min_max_deprecated());
        let Statistics::Int64(bounds) = statistics? else { return None };
        let (min, max) = (*bounds.min_opt()? as u64, *bounds.max_opt()? as u64);
        // Signed order of unsigned values (or a negative kind) shows as bounds in the wrong order.
        (min <= max).then_some((min, max))
    }
}

/// True if the dictionary page at the start of `bytes` has a string that meets the predicate.
pub(crate) fn dictionary_has(
    codec: Codec,
    bytes: &[u8],
    predicate: &dyn Fn(&[u8]) -> bool,
) -> DecodeResult<bool> {
    Ok(any_string(&read_dictionary_page(codec, bytes)?, predicate))
}

/// True if a string meets the predicate.
pub(crate) fn any_string(strings: &ByteArrays, predicate: &dyn Fn(&[u8]) -> bool) -> bool {
    (0..strings.len()).any(|i| predicate(strings.get(i)))
}

fn read_dictionary_page(codec: Codec, bytes: &[u8]) -> DecodeResult<ByteArrays> {
    let (header, rest) = read_page_header(bytes)?;
    let PageKind::Dictionary { entries, encoding: Encoding::Plain } = header.kind else {
        return Err(DecodeError("a chunk does not start with its dictionary"));
    };
    let (stored, _) = split(rest, header.compressed, "a dictionary is cut off")?;
    if header.crc != 0 && crc32fast::hash(stored) != header.crc {
        return Err(DecodeError("a page does not match its checksum"));
    }
    let mut decompressor = Decompressor::default();
    let body = match codec {
        Codec::Uncompressed => stored,
        codec => decompressor.decompress(codec, stored, header.uncompressed)?,
    };
    let mut strings = ByteArrays::default();
    strings.decode_plain(body, 0, entries)?;
    Ok(strings)
}

fn visit_all(strings: &ByteArrays, visit: &mut dyn FnMut(&[u8]) -> bool) {
    for i in 0..strings.len() {
        if !visit(strings.get(i)) {
            break;
        }
    }
}

impl HeldBytes for ByteArrays {
    fn held_bytes(&self) -> usize {
        self.heap_bytes()
    }
}
