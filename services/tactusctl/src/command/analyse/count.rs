//! Counts the bytes of each attribute.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use tactus_model::{AttributeList, Dictionary, SpanBatch, StringCode, ValueType};
use tactus_storage::BlockMeta;
use tactus_storage::meta::{
    BlockVersion, ColumnScope, ColumnType, DedicatedColumn, filter_for_vparquet4,
};

/// Bytes that a dictionary entry takes besides its string.
const ENTRY_BYTES: u64 = 4;
/// Approximate bytes of the codes of a key and a value in a page.
const CODES_BYTES: u64 = 3;
/// Bytes of a number in a page.
const NUMBER_BYTES: u64 = 8;

tactus_model::words! {
    /// Whose attributes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub(super) enum Scope: as_str {
        Span = "span",
        Resource = "resource",
        Event = "event",
        Link = "link",
        Instrumentation = "instrumentation",
    }
}

impl Scope {
    /// The scope of its dedicated columns, if it can have any.
    pub(super) fn column_scope(self) -> Option<ColumnScope> {
        match self {
            Self::Span => Some(ColumnScope::Span),
            Self::Resource => Some(ColumnScope::Resource),
            Self::Event => Some(ColumnScope::Event),
            Self::Link | Self::Instrumentation => None,
        }
    }
}

tactus_model::words! {
    /// Where an attribute lies.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Place: as_str {
        /// Among all others.
        Generic = "generic",
        /// In a dedicated column.
        Dedicated = "dedicated",
        /// In a column that every block has.
        Fixed = "fixed",
    }
}

/// An attribute over the sample.
#[derive(Debug, Clone)]
pub(super) struct Count {
    pub(super) column: Place,
    pub(super) uses: u64,
    pub(super) distinct: u64,
    pub(super) bytes: u64,
    /// Uses by [`ValueType`]: string, int, double, bool, and the rest.
    kinds: [u64; 5],
}

const KINDS: [&str; 5] = ["string", "int", "double", "bool", "other"];

impl Count {
    fn new(column: Place) -> Self {
        Self { column, uses: 0, distinct: 0, bytes: 0, kinds: [0; 5] }
    }

    pub(super) fn is_generic(&self) -> bool {
        self.column == Place::Generic
    }

    /// The type of most values.
    pub(super) fn kind(&self) -> &'static str {
        let most = (0..KINDS.len()).max_by_key(|&kind| (self.kinds[kind], KINDS.len() - kind));
        most.map_or("other", |kind| KINDS[kind])
    }
}

/// The sample.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) row_groups: usize,
    pub(super) traces: u64,
    pub(super) spans: u64,
    pub(super) attributes: BTreeMap<(Scope, Vec<u8>), Count>,
}

impl Counts {
    /// Adds a row group.
    ///
    /// A file, and so the batch, has each resource and scope once per trace.
    pub(super) fn add(&mut self, batch: &SpanBatch, meta: &BlockMeta) {
        self.row_groups += 1;
        self.traces += batch.traces.ids.len() as u64;
        self.spans += batch.len() as u64;
        for (scope, list) in [
            (Scope::Span, &batch.span_attributes),
            (Scope::Resource, &batch.resources.attributes),
            (Scope::Event, &batch.events.attributes),
            (Scope::Link, &batch.links.attributes),
            (Scope::Instrumentation, &batch.scopes.attributes),
        ] {
            self.add_list(scope, list, &batch.strings, meta);
        }
    }

    fn add_list(
        &mut self,
        scope: Scope,
        list: &AttributeList,
        strings: &Dictionary,
        meta: &BlockMeta,
    ) {
        // By the code of the key, so that each key's string is read once.
        let mut found: HashMap<StringCode, (Count, HashSet<(u8, u64)>)> = HashMap::new();
        for entry in 0..list.len() {
            let attribute = list.at(entry);
            let (count, values) = found.entry(attribute.key).or_insert_with(|| {
                (Count::new(place(scope, strings.get(attribute.key), meta)), HashSet::new())
            });
            let kind = match attribute.value_type {
                ValueType::String => 0,
                ValueType::Int => 1,
                ValueType::Double => 2,
                ValueType::Bool => 3,
                _ => 4,
            };
            count.uses += 1;
            count.kinds[kind] += 1;
            let is_new = values.insert((attribute.value_type as u8, attribute.payload));
            count.bytes += match attribute.value_type {
                ValueType::Int | ValueType::Double => CODES_BYTES + NUMBER_BYTES,
                kind if kind.holds_code() && is_new => {
                    let length = strings.get(attribute.payload as StringCode).len() as u64;
                    CODES_BYTES + ENTRY_BYTES + length
                }
                _ => CODES_BYTES,
            };
        }
        for (key, (count, values)) in found {
            let all = self.attributes.entry((scope, strings.get(key).to_vec()));
            let all = all.or_insert_with(|| Count::new(count.column));
            all.uses += count.uses;
            all.distinct += values.len() as u64;
            all.bytes += count.bytes;
            all.kinds.iter_mut().zip(count.kinds).for_each(|(sum, part)| *sum += part);
            // Blocks may differ. An attribute that is generic in one of them takes space there.
            if count.column == Place::Generic {
                all.column = Place::Generic;
            }
        }
    }
}

fn place(scope: Scope, key: &[u8], meta: &BlockMeta) -> Place {
    let Some(scope) = scope.column_scope() else { return Place::Generic };
    let Ok(key) = std::str::from_utf8(key) else { return Place::Generic };
    let is_column = |column: &DedicatedColumn| column.scope == scope && column.name == key;
    if meta.dedicated_columns.iter().any(is_column) {
        return Place::Dedicated;
    }
    let version = meta.version().unwrap_or(BlockVersion::VParquet4);
    if is_fixed(scope, key, version) { Place::Fixed } else { Place::Generic }
}

/// True for an attribute that every block of a version has a column for.
pub(super) fn is_fixed(scope: ColumnScope, key: &str, version: BlockVersion) -> bool {
    if scope == ColumnScope::Event {
        return false;
    }
    if version >= BlockVersion::VParquet5 {
        return scope == ColumnScope::Resource && key == "service.name";
    }
    let status = scope == ColumnScope::Span && key == "http.status_code";
    // Older versions refuse a dedicated column to attributes that already have a column.
    let column = DedicatedColumn::string(scope, key);
    status || filter_for_vparquet4(std::slice::from_ref(&column)).is_empty()
}

/// The type of a column for the values of a kind, if there is one.
pub(super) fn column_type(kind: &str) -> Option<ColumnType> {
    match kind {
        "string" => Some(ColumnType::String),
        "int" => Some(ColumnType::Int),
        _ => None,
    }
}
