//! Jaeger's model to OTLP: what the receivers store.

use bytes::Bytes;
use prost::Message;
use tactus_model::message_count::{Shape, messages};
use tactus_model::wire::{Reader, WireError};
use tactus_proto::jaeger::api_v2::{Process, Span as JaegerSpan};
use tactus_proto::otlp::{KeyValue, Resource};

use crate::from_otlp::NO_SERVICE_NAME;
use crate::thrift::ThriftError;

mod attributes;
mod groups;
mod span;
mod writer;

pub(crate) use attributes::string;
use attributes::{attributes, text_value};
pub use groups::{Scope, SpanGroups, TooManyGroups};
pub use span::whole_number;
pub use writer::OtlpWriter;
pub(crate) use writer::process_key;

/// Why spans of Jaeger's model cannot be told in OTLP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are no message.
    #[error("{0}")]
    Malformed(#[from] prost::DecodeError),
    /// The bytes are no message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The bytes are no struct of Thrift.
    #[error("{0}")]
    Thrift(#[from] ThriftError),
    /// More than are kept in memory at a time.
    #[error("more than {MAX_ELEMENTS} tags, logs and references in one span or process")]
    TooManyElements,
    /// So many processes and scopes that the bytes of the request cannot fill them.
    #[error(transparent)]
    TooManyGroups(#[from] TooManyGroups),
    /// A trace id of neither 8 nor 16 bytes.
    #[error("invalid length for TraceID: {0} bytes")]
    TraceId(usize),
    /// A span id that is not of 8 bytes.
    #[error("invalid length for SpanID: {0} bytes")]
    SpanId(usize),
}

/// Messages that a span or a process may hold: it is read as a whole, and the smallest take many times their bytes.
const MAX_ELEMENTS: usize = 1 << 16;

/// The spans of a `PostSpansRequest` as the bytes of an OTLP export request; none if there is no span. Memory: that of
/// the answer and of the largest span.
pub fn post_spans_to_otlp(message: &Bytes) -> Result<Bytes, ModelError> {
    // The process is written after the spans.
    let (mut process, mut elements): (Option<Process>, _) = (None, 0);
    each_field(message, 1, &mut |batch| {
        each_field(batch, 2, &mut |part| {
            // It may come in parts, whose tags are all kept.
            elements = check_size(part, &PROCESS, elements)?;
            Ok(process.get_or_insert_default().merge(message.slice_ref(part))?)
        })
    })?;
    let mut made = OtlpWriter::new(process.as_ref(), message.len());
    each_field(message, 1, &mut |batch| {
        each_field(batch, 1, &mut |span| made.push(read_span(message, span)?))
    })?;
    Ok(made.finish())
}

/// A span of a message, of which its fields become slices.
fn read_span(message: &Bytes, span: &[u8]) -> Result<JaegerSpan, ModelError> {
    check_size(span, &SPAN, 0)?;
    Ok(JaegerSpan::decode(message.slice_ref(span))?)
}

/// The span of a `WriteSpanRequest` of Jaeger's storage. Errors: as of [`post_spans_to_otlp`].
pub fn decode_written_span(message: &Bytes) -> Result<Option<JaegerSpan>, ModelError> {
    let mut found = None;
    each_field(message, 1, &mut |span| {
        found = Some(read_span(message, span)?);
        Ok(())
    })?;
    Ok(found)
}

fn each_field(
    message: &[u8],
    number: u32,
    take: &mut dyn FnMut(&[u8]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field()? {
        if field == number {
            take(value.bytes(field)?)?;
        }
    }
    Ok(())
}

/// The number of messages in a message, itself included, and in its parts `before` it. Errors: they are too many.
fn check_size(message: &[u8], shape: &Shape, before: usize) -> Result<usize, ModelError> {
    match before + messages(message, shape)? {
        count if count > MAX_ELEMENTS => Err(ModelError::TooManyElements),
        count => Ok(count),
    }
}

fn resource(process: Process) -> Resource {
    let name = process.service_name;
    let named = !name.is_empty() && name[..] != *NO_SERVICE_NAME.as_bytes();
    let name = named.then(|| string(Bytes::from_static(b"service.name"), name));
    let mut attributes = attributes(name.into_iter().collect(), process.tags);
    rename(&mut attributes, b"hostname", b"host.name");
    name_exporter(&mut attributes);
    Resource { attributes, ..Resource::default() }
}

/// Renames an attribute, unless there is one of the new name.
fn rename(attributes: &mut [KeyValue], from: &[u8], to: &'static [u8]) {
    if attributes.iter().all(|attribute| attribute.key != to)
        && let Some(attribute) = attributes.iter_mut().find(|attribute| attribute.key == from)
    {
        attribute.key = Bytes::from_static(to);
    }
}

/// The version of a Jaeger client, under the key that stands for exporters of any kind.
fn name_exporter(attributes: &mut [KeyValue]) {
    const KEY: &[u8] = b"opencensus.exporterversion";
    if attributes.iter().any(|attribute| attribute.key == KEY) {
        return;
    }
    let Some(attribute) = attributes.iter_mut().find(|found| &found.key[..] == b"jaeger.version")
    else {
        return;
    };
    if let Some(version) = text_value(attribute) {
        let version = [b"Jaeger-", &version[..]].concat();
        *attribute = string(Bytes::from_static(KEY), version.into());
    }
}

// Which fields of Jaeger's messages hold further messages.

static TAG: Shape = Shape(&[]);
static LOG: Shape = Shape(&[(2, &TAG)]);
static REFERENCE: Shape = Shape(&[]);
static WARNING: Shape = Shape(&[]);

/// A process.
static PROCESS: Shape = Shape(&[(2, &TAG)]);

/// A span.
static SPAN: Shape =
    Shape(&[(4, &REFERENCE), (8, &TAG), (9, &LOG), (10, &PROCESS), (12, &WARNING)]);

#[cfg(test)]
mod tests;
