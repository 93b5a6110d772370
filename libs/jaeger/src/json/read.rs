//! Files that Jaeger's UI and API make: `{"data": [trace, …]}`.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use tactus_model::{SpanId, TraceId, error_text};
use tactus_otlp_json::outside_strings;
use tactus_proto::jaeger::api_v2::{self, KeyValue, SpanRefType, ValueType};

use crate::from_otlp::WARNINGS;
use crate::span::{micros, timestamp};
use crate::to_otlp::{OtlpWriter, process_key};

/// Why a file holds no traces of Jaeger's: what is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No JSON, or JSON of another shape. The text ends with line and column.
    #[error("{0}")]
    Json(String),
    /// A value that cannot be.
    #[error("{place}: {reason}")]
    Value {
        /// Such as `data[0].spans[2].spanID`.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Commas and brackets that a span or a process may have: it is read as a whole, and the smallest values take many times
/// their bytes.
const MAX_VALUES: usize = 1 << 18;

/// Traces that a file may have.
const MAX_TRACES: usize = 1 << 18;

/// The spans of a file, those of one process of one trace together, as the bytes of an OTLP export request. Memory: that
/// of the answer, of the processes, and of the largest span.
pub fn read_jaeger_file(json: &[u8]) -> Result<Bytes, FileError> {
    let invalid = |error: serde_json::Error| FileError::Json(error_text::cut(error.to_string()));
    check_size(json)?;
    // Spans come before their processes.
    let ProcessFile { data: processes } = serde_json::from_slice(json).map_err(invalid)?;
    let (mut spans, mut refused) = (Vec::new(), None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let file = FileVisitor { processes: &processes, spans: &mut spans, refused: &mut refused };
    let read = deserializer.deserialize_map(file).and_then(|()| deserializer.end());
    match refused {
        Some(error) => Err(error),
        None => read.map(|()| spans.into()).map_err(invalid),
    }
}

/// Checks that no span, no process and no list of traces has too much in it. Strings aside, a span or a process begins at
/// the fifth bracket within one another, a trace at the third.
fn check_size(json: &[u8]) -> Result<(), FileError> {
    let (mut depth, mut values, mut most, mut traces) = (0_usize, 0_usize, 0, 0);
    outside_strings(json, |byte| {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                traces += usize::from(depth == 3);
                values = if depth == 5 { 0 } else { values + 1 };
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth >= 5 {
            most = most.max(values);
        }
    });
    let too_many = |what: String| Err(FileError::Json(what));
    match () {
        () if traces > MAX_TRACES => too_many(format!("more than {MAX_TRACES} traces")),
        () if most > MAX_VALUES => {
            too_many(format!("more than {MAX_VALUES} values in one span or process"))
        }
        () => Ok(()),
    }
}

/// The processes of a file.
#[derive(Deserialize)]
struct ProcessFile {
    data: Vec<Processes>,
}

/// The processes of a trace, by name.
#[derive(Deserialize)]
struct Processes {
    #[serde(default, deserialize_with = "nullable")]
    processes: HashMap<String, ProcessKey>,
}

/// A process as [`process_key`].
struct ProcessKey(Vec<u8>);

impl<'de> Deserialize<'de> for ProcessKey {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let process = process(Process::deserialize(json)?);
        Ok(Self(process_key(Some(&process))))
    }
}

/// Goes through a file, through a trace or through its spans, and encodes span by span.
struct FileVisitor<'f> {
    processes: &'f [Processes],
    spans: &'f mut Vec<u8>,
    /// What is wrong with a value: errors of serde are text only.
    refused: &'f mut Option<FileError>,
}

impl<'de> Visitor<'de> for FileVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file of Jaeger's")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { processes, spans, refused } = self;
        while let Some(key) = map.next_key::<String>()? {
            if key == "data" {
                map.next_value_seed(Traces(FileVisitor { processes, spans, refused }))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Traces<'f>(FileVisitor<'f>);

impl<'de> DeserializeSeed<'de> for Traces<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Traces<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of traces")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for number in 0_usize.. {
            let mut trace = Trace {
                number,
                processes: self.0.processes.get(number).map(|trace| &trace.processes),
                made: OtlpWriter::new(None),
                refused: &mut *self.0.refused,
            };
            if list.next_element_seed(&mut trace)?.is_none() {
                break;
            }
            self.0.spans.extend_from_slice(&trace.made.finish());
        }
        Ok(())
    }
}

/// A trace on its way.
struct Trace<'f> {
    number: usize,
    processes: Option<&'f HashMap<String, ProcessKey>>,
    made: OtlpWriter,
    refused: &'f mut Option<FileError>,
}

impl<'de> DeserializeSeed<'de> for &mut Trace<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Trace<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_spans = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "spans" {
                has_spans = true;
                map.next_value_seed(Spans(&mut *self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_spans { Ok(()) } else { Err(A::Error::missing_field("spans")) }
    }
}

struct Spans<'t, 'f>(&'t mut Trace<'f>);

impl<'de> DeserializeSeed<'de> for Spans<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Spans<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut number = 0_usize;
        while let Some(span) = list.next_element::<Span>()? {
            self.0.add(number, span).map_err(|error| {
                *self.0.refused = Some(error);
                A::Error::custom("refused")
            })?;
            number += 1;
        }
        Ok(())
    }
}

impl Trace<'_> {
    fn add(&mut self, number: usize, mut span: Span) -> Result<(), FileError> {
        let place = format!("data[{}].spans[{number}]", self.number);
        let own = span.process.take().map(|own| process_key(Some(&process(own))));
        let id = std::mem::take(&mut span.process_id);
        let known = self.processes.and_then(|processes| processes.get(&id));
        if own.is_none() && known.is_none() && !id.is_empty() {
            let reason = error_text::cut(format!("the trace has no process {id:?}"));
            return Err(FileError::Value { place: format!("{place}.processID"), reason });
        }
        let key = own.as_deref().or(known.map(|key| &key.0[..])).unwrap_or_default();
        // All ids have their lengths by now.
        self.made
            .push_of(key, self::span(&place, span)?)
            .map_err(|error| FileError::Value { place, reason: error.to_string() })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
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
    process_id: String,
    /// In place of `process_id`.
    process: Option<Process>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default, deserialize_with = "nullable")]
    tags: Vec<Tag>,
}

/// A member that may be null, which stands for nothing.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

fn process(process: Process) -> api_v2::Process {
    let tags = process.tags.into_iter().map(tag).collect();
    api_v2::Process { service_name: process.service_name.into(), tags }
}

fn span(place: &str, span: Span) -> Result<api_v2::Span, FileError> {
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

#[cfg(test)]
mod tests;
