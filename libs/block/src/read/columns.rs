//! The leaf columns of a file: found by path, and checked for type and levels.
//!
//! One table serves all versions. Paths are compared without their `list.element` parts. Then vParquet4 and vParquet5
//! differ only in the service statistics and in which columns exist. vParquet3 also has other values of attributes,
//! absolute times of events, and links in messages.

use std::ops::Range;

use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;
use tactus_model::Projection;
use tactus_storage::meta::{BlockVersion, ColumnScope, ColumnType, DedicatedColumn};

use crate::Result;

mod paths;

use paths::Paths;

/// A leaf column of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Position in the schema and in every row group.
    pub(crate) index: usize,
    /// Largest repetition level.
    pub(crate) max_rep: u8,
    /// Largest definition level.
    pub(crate) max_def: u8,
}

/// The generic attributes of one kind of owner.
#[derive(Debug, Clone)]
pub(crate) struct AttributeColumns {
    pub(crate) key: Leaf,
    pub(crate) is_array: Option<Leaf>,
    pub(crate) string: Option<Leaf>,
    pub(crate) int: Option<Leaf>,
    pub(crate) double: Option<Leaf>,
    pub(crate) bool: Option<Leaf>,
    /// Other values as protobuf JSON.
    pub(crate) unsupported: Option<Leaf>,
    /// vParquet3: key-value lists as protobuf JSON.
    pub(crate) key_values: Option<Leaf>,
    /// vParquet3: arrays of any kind as protobuf JSON.
    pub(crate) array: Option<Leaf>,
    /// For events of vParquet3: any value, as an AnyValue message or as protobuf JSON.
    pub(crate) message: Option<Leaf>,
}

/// An attribute with a column of its own.
#[derive(Debug, Clone)]
pub(crate) struct FixedColumn {
    pub(crate) key: Vec<u8>,
    pub(crate) leaf: Leaf,
    pub(crate) column_type: ColumnType,
    /// The empty string stands for an absent attribute.
    pub(crate) omit_empty: bool,
}

/// All attributes of one kind of owner.
#[derive(Debug, Clone)]
pub(crate) struct ListColumns {
    /// Repetition level of the owners: 1 resource, 2 scope, 3 span, 4 event and link.
    pub(crate) level: u8,
    pub(crate) generic: Option<AttributeColumns>,
    /// In the order in which attributes are read: dedicated columns, then static ones.
    pub(crate) fixed: Vec<FixedColumn>,
    /// A column of messages that hold the owners with their attributes. If there is one, no other columns exist.
    pub(crate) within: Option<Leaf>,
}

/// The columns of links.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkColumns {
    /// A column for each field.
    Fields { trace_id: Leaf, span_id: Leaf, trace_state: Leaf, dropped: Option<Leaf> },
    /// vParquet3: one message for each span with all its links.
    Messages(Leaf),
}

impl ListColumns {
    /// Any column of the list, to name in an error.
    pub(crate) fn leaf(&self) -> Leaf {
        let first = self.fixed.first().map(|column| column.leaf);
        let key = self.generic.as_ref().map(|generic| generic.key);
        key.or(first).unwrap_or(Leaf { index: 0, max_rep: 0, max_def: 0 })
    }
}

/// Per-service counts of a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceStatsColumns {
    pub(crate) service: Leaf,
    pub(crate) spans: Leaf,
    pub(crate) errors: Leaf,
}

/// Every column that is read. The optional ones are missing in files of pre-release versions.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Positions of the columns of spans and of their items.
    pub(crate) below_spans: Range<usize>,
    pub(crate) trace_id: Leaf,
    pub(crate) trace_start: Leaf,
    pub(crate) trace_end: Leaf,
    pub(crate) root_service: Leaf,
    pub(crate) root_name: Leaf,
    pub(crate) service_stats: Option<ServiceStatsColumns>,
    pub(crate) service_name: Leaf,
    pub(crate) resource_dropped: Option<Leaf>,
    pub(crate) scope_name: Leaf,
    pub(crate) scope_version: Leaf,
    pub(crate) scope_dropped: Option<Leaf>,
    pub(crate) span_id: Leaf,
    pub(crate) parent_span_id: Leaf,
    pub(crate) nested_parent: Leaf,
    pub(crate) nested_left: Leaf,
    pub(crate) nested_right: Leaf,
    pub(crate) name: Leaf,
    pub(crate) kind: Leaf,
    pub(crate) trace_state: Leaf,
    pub(crate) start: Leaf,
    pub(crate) duration: Leaf,
    pub(crate) status: Leaf,
    pub(crate) status_message: Leaf,
    pub(crate) dropped_attributes: Option<Leaf>,
    pub(crate) dropped_events: Option<Leaf>,
    pub(crate) dropped_links: Option<Leaf>,
    pub(crate) event_time: Leaf,
    /// True if event times are unix nanoseconds, false if they count from the start of the span.
    pub(crate) event_time_is_absolute: bool,
    pub(crate) event_name: Leaf,
    pub(crate) event_dropped: Option<Leaf>,
    pub(crate) links: LinkColumns,
    pub(crate) resource_attributes: ListColumns,
    pub(crate) scope_attributes: ListColumns,
    pub(crate) span_attributes: ListColumns,
    pub(crate) event_attributes: ListColumns,
    pub(crate) link_attributes: ListColumns,
}

const RESOURCE: &str = "rs.Resource";
const SCOPE: &str = "rs.ss.Scope";
const SPAN: &str = "rs.ss.Spans";
const EVENT: &str = "rs.ss.Spans.Events";
const LINK: &str = "rs.ss.Spans.Links";

impl Columns {
    /// Finds all columns.
    ///
    /// Errors: `Error::Corrupt` if a column that every block has is missing, if the name of a column is damaged, if a
    /// column has a type or nesting that its version does not allow, or if the dedicated columns of a vParquet5 file differ
    /// from `dedicated`.
    pub(crate) fn resolve(
        schema: &SchemaDescriptor,
        version: BlockVersion,
        dedicated: &[DedicatedColumn],
    ) -> Result<Self> {
        let (is_v3, is_v5) =
            (version == BlockVersion::VParquet3, version == BlockVersion::VParquet5);
        let paths = Paths::new(schema)?;
        if is_v5 {
            paths.check_dedicated(dedicated)?;
        }
        let leaf = |parent: &str, name: &str, physical, level| {
            paths.required(&format!("{parent}.{name}"), physical, level)
        };
        let count = |parent: &str, name: &str, level| {
            let path = format!("{parent}.{name}");
            match is_v3 && [RESOURCE, SCOPE].contains(&parent) {
                true => paths.find(&path, PhysicalType::INT32, level, level),
                false => paths.expected(&path, PhysicalType::INT32, level, level),
            }
        };
        let attributes = |parent: &str, level, fixed| -> Result<ListColumns> {
            let generic = paths.attributes(parent, level, is_v3)?;
            Ok(ListColumns { level, generic, fixed, within: None })
        };
        use PhysicalType::{BYTE_ARRAY, INT32, INT64};
        let mut link_attributes = attributes(LINK, 4, Vec::new())?;
        let links = match is_v3 {
            true => {
                let messages = paths.required(LINK, BYTE_ARRAY, 3)?;
                link_attributes.within = Some(messages);
                LinkColumns::Messages(messages)
            }
            false => LinkColumns::Fields {
                trace_id: leaf(LINK, "TraceID", BYTE_ARRAY, 4)?,
                span_id: leaf(LINK, "SpanID", BYTE_ARRAY, 4)?,
                trace_state: leaf(LINK, "TraceState", BYTE_ARRAY, 4)?,
                dropped: count(LINK, "DroppedAttributesCount", 4)?,
            },
        };
        let event_columns = match is_v5 {
            true => paths.dedicated(ColumnScope::Event, EVENT, 4, true, dedicated)?,
            false => Vec::new(),
        };
        let columns = Self {
            below_spans: paths.below(SPAN),
            trace_id: paths.required("TraceID", BYTE_ARRAY, 0)?,
            trace_start: paths.required("StartTimeUnixNano", INT64, 0)?,
            trace_end: paths.required("EndTimeUnixNano", INT64, 0)?,
            root_service: paths.required("RootServiceName", BYTE_ARRAY, 0)?,
            root_name: paths.required("RootSpanName", BYTE_ARRAY, 0)?,
            service_stats: paths.service_stats(is_v5),
            service_name: leaf(RESOURCE, "ServiceName", BYTE_ARRAY, 1)?,
            resource_dropped: count(RESOURCE, "DroppedAttributesCount", 1)?,
            scope_name: leaf(SCOPE, "Name", BYTE_ARRAY, 2)?,
            scope_version: leaf(SCOPE, "Version", BYTE_ARRAY, 2)?,
            scope_dropped: count(SCOPE, "DroppedAttributesCount", 2)?,
            span_id: leaf(SPAN, "SpanID", BYTE_ARRAY, 3)?,
            parent_span_id: leaf(SPAN, "ParentSpanID", BYTE_ARRAY, 3)?,
            nested_parent: leaf(SPAN, "ParentID", INT32, 3)?,
            nested_left: leaf(SPAN, "NestedSetLeft", INT32, 3)?,
            nested_right: leaf(SPAN, "NestedSetRight", INT32, 3)?,
            name: leaf(SPAN, "Name", BYTE_ARRAY, 3)?,
            kind: leaf(SPAN, "Kind", INT64, 3)?,
            trace_state: leaf(SPAN, "TraceState", BYTE_ARRAY, 3)?,
            start: leaf(SPAN, "StartTimeUnixNano", INT64, 3)?,
            duration: leaf(SPAN, "DurationNano", INT64, 3)?,
            status: leaf(SPAN, "StatusCode", INT64, 3)?,
            status_message: leaf(SPAN, "StatusMessage", BYTE_ARRAY, 3)?,
            dropped_attributes: count(SPAN, "DroppedAttributesCount", 3)?,
            dropped_events: count(SPAN, "DroppedEventsCount", 3)?,
            dropped_links: count(SPAN, "DroppedLinksCount", 3)?,
            event_time: match is_v3 {
                true => leaf(EVENT, "TimeUnixNano", INT64, 4)?,
                false => leaf(EVENT, "TimeSinceStartNano", INT64, 4)?,
            },
            event_time_is_absolute: is_v3,
            event_name: leaf(EVENT, "Name", BYTE_ARRAY, 4)?,
            event_dropped: count(EVENT, "DroppedAttributesCount", 4)?,
            links,
            resource_attributes: attributes(
                RESOURCE,
                1,
                paths.resource_columns(is_v5, dedicated)?,
            )?,
            scope_attributes: attributes(SCOPE, 2, Vec::new())?,
            span_attributes: attributes(SPAN, 3, paths.span_columns(is_v5, dedicated)?)?,
            event_attributes: attributes(EVENT, 4, event_columns)?,
            link_attributes,
        };
        paths.check_names()?;
        Ok(columns)
    }

    /// True if start times must be read, because they are wanted or because event times count from them.
    pub(crate) fn needs_start(&self, projection: &Projection) -> bool {
        projection.start || projection.events && !self.event_time_is_absolute
    }

    /// Columns with exactly one value a span.
    pub(crate) fn of_spans(&self) -> [Leaf; 12] {
        [
            self.span_id,
            self.parent_span_id,
            self.nested_parent,
            self.nested_left,
            self.nested_right,
            self.name,
            self.kind,
            self.trace_state,
            self.start,
            self.duration,
            self.status,
            self.status_message,
        ]
    }
}
