//! The calls of Jaeger's agent: what clients send over UDP.

use bytes::Bytes;

use crate::span::write_batch;
use crate::thrift::{Field, Kind, Message, Reader, ThriftError};
use crate::to_otlp::ModelError;
use crate::zipkincore::write_spans;

/// The spans of a call, `emitBatch` or `emitZipkinBatch`, as the bytes of an OTLP export request; none if there is no span.
/// Memory: that of the answer and of the largest span.
///
/// The call may be of either protocol, told apart by the first byte: clients do send the one to the port of the other. Bytes
/// after it are ignored. Errors: damage, and those of the conversion.
pub fn call_to_otlp(datagram: Bytes) -> Result<Bytes, ModelError> {
    let (message, mut reader) = Message::read(datagram)?;
    match &message.name[..] {
        b"emitBatch" => {
            write_batch(&mut argument(&mut reader, Kind::Struct, "emitBatch", "batch")?)
        }
        b"emitZipkinBatch" => {
            write_spans(&mut argument(&mut reader, Kind::List, "emitZipkinBatch", "spans")?)
        }
        other => {
            let name = String::from_utf8_lossy(other).chars().take(MAX_SHOWN_CHARS).collect();
            Err(ThriftError::UnknownMethod(name).into())
        }
    }
}

/// Longest part of an unknown method's name that errors show.
const MAX_SHOWN_CHARS: usize = 64;

/// A reader of the one argument of a call.
fn argument(
    reader: &mut Reader,
    kind: Kind,
    of: &'static str,
    field: &'static str,
) -> Result<Reader, ThriftError> {
    let mut found = None;
    reader.fields(|reader, Field { id, kind: has }| {
        if id == 1 && has == kind {
            found = Some(reader.clone());
        }
        reader.skip(has)
    })?;
    found.ok_or(ThriftError::Missing { of, field })
}

#[cfg(test)]
mod tests;
