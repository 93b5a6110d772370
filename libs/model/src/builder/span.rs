//! Turns the message of a span into a row, with its events and links.

use std::hash::BuildHasher;

use super::{AppendError, BatchBuilder, selection::Scalars};
use crate::{
    SpanId, TraceId,
    wire::{Reader, WireError},
};

/// The result for a span that was read without error.
pub(super) enum Outcome {
    Appended,
    /// `admit` did not accept it.
    Refused,
    BadIds,
}

/// The fields of a span's message that have columns of their own. Ids are not checked yet.
#[derive(Default)]
struct SpanFields<'m> {
    trace_id: &'m [u8],
    span_id: &'m [u8],
    parent: &'m [u8],
    /// A link has an id of the wrong length.
    has_bad_link: bool,
    name: &'m [u8],
    trace_state: &'m [u8],
    status_message: &'m [u8],
    kind: u64,
    status: u64,
    start: u64,
    end: u64,
    dropped_attributes: u64,
    dropped_events: u64,
    dropped_links: u64,
    flags: u32,
    /// Bytes of attributes, events and links that are measured instead of appended.
    measured: usize,
}

impl BatchBuilder {
    /// Appends one span. If it does not become a row, the caller must drop what it left in the lists.
    pub(super) fn append_span(
        &mut self,
        resource: u32,
        scope: u32,
        message: &[u8],
        admit: &mut impl FnMut(TraceId, usize) -> bool,
    ) -> Result<Outcome, AppendError> {
        let span = self.read_span(message)?;
        // The receiver's walk checks only the first occurrence of each id, but in protobuf the last one counts.
        let (Ok(trace_id), Ok(span_id)) = (span.trace_id.try_into(), span.span_id.try_into())
        else {
            return Ok(Outcome::BadIds);
        };
        let (trace_id, span_id) = (TraceId(trace_id), SpanId(span_id));
        let has_parent_id = matches!(span.parent.len(), 0 | 8);
        if trace_id.is_zero() || span_id.is_zero() || !has_parent_id || span.has_bad_link {
            return Ok(Outcome::BadIds);
        }
        if !admit(trace_id, message.len()) {
            return Ok(Outcome::Refused);
        }
        // Numbers that OTLP does not define are legal protobuf. They are stored and returned unchanged as far as the
        // column can hold them; queries treat them as unspecified or unset.
        let kind = u8::try_from(span.kind).unwrap_or(0);
        let status = u8::try_from(span.status).unwrap_or(0);
        let parent = SpanId::from_slice(span.parent);
        if let Some(selecting) = &mut self.selecting {
            let scalars = Scalars {
                has_parent: !parent.is_zero(),
                texts: [span.trace_state.len(), span.name.len(), span.status_message.len()],
                kind,
                status,
                start: span.start,
                end: span.end,
                dropped: [span.dropped_attributes, span.dropped_events, span.dropped_links],
                flags: span.flags,
            };
            selecting.sizes.push((scalars.size() + span.measured) as u32);
        }
        let trace = self.trace_row(trace_id);
        let name = self.reader.strings.intern(span.name);
        let status_message = self.reader.strings.intern(span.status_message);
        let trace_state = self.reader.strings.intern(span.trace_state);
        let spans = &mut self.batch.spans;
        spans.trace.push(trace);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(span_id);
        spans.parent_span_id.push(parent);
        spans.start.push(span.start);
        spans.duration.push(span.end.wrapping_sub(span.start));
        spans.name.push(name);
        spans.kind.push(kind);
        spans.status.push(status);
        spans.status_message.push(status_message);
        spans.trace_state.push(trace_state);
        spans.dropped_attributes.push(span.dropped_attributes as u32);
        spans.dropped_events.push(span.dropped_events as u32);
        spans.dropped_links.push(span.dropped_links as u32);
        self.batch.span_attributes.end_owner();
        self.batch.events.starts.push(self.batch.events.time.len() as u32);
        self.batch.links.starts.push(self.batch.links.trace_id.len() as u32);
        Ok(Outcome::Appended)
    }

    /// Reads the fields of a span, and appends (or measures) its attributes, events and links on the way.
    #[inline]
    fn read_span<'m>(&mut self, message: &'m [u8]) -> Result<SpanFields<'m>, AppendError> {
        let mut span = SpanFields::default();
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => span.trace_id = value.bytes(1)?,
                2 => span.span_id = value.bytes(2)?,
                3 => span.trace_state = value.bytes(3)?,
                4 => span.parent = value.bytes(4)?,
                5 => span.name = value.bytes(5)?,
                6 => span.kind = value.varint(6)?,
                7 => span.start = value.fixed64(7)?,
                8 => span.end = value.fixed64(8)?,
                9 => {
                    self.entries.spend_attribute()?;
                    let (message, list) = (value.bytes(9)?, &mut self.batch.span_attributes);
                    match &self.selecting {
                        None => self.reader.append(message, list)?,
                        Some(at) => {
                            span.measured += self.reader.append_selected(message, list, &at.keys)?
                        }
                    }
                }
                10 => span.dropped_attributes = value.varint(10)?,
                11 if self.selecting.is_some() => {
                    span.measured += self.measure_event(value.bytes(11)?)?
                }
                11 => self.append_event(value.bytes(11)?)?,
                12 => span.dropped_events = value.varint(12)?,
                13 if self.selecting.is_some() => {
                    span.measured += self.measure_link(value.bytes(13)?)?
                }
                13 => span.has_bad_link |= !self.append_link(value.bytes(13)?)?,
                14 => span.dropped_links = value.varint(14)?,
                15 => read_status(value.bytes(15)?, &mut span)?,
                // No column holds the flags; they only count in the size.
                16 => span.flags = value.fixed32_or_none().unwrap_or(0),
                _ => {}
            }
        }
        Ok(span)
    }

    fn append_event(&mut self, message: &[u8]) -> Result<(), AppendError> {
        self.entries.spend()?;
        let (mut time, mut name, mut dropped): (u64, &[u8], u64) = (0, b"", 0);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => time = value.fixed64(1)?,
                2 => name = value.bytes(2)?,
                3 => {
                    self.entries.spend_attribute()?;
                    self.reader.append(value.bytes(3)?, &mut self.batch.events.attributes)?;
                }
                4 => dropped = value.varint(4)?,
                _ => {}
            }
        }
        let name = self.reader.strings.intern(name);
        let events = &mut self.batch.events;
        events.time.push(time);
        events.name.push(name);
        events.dropped_attributes.push(dropped as u32);
        events.attributes.end_owner();
        Ok(())
    }

    /// Returns false if an id has the wrong length.
    fn append_link(&mut self, message: &[u8]) -> Result<bool, AppendError> {
        self.entries.spend()?;
        let (mut trace_id, mut span_id, mut state): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let mut dropped = 0;
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => trace_id = value.bytes(1)?,
                2 => span_id = value.bytes(2)?,
                3 => state = value.bytes(3)?,
                4 => {
                    self.entries.spend_attribute()?;
                    self.reader.append(value.bytes(4)?, &mut self.batch.links.attributes)?;
                }
                5 => dropped = value.varint(5)?,
                _ => {}
            }
        }
        let state = self.reader.strings.intern(state);
        let links = &mut self.batch.links;
        links.trace_id.push(TraceId::from_slice(trace_id));
        links.span_id.push(SpanId::from_slice(span_id));
        links.trace_state.push(state);
        links.dropped_attributes.push(dropped as u32);
        links.attributes.end_owner();
        Ok(matches!(trace_id.len(), 0 | 16) && matches!(span_id.len(), 0 | 8))
    }

    #[inline]
    fn trace_row(&mut self, id: TraceId) -> u32 {
        let ids = &mut self.batch.traces.ids;
        if ids.get(self.last_trace as usize) == Some(&id) {
            return self.last_trace;
        }
        let hash = self.hasher.hash_one(id.0);
        let hasher = &self.hasher;
        let found = self.trace_index.find(hash, |&row| ids[row as usize] == id).copied();
        self.last_trace = found.unwrap_or_else(|| {
            let row = ids.len() as u32;
            ids.push(id);
            let ids = &*ids;
            self.trace_index.insert_unique(hash, row, |&row| hasher.hash_one(ids[row as usize].0));
            row
        });
        self.last_trace
    }
}

fn read_status<'m>(message: &'m [u8], span: &mut SpanFields<'m>) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            2 => span.status_message = value.bytes(2)?,
            3 => span.status = value.varint(3)?,
            _ => {}
        }
    }
    Ok(())
}
