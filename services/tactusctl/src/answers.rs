//! The parts of the API's answers in JSON that are shown or checked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use prost::Message as _;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer};
use tactus_model::{SpanId, TraceId};
use tactus_otlp_json::read_trace_file;
use tactus_proto::lossy;
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{ExportTraceServiceRequest, any_value};

use crate::error::{Error, Result};

/// Parses an answer.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::Malformed(error.to_string()))
}

/// Why an answer lacks something, as its body says; searches do not say it there.
pub(crate) fn incomplete(body: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        status: String,
        message: String,
    }
    let Status { status, message } = parse(body).unwrap_or_default();
    (status == "PARTIAL" && !message.is_empty()).then_some(message)
}

/// An attribute or a label.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct KeyValue {
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: Value,
}

/// A value of any type. The name of its only field is the type.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Value(BTreeMap<String, serde_json::Value>);

impl Value {
    /// The string, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.get("stringValue")?.as_str()
    }

    /// The integer, if it is one and is not negative.
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
    /// How the query was run, if it asked for that.
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
    #[serde(deserialize_with = "number")]
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
    #[serde(deserialize_with = "number")]
    pub(crate) start_time_unix_nano: u64,
    #[serde(deserialize_with = "number")]
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
    #[serde(rename = "timestampMs", default, deserialize_with = "number")]
    pub(crate) timestamp_ms: u64,
    #[serde(default, deserialize_with = "number")]
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
    pub(crate) status: StatusCode,
    /// The sender's message about the status.
    pub(crate) message: String,
}

impl Trace {
    /// Parses the answer to a trace by id.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let export = read_trace_file(body).map_err(|error| Error::Malformed(error.to_string()))?;
        let export = ExportTraceServiceRequest::decode(export);
        let export = export.map_err(|error| Error::Malformed(error.to_string()))?;
        let mut trace = Self::default();
        for resource in export.resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service =
                attributes.iter().find_map(|it| match it.value.as_ref()?.value.as_ref()? {
                    any_value::Value::StringValue(text) if it.key == "service.name" => {
                        Some(lossy(text))
                    }
                    _ => None,
                });
            let service = service.unwrap_or_default();
            let known = trace.services.iter().position(|known| *known == service);
            let service = known.unwrap_or_else(|| {
                trace.services.push(service.into_owned());
                trace.services.len() - 1
            });
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let status = span.status.unwrap_or_default();
                trace.id = TraceId::from_slice(&span.trace_id);
                trace.spans.push(Span {
                    id: SpanId::from_slice(&span.span_id),
                    parent: SpanId::from_slice(&span.parent_span_id),
                    service,
                    name: lossy(&span.name).into_owned(),
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano.max(span.start_time_unix_nano),
                    status: status.code(),
                    message: lossy(&status.message).into_owned(),
                });
            }
        }
        Ok(trace)
    }
}

/// A number, which JSON may hold as a string: a 64-bit integer, or a double that is not finite.
fn number<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse().map_err(de::Error::custom)
}
