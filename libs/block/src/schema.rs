//! The vParquet4 schema: its message type, and a name for every leaf column.
//!
//! Tempo maps leaf columns by position, so order, nesting, repetition and physical types are a fixed
//! contract. Nothing here is configurable; dedicated columns only change what `String01`… mean.

pub mod leaf;
mod text;

use std::sync::{Arc, LazyLock};

use parquet::basic::Type as PhysicalType;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, TypePtr};

/// Leaf columns of a vParquet4 file.
pub const LEAF_COUNT: usize = 103;

/// Columns for dedicated attributes, per scope.
pub const DEDICATED_SLOTS: usize = 10;

/// How the values of a leaf column are encoded, dictionary page aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafEncoding {
    /// A PLAIN dictionary page, and RLE_DICTIONARY data pages throughout.
    Dictionary,
    /// DELTA_LENGTH_BYTE_ARRAY.
    DeltaLength,
    /// DELTA_BINARY_PACKED.
    DeltaBinary,
    /// PLAIN.
    Plain,
}

/// The seven leaf columns of one attribute list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttributeLeaves {
    /// `Key`.
    pub key: usize,
    /// `IsArray`.
    pub is_array: usize,
    /// `Value.list.element`.
    pub value: usize,
    /// `ValueInt.list.element`.
    pub value_int: usize,
    /// `ValueDouble.list.element`.
    pub value_double: usize,
    /// `ValueBool.list.element`.
    pub value_bool: usize,
    /// `ValueUnsupported`.
    pub value_unsupported: usize,
}

impl AttributeLeaves {
    /// The seven leaves from `first` on.
    pub const fn at(first: usize) -> Self {
        Self {
            key: first,
            is_array: first + 1,
            value: first + 2,
            value_int: first + 3,
            value_double: first + 4,
            value_bool: first + 5,
            value_unsupported: first + 6,
        }
    }
}

/// Resource attributes with a column of their own if they are strings, and that column.
pub const RESOURCE_COLUMNS: [(&str, usize); 9] = [
    ("service.name", leaf::RESOURCE_SERVICE_NAME),
    ("cluster", leaf::RESOURCE_CLUSTER),
    ("namespace", leaf::RESOURCE_NAMESPACE),
    ("pod", leaf::RESOURCE_POD),
    ("container", leaf::RESOURCE_CONTAINER),
    ("k8s.cluster.name", leaf::RESOURCE_K8S_CLUSTER_NAME),
    ("k8s.namespace.name", leaf::RESOURCE_K8S_NAMESPACE_NAME),
    ("k8s.pod.name", leaf::RESOURCE_K8S_POD_NAME),
    ("k8s.container.name", leaf::RESOURCE_K8S_CONTAINER_NAME),
];

/// Span attributes with a column of their own if they are strings, and that column.
/// `http.status_code` has [`leaf::SPAN_HTTP_STATUS_CODE`] if it is an integer.
pub const SPAN_COLUMNS: [(&str, usize); 2] =
    [("http.method", leaf::SPAN_HTTP_METHOD), ("http.url", leaf::SPAN_HTTP_URL)];

/// The span attribute behind [`leaf::SPAN_HTTP_STATUS_CODE`].
pub const HTTP_STATUS_CODE: &str = "http.status_code";

static DESCRIPTOR: LazyLock<SchemaDescPtr> = LazyLock::new(|| {
    let message = parse_message_type(&text::message_type()).expect("the message type is constant");
    Arc::new(SchemaDescriptor::new(Arc::new(message)))
});

/// The schema with its leaf columns: paths, levels, types.
pub fn descriptor() -> &'static SchemaDescPtr {
    &DESCRIPTOR
}

/// The root of the schema, message `Trace`.
pub fn message_type() -> TypePtr {
    DESCRIPTOR.root_schema_ptr()
}

/// The encoding that a leaf column of the schema is written with; see [`leaf`] for the numbers.
///
/// Never a dictionary for INT32 columns, which Tempo misreads, nor for `TraceID`.
pub fn encoding_of(leaf: usize) -> LeafEncoding {
    let column = DESCRIPTOR.column(leaf);
    let plain = [leaf::SPAN_DROPPED_EVENTS, leaf::SPAN_DROPPED_LINKS, leaf::SPAN_HTTP_STATUS_CODE];
    let delta_length = [
        leaf::TRACE_ID,
        leaf::TRACE_ID_TEXT,
        leaf::SERVICE_STATS_KEY,
        leaf::SPAN_ID,
        leaf::PARENT_SPAN_ID,
        leaf::SPAN_TRACE_STATE,
        leaf::SPAN_STATUS_MESSAGE,
        leaf::LINK_TRACE_ID,
        leaf::LINK_SPAN_ID,
        leaf::LINK_TRACE_STATE,
    ];
    let attribute_number = leaf::ATTRIBUTE_LISTS.iter().any(|list| list.value_int == leaf);
    let attribute_text = leaf::ATTRIBUTE_LISTS.iter().any(|list| list.value_unsupported == leaf);
    match column.physical_type() {
        PhysicalType::BYTE_ARRAY if attribute_text || delta_length.contains(&leaf) => {
            LeafEncoding::DeltaLength
        }
        PhysicalType::BYTE_ARRAY => LeafEncoding::Dictionary,
        PhysicalType::INT32 | PhysicalType::INT64
            if !attribute_number && !plain.contains(&leaf) =>
        {
            LeafEncoding::DeltaBinary
        }
        _ => LeafEncoding::Plain,
    }
}

/// True for a leaf column whose values the writer leaves uncompressed.
///
/// They hardly shrink once they take no more bits than they need, and almost every query reads some of them.
pub fn stays_uncompressed(leaf: usize) -> bool {
    use leaf::{
        SPAN_DURATION, SPAN_ID, SPAN_KIND, SPAN_NAME, SPAN_NESTED_LEFT, SPAN_NESTED_PARENT,
        SPAN_NESTED_RIGHT, SPAN_START, SPAN_STATUS_CODE, TRACE_ID,
    };
    matches!(
        leaf,
        TRACE_ID
            | SPAN_ID
            | SPAN_NESTED_PARENT
            | SPAN_NESTED_LEFT
            | SPAN_NESTED_RIGHT
            | SPAN_NAME
            | SPAN_KIND
            | SPAN_START
            | SPAN_DURATION
            | SPAN_STATUS_CODE
    )
}

#[cfg(test)]
mod tests;
