//! The summary of a trace in one line.

use std::collections::{BTreeMap, HashSet};

use serde::{Serialize, Serializer};
use tactus_jaeger::from_otlp;
use tactus_model::{SpanId, TraceId};
use tactus_proto::lossy;
use tactus_proto::opentelemetry::proto::trace::v1::Span;
use tactus_proto::opentelemetry::proto::trace::v1::status::StatusCode;

use super::types::ShownTrace;

/// A trace in a line. In JSON, values that are zero or empty are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TraceSummary {
    /// The trace.
    #[serde(rename = "traceId", serialize_with = "hexadecimal")]
    pub(crate) id: TraceId,
    /// Service of the root: of the spans without parent, the one that starts first. Empty if there is none.
    #[serde(rename = "rootServiceName", skip_serializing_if = "String::is_empty")]
    pub(crate) root_service: String,
    /// Name of the root; empty if there is none.
    #[serde(rename = "rootOperationName", skip_serializing_if = "String::is_empty")]
    pub(crate) root_operation: String,
    /// Start of the first span, nanoseconds since 1970.
    #[serde(
        rename = "minStartTimeUnixNano",
        serialize_with = "text",
        skip_serializing_if = "is_zero"
    )]
    pub(crate) start: u64,
    /// End of the last span, nanoseconds since 1970.
    #[serde(
        rename = "maxEndTimeUnixNano",
        serialize_with = "text",
        skip_serializing_if = "is_zero"
    )]
    pub(crate) end: u64,
    /// Spans.
    #[serde(rename = "spanCount", skip_serializing_if = "is_zero")]
    pub(crate) spans: u32,
    /// Spans that failed.
    #[serde(rename = "errorSpanCount", skip_serializing_if = "is_zero")]
    pub(crate) error_spans: u32,
    /// Spans whose parent is not in the trace.
    #[serde(rename = "orphanSpanCount", skip_serializing_if = "is_zero")]
    pub(crate) orphan_spans: u32,
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<ServiceSummary>,
}

/// What a service has of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ServiceSummary {
    /// The service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Spans.
    #[serde(rename = "spanCount", skip_serializing_if = "is_zero")]
    pub(crate) spans: u32,
    /// Spans that failed.
    #[serde(rename = "errorSpanCount", skip_serializing_if = "is_zero")]
    pub(crate) error_spans: u32,
}

fn hexadecimal<S: Serializer>(id: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&id.to_hex())
}

fn text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl TraceSummary {
    /// The summary of a trace.
    pub(crate) fn of(trace: &ShownTrace) -> Self {
        let resources = &trace.data.resource_spans;
        let scopes = resources.iter().flat_map(|resource| &resource.scope_spans);
        let ids: HashSet<SpanId> = scopes
            .flat_map(|scope| &scope.spans)
            .map(|span| SpanId::from_slice(&span.span_id))
            .collect();
        let mut summary = Self {
            id: trace.id,
            root_service: String::new(),
            root_operation: String::new(),
            start: u64::MAX,
            end: 0,
            spans: 0,
            error_spans: 0,
            orphan_spans: 0,
            services: Vec::new(),
        };
        let mut services: BTreeMap<String, ServiceSummary> = BTreeMap::new();
        let mut root: Option<(u64, SpanId)> = None;
        for resource in resources {
            let process = from_otlp::process(resource.resource.as_ref());
            let name = lossy(&process.service_name).into_owned();
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let service = services.entry(name.clone()).or_default();
                service.spans += 1;
                summary.add(span);
                if is_error(span) {
                    service.error_spans += 1;
                }
                let parent = SpanId::from_slice(&span.parent_span_id);
                // Of several that start together the same one, in whatever order they come.
                let place = (span.start_time_unix_nano, SpanId::from_slice(&span.span_id));
                if !parent.is_zero() {
                    summary.orphan_spans += u32::from(!ids.contains(&parent));
                } else if root.is_none_or(|known| place < known) {
                    root = Some(place);
                    summary.root_service.clone_from(&name);
                    summary.root_operation = lossy(&span.name).into_owned();
                }
            }
        }
        summary.start = summary.start.min(summary.end);
        let named = |(name, service)| ServiceSummary { name, ..service };
        summary.services = services.into_iter().map(named).collect();
        summary
    }

    fn add(&mut self, span: &Span) {
        self.spans += 1;
        self.error_spans += u32::from(is_error(span));
        self.start = self.start.min(span.start_time_unix_nano);
        self.end = self.end.max(span.end_time_unix_nano);
    }
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

#[cfg(test)]
mod tests {
    use tactus_proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, TracesData};

    use super::*;

    #[test]
    fn of_roots_that_start_together_the_same_names_the_trace_in_any_order() {
        let root = |id: u8| Span {
            span_id: vec![id; 8].into(),
            name: format!("root {id}").into(),
            start_time_unix_nano: 7,
            ..Span::default()
        };
        for ids in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
            let scope = ScopeSpans { spans: ids.map(root).into(), ..ScopeSpans::default() };
            let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
            let data = TracesData { resource_spans: vec![resource] };
            let id = TraceId::from_slice(&[1]);
            let summary = TraceSummary::of(&ShownTrace { id, data, warnings: Vec::new() });
            assert_eq!((summary.root_operation.as_str(), summary.spans), ("root 1", 3), "{ids:?}");
        }
    }
}
