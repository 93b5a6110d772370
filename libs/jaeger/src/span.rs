//! The structs of `jaeger.thrift`, read into the messages of Jaeger's protobuf model.
//!
//! Both models have the same content in different forms: Thrift has ids as integers, times in microseconds, a field for
//! the parent, and other numbers for the types of tags.

use bytes::{BufMut, Bytes, BytesMut};
use prost_types::{Duration, Timestamp};
use tactus_proto::jaeger::api_v2::{KeyValue, Log, Process, Span, SpanRef, SpanRefType, ValueType};

use crate::thrift::{Field, Kind, Protocol, Reader, ThriftError};
use crate::to_otlp::{ModelError, OtlpWriter};

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i64 = 1_000;

/// The spans of an HTTP body, a binary batch without anything around it, as the bytes of an OTLP export request; none if
/// there is no span. Bytes after the batch are ignored. Memory: that of the answer and of the largest span.
///
/// Errors: damage, and those of the conversion.
pub fn batch_to_otlp(body: Bytes) -> Result<Bytes, ModelError> {
    write_batch(&mut Reader::new(Protocol::Binary, body))
}

/// As [`batch_to_otlp`], of the batch at which a reader is.
pub(crate) fn write_batch(reader: &mut Reader) -> Result<Bytes, ModelError> {
    let (process, mut spans) = read_batch(reader)?;
    let mut made = OtlpWriter::new(Some(&process), spans.left());
    spans.each(Kind::Struct, |reader| made.push(read_span(reader)?))?;
    Ok(made.finish())
}

/// The process of a batch, and a reader of its spans. They are skipped at first, which is cheap: their process may come after
/// them.
fn read_batch(reader: &mut Reader) -> Result<(Process, Reader), ThriftError> {
    let (mut process, mut spans) = (None, None);
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::Struct) => process = Some(read_process(reader)?),
            (2, Kind::List) => {
                spans = Some(reader.clone());
                reader.skip(kind)?;
            }
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok((required(process, "Batch", "process")?, required(spans, "Batch", "spans")?))
}

fn read_process(reader: &mut Reader) -> Result<Process, ThriftError> {
    let (mut service_name, mut tags) = (None, Vec::new());
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::Binary) => service_name = Some(reader.binary()?),
            (2, Kind::List) => tags = reader.list(Kind::Struct, read_tag)?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Process { service_name: required(service_name, "Process", "serviceName")?, tags })
}

fn read_span(reader: &mut Reader) -> Result<Span, ThriftError> {
    let (mut trace_low, mut trace_high, mut id, mut parent) = (None, None, None, None);
    let (mut flags, mut start, mut duration, mut operation_name) = (None, None, None, None);
    let (mut references, mut tags, mut logs) = (Vec::new(), Vec::new(), Vec::new());
    reader.fields(|reader, Field { id: field, kind }| {
        match (field, kind) {
            (1, Kind::I64) => trace_low = Some(reader.i64()?),
            (2, Kind::I64) => trace_high = Some(reader.i64()?),
            (3, Kind::I64) => id = Some(reader.i64()?),
            (4, Kind::I64) => parent = Some(reader.i64()?),
            (5, Kind::Binary) => operation_name = Some(reader.binary()?),
            (6, Kind::List) => references = reader.list(Kind::Struct, read_reference)?,
            (7, Kind::I32) => flags = Some(reader.i32()?),
            (8, Kind::I64) => start = Some(reader.i64()?),
            (9, Kind::I64) => duration = Some(reader.i64()?),
            (10, Kind::List) => tags = reader.list(Kind::Struct, read_tag)?,
            (11, Kind::List) => logs = reader.list(Kind::Struct, read_log)?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let trace_low = required(trace_low, "Span", "traceIdLow")?;
    let trace_high = required(trace_high, "Span", "traceIdHigh")?;
    let id = required(id, "Span", "spanId")?;
    let parent = required(parent, "Span", "parentSpanId")?;
    let (trace_id, span_id) = ids(trace_high, trace_low, id);
    if parent != 0 {
        // Where there is a field for the parent, it goes before all references.
        let parent = SpanRef {
            trace_id: trace_id.clone(),
            span_id: span_id_bytes(parent),
            ref_type: SpanRefType::ChildOf.into(),
        };
        references.insert(0, parent);
    }
    Ok(Span {
        trace_id,
        span_id,
        operation_name: required(operation_name, "Span", "operationName")?,
        references,
        flags: required(flags, "Span", "flags")?.cast_unsigned(),
        start_time: Some(timestamp(required(start, "Span", "startTime")?)),
        duration: Some(micros(required(duration, "Span", "duration")?)),
        tags,
        logs,
        ..Span::default()
    })
}

fn read_reference(reader: &mut Reader) -> Result<SpanRef, ThriftError> {
    let (mut ref_type, mut low, mut high, mut id) = (None, None, None, None);
    reader.fields(|reader, Field { id: field, kind }| {
        match (field, kind) {
            (1, Kind::I32) => ref_type = Some(reader.i32()?),
            (2, Kind::I64) => low = Some(reader.i64()?),
            (3, Kind::I64) => high = Some(reader.i64()?),
            (4, Kind::I64) => id = Some(reader.i64()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let ref_type = required(ref_type, "SpanRef", "refType")?;
    let low = required(low, "SpanRef", "traceIdLow")?;
    let high = required(high, "SpanRef", "traceIdHigh")?;
    let (trace_id, span_id) = ids(high, low, required(id, "SpanRef", "spanId")?);
    Ok(SpanRef { trace_id, span_id, ref_type })
}

fn read_log(reader: &mut Reader) -> Result<Log, ThriftError> {
    let (mut time, mut fields) = (None, None);
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::I64) => time = Some(reader.i64()?),
            (2, Kind::List) => fields = Some(reader.list(Kind::Struct, read_tag)?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(Log {
        timestamp: Some(timestamp(required(time, "Log", "timestamp")?)),
        fields: required(fields, "Log", "fields")?,
    })
}

fn read_tag(reader: &mut Reader) -> Result<KeyValue, ThriftError> {
    let (mut key, mut value_type, mut tag) = (None, None, KeyValue::default());
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::Binary) => key = Some(reader.binary()?),
            (2, Kind::I32) => value_type = Some(reader.i32()?),
            (3, Kind::Binary) => tag.v_str = reader.binary()?,
            (4, Kind::Double) => tag.v_float64 = reader.double()?,
            (5, Kind::Bool) => tag.v_bool = reader.bool()?,
            (6, Kind::I64) => tag.v_int64 = reader.i64()?,
            (7, Kind::Binary) => tag.v_binary = reader.binary()?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    tag.key = required(key, "Tag", "key")?;
    tag.v_type = match required(value_type, "Tag", "vType")? {
        0 => ValueType::String.into(),
        1 => ValueType::Float64.into(),
        2 => ValueType::Bool.into(),
        3 => ValueType::Int64.into(),
        4 => ValueType::Binary.into(),
        unknown => unknown,
    };
    Ok(tag)
}

fn required<T>(value: Option<T>, of: &'static str, field: &'static str) -> Result<T, ThriftError> {
    value.ok_or(ThriftError::Missing { of, field })
}

/// The bytes of a trace id and of a span id, in one allocation.
pub(crate) fn ids(trace_high: i64, trace_low: i64, id: i64) -> (Bytes, Bytes) {
    let mut bytes = BytesMut::with_capacity(24);
    bytes.put_i64(trace_high);
    bytes.put_i64(trace_low);
    bytes.put_i64(id);
    let mut bytes = bytes.freeze();
    let trace_id = bytes.split_to(16);
    (trace_id, bytes)
}

pub(crate) fn span_id_bytes(id: i64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// A time from microseconds since 1970.
pub(crate) fn timestamp(micros: i64) -> Timestamp {
    Timestamp {
        seconds: micros.div_euclid(MICROS_PER_SECOND),
        nanos: (micros.rem_euclid(MICROS_PER_SECOND) * NANOS_PER_MICRO) as i32,
    }
}

/// A duration from microseconds; both parts have the sign.
pub(crate) fn micros(micros: i64) -> Duration {
    Duration {
        seconds: micros / MICROS_PER_SECOND,
        nanos: (micros % MICROS_PER_SECOND * NANOS_PER_MICRO) as i32,
    }
}

#[cfg(test)]
mod tests;
