//! The schemas of blocks that are written: the message type, a name for every leaf column, and how each is stored.
//!
//! Tempo finds leaf columns by position, so order, nesting, repetition and physical types are a fixed contract. The
//! schema of vParquet4 is constant, and dedicated columns only determine what `String01`… mean. vParquet5 has a column
//! for each of them.

pub mod leaf;
mod text;

use std::sync::{Arc, LazyLock};

use parquet::basic::Type as PhysicalType;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};
use tactus_storage::meta::{
    BlockVersion, ColumnScope, ColumnType, DedicatedColumn, SLOTS_OF_VPARQUET4,
};

use crate::error::{Error, Result};
use leaf::Leaves;

/// How the values of a leaf column are encoded, apart from the dictionary page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafEncoding {
    /// A PLAIN dictionary page, and RLE_DICTIONARY in all data pages.
    Dictionary,
    /// DELTA_LENGTH_BYTE_ARRAY.
    DeltaLength,
    /// DELTA_BINARY_PACKED.
    DeltaBinary,
    /// PLAIN.
    Plain,
}

/// How the pages of a leaf column are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafCompression {
    /// As the settings say.
    AsSet,
    /// As the settings say, except that with Zstandard the values stay uncompressed: they already take as few bits as
    /// possible, so they hardly shrink, and almost every query reads some of them.
    OnlyLevels,
    /// Zstandard, whatever the settings say, and no bounds in statistics; for long or unique strings.
    Blob,
}

/// How a leaf column is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafStorage {
    /// The encoding of its values. Never a dictionary for INT32 columns, which Tempo misreads, or for `TraceID`.
    pub encoding: LeafEncoding,
    /// Compression of its pages.
    pub compression: LeafCompression,
}

/// The column of an attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttributeColumn {
    /// Its leaf.
    pub leaf: usize,
    /// The attribute; `None` for a column that stays empty.
    pub name: Option<String>,
    /// Values of this type are stored here; others stay generic attributes.
    pub column_type: ColumnType,
    /// True if the column also stores arrays of such values, with at least two elements: a shorter array would look
    /// like a single value or like no value.
    pub takes_arrays: bool,
    /// True if an empty string means that there is no value. An attribute that is an empty string then stays generic.
    /// This is the case for the required column of `service.name`.
    pub omits_empty: bool,
    /// It is stored as [`LeafCompression::Blob`].
    pub is_blob: bool,
}

/// How many dedicated columns of one scope the schema has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Slots {
    strings: usize,
    ints: usize,
}

/// The schema of a file.
#[derive(Debug)]
pub struct Schema {
    /// The block version.
    pub version: BlockVersion,
    /// The numbers of its leaf columns.
    pub leaves: Leaves,
    /// Columns of resource attributes, in file order; `service.name` first.
    pub resource_columns: Vec<AttributeColumn>,
    /// Columns of span attributes, in file order.
    pub span_columns: Vec<AttributeColumn>,
    /// Columns of event attributes, in file order.
    pub event_columns: Vec<AttributeColumn>,
    descriptor: SchemaDescPtr,
    storage: Vec<LeafStorage>,
}

/// Resource attributes that always have a column of their own in vParquet3 and 4, all optional strings.
pub(crate) const RESOURCE_STATICS: [(&str, &str); 8] = [
    ("cluster", "Cluster"),
    ("namespace", "Namespace"),
    ("pod", "Pod"),
    ("container", "Container"),
    ("k8s.cluster.name", "K8sClusterName"),
    ("k8s.namespace.name", "K8sNamespaceName"),
    ("k8s.pod.name", "K8sPodName"),
    ("k8s.container.name", "K8sContainerName"),
];

/// Span attributes that always have a column of their own in vParquet4.
const SPAN_STATICS: [(&str, &str, ColumnType); 3] = [
    ("http.method", "HttpMethod", ColumnType::String),
    ("http.url", "HttpUrl", ColumnType::String),
    ("http.status_code", "HttpStatusCode", ColumnType::Int),
];

static MESSAGE_OF_V4: LazyLock<SchemaDescPtr> = LazyLock::new(|| {
    let fixed = Slots { strings: SLOTS_OF_VPARQUET4, ints: 0 };
    parse(&text::message_type(BlockVersion::VParquet4, fixed, fixed, Slots::default()))
});

fn parse(text: &str) -> SchemaDescPtr {
    let message = parse_message_type(text).expect("the text is made of constants and numbers");
    Arc::new(SchemaDescriptor::new(Arc::new(message)))
}

impl Schema {
    /// The schema of a version. `dedicated` is the list from `meta.json`; columns beyond the slots of the version are
    /// ignored.
    ///
    /// Errors: `NotWritten` for versions that are only read.
    pub fn new(version: BlockVersion, dedicated: &[DedicatedColumn]) -> Result<Self> {
        let is_v5 = match version {
            BlockVersion::VParquet3 => return Err(Error::NotWritten(version.as_str())),
            BlockVersion::VParquet4 => false,
            BlockVersion::VParquet5 => true,
        };
        let slots = |scope| Slots {
            strings: of_scope(dedicated, scope, ColumnType::String, is_v5).count(),
            ints: of_scope(dedicated, scope, ColumnType::Int, is_v5).count(),
        };
        let descriptor = match is_v5 {
            false => MESSAGE_OF_V4.clone(),
            true => parse(&text::message_type(
                version,
                slots(ColumnScope::Resource),
                slots(ColumnScope::Span),
                slots(ColumnScope::Event),
            )),
        };
        let paths = leaf::Paths::new(&descriptor);
        let leaves = Leaves::new(&paths);
        let columns = |scope| attribute_columns(&paths, is_v5, scope, dedicated);
        let mut schema = Self {
            version,
            resource_columns: columns(ColumnScope::Resource),
            span_columns: columns(ColumnScope::Span),
            event_columns: columns(ColumnScope::Event),
            leaves,
            storage: Vec::new(),
            descriptor,
        };
        schema.storage = (0..schema.leaf_count()).map(|leaf| schema.choose_storage(leaf)).collect();
        Ok(schema)
    }

    /// Paths, levels and types of the leaf columns.
    pub fn descriptor(&self) -> &SchemaDescPtr {
        &self.descriptor
    }

    /// Number of leaf columns.
    pub(crate) fn leaf_count(&self) -> usize {
        self.descriptor.num_columns()
    }

    /// How a leaf column is stored; `leaf` is below [`Self::leaf_count`].
    #[inline]
    pub fn storage(&self, leaf: usize) -> LeafStorage {
        self.storage[leaf]
    }

    /// All leaf columns, those that most queries read first.
    pub(crate) fn by_use(&self) -> Vec<usize> {
        fn in_use(columns: &[AttributeColumn]) -> impl Iterator<Item = usize> {
            columns.iter().filter(|column| column.name.is_some()).map(|column| column.leaf)
        }
        let mut order =
            self.leaves.by_use(in_use(&self.resource_columns), in_use(&self.span_columns));
        order.extend(0..self.leaf_count());
        // Each leaf keeps only its first place.
        let mut is_in = vec![false; self.leaf_count()];
        order.retain(|&leaf| !std::mem::replace(&mut is_in[leaf], true));
        order
    }

    /// The columns of attributes, of all scopes.
    fn attribute_columns(&self) -> impl Iterator<Item = &AttributeColumn> {
        [&self.resource_columns, &self.span_columns, &self.event_columns].into_iter().flatten()
    }

    fn choose_storage(&self, leaf: usize) -> LeafStorage {
        let of_attribute = self.attribute_columns().find(|column| column.leaf == leaf);
        if of_attribute.is_some_and(|column| column.is_blob) {
            let compression = LeafCompression::Blob;
            return LeafStorage { encoding: LeafEncoding::DeltaLength, compression };
        }
        let leaves = &self.leaves;
        let encoding = match self.descriptor.column(leaf).physical_type() {
            PhysicalType::BYTE_ARRAY if leaves.without_dictionary().any(|known| known == leaf) => {
                LeafEncoding::DeltaLength
            }
            PhysicalType::BYTE_ARRAY if leaf == leaves.service_stats_name && !self.is_v5() => {
                LeafEncoding::DeltaLength
            }
            PhysicalType::BYTE_ARRAY => LeafEncoding::Dictionary,
            PhysicalType::INT32 | PhysicalType::INT64
                if of_attribute.is_none()
                    && !leaves.plain_integers().any(|known| known == leaf) =>
            {
                LeafEncoding::DeltaBinary
            }
            _ => LeafEncoding::Plain,
        };
        let compression = match leaves.hot().contains(&leaf) {
            true => LeafCompression::OnlyLevels,
            false => LeafCompression::AsSet,
        };
        LeafStorage { encoding, compression }
    }

    /// True for the vParquet5 schema.
    pub(crate) fn is_v5(&self) -> bool {
        self.version == BlockVersion::VParquet5
    }
}

/// The dedicated columns of a scope and type that the schema has, in the order of their slots.
fn of_scope(
    dedicated: &[DedicatedColumn],
    scope: ColumnScope,
    column_type: ColumnType,
    is_v5: bool,
) -> impl Iterator<Item = &DedicatedColumn> {
    let slots = match (is_v5, column_type, scope) {
        (true, ..) => column_type.slots(),
        (false, ColumnType::String, ColumnScope::Resource | ColumnScope::Span) => {
            SLOTS_OF_VPARQUET4
        }
        (false, ..) => 0,
    };
    let wanted =
        move |column: &&DedicatedColumn| (column.scope, column.column_type) == (scope, column_type);
    dedicated.iter().filter(wanted).take(slots)
}

fn attribute_columns(
    paths: &leaf::Paths,
    is_v5: bool,
    scope: ColumnScope,
    dedicated: &[DedicatedColumn],
) -> Vec<AttributeColumn> {
    let (parent, mut statics) = match scope {
        ColumnScope::Resource => {
            let service = ("service.name", "ServiceName", ColumnType::String);
            ("rs.Resource", vec![service])
        }
        ColumnScope::Span => ("rs.ss.Spans", Vec::new()),
        ColumnScope::Event => ("rs.ss.Spans.Events", Vec::new()),
    };
    match scope {
        _ if is_v5 => {}
        ColumnScope::Resource => statics
            .extend(RESOURCE_STATICS.map(|(name, column)| (name, column, ColumnType::String))),
        ColumnScope::Span => statics.extend(SPAN_STATICS),
        ColumnScope::Event => {}
    }
    let mut columns: Vec<AttributeColumn> = statics
        .into_iter()
        .map(|(name, column, column_type)| AttributeColumn {
            leaf: paths.leaf(&format!("{parent}.{column}")),
            name: Some(name.to_owned()),
            column_type,
            takes_arrays: false,
            omits_empty: scope == ColumnScope::Resource && name == "service.name",
            is_blob: false,
        })
        .collect();
    for (column_type, prefix) in [(ColumnType::String, "String"), (ColumnType::Int, "Int")] {
        let mut named = of_scope(dedicated, scope, column_type, is_v5);
        for slot in 1.. {
            let path = format!("{parent}.DedicatedAttributes.{prefix}{slot:02}");
            let Some(leaf) = paths.find(&path) else { break };
            let dedicated = named.next();
            // If the attribute already has another column, this one stays empty but keeps its position.
            let is_new =
                |name: &&str| columns.iter().all(|known| known.name.as_deref() != Some(name));
            let name = dedicated.map(|column| column.name.as_str()).filter(is_new);
            columns.push(AttributeColumn {
                leaf,
                name: name.map(str::to_owned),
                column_type,
                takes_arrays: is_v5,
                omits_empty: false,
                is_blob: is_v5
                    && column_type == ColumnType::String
                    && dedicated.is_some_and(DedicatedColumn::is_blob),
            });
        }
    }
    columns
}

#[cfg(test)]
mod tests;
