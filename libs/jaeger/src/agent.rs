//! The calls of Jaeger's agent: what clients send over UDP.

use bytes::Bytes;
use tactus_proto::jaeger::api_v2::Batch;

use crate::thrift::{Field, Kind, Message, Protocol, Reader, ThriftError};
use crate::{span::read_batch, zipkincore};

/// The spans of one call.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `emitBatch`.
    Batch(Batch),
    /// `emitZipkinBatch`.
    Zipkin(Vec<zipkincore::Span>),
}

impl Call {
    /// Reads a call of either protocol, told apart by the first byte: clients do send the one to
    /// the port of the other. Bytes after it are ignored.
    pub fn decode(datagram: Bytes) -> Result<(Self, Protocol), ThriftError> {
        let (message, mut reader) = Message::read(datagram)?;
        let call = match &message.name[..] {
            b"emitBatch" => argument(&mut reader, Kind::Struct, "emitBatch", "batch", read_batch)
                .map(Self::Batch),
            b"emitZipkinBatch" => {
                let read = zipkincore::read_spans;
                argument(&mut reader, Kind::List, "emitZipkinBatch", "spans", read)
                    .map(Self::Zipkin)
            }
            other => Err(ThriftError::UnknownMethod(
                String::from_utf8_lossy(other).chars().take(MAX_SHOWN_CHARS).collect(),
            )),
        }?;
        Ok((call, reader.protocol()))
    }

    /// The batch of the call in Jaeger's model.
    pub fn into_batch(self) -> Batch {
        match self {
            Self::Batch(batch) => batch,
            Self::Zipkin(spans) => zipkincore::to_batch(spans),
        }
    }
}

/// Longest part of an unknown method's name that errors show.
const MAX_SHOWN_CHARS: usize = 64;

/// The one argument of a call.
fn argument<T>(
    reader: &mut Reader,
    kind: Kind,
    of: &'static str,
    field: &'static str,
    mut read: impl FnMut(&mut Reader) -> Result<T, ThriftError>,
) -> Result<T, ThriftError> {
    let mut found = None;
    reader.fields(|reader, Field { id, kind: has }| {
        if id == 1 && has == kind {
            found = Some(read(reader)?);
            return Ok(());
        }
        reader.skip(has)
    })?;
    found.ok_or(ThriftError::Missing { of, field })
}

#[cfg(test)]
mod tests;
