//! The structs of `zipkincore.thrift`, Zipkin's first model, as the bytes hold them.

use bytes::Bytes;

use crate::thrift::{Field, Kind, Protocol, Reader, ThriftError};
use crate::to_otlp::{ModelError, OtlpWriter};

mod convert;

use convert::convert;

/// The types of a binary annotation's value, as numbers on the wire.
pub mod annotation_type {
    /// One byte.
    pub const BOOL: i32 = 0;
    /// Any bytes.
    pub const BYTES: i32 = 1;
    /// Two bytes, big-endian.
    pub const I16: i32 = 2;
    /// Four bytes, big-endian.
    pub const I32: i32 = 3;
    /// Eight bytes, big-endian.
    pub const I64: i32 = 4;
    /// Eight bytes, IEEE 754, big-endian.
    pub const DOUBLE: i32 = 5;
    /// Text.
    pub const STRING: i32 = 6;
}

/// A place on the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The first byte of the address is the highest; 0: none.
    pub ipv4: u32,
    /// 0: none.
    pub port: u16,
    /// Empty: none.
    pub service_name: Bytes,
    /// 16 bytes, or empty: none.
    pub ipv6: Bytes,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotation {
    /// Microseconds since 1970.
    pub timestamp: i64,
    /// What happened: a constant as `sr`, or any text.
    pub value: Bytes,
    /// Where.
    pub host: Option<Box<Endpoint>>,
}

/// A property.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinaryAnnotation {
    /// Its name.
    pub key: Bytes,
    /// The value as `annotation_type` says.
    pub value: Bytes,
    /// One of [`annotation_type`], or a number that nobody knows.
    pub annotation_type: i32,
    /// Whose property it is.
    pub host: Option<Box<Endpoint>>,
}

/// A span, or one side of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Low half.
    pub trace_id: i64,
    /// High half; `None` is 0.
    pub trace_id_high: Option<i64>,
    /// The span's own id.
    pub id: i64,
    /// The parent's id.
    pub parent_id: Option<i64>,
    /// What is done.
    pub name: Bytes,
    /// What happened.
    pub annotations: Vec<Annotation>,
    /// Properties.
    pub binary_annotations: Vec<BinaryAnnotation>,
    /// Whether the trace is kept whatever samplers say.
    pub debug: bool,
    /// Start in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// Microseconds.
    pub duration: Option<i64>,
}

/// The spans of an HTTP body, a binary list without anything around it, one by one: there is never more than one of them
/// in memory. Bytes after the list are ignored.
///
/// Errors: damage, a span without trace id or id, which could not be stored anyway, and those of `take`.
pub fn read_each_span<E: From<ThriftError>>(
    body: Bytes,
    mut take: impl FnMut(Span) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(Protocol::Binary, body);
    reader.each(Kind::Struct, |reader| take(read_span(reader)?))
}

/// The spans of the list at which a reader is, as the bytes of an OTLP export request; none if there is no span. Each has a
/// process of its own.
pub(crate) fn write_spans(reader: &mut Reader) -> Result<Bytes, ModelError> {
    let mut made = OtlpWriter::new(None, reader.left());
    reader.each(Kind::Struct, |reader| {
        convert(read_span(reader)?).into_iter().try_for_each(|span| made.push(span))
    })?;
    Ok(made.finish())
}

fn read_span(reader: &mut Reader) -> Result<Span, ThriftError> {
    let mut span = Span::default();
    let (mut trace_id, mut id) = (None, None);
    reader.fields(|reader, Field { id: field, kind }| {
        match (field, kind) {
            (1, Kind::I64) => trace_id = Some(reader.i64()?),
            (3, Kind::Binary) => span.name = reader.binary()?,
            (4, Kind::I64) => id = Some(reader.i64()?),
            (5, Kind::I64) => span.parent_id = Some(reader.i64()?),
            (6, Kind::List) => span.annotations = reader.list(Kind::Struct, read_annotation)?,
            (8, Kind::List) => {
                span.binary_annotations = reader.list(Kind::Struct, read_binary_annotation)?;
            }
            (9, Kind::Bool) => span.debug = reader.bool()?,
            (10, Kind::I64) => span.timestamp = Some(reader.i64()?),
            (11, Kind::I64) => span.duration = Some(reader.i64()?),
            (12, Kind::I64) => span.trace_id_high = Some(reader.i64()?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let missing = |field| ThriftError::Missing { of: "zipkincore.Span", field };
    span.trace_id = trace_id.ok_or(missing("trace_id"))?;
    span.id = id.ok_or(missing("id"))?;
    Ok(span)
}

fn read_annotation(reader: &mut Reader) -> Result<Annotation, ThriftError> {
    let mut annotation = Annotation::default();
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::I64) => annotation.timestamp = reader.i64()?,
            (2, Kind::Binary) => annotation.value = reader.binary()?,
            (3, Kind::Struct) => annotation.host = Some(Box::new(read_endpoint(reader)?)),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn read_binary_annotation(reader: &mut Reader) -> Result<BinaryAnnotation, ThriftError> {
    let mut annotation = BinaryAnnotation::default();
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::Binary) => annotation.key = reader.binary()?,
            (2, Kind::Binary) => annotation.value = reader.binary()?,
            (3, Kind::I32) => annotation.annotation_type = reader.i32()?,
            (4, Kind::Struct) => annotation.host = Some(Box::new(read_endpoint(reader)?)),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn read_endpoint(reader: &mut Reader) -> Result<Endpoint, ThriftError> {
    let mut endpoint = Endpoint::default();
    reader.fields(|reader, Field { id, kind }| {
        match (id, kind) {
            (1, Kind::I32) => endpoint.ipv4 = reader.i32()?.cast_unsigned(),
            (2, Kind::I16) => endpoint.port = reader.i16()?.cast_unsigned(),
            (3, Kind::Binary) => endpoint.service_name = reader.binary()?,
            (4, Kind::Binary) => endpoint.ipv6 = reader.binary()?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(endpoint)
}

#[cfg(test)]
mod tests;
