//! Spans of the second model in protobuf (`zipkin.proto3`).
//!
//! Read field by field instead of into generated messages, which would take many times the memory of a body that
//! consists of empty parts.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use tactus_model::wire::{FieldValue, Reader, WireError};
use tactus_model::{SpanId, TraceId};

use super::{Annotation, Endpoint, Kind, Span};
use crate::keyed::Keyed;
use crate::{Error, SpanError, check_count};

/// Hands the spans of a `ListOfSpans` to `take`, one by one.
pub(crate) fn decode(
    body: &Bytes,
    mut take: impl FnMut(Span) -> Result<(), SpanError>,
) -> Result<(), Error> {
    let mut index = 0;
    let mut list = Reader::new(body);
    while let Some((field, value)) = list.next_field()? {
        if field != 1 {
            continue;
        }
        let span = read_span(value.bytes(1)?, body).map_err(|damage| damage.at(index))?;
        take(span).map_err(|reason| Error::Span { index, reason })?;
        index += 1;
    }
    Ok(())
}

/// What is wrong with a span: its bytes, or what they say.
enum Damage {
    Wire(WireError),
    Rule(SpanError),
}

impl Damage {
    fn at(self, index: usize) -> Error {
        match self {
            Self::Wire(error) => Error::Protobuf(error),
            Self::Rule(reason) => Error::Span { index, reason },
        }
    }
}

impl From<WireError> for Damage {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<SpanError> for Damage {
    fn from(reason: SpanError) -> Self {
        Self::Rule(reason)
    }
}

fn read_span(message: &[u8], body: &Bytes) -> Result<Span, Damage> {
    let (mut trace_id, mut parent_id, mut id) = (&[][..], &[][..], &[][..]);
    let mut span = Span { timestamp: Some(0), ..Span::default() };
    let mut tags = Keyed::default();
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => trace_id = value.bytes(field)?,
            2 => parent_id = value.bytes(field)?,
            3 => id = value.bytes(field)?,
            4 => span.kind = kind(value.varint(field)?),
            5 => span.name = text(field, value, body)?,
            6 => span.timestamp = Some(value.fixed64(field)?),
            7 => span.duration = value.varint(field)?,
            8 => read_endpoint(value.bytes(field)?, body, &mut span.local_endpoint)?,
            9 => read_endpoint(value.bytes(field)?, body, &mut span.remote_endpoint)?,
            10 => {
                check_count(span.annotations.len())?;
                span.annotations.push(read_annotation(value.bytes(field)?, body)?);
            }
            11 => {
                check_count(tags.len())?;
                let (key, value) = read_tag(value.bytes(field)?, body)?;
                tags.set(key, value);
            }
            _ => {}
        }
    }
    span.trace_id = match trace_id.len() {
        8 | 16 => TraceId::from_slice(trace_id),
        length => return Err(SpanError::TraceIdLength(length).into()),
    };
    if span.trace_id.is_zero() {
        return Err(SpanError::TraceId.into());
    }
    span.id = span_id("SpanID", id)?.ok_or(SpanError::NilSpanId)?;
    let own_id = span.id;
    span.parent_id = span_id("Parent SpanID", parent_id)?.filter(|parent| *parent != own_id);
    span.tags = tags.into_entries();
    Ok(span)
}

fn span_id(field: &'static str, id: &[u8]) -> Result<Option<SpanId>, SpanError> {
    match id.len() {
        0 => Ok(None),
        8 => Ok(Some(SpanId::from_slice(id)).filter(|id| !id.is_zero())),
        length => Err(SpanError::SpanIdLength { field, length }),
    }
}

fn kind(number: u64) -> Option<Kind> {
    Kind::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

fn text(field: u32, value: FieldValue<'_>, body: &Bytes) -> Result<Bytes, WireError> {
    let text = value.bytes(field)?;
    Ok(if text.is_empty() { Bytes::new() } else { body.slice_ref(text) })
}

/// Reads into `endpoint`: parts of a message that is there twice are merged.
fn read_endpoint(message: &[u8], body: &Bytes, endpoint: &mut Endpoint) -> Result<(), WireError> {
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => endpoint.service_name = text(field, value, body)?,
            // Addresses of another length are none.
            2 => {
                let ip = <[u8; 4]>::try_from(value.bytes(field)?).ok();
                endpoint.ipv4 = ip.map(Ipv4Addr::from).or(endpoint.ipv4);
            }
            3 => {
                if let Ok(ip) = <[u8; 16]>::try_from(value.bytes(field)?) {
                    endpoint.set_ip(Ipv6Addr::from(ip).into());
                }
            }
            4 => endpoint.port = u16::try_from(value.varint(field)?).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(())
}

fn read_annotation(message: &[u8], body: &Bytes) -> Result<Annotation, Damage> {
    let mut annotation = Annotation::default();
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => annotation.timestamp = value.fixed64(field)?,
            2 => annotation.value = text(field, value, body)?,
            _ => {}
        }
    }
    if annotation.timestamp == 0 {
        return Err(SpanError::AnnotationTimestamp.into());
    }
    Ok(annotation)
}

fn read_tag(message: &[u8], body: &Bytes) -> Result<(Bytes, Bytes), WireError> {
    let (mut key, mut content) = (Bytes::new(), Bytes::new());
    let mut fields = Reader::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => key = text(field, value, body)?,
            2 => content = text(field, value, body)?,
            _ => {}
        }
    }
    Ok((key, content))
}
