//! Messages of the third version.

use serde::Serialize;
use serde_json::{Value, json};
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

use crate::jaeger::{Dependency, Operation, ServiceSummary, TraceSummary, kind_name};

pub(super) fn operation(Operation { name, kind }: Operation) -> Value {
    // A kind that is not known counts as internal, as OTLP says.
    let kind = if kind == SpanKind::Unspecified { SpanKind::Internal } else { kind };
    json!({ "name": name, "spanKind": kind_name(kind) })
}

/// Values that are zero or empty are left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSummary {
    trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    root_service_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    root_operation_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_start_time_unix_nano: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_end_time_unix_nano: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_span_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orphan_span_count: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<ShownService>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownService {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_span_count: Option<u32>,
}

impl From<TraceSummary> for ShownSummary {
    fn from(summary: TraceSummary) -> Self {
        let service = |ServiceSummary { name, spans, error_spans }| ShownService {
            name,
            span_count: non_zero(spans),
            error_span_count: non_zero(error_spans),
        };
        Self {
            trace_id: summary.id.to_hex(),
            root_service_name: summary.root_service,
            root_operation_name: summary.root_operation,
            min_start_time_unix_nano: non_zero(summary.start).map(|time| time.to_string()),
            max_end_time_unix_nano: non_zero(summary.end).map(|time| time.to_string()),
            span_count: non_zero(summary.spans),
            error_span_count: non_zero(summary.error_spans),
            orphan_span_count: non_zero(summary.orphan_spans),
            services: summary.services.into_iter().map(service).collect(),
        }
    }
}

fn non_zero<T: Default + PartialEq>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownDependency {
    parent: String,
    child: String,
    call_count: String,
}

impl From<Dependency> for ShownDependency {
    fn from(dependency: Dependency) -> Self {
        let Dependency { parent, child, call_count } = dependency;
        Self { parent, child, call_count: call_count.to_string() }
    }
}
