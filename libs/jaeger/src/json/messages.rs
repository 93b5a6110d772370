//! Messages of Jaeger's model as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use prost_types::{Duration, Timestamp};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use tactus_model::{SpanId, TraceId};
use tactus_proto::jaeger::api_v2::{self, KeyValue, Log, Process, SpanRef, SpanRefType, ValueType};
use tactus_proto::lossy;

use crate::from_otlp::value_type;

/// A trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    /// 16 digits if the high half is zero, else 32.
    #[serde(rename = "traceID")]
    pub(super) trace_id: String,
    pub(super) spans: Vec<Span>,
    /// As messages, in the order of their names: those begin with `p1`.
    #[serde(serialize_with = "named")]
    pub(super) processes: Vec<Bytes>,
    /// What is to be known of the trace as a whole.
    pub(super) warnings: Option<Vec<String>>,
    /// Start of the first span, microseconds since 1970. Jaeger has no such key; scripts expect it.
    pub(super) start_time: u64,
    /// Until the end of the last span, microseconds. Jaeger has no such key; scripts expect it.
    pub(super) duration: u64,
}

/// A span, and the name of its process in the trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(super) span: api_v2::Span,
    pub(super) process_id: String,
}

/// A message as JSON.
struct Shown<'m, M>(&'m M);

/// The name of a process by its place.
pub(super) fn process_name(place: usize) -> String {
    format!("p{}", place + 1)
}

fn named<S: Serializer>(processes: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(processes.iter().enumerate().map(|(place, message)| {
        // It was encoded here, so it can be decoded.
        let process = Process::decode(message.clone()).unwrap_or_default();
        (process_name(place), ShownProcess(process))
    }))
}

struct ShownProcess(Process);

impl Serialize for ShownProcess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Process", 2)?;
        fields.serialize_field("serviceName", &lossy(&self.0.service_name))?;
        fields.serialize_field("tags", &list(&self.0.tags))?;
        fields.end()
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = &self.span;
        let warnings: Vec<_> = span.warnings.iter().map(|warning| lossy(warning)).collect();
        let warnings = (!warnings.is_empty()).then_some(warnings);
        let mut fields = serializer.serialize_struct("Span", 10)?;
        fields.serialize_field("traceID", &trace_id(&span.trace_id))?;
        fields.serialize_field("spanID", &span_id(&span.span_id))?;
        fields.serialize_field("operationName", &lossy(&span.operation_name))?;
        fields.serialize_field("references", &list(&span.references))?;
        fields.serialize_field("startTime", &micros_of(span.start_time.as_ref()))?;
        fields.serialize_field("duration", &span.duration.as_ref().map_or(0, duration_micros))?;
        fields.serialize_field("tags", &list(&span.tags))?;
        fields.serialize_field("logs", &list(&span.logs))?;
        fields.serialize_field("processID", &self.process_id)?;
        fields.serialize_field("warnings", &warnings)?;
        fields.end()
    }
}

impl Serialize for Shown<'_, SpanRef> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_child = self.0.ref_type == i32::from(SpanRefType::ChildOf);
        let mut fields = serializer.serialize_struct("Reference", 3)?;
        fields.serialize_field("refType", if is_child { "CHILD_OF" } else { "FOLLOWS_FROM" })?;
        fields.serialize_field("traceID", &trace_id(&self.0.trace_id))?;
        fields.serialize_field("spanID", &span_id(&self.0.span_id))?;
        fields.end()
    }
}

impl Serialize for Shown<'_, Log> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Log", 2)?;
        fields.serialize_field("timestamp", &micros_of(self.0.timestamp.as_ref()))?;
        fields.serialize_field("fields", &list(&self.0.fields))?;
        fields.end()
    }
}

/// Integers beyond are no JavaScript numbers.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A number that JavaScript has no number for is a string, and bytes are base64.
impl Serialize for Shown<'_, KeyValue> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tag = self.0;
        let mut fields = serializer.serialize_struct("Tag", 3)?;
        fields.serialize_field("key", &lossy(&tag.key))?;
        let value_type = value_type(tag);
        let name = match value_type {
            ValueType::String => "string",
            ValueType::Bool => "bool",
            ValueType::Int64 => "int64",
            ValueType::Float64 => "float64",
            ValueType::Binary => "binary",
        };
        fields.serialize_field("type", name)?;
        match value_type {
            ValueType::String => fields.serialize_field("value", &lossy(&tag.v_str))?,
            ValueType::Bool => fields.serialize_field("value", &tag.v_bool)?,
            ValueType::Int64 if tag.v_int64.unsigned_abs() > MAX_SAFE => {
                fields.serialize_field("value", &tag.v_int64.to_string())?;
            }
            ValueType::Int64 => fields.serialize_field("value", &tag.v_int64)?,
            ValueType::Float64 => match tag.v_float64 {
                number if number.is_nan() => fields.serialize_field("value", "NaN")?,
                f64::INFINITY => fields.serialize_field("value", "+Inf")?,
                f64::NEG_INFINITY => fields.serialize_field("value", "-Inf")?,
                number => fields.serialize_field("value", &number)?,
            },
            ValueType::Binary => {
                fields.serialize_field("value", &STANDARD.encode(&tag.v_binary))?;
            }
        }
        fields.end()
    }
}

fn list<M>(messages: &[M]) -> Vec<Shown<'_, M>> {
    messages.iter().map(Shown).collect()
}

fn trace_id(id: &[u8]) -> String {
    TraceId::from_slice(id).to_hex_by_half()
}

fn span_id(id: &[u8]) -> String {
    SpanId::from_slice(id).to_hex()
}

fn micros_of(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos / 1_000))
    })
}

fn duration_micros(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos / 1_000))
}
