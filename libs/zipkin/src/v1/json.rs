//! Spans of the first model in JSON.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;

use super::{Annotation, BinaryAnnotation, Endpoint, Span};
use crate::json::{JsonEndpoint, Micros, Text, is_there, read_list, read_spans};
use crate::{Error, SpanError};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, expecting = "a span")]
struct JsonSpan<'a> {
    #[serde(borrow)]
    trace_id: Text<'a>,
    id: Text<'a>,
    parent_id: Text<'a>,
    name: Text<'a>,
    timestamp: Micros,
    duration: Micros,
    #[serde(deserialize_with = "read_annotations")]
    annotations: Vec<JsonAnnotation<'a>>,
    #[serde(deserialize_with = "read_binary_annotations")]
    binary_annotations: Vec<JsonBinaryAnnotation<'a>>,
    /// Only the second model has them.
    #[serde(deserialize_with = "is_there")]
    tags: bool,
    #[serde(deserialize_with = "is_there")]
    kind: bool,
    #[serde(deserialize_with = "is_there")]
    local_endpoint: bool,
    #[serde(deserialize_with = "is_there")]
    remote_endpoint: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "an annotation")]
struct JsonAnnotation<'a> {
    timestamp: Micros,
    #[serde(borrow)]
    value: Text<'a>,
    endpoint: Option<Box<JsonEndpoint<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "a binary annotation")]
struct JsonBinaryAnnotation<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    value: Property<'a>,
    endpoint: Option<Box<JsonEndpoint<'a>>>,
}

/// Hands the spans of a list to `take`, one by one.
pub(crate) fn decode(
    body: &Bytes,
    mut take: impl FnMut(Span) -> Result<(), SpanError>,
) -> Result<(), Error> {
    let mut index = 0;
    read_spans(body, |span: JsonSpan<'_>| {
        if span.tags || span.kind || span.local_endpoint || span.remote_endpoint {
            return Err(Error::OtherVersion);
        }
        span.into_span(body).and_then(&mut take).map_err(|reason| Error::Span { index, reason })?;
        index += 1;
        Ok(())
    })
}

impl JsonSpan<'_> {
    fn into_span(self, body: &Bytes) -> Result<Span, SpanError> {
        let trace_id = match self.trace_id.as_bytes().len() {
            16 | 32 => hex(&self.trace_id, "traceId", TraceId::from_hex)?,
            _ => return Err(SpanError::HexTraceIdLength),
        };
        let id = span_id(&self.id, "id")?;
        if trace_id.is_zero() {
            return Err(SpanError::ZeroTraceId);
        }
        if id.is_zero() {
            return Err(SpanError::ZeroId);
        }
        let parent_id = match self.parent_id.as_bytes() {
            b"" => None,
            _ => Some(span_id(&self.parent_id, "parentId")?).filter(|parent| !parent.is_zero()),
        };
        let endpoint = |endpoint: Option<Box<JsonEndpoint<'_>>>| {
            endpoint.map(|endpoint| Box::new(endpoint_of(*endpoint, body)))
        };
        let annotations = self.annotations.into_iter().map(|annotation| Annotation {
            timestamp: annotation.timestamp.0,
            value: annotation.value.into_bytes(body),
            endpoint: endpoint(annotation.endpoint),
        });
        let properties = self.binary_annotations.into_iter().map(|property| BinaryAnnotation {
            key: property.key.into_bytes(body),
            value: property.value.into_value(body),
            endpoint: endpoint(property.endpoint),
        });
        Ok(Span {
            trace_id,
            id,
            parent_id,
            name: self.name.into_bytes(body),
            timestamp: self.timestamp.0,
            duration: self.duration.0,
            annotations: annotations.collect(),
            binary_annotations: properties.collect(),
        })
    }
}

fn endpoint_of(json: JsonEndpoint<'_>, body: &Bytes) -> Endpoint {
    Endpoint {
        service_name: json.service_name.into_bytes(body),
        ipv4: json.ipv4.into_bytes(body),
        ipv6: json.ipv6.into_bytes(body),
        port: json.port.0,
    }
}

fn span_id(text: &Text<'_>, field: &'static str) -> Result<SpanId, SpanError> {
    if text.as_bytes().len() != 16 {
        return Err(SpanError::HexIdLength);
    }
    hex(text, field, SpanId::from_hex)
}

fn hex<T>(
    text: &Text<'_>,
    field: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, SpanError> {
    let text = std::str::from_utf8(text.as_bytes()).ok();
    text.and_then(parse).ok_or(SpanError::NotHex(field))
}

fn read_annotations<'de: 'a, 'a, D: Deserializer<'de>>(
    json: D,
) -> Result<Vec<JsonAnnotation<'a>>, D::Error> {
    // Those without a value are no events, but tell when the span was.
    read_list(json, |_| true)
}

fn read_binary_annotations<'de: 'a, 'a, D: Deserializer<'de>>(
    json: D,
) -> Result<Vec<JsonBinaryAnnotation<'a>>, D::Error> {
    read_list(json, |property: &JsonBinaryAnnotation<'_>| !property.key.as_bytes().is_empty())
}

/// The value of a binary annotation.
#[derive(Default)]
enum Property<'a> {
    #[default]
    Null,
    Text(Text<'a>),
    Typed(Value),
}

impl Property<'_> {
    fn into_value(self, body: &Bytes) -> Option<Value> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(Value::StringValue(text.into_bytes(body))),
            Self::Typed(value) => Some(value),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Property<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(PropertyVisitor)
    }
}

struct PropertyVisitor;

impl<'de> Visitor<'de> for PropertyVisitor {
    type Value = Property<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, number or boolean")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Property::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Property::Typed(Value::BoolValue(value)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Property::Typed(Value::IntValue(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Property::Typed(match i64::try_from(number) {
            Ok(number) => Value::IntValue(number),
            Err(_) => Value::DoubleValue(number as f64),
        }))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Property::Typed(Value::DoubleValue(number)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Property::Text(Text::from(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Property::Text(Text::from(text.to_owned())))
    }
}
