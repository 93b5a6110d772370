//! Names for the leaf columns of a file.
//!
//! Paths are those of vParquet5. For vParquet4, the `list.element` parts are left out.

use std::collections::HashMap;

use parquet::schema::types::SchemaDescriptor;

/// The seven leaf columns of one attribute list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttributeLeaves {
    /// `Key`.
    pub key: usize,
    /// `IsArray`.
    pub is_array: usize,
    /// `Value`.
    pub value: usize,
    /// `ValueInt`.
    pub value_int: usize,
    /// `ValueDouble`.
    pub value_double: usize,
    /// `ValueBool`.
    pub value_bool: usize,
    /// `ValueUnsupported`.
    pub value_unsupported: usize,
}

/// Which leaf column of a schema holds what.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each field has the name of its column")]
pub struct Leaves {
    pub trace_id: usize,
    pub trace_id_text: usize,
    pub trace_start: usize,
    pub trace_end: usize,
    pub trace_duration: usize,
    pub root_service_name: usize,
    pub root_span_name: usize,
    pub service_stats_name: usize,
    pub service_stats_span_count: usize,
    pub service_stats_error_count: usize,
    pub resource_attributes: AttributeLeaves,
    pub resource_dropped_attributes: usize,
    pub resource_service_name: usize,
    pub scope_name: usize,
    pub scope_version: usize,
    pub scope_attributes: AttributeLeaves,
    pub scope_dropped_attributes: usize,
    pub span_id: usize,
    pub parent_span_id: usize,
    pub nested_parent: usize,
    pub nested_left: usize,
    pub nested_right: usize,
    pub span_name: usize,
    pub span_kind: usize,
    pub span_trace_state: usize,
    pub span_start: usize,
    pub span_duration: usize,
    pub span_status_code: usize,
    pub span_status_message: usize,
    pub span_attributes: AttributeLeaves,
    pub span_dropped_attributes: usize,
    pub event_time_since_start: usize,
    pub event_name: usize,
    pub event_attributes: AttributeLeaves,
    pub event_dropped_attributes: usize,
    pub span_dropped_events: usize,
    pub link_trace_id: usize,
    pub link_span_id: usize,
    pub link_trace_state: usize,
    pub link_attributes: AttributeLeaves,
    pub link_dropped_attributes: usize,
    pub span_dropped_links: usize,
    /// The columns that only vParquet5 has.
    pub derived: Option<DerivedLeaves>,
}

/// Numbers that vParquet5 stores so that queries need not compute them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DerivedLeaves {
    /// Direct children of a span.
    pub child_count: usize,
    /// Start of a span in intervals of [`ROUNDED_SECONDS`].
    pub start_rounded: [usize; 4],
    /// Spans of a scope within a resource of a trace.
    pub span_count: usize,
}

/// The lengths of the intervals of `StartTimeRounded15`…, seconds.
pub(crate) const ROUNDED_SECONDS: [u64; 4] = [15, 60, 300, 3600];

/// The leaves of a schema by path.
pub(super) struct Paths {
    by_path: HashMap<String, usize>,
}

impl Paths {
    pub(super) fn new(schema: &SchemaDescriptor) -> Self {
        let by_path = schema.columns().iter().enumerate();
        let by_path = by_path.map(|(leaf, column)| {
            let parts = column.path().parts();
            // No column has one of these names itself.
            let named = parts.iter().filter(|part| *part != "list" && *part != "element");
            (named.map(String::as_str).collect::<Vec<_>>().join("."), leaf)
        });
        Self { by_path: by_path.collect() }
    }

    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// The leaf of a path that the schema has.
    pub(super) fn leaf(&self, path: &str) -> usize {
        self.find(path).expect("the message type is made here and has the column")
    }

    fn attributes(&self, parent: &str) -> AttributeLeaves {
        let leaf = |name: &str| self.leaf(&format!("{parent}.Attrs.{name}"));
        AttributeLeaves {
            key: leaf("Key"),
            is_array: leaf("IsArray"),
            value: leaf("Value"),
            value_int: leaf("ValueInt"),
            value_double: leaf("ValueDouble"),
            value_bool: leaf("ValueBool"),
            value_unsupported: leaf("ValueUnsupported"),
        }
    }

    fn derived(&self) -> Option<DerivedLeaves> {
        let rounded = |seconds| self.leaf(&format!("rs.ss.Spans.StartTimeRounded{seconds}"));
        Some(DerivedLeaves {
            child_count: self.find("rs.ss.Spans.ChildCount")?,
            start_rounded: ROUNDED_SECONDS.map(rounded),
            span_count: self.leaf("rs.ss.SpanCount"),
        })
    }
}

impl Leaves {
    pub(super) fn new(paths: &Paths) -> Self {
        let (resource, scope, span) = ("rs.Resource", "rs.ss.Scope", "rs.ss.Spans");
        let (event, link) = ("rs.ss.Spans.Events", "rs.ss.Spans.Links");
        let leaf = |parent: &str, name: &str| paths.leaf(&format!("{parent}.{name}"));
        let of_service = |name: &str| {
            let of_v4 = match name {
                "ServiceName" => "ServiceStats.key_value.key".to_owned(),
                name => format!("ServiceStats.key_value.value.{name}"),
            };
            paths.find(&of_v4).unwrap_or_else(|| leaf("ServiceStats", name))
        };
        Self {
            trace_id: paths.leaf("TraceID"),
            trace_id_text: paths.leaf("TraceIDText"),
            trace_start: paths.leaf("StartTimeUnixNano"),
            trace_end: paths.leaf("EndTimeUnixNano"),
            trace_duration: paths.leaf("DurationNano"),
            root_service_name: paths.leaf("RootServiceName"),
            root_span_name: paths.leaf("RootSpanName"),
            service_stats_name: of_service("ServiceName"),
            service_stats_span_count: of_service("SpanCount"),
            service_stats_error_count: of_service("ErrorCount"),
            resource_attributes: paths.attributes(resource),
            resource_dropped_attributes: leaf(resource, "DroppedAttributesCount"),
            resource_service_name: leaf(resource, "ServiceName"),
            scope_name: leaf(scope, "Name"),
            scope_version: leaf(scope, "Version"),
            scope_attributes: paths.attributes(scope),
            scope_dropped_attributes: leaf(scope, "DroppedAttributesCount"),
            span_id: leaf(span, "SpanID"),
            parent_span_id: leaf(span, "ParentSpanID"),
            nested_parent: leaf(span, "ParentID"),
            nested_left: leaf(span, "NestedSetLeft"),
            nested_right: leaf(span, "NestedSetRight"),
            span_name: leaf(span, "Name"),
            span_kind: leaf(span, "Kind"),
            span_trace_state: leaf(span, "TraceState"),
            span_start: leaf(span, "StartTimeUnixNano"),
            span_duration: leaf(span, "DurationNano"),
            span_status_code: leaf(span, "StatusCode"),
            span_status_message: leaf(span, "StatusMessage"),
            span_attributes: paths.attributes(span),
            span_dropped_attributes: leaf(span, "DroppedAttributesCount"),
            event_time_since_start: leaf(event, "TimeSinceStartNano"),
            event_name: leaf(event, "Name"),
            event_attributes: paths.attributes(event),
            event_dropped_attributes: leaf(event, "DroppedAttributesCount"),
            span_dropped_events: leaf(span, "DroppedEventsCount"),
            link_trace_id: leaf(link, "TraceID"),
            link_span_id: leaf(link, "SpanID"),
            link_trace_state: leaf(link, "TraceState"),
            link_attributes: paths.attributes(link),
            link_dropped_attributes: leaf(link, "DroppedAttributesCount"),
            span_dropped_links: leaf(span, "DroppedLinksCount"),
            derived: paths.derived(),
        }
    }

    /// The attribute lists of resource, scope, span, event and link.
    pub(crate) fn attribute_lists(&self) -> [AttributeLeaves; 5] {
        [
            self.resource_attributes,
            self.scope_attributes,
            self.span_attributes,
            self.event_attributes,
            self.link_attributes,
        ]
    }

    /// Byte strings that are mostly unique.
    pub(super) fn without_dictionary(&self) -> impl Iterator<Item = usize> {
        let columns = [
            self.trace_id,
            self.trace_id_text,
            self.span_id,
            self.parent_span_id,
            self.span_trace_state,
            self.span_status_message,
            self.link_trace_id,
            self.link_span_id,
            self.link_trace_state,
        ];
        columns.into_iter().chain(self.attribute_lists().map(|list| list.value_unsupported))
    }

    /// Integers that are stored as they are.
    pub(super) fn plain_integers(&self) -> impl Iterator<Item = usize> {
        let columns = [self.span_dropped_events, self.span_dropped_links];
        columns.into_iter().chain(self.attribute_lists().map(|list| list.value_int))
    }

    /// Columns of which almost every query reads some.
    pub(super) fn hot(&self) -> [usize; 10] {
        [
            self.trace_id,
            self.span_id,
            self.nested_parent,
            self.nested_left,
            self.nested_right,
            self.span_name,
            self.span_kind,
            self.span_start,
            self.span_duration,
            self.span_status_code,
        ]
    }

    /// The columns that queries over many traces read, the most used ones first. `of_resources` and `of_spans`: columns
    /// of single attributes.
    ///
    /// In this order they are written to the file, from where two stripes meet. Every query reads trace ids, and the
    /// other columns of traces are short. Most queries read starts, services, names and attributes. Span ids are read
    /// only where something matched. All other columns are only read with whole traces.
    pub(super) fn by_use(
        &self,
        of_resources: impl Iterator<Item = usize>,
        of_spans: impl Iterator<Item = usize>,
    ) -> Vec<usize> {
        let all_of = |list: AttributeLeaves| {
            let AttributeLeaves {
                key, is_array, value, value_int, value_double, value_bool, ..
            } = list;
            [key, is_array, value, value_int, value_double, value_bool, list.value_unsupported]
        };
        let mut order = vec![
            self.trace_id,
            self.trace_start,
            self.trace_end,
            self.root_service_name,
            self.root_span_name,
            self.service_stats_name,
            self.service_stats_span_count,
            self.service_stats_error_count,
        ];
        order.extend([self.span_start, self.resource_service_name]);
        order.extend(of_resources);
        order.extend(all_of(self.resource_attributes));
        order.extend([self.span_status_code, self.span_kind, self.span_name, self.span_duration]);
        order.extend(of_spans);
        order.extend(all_of(self.span_attributes));
        order.extend([self.nested_parent, self.nested_left, self.nested_right]);
        order.push(self.span_id);
        order
    }
}
