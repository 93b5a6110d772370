//! The JSON of Jaeger's HTTP API, as its UI reads it.

mod build;
mod pieces;
mod read;
mod upload;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use tactus_proto::jaeger::api_v2::{KeyValue, ValueType};
use tactus_proto::lossy;

use crate::from_otlp::value_type;

pub use build::shown_trace_id;
#[cfg(test)]
pub(crate) use build::trace;
pub use pieces::{TraceWriter, around_traces};
pub use read::{FileError, read_jaeger_file};
pub use upload::{UploadError, traces_of_upload};

/// What answers are wrapped in. Keys stand in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope<T> {
    /// The answer.
    pub data: T,
    /// Number of elements, where the API tells.
    pub total: usize,
    /// Always 0.
    pub limit: usize,
    /// Always 0.
    pub offset: usize,
    /// `None`: the key is there, and null.
    pub errors: Option<Vec<EnvelopeError>>,
}

impl<T> Envelope<T> {
    /// An answer without errors.
    pub fn new(data: T, total: usize) -> Self {
        Self { data, total, limit: 0, offset: 0, errors: None }
    }
}

/// An error within an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeError {
    /// HTTP status; left out if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
    /// For the reader.
    pub msg: String,
    /// The trace that it is about; left out if empty.
    #[serde(rename = "traceID", skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// 16 digits if the high half is zero, else 32.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Names of processes and what they are, in the order of their names.
    #[serde(serialize_with = "as_map")]
    pub processes: Vec<(String, Process)>,
    /// What is to be known of the trace as a whole.
    pub warnings: Option<Vec<String>>,
    /// Start of the first span, microseconds since 1970. Jaeger has no such key; scripts expect it.
    pub start_time: u64,
    /// Until the end of the last span, microseconds. Jaeger has no such key; scripts expect it.
    pub duration: u64,
}

/// A span.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// As of the trace.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// 16 digits.
    #[serde(rename = "spanID")]
    pub span_id: String,
    /// The span's name.
    pub operation_name: String,
    /// Parent and links.
    pub references: Vec<Reference>,
    /// Microseconds since 1970.
    pub start_time: i64,
    /// Microseconds.
    pub duration: i64,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Events.
    pub logs: Vec<Log>,
    /// Name of the process in the trace.
    #[serde(rename = "processID")]
    pub process_id: String,
    /// What is to be known of the span.
    pub warnings: Option<Vec<String>>,
}

/// A reference to another span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// `CHILD_OF` or `FOLLOWS_FROM`.
    pub ref_type: &'static str,
    /// Trace of the other span.
    #[serde(rename = "traceID")]
    pub trace_id: String,
    /// The other span.
    #[serde(rename = "spanID")]
    pub span_id: String,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// Type of the value: `string`, `bool`, `int64`, `float64`, `binary`.
    #[serde(rename = "type")]
    pub value_type: &'static str,
    /// Its value.
    pub value: TagValue,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// Microseconds since 1970.
    pub timestamp: i64,
    /// Name and attributes.
    pub fields: Vec<Tag>,
}

/// Who sent a span.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// The service.
    pub service_name: String,
    /// What else is known of it.
    pub tags: Vec<Tag>,
}

fn as_map<S: Serializer>(
    processes: &[(String, Process)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(processes.iter().map(|(name, process)| (name, process)))
}

/// Integers beyond are no JavaScript numbers.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The value of a tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TagValue {
    /// A string; base64 of bytes; a number that JavaScript has no number for.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite float.
    Float(f64),
}

fn tag(tag: &KeyValue) -> Tag {
    let (value_type, value) = match value_type(tag) {
        ValueType::String => ("string", TagValue::Text(lossy(&tag.v_str).into_owned())),
        ValueType::Bool => ("bool", TagValue::Bool(tag.v_bool)),
        ValueType::Int64 => ("int64", int(tag.v_int64)),
        ValueType::Float64 => ("float64", float(tag.v_float64)),
        ValueType::Binary => ("binary", TagValue::Text(STANDARD.encode(&tag.v_binary))),
    };
    Tag { key: lossy(&tag.key).into_owned(), value_type, value }
}

fn int(number: i64) -> TagValue {
    if number.unsigned_abs() > MAX_SAFE {
        return TagValue::Text(number.to_string());
    }
    TagValue::Int(number)
}

fn float(number: f64) -> TagValue {
    match number {
        _ if number.is_nan() => TagValue::Text("NaN".to_owned()),
        f64::INFINITY => TagValue::Text("+Inf".to_owned()),
        f64::NEG_INFINITY => TagValue::Text("-Inf".to_owned()),
        _ => TagValue::Float(number),
    }
}

#[cfg(test)]
mod tests;
