//! Which leaf column of a file holds what: found by path, checked for type and levels.
//!
//! One table serves all versions. Paths are compared without their `list.element` parts, after which
//! vParquet4 and vParquet5 differ only in the service statistics and in which columns exist.

use std::collections::HashMap;

use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;
use tactus_storage::meta::{
    BlockVersion, ColumnScope, ColumnType, DedicatedColumn, filter_for_vparquet4,
};

use crate::{Error, Result};

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
    pub(crate) unsupported: Option<Leaf>,
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
    /// In the order in which attributes are read: dedicated, then static.
    pub(crate) fixed: Vec<FixedColumn>,
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

/// Every column that is read. The optional ones are missing in pre-release files.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) trace_id: Leaf,
    pub(crate) trace_start: Leaf,
    pub(crate) trace_end: Leaf,
    pub(crate) root_service: Leaf,
    pub(crate) root_name: Leaf,
    pub(crate) service_stats: Option<ServiceStatsColumns>,
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
    pub(crate) event_name: Leaf,
    pub(crate) event_dropped: Option<Leaf>,
    pub(crate) link_trace_id: Leaf,
    pub(crate) link_span_id: Leaf,
    pub(crate) link_trace_state: Leaf,
    pub(crate) link_dropped: Option<Leaf>,
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

/// Columns of vParquet4 for well-known resource attributes, all optional strings.
const STATIC_RESOURCE: [(&str, &str); 8] = [
    ("cluster", "Cluster"),
    ("namespace", "Namespace"),
    ("pod", "Pod"),
    ("container", "Container"),
    ("k8s.cluster.name", "K8sClusterName"),
    ("k8s.namespace.name", "K8sNamespaceName"),
    ("k8s.pod.name", "K8sPodName"),
    ("k8s.container.name", "K8sContainerName"),
];

impl Columns {
    /// Finds all columns.
    ///
    /// Errors: `Error::UnsupportedVersion` for vParquet3; `Error::Corrupt` if a column that every block
    /// has is missing, or if one has another type or nesting than its version demands.
    pub(crate) fn resolve(
        schema: &SchemaDescriptor,
        version: BlockVersion,
        dedicated: &[DedicatedColumn],
    ) -> Result<Self> {
        let is_v5 = match version {
            BlockVersion::VParquet3 => return Err(Error::UnsupportedVersion(version.as_str())),
            BlockVersion::VParquet4 => false,
            BlockVersion::VParquet5 => true,
        };
        let paths = Paths::new(schema);
        let leaf = |parent: &str, name: &str, physical, level| {
            paths.required(&format!("{parent}.{name}"), physical, level)
        };
        let count = |parent: &str, name: &str, level| {
            paths.find(&format!("{parent}.{name}"), PhysicalType::INT32, level, level)
        };
        use PhysicalType::{BYTE_ARRAY, INT32, INT64};
        Ok(Self {
            trace_id: paths.required("TraceID", BYTE_ARRAY, 0)?,
            trace_start: paths.required("StartTimeUnixNano", INT64, 0)?,
            trace_end: paths.required("EndTimeUnixNano", INT64, 0)?,
            root_service: paths.required("RootServiceName", BYTE_ARRAY, 0)?,
            root_name: paths.required("RootSpanName", BYTE_ARRAY, 0)?,
            service_stats: paths.service_stats(is_v5)?,
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
            event_time: leaf(EVENT, "TimeSinceStartNano", INT64, 4)?,
            event_name: leaf(EVENT, "Name", BYTE_ARRAY, 4)?,
            event_dropped: count(EVENT, "DroppedAttributesCount", 4)?,
            link_trace_id: leaf(LINK, "TraceID", BYTE_ARRAY, 4)?,
            link_span_id: leaf(LINK, "SpanID", BYTE_ARRAY, 4)?,
            link_trace_state: leaf(LINK, "TraceState", BYTE_ARRAY, 4)?,
            link_dropped: count(LINK, "DroppedAttributesCount", 4)?,
            resource_attributes: ListColumns {
                level: 1,
                generic: paths.attributes(RESOURCE, 1)?,
                fixed: paths.resource_columns(is_v5, dedicated)?,
            },
            scope_attributes: ListColumns {
                level: 2,
                generic: paths.attributes(SCOPE, 2)?,
                fixed: Vec::new(),
            },
            span_attributes: ListColumns {
                level: 3,
                generic: paths.attributes(SPAN, 3)?,
                fixed: paths.span_columns(is_v5, dedicated)?,
            },
            event_attributes: ListColumns {
                level: 4,
                generic: paths.attributes(EVENT, 4)?,
                fixed: match is_v5 {
                    true => paths.dedicated(ColumnScope::Event, EVENT, 4, true, dedicated)?,
                    false => Vec::new(),
                },
            },
            link_attributes: ListColumns {
                level: 4,
                generic: paths.attributes(LINK, 4)?,
                fixed: Vec::new(),
            },
        })
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

/// The leaves of a file by path without `list.element`.
struct Paths<'s> {
    schema: &'s SchemaDescriptor,
    by_path: HashMap<String, usize>,
}

impl<'s> Paths<'s> {
    fn new(schema: &'s SchemaDescriptor) -> Self {
        let by_path = schema.columns().iter().enumerate();
        let by_path = by_path.map(|(index, column)| {
            let path = column.path().string() + ".";
            let path = path.replace(".list.element.", ".");
            // Twice: neighbouring matches share a dot.
            let path = path.replace(".list.element.", ".");
            (path.trim_end_matches('.').to_owned(), index)
        });
        Self { schema, by_path: by_path.collect() }
    }

    /// The leaf of a path, if there is one.
    fn find(
        &self,
        path: &str,
        physical: PhysicalType,
        max_rep: u8,
        max_def: u8,
    ) -> Result<Option<Leaf>> {
        let Some(&index) = self.by_path.get(path) else { return Ok(None) };
        let column = self.schema.column(index);
        let levels = (column.max_rep_level(), column.max_def_level());
        if column.physical_type() != physical || levels != (max_rep.into(), max_def.into()) {
            let what =
                format!("column {path} has type {} and levels {levels:?}", column.physical_type());
            return Err(Error::Corrupt { what });
        }
        Ok(Some(Leaf { index, max_rep, max_def }))
    }

    /// The leaf of a column that every block has, with as many definition as repetition levels.
    fn required(&self, path: &str, physical: PhysicalType, level: u8) -> Result<Leaf> {
        let found = self.find(path, physical, level, level)?;
        found.ok_or_else(|| Error::Corrupt { what: format!("column {path} is missing") })
    }

    fn service_stats(&self, is_v5: bool) -> Result<Option<ServiceStatsColumns>> {
        let (service, counts) = match is_v5 {
            true => ("ServiceStats.ServiceName", "ServiceStats"),
            false => ("ServiceStats.key_value.key", "ServiceStats.key_value.value"),
        };
        let count = |name| self.find(&format!("{counts}.{name}"), PhysicalType::INT32, 1, 1);
        let service = self.find(service, PhysicalType::BYTE_ARRAY, 1, 1)?;
        let all = (service, count("SpanCount")?, count("ErrorCount")?);
        Ok(match all {
            (Some(service), Some(spans), Some(errors)) => {
                Some(ServiceStatsColumns { service, spans, errors })
            }
            _ => None,
        })
    }

    fn attributes(&self, parent: &str, owner_level: u8) -> Result<Option<AttributeColumns>> {
        let level = owner_level + 1;
        let find = |name: &str, physical, max_rep, max_def| {
            self.find(&format!("{parent}.Attrs.{name}"), physical, max_rep, max_def)
        };
        use PhysicalType::{BOOLEAN, BYTE_ARRAY, DOUBLE, INT64};
        let Some(key) = find("Key", BYTE_ARRAY, level, level)? else { return Ok(None) };
        Ok(Some(AttributeColumns {
            key,
            is_array: find("IsArray", BOOLEAN, level, level)?,
            string: find("Value", BYTE_ARRAY, level + 1, level + 1)?,
            int: find("ValueInt", INT64, level + 1, level + 1)?,
            double: find("ValueDouble", DOUBLE, level + 1, level + 1)?,
            bool: find("ValueBool", BOOLEAN, level + 1, level + 1)?,
            unsupported: find("ValueUnsupported", BYTE_ARRAY, level, level + 1)?,
        }))
    }

    /// The dedicated columns of a scope that the file has. `repeated`: as in vParquet5.
    fn dedicated(
        &self,
        scope: ColumnScope,
        parent: &str,
        level: u8,
        repeated: bool,
        columns: &[DedicatedColumn],
    ) -> Result<Vec<FixedColumn>> {
        let mut fixed = Vec::new();
        let (mut strings, mut ints) = (0, 0);
        for column in columns.iter().filter(|column| column.scope == scope) {
            let (prefix, slot, physical) = match column.column_type {
                ColumnType::String => ("String", &mut strings, PhysicalType::BYTE_ARRAY),
                ColumnType::Int => ("Int", &mut ints, PhysicalType::INT64),
            };
            *slot += 1;
            let path = format!("{parent}.DedicatedAttributes.{prefix}{slot:02}");
            if let Some(leaf) = self.find(&path, physical, level + u8::from(repeated), level + 1)? {
                fixed.push(FixedColumn {
                    key: column.name.clone().into_bytes(),
                    leaf,
                    column_type: column.column_type,
                    omit_empty: false,
                });
            }
        }
        Ok(fixed)
    }

    fn resource_columns(
        &self,
        is_v5: bool,
        dedicated: &[DedicatedColumn],
    ) -> Result<Vec<FixedColumn>> {
        let string = |key: &str, leaf, omit_empty| FixedColumn {
            key: key.into(),
            leaf,
            column_type: ColumnType::String,
            omit_empty,
        };
        let filtered = filter_for_vparquet4(dedicated);
        let dedicated = if is_v5 { dedicated } else { &filtered };
        let mut fixed = self.dedicated(ColumnScope::Resource, RESOURCE, 1, is_v5, dedicated)?;
        let service_name = self.required("rs.Resource.ServiceName", PhysicalType::BYTE_ARRAY, 1)?;
        fixed.push(string("service.name", service_name, true));
        if !is_v5 {
            for (key, name) in STATIC_RESOURCE {
                let path = format!("{RESOURCE}.{name}");
                let leaf = self.find(&path, PhysicalType::BYTE_ARRAY, 1, 2)?;
                fixed.extend(leaf.map(|leaf| string(key, leaf, false)));
            }
        }
        Ok(fixed)
    }

    fn span_columns(&self, is_v5: bool, dedicated: &[DedicatedColumn]) -> Result<Vec<FixedColumn>> {
        if is_v5 {
            return self.dedicated(ColumnScope::Span, SPAN, 3, true, dedicated);
        }
        let filtered = filter_for_vparquet4(dedicated);
        let mut fixed = self.dedicated(ColumnScope::Span, SPAN, 3, false, &filtered)?;
        let statics = [
            ("http.method", "HttpMethod", ColumnType::String, PhysicalType::BYTE_ARRAY),
            ("http.url", "HttpUrl", ColumnType::String, PhysicalType::BYTE_ARRAY),
            ("http.status_code", "HttpStatusCode", ColumnType::Int, PhysicalType::INT64),
        ];
        for (key, name, column_type, physical) in statics {
            let leaf = self.find(&format!("{SPAN}.{name}"), physical, 3, 4)?;
            fixed.extend(leaf.map(|leaf| FixedColumn {
                key: key.into(),
                leaf,
                column_type,
                omit_empty: false,
            }));
        }
        Ok(fixed)
    }
}
