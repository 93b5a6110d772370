//! Spans of the first model in Thrift (`zipkincore.thrift`).

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tactus_jaeger::zipkincore::{self, annotation_type};
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;

use super::{Annotation, BinaryAnnotation, Endpoint, Span};
use crate::{Error, SpanError};

/// In place of a number that is cut off.
const TOO_SHORT: &[u8] = b"<not enough bytes representing the number>";

/// Hands the spans of a list to `take`, one by one. No bytes are no spans.
pub(crate) fn decode(
    body: &Bytes,
    mut take: impl FnMut(Span) -> Result<(), SpanError>,
) -> Result<(), Error> {
    if body.is_empty() {
        return Ok(());
    }
    let mut index = 0;
    zipkincore::read_each_span(body.clone(), |span| {
        span_of(span).and_then(&mut take).map_err(|reason| Error::Span { index, reason })?;
        index += 1;
        Ok(())
    })
}

fn span_of(span: zipkincore::Span) -> Result<Span, SpanError> {
    let (high, low) = (span.trace_id_high.unwrap_or_default(), span.trace_id);
    if (high, low) == (0, 0) {
        return Err(SpanError::ZeroTraceId);
    }
    if span.id == 0 {
        return Err(SpanError::ZeroId);
    }
    let id = |id: i64| SpanId(id.to_be_bytes());
    let micros = |micros: Option<i64>| micros.and_then(|micros| u64::try_from(micros).ok());
    let trace_id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    let annotations = span.annotations.into_iter().map(|annotation| Annotation {
        timestamp: micros(Some(annotation.timestamp)).unwrap_or_default(),
        value: annotation.value,
        endpoint: annotation.host.as_deref().map(endpoint),
    });
    let properties = span.binary_annotations.into_iter().map(|property| BinaryAnnotation {
        value: Some(value(property.annotation_type, property.value)),
        key: property.key,
        endpoint: property.host.as_deref().map(endpoint),
    });
    Ok(Span {
        trace_id: TraceId(trace_id.to_be_bytes()),
        id: id(span.id),
        parent_id: span.parent_id.filter(|parent| *parent != 0).map(id),
        name: span.name,
        timestamp: micros(span.timestamp).unwrap_or_default(),
        duration: micros(span.duration).unwrap_or_default(),
        annotations: annotations.collect(),
        binary_annotations: properties.filter(|property| !property.key.is_empty()).collect(),
    })
}

fn endpoint(host: &zipkincore::Endpoint) -> Box<Endpoint> {
    let ipv4 = Some(host.ipv4).filter(|ip| *ip != 0).map(|ip| Ipv4Addr::from(ip).to_string());
    let ipv6 = <[u8; 16]>::try_from(&*host.ipv6).ok().map(|ip| Ipv6Addr::from(ip).to_string());
    Box::new(Endpoint {
        service_name: host.service_name.clone(),
        ipv4: ipv4.map_or_else(Bytes::new, Bytes::from),
        ipv6: ipv6.map_or_else(Bytes::new, Bytes::from),
        port: host.port,
    })
}

/// Numbers are big-endian; bytes after them are ignored.
fn value(value_type: i32, value: Bytes) -> Value {
    let number = match value_type {
        annotation_type::BOOL => return Value::BoolValue(value.first() == Some(&1)),
        annotation_type::I16 => {
            value.first_chunk().map(|bytes| Value::IntValue(i16::from_be_bytes(*bytes).into()))
        }
        annotation_type::I32 => {
            value.first_chunk().map(|bytes| Value::IntValue(i32::from_be_bytes(*bytes).into()))
        }
        annotation_type::I64 => {
            value.first_chunk().map(|bytes| Value::IntValue(i64::from_be_bytes(*bytes)))
        }
        annotation_type::DOUBLE => {
            value.first_chunk().map(|bytes| Value::DoubleValue(f64::from_be_bytes(*bytes)))
        }
        annotation_type::BYTES => Some(Value::StringValue(STANDARD.encode(&value).into())),
        // Types that nobody knows as well.
        _ => return Value::StringValue(value),
    };
    number.unwrap_or(Value::StringValue(Bytes::from_static(TOO_SHORT)))
}
