//! Converts OTLP to Jaeger's model.
//!
//! What Jaeger's model cannot express is lost: attributes of scopes, dropped counts, schema URLs, flags, and the
//! attributes of links.

#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use bytes::Bytes;
use prost_types::{Duration, Timestamp};
use tactus_model::{SpanId, TraceId};
use tactus_proto::jaeger::api_v2::{self, KeyValue, Log, Process, SpanRef, SpanRefType, ValueType};
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::{InstrumentationScope, Resource, ResourceSpans, Span, any_value::Value};

use values::{bool_tag, string_tag, tag};

pub(crate) use values::text_of;

/// Name of a service that has none.
pub const NO_SERVICE_NAME: &str = "OTLPResourceNoServiceName";

/// Attribute of a span that holds its warnings, an array of strings.
pub(crate) const WARNINGS: &str = "@jaeger@warnings";

/// Attribute of a link that says what kind of reference it is.
const REF_TYPE: &[u8] = b"opentracing.ref_type";
const CHILD_OF: &[u8] = b"child_of";
const SERVICE_NAME: &[u8] = b"service.name";

const NANOS_A_SECOND: u64 = 1_000_000_000;

/// The spans of all resources in their order, each with its process. They are converted as they are taken: together, copies of
/// a large process may be many times as large as the trace.
pub fn spans(resource_spans: Vec<ResourceSpans>) -> impl Iterator<Item = api_v2::Span> + Send {
    resource_spans.into_iter().flat_map(|of_resource| {
        let process = Arc::new(process(of_resource.resource.as_ref()));
        of_resource.scope_spans.into_iter().flat_map(move |of_scope| {
            let (process, scope) = (Arc::clone(&process), of_scope.scope);
            of_scope.spans.into_iter().map(move |span| {
                let span = self::span(scope.as_ref(), &span);
                api_v2::Span { process: Some((*process).clone()), ..span }
            })
        })
    })
}

/// The process of a resource. Without a service name it is called [`NO_SERVICE_NAME`].
pub fn process(resource: Option<&Resource>) -> Process {
    let mut process =
        Process { service_name: Bytes::from_static(NO_SERVICE_NAME.as_bytes()), tags: Vec::new() };
    for attribute in resource.into_iter().flat_map(|resource| &resource.attributes) {
        if attribute.key == SERVICE_NAME {
            let name = attribute.value.as_ref().map(text_of).unwrap_or_default();
            if !name.is_empty() {
                process.service_name = name;
            }
        } else {
            process.tags.push(tag(attribute));
        }
    }
    process
}

/// One span, without its process.
pub fn span(scope: Option<&InstrumentationScope>, span: &Span) -> api_v2::Span {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    api_v2::Span {
        trace_id: trace_id(&span.trace_id),
        span_id: span_id(&span.span_id),
        operation_name: span.name.clone(),
        references: references(span),
        flags: 0,
        start_time: Some(timestamp(start)),
        duration: Some(duration(start, end)),
        tags: tags(scope, span),
        logs: span.events.iter().map(log).collect(),
        process: None,
        process_id: Bytes::new(),
        warnings: warnings(span),
    }
}

fn tags(scope: Option<&InstrumentationScope>, span: &Span) -> Vec<KeyValue> {
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    let mut add = |key: &'static str, value: &Bytes| {
        if !value.is_empty() {
            tags.push(string_tag(key, value.clone()));
        }
    };
    if let Some(scope) = scope {
        add("otel.scope.name", &scope.name);
        add("otel.scope.version", &scope.version);
    }
    let attributes = span.attributes.iter().filter(|attribute| attribute.key != WARNINGS);
    tags.extend(attributes.map(tag));
    let kind = match span.kind {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "",
    };
    if !kind.is_empty() {
        tags.push(string_tag("span.kind", Bytes::from_static(kind.as_bytes())));
    }
    if let Some(status) = &span.status {
        match status.code {
            1 => tags.push(string_tag("otel.status_code", Bytes::from_static(b"OK"))),
            2 => {
                tags.push(string_tag("otel.status_code", Bytes::from_static(b"ERROR")));
                tags.push(bool_tag("error", true));
            }
            _ => {}
        }
        if !status.message.is_empty() {
            tags.push(string_tag("otel.status_description", status.message.clone()));
        }
    }
    if !span.trace_state.is_empty() {
        tags.push(string_tag("w3c.tracestate", span.trace_state.clone()));
    }
    tags
}

/// The parent, then the links. A link to the parent says what kind of reference that is.
fn references(span: &Span) -> Vec<SpanRef> {
    let mut references = Vec::with_capacity(span.links.len() + 1);
    let parent = SpanId::from_slice(&span.parent_span_id);
    if !parent.is_zero() {
        references.push(SpanRef {
            trace_id: trace_id(&span.trace_id),
            span_id: span_id(&span.parent_span_id),
            ref_type: SpanRefType::ChildOf.into(),
        });
    }
    let has_parent = !references.is_empty();
    for link in &span.links {
        let reference = SpanRef {
            trace_id: trace_id(&link.trace_id),
            span_id: span_id(&link.span_id),
            ref_type: ref_type(link).into(),
        };
        match references.first_mut() {
            Some(first)
                if has_parent
                    && first.trace_id == reference.trace_id
                    && first.span_id == reference.span_id =>
            {
                first.ref_type = reference.ref_type;
            }
            _ => references.push(reference),
        }
    }
    references
}

fn ref_type(link: &Link) -> SpanRefType {
    let mut attributes = link.attributes.iter();
    let stated = attributes.find(|attribute| attribute.key == REF_TYPE);
    match stated.and_then(|attribute| attribute.value.as_ref()) {
        Some(value) if text_of(value) == CHILD_OF => SpanRefType::ChildOf,
        _ => SpanRefType::FollowsFrom,
    }
}

fn log(event: &Event) -> Log {
    let mut fields = Vec::with_capacity(event.attributes.len() + 1);
    let has_event = event.attributes.iter().any(|attribute| attribute.key == b"event"[..]);
    if !event.name.is_empty() && !has_event {
        fields.push(string_tag("event", event.name.clone()));
    }
    fields.extend(event.attributes.iter().map(tag));
    Log { timestamp: Some(timestamp(event.time_unix_nano)), fields }
}

fn warnings(span: &Span) -> Vec<Bytes> {
    let attributes = span.attributes.iter().filter(|attribute| attribute.key == WARNINGS);
    let values = attributes.filter_map(|attribute| attribute.value.as_ref()?.value.as_ref());
    let mut warnings = Vec::new();
    for value in values {
        match value {
            Value::ArrayValue(array) => warnings.extend(array.values.iter().map(text_of)),
            Value::StringValue(text) => warnings.push(text.clone()),
            _ => {}
        }
    }
    warnings
}

fn trace_id(id: &Bytes) -> Bytes {
    if id.len() == 16 { id.clone() } else { Bytes::copy_from_slice(&TraceId::from_slice(id).0) }
}

fn span_id(id: &Bytes) -> Bytes {
    if id.len() == 8 { id.clone() } else { Bytes::copy_from_slice(&SpanId::from_slice(id).0) }
}

fn timestamp(unix_nanos: u64) -> Timestamp {
    // Both fit: the whole of u64 is 584 years.
    Timestamp {
        seconds: (unix_nanos / NANOS_A_SECOND) as i64,
        nanos: (unix_nanos % NANOS_A_SECOND) as i32,
    }
}

/// Negative if the span ends before it starts; seconds and nanoseconds have the same sign.
fn duration(start: u64, end: u64) -> Duration {
    // Clients in Go fail to read a whole answer for one duration that is longer.
    let size = end.abs_diff(start).min(i64::MAX.unsigned_abs());
    let (seconds, nanos) = ((size / NANOS_A_SECOND) as i64, (size % NANOS_A_SECOND) as i32);
    if end < start {
        Duration { seconds: -seconds, nanos: -nanos }
    } else {
        Duration { seconds, nanos }
    }
}

/// The type of a tag's value; a string if it is unknown.
pub(crate) fn value_type(tag: &KeyValue) -> ValueType {
    ValueType::try_from(tag.v_type).unwrap_or(ValueType::String)
}
