//! OTLP's JSON of files that are uploaded to be looked at.
//!
//! Keys are in camel case or snake case, unknown ones are skipped; ids are hex, integers numbers or strings, enums numbers
//! or names. This is not on the way of spans that are stored: it reads a tree.

#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;

use serde_json::Value as Json;
use tactus_model::TraceId;
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span, Status};

use values::{attributes, count, enumeration, field, id, list, text, time};

/// Why a file is not OTLP's JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It is no JSON.
    #[error("{0}")]
    Json(String),
    /// A field has a value that it cannot have.
    #[error("{field}: expected {expected}")]
    Field {
        /// The field, by its name in camel case.
        field: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
}

type Result<T> = std::result::Result<T, UploadError>;

/// The traces of a file, in the order of their first spans; spans without a trace id are left out.
///
/// Nesting is bounded to 128 levels of objects and arrays. Errors: [`UploadError`].
pub fn traces_of_upload(json: &[u8]) -> Result<Vec<(TraceId, Vec<ResourceSpans>)>> {
    let json: Json =
        serde_json::from_slice(json).map_err(|error| UploadError::Json(error.to_string()))?;
    if !json.is_object() {
        return Err(UploadError::Field { field: "the file", expected: "an object" });
    }
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<(TraceId, Vec<ResourceSpans>)> = Vec::new();
    for of_resource in list(&json, "resourceSpans")? {
        let resource = resource_spans(of_resource)?;
        let mut parts: HashMap<TraceId, ResourceSpans> = HashMap::new();
        for scope in resource.scope_spans {
            for span in scope.spans {
                let id = TraceId::from_slice(&span.trace_id);
                if id.is_zero() {
                    continue;
                }
                let part = parts.entry(id).or_insert_with(|| ResourceSpans {
                    resource: resource.resource.clone(),
                    schema_url: resource.schema_url.clone(),
                    ..ResourceSpans::default()
                });
                places.entry(id).or_insert_with(|| {
                    traces.push((id, Vec::new()));
                    traces.len() - 1
                });
                match part.scope_spans.last_mut() {
                    Some(last) if last.scope == scope.scope => last.spans.push(span),
                    _ => part.scope_spans.push(ScopeSpans {
                        scope: scope.scope.clone(),
                        spans: vec![span],
                        schema_url: scope.schema_url.clone(),
                    }),
                }
            }
        }
        for (id, part) in parts {
            let trace = places.get(&id).and_then(|&place| traces.get_mut(place));
            if let Some((_, trace)) = trace {
                trace.push(part);
            }
        }
    }
    Ok(traces)
}

fn resource_spans(json: &Json) -> Result<ResourceSpans> {
    let resource = match field(json, "resource") {
        None => None,
        Some(resource) => Some(Resource {
            attributes: attributes(resource)?,
            dropped_attributes_count: count(resource, "droppedAttributesCount")?,
            ..Resource::default()
        }),
    };
    Ok(ResourceSpans {
        resource,
        scope_spans: list(json, "scopeSpans")?.iter().map(scope_spans).collect::<Result<_>>()?,
        schema_url: text(json, "schemaUrl")?,
        ..ResourceSpans::default()
    })
}

fn scope_spans(json: &Json) -> Result<ScopeSpans> {
    let scope = match field(json, "scope") {
        None => None,
        Some(scope) => Some(InstrumentationScope {
            name: text(scope, "name")?,
            version: text(scope, "version")?,
            attributes: attributes(scope)?,
            dropped_attributes_count: count(scope, "droppedAttributesCount")?,
        }),
    };
    Ok(ScopeSpans {
        scope,
        spans: list(json, "spans")?.iter().map(span).collect::<Result<_>>()?,
        schema_url: text(json, "schemaUrl")?,
    })
}

fn span(json: &Json) -> Result<Span> {
    let kind = |name: &str| SpanKind::from_str_name(name).map(i32::from);
    let status = match field(json, "status") {
        None => None,
        Some(status) => Some(Status {
            message: text(status, "message")?,
            code: enumeration(status, "code", |name| {
                StatusCode::from_str_name(name).map(i32::from)
            })?,
        }),
    };
    Ok(Span {
        trace_id: id(json, "traceId", 16)?,
        span_id: id(json, "spanId", 8)?,
        trace_state: text(json, "traceState")?,
        parent_span_id: id(json, "parentSpanId", 8)?,
        flags: count(json, "flags")?,
        name: text(json, "name")?,
        kind: enumeration(json, "kind", kind)?,
        start_time_unix_nano: time(json, "startTimeUnixNano")?,
        end_time_unix_nano: time(json, "endTimeUnixNano")?,
        attributes: attributes(json)?,
        dropped_attributes_count: count(json, "droppedAttributesCount")?,
        events: list(json, "events")?.iter().map(event).collect::<Result<_>>()?,
        dropped_events_count: count(json, "droppedEventsCount")?,
        links: list(json, "links")?.iter().map(link).collect::<Result<_>>()?,
        dropped_links_count: count(json, "droppedLinksCount")?,
        status,
    })
}

fn event(json: &Json) -> Result<Event> {
    Ok(Event {
        time_unix_nano: time(json, "timeUnixNano")?,
        name: text(json, "name")?,
        attributes: attributes(json)?,
        dropped_attributes_count: count(json, "droppedAttributesCount")?,
    })
}

fn link(json: &Json) -> Result<Link> {
    Ok(Link {
        trace_id: id(json, "traceId", 16)?,
        span_id: id(json, "spanId", 8)?,
        trace_state: text(json, "traceState")?,
        attributes: attributes(json)?,
        dropped_attributes_count: count(json, "droppedAttributesCount")?,
        flags: count(json, "flags")?,
    })
}
