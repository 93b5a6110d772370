//! A span and a process of a file, as the messages of Jaeger's model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use tactus_model::{SpanId, TraceId};
use tactus_proto::jaeger::api_v2::{self, KeyValue, SpanRefType, ValueType};

use super::FileError;
use crate::from_otlp::WARNINGS;
use crate::span::{micros, timestamp};

/// A span of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    /// As old exports have it beside the references.
    #[serde(rename = "parentSpanID", default, deserialize_with = "nullable")]
    parent_span_id: String,
    #[serde(default, deserialize_with = "nullable")]
    operation_name: String,
    #[serde(default, deserialize_with = "nullable")]
    references: Vec<Reference>,
    start_time: serde_json::Number,
    duration: serde_json::Number,
    #[serde(default, deserialize_with = "nullable")]
    tags: Vec<Tag>,
    #[serde(default, deserialize_with = "nullable")]
    logs: Vec<Log>,
    #[serde(rename = "processID", default, deserialize_with = "nullable")]
    pub(super) process_id: String,
    /// In place of `process_id`.
    pub(super) process: Option<Process>,
    #[serde(default, deserialize_with = "nullable")]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default, deserialize_with = "nullable")]
    ref_type: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(rename = "type", default, deserialize_with = "nullable")]
    value_type: String,
    #[serde(default)]
    value: Json,
}

#[derive(Deserialize)]
struct Log {
    timestamp: serde_json::Number,
    #[serde(default, deserialize_with = "nullable")]
    fields: Vec<Tag>,
}

/// Who made spans.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    service_name: String,
    #[serde(default, deserialize_with = "nullable")]
    tags: Vec<Tag>,
}

/// A member that may be null, which stands for nothing.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

pub(super) fn process(process: Process) -> api_v2::Process {
    let tags = process.tags.into_iter().map(tag).collect();
    api_v2::Process { service_name: process.service_name.into(), tags }
}

pub(super) fn span(place: &str, span: Span) -> Result<api_v2::Span, FileError> {
    let wrong = |field: String, reason: &str| FileError::Value {
        place: format!("{place}.{field}"),
        reason: reason.to_owned(),
    };
    let trace_id = |text: &str, field: String| {
        let id = TraceId::from_hex(text).ok_or_else(|| wrong(field, "no hexadecimal trace id"))?;
        Ok(Bytes::copy_from_slice(&id.0))
    };
    let span_id = |text: &str, field: String| {
        let id = SpanId::from_hex(text).ok_or_else(|| wrong(field, "no hexadecimal span id"))?;
        Ok(Bytes::copy_from_slice(&id.0))
    };
    let own_trace = trace_id(&span.trace_id, "traceID".to_owned())?;
    let mut references = Vec::with_capacity(span.references.len() + 1);
    if !span.parent_span_id.is_empty() {
        references.push(api_v2::SpanRef {
            trace_id: own_trace.clone(),
            span_id: span_id(&span.parent_span_id, "parentSpanID".to_owned())?,
            ref_type: SpanRefType::ChildOf.into(),
        });
    }
    for (number, reference) in span.references.iter().enumerate() {
        let is_child = reference.ref_type == "CHILD_OF";
        let ref_type = if is_child { SpanRefType::ChildOf } else { SpanRefType::FollowsFrom };
        let reference = api_v2::SpanRef {
            trace_id: trace_id(&reference.trace_id, format!("references[{number}].traceID"))?,
            span_id: span_id(&reference.span_id, format!("references[{number}].spanID"))?,
            ref_type: ref_type.into(),
        };
        // The parent may be told twice.
        if references.first() != Some(&reference) {
            references.push(reference);
        }
    }
    let mut tags: Vec<KeyValue> = span.tags.into_iter().map(tag).collect();
    if !span.warnings.is_empty() {
        tags.push(KeyValue {
            key: Bytes::from_static(WARNINGS.as_bytes()),
            v_type: ValueType::String.into(),
            v_str: span.warnings.join("; ").into(),
            ..KeyValue::default()
        });
    }
    let log = |log: Log| api_v2::Log {
        timestamp: Some(timestamp(whole(&log.timestamp))),
        fields: log.fields.into_iter().map(tag).collect(),
    };
    Ok(api_v2::Span {
        span_id: span_id(&span.span_id, "spanID".to_owned())?,
        trace_id: own_trace,
        operation_name: span.operation_name.into(),
        references,
        start_time: Some(timestamp(whole(&span.start_time))),
        duration: Some(micros(whole(&span.duration))),
        tags,
        logs: span.logs.into_iter().map(log).collect(),
        ..api_v2::Span::default()
    })
}

/// Microseconds; some write them with a fraction.
fn whole(number: &serde_json::Number) -> i64 {
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
}

/// A tag of the type that it says it has, else of that of its value.
fn tag(tag: Tag) -> KeyValue {
    let mut made = KeyValue { key: tag.key.into(), ..KeyValue::default() };
    let v_type = match (tag.value_type.as_str(), tag.value) {
        ("binary", Json::String(text)) if let Ok(bytes) = STANDARD.decode(&text) => {
            made.v_binary = bytes.into();
            ValueType::Binary
        }
        // JavaScript has no such integers, and JSON no such floats.
        ("int64", Json::String(text)) if let Ok(number) = text.parse() => {
            made.v_int64 = number;
            ValueType::Int64
        }
        ("float64", Json::String(text)) if let Ok(number) = text.parse() => {
            made.v_float64 = number;
            ValueType::Float64
        }
        ("bool", Json::String(text)) if let Ok(value) = text.parse() => {
            made.v_bool = value;
            ValueType::Bool
        }
        (_, Json::String(text)) => {
            made.v_str = text.into();
            ValueType::String
        }
        (_, Json::Bool(value)) => {
            made.v_bool = value;
            ValueType::Bool
        }
        (stated, Json::Number(number)) => match number.as_i64() {
            Some(whole) if stated != "float64" => {
                made.v_int64 = whole;
                ValueType::Int64
            }
            _ => {
                made.v_float64 = number.as_f64().unwrap_or_default();
                ValueType::Float64
            }
        },
        (_, Json::Null) => ValueType::String,
        (_, other) => {
            made.v_str = other.to_string().into();
            ValueType::String
        }
    };
    made.v_type = v_type.into();
    made
}
