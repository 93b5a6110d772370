//! The parts of the API's answers in JSON that are shown or checked.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use tactus_model::{SpanId, TraceId};

use crate::error::{Error, Result};

/// Parses an answer.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::Malformed(error.to_string()))
}

/// An attribute or a label.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct KeyValue {
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: Value,
}

/// A value of any type; its one field says which.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Value(BTreeMap<String, serde_json::Value>);

impl Value {
    /// The string, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.get("stringValue")?.as_str()
    }

    /// The integer, if it is one that is not negative.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.0.get("intValue")?.as_str()?.parse().ok()
    }
}

impl fmt::Display for Value {
    /// Strings without quotes, numbers as they are, anything else as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.values().next() {
            None => f.write_str("nil"),
            Some(serde_json::Value::String(text)) => f.write_str(text),
            Some(other) => write!(f, "{other}"),
        }
    }
}

/// The answer to a search.
#[derive(Debug, Deserialize)]
pub(crate) struct Search {
    #[serde(default)]
    pub(crate) traces: Vec<FoundTrace>,
    /// How the query was run, if it asked.
    pub(crate) explain: Option<serde_json::Value>,
}

/// A trace found by a search.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FoundTrace {
    #[serde(rename = "traceID")]
    pub(crate) trace_id: String,
    pub(crate) root_service_name: String,
    pub(crate) root_trace_name: String,
    #[serde(deserialize_with = "wide")]
    pub(crate) start_time_unix_nano: u64,
    pub(crate) duration_ms: u64,
    pub(crate) span_sets: Vec<SpanSet>,
}

/// Spans that matched together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SpanSet {
    pub(crate) matched: u64,
    pub(crate) spans: Vec<FoundSpan>,
}

/// A span found by a search.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FoundSpan {
    #[serde(rename = "spanID")]
    pub(crate) span_id: String,
    #[serde(deserialize_with = "wide")]
    pub(crate) start_time_unix_nano: u64,
    #[serde(deserialize_with = "wide")]
    pub(crate) duration_nanos: u64,
    pub(crate) attributes: Vec<KeyValue>,
}

/// The answer to a metrics query over a range.
#[derive(Debug, Deserialize)]
pub(crate) struct Metrics {
    #[serde(default)]
    pub(crate) series: Vec<Series>,
    /// `PARTIAL` if something is missing, with the reason.
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) message: String,
    pub(crate) explain: Option<serde_json::Value>,
}

/// A series.
#[derive(Debug, Deserialize)]
pub(crate) struct Series {
    #[serde(default)]
    pub(crate) labels: Vec<KeyValue>,
    #[serde(default)]
    pub(crate) samples: Vec<Sample>,
}

/// A value of a series.
#[derive(Debug, Deserialize)]
pub(crate) struct Sample {
    #[serde(rename = "timestampMs", default, deserialize_with = "wide")]
    pub(crate) timestamp_ms: u64,
    #[serde(default, deserialize_with = "double")]
    pub(crate) value: f64,
}

/// A trace, its spans in the order of the answer.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) services: Vec<String>,
    pub(crate) spans: Vec<Span>,
}

/// A span of a trace.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) id: SpanId,
    /// All zero for a root.
    pub(crate) parent: SpanId,
    /// Its place in [`Trace::services`].
    pub(crate) service: usize,
    pub(crate) name: String,
    /// Unix nanoseconds.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status: Status,
    /// What the sender says of the status.
    pub(crate) message: String,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Unset,
    Ok,
    Error,
}

#[derive(Deserialize)]
struct TraceAnswer {
    #[serde(default)]
    trace: TraceJson,
}

#[derive(Default, Deserialize)]
struct TraceJson {
    #[serde(rename = "resourceSpans", default)]
    resources: Vec<ResourceJson>,
}

#[derive(Deserialize)]
struct ResourceJson {
    #[serde(default)]
    resource: AttributesJson,
    #[serde(rename = "scopeSpans", default)]
    scopes: Vec<ScopeJson>,
}

#[derive(Default, Deserialize)]
struct AttributesJson {
    #[serde(default)]
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct ScopeJson {
    #[serde(default)]
    spans: Vec<SpanJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson {
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "wide")]
    start_time_unix_nano: u64,
    #[serde(default, deserialize_with = "wide")]
    end_time_unix_nano: u64,
    #[serde(default)]
    status: StatusJson,
}

#[derive(Default, Deserialize)]
struct StatusJson {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Trace {
    /// Parses the answer to a trace by id.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let answer: TraceAnswer = parse(body)?;
        let mut trace = Self::default();
        for resource in answer.trace.resources {
            let attributes = resource.resource.attributes.iter();
            let service = attributes
                .filter(|attribute| attribute.key == "service.name")
                .find_map(|attribute| attribute.value.as_str())
                .unwrap_or_default();
            let known = trace.services.iter().position(|known| known == service);
            let service = known.unwrap_or_else(|| {
                trace.services.push(service.to_owned());
                trace.services.len() - 1
            });
            for span in resource.scopes.into_iter().flat_map(|scope| scope.spans) {
                trace.id = TraceId::from_slice(&id_bytes(&span.trace_id)?);
                trace.spans.push(Span {
                    id: SpanId::from_slice(&id_bytes(&span.span_id)?),
                    parent: SpanId::from_slice(&id_bytes(&span.parent_span_id)?),
                    service,
                    name: span.name,
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano.max(span.start_time_unix_nano),
                    status: match span.status.code.as_str() {
                        "STATUS_CODE_ERROR" => Status::Error,
                        "STATUS_CODE_OK" => Status::Ok,
                        _ => Status::Unset,
                    },
                    message: span.status.message,
                });
            }
        }
        Ok(trace)
    }
}

/// Ids are base64 in a trace's JSON.
fn id_bytes(text: &str) -> Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|error| Error::Malformed(format!("id {text:?}: {error}")))
}

/// A 64-bit integer, which JSON may hold as a string.
fn wide<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(NumberVisitor).map(|number| match number {
        Number::Wide(number) => number,
        Number::Double(number) => number as u64,
    })
}

/// A double, which JSON holds as a string if it is not finite.
fn double<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(NumberVisitor).map(|number| match number {
        Number::Wide(number) => number as f64,
        Number::Double(number) => number,
    })
}

enum Number {
    Wide(u64),
    Double(f64),
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or one in a string")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number::Wide(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number::Double(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number::Double(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
        if let Ok(number) = text.parse() {
            return Ok(Number::Wide(number));
        }
        text.parse().map(Number::Double).map_err(E::custom)
    }
}
