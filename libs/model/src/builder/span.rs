//! From the message of a span to its row, with its events and links.

use std::hash::BuildHasher;

use super::{AppendError, BatchBuilder, selection::Scalars};
use crate::{
    SpanId, TraceId,
    wire::{Reader, WireError},
};

/// What became of a span that was read without error.
pub(super) enum Outcome {
    Appended,
    /// By `admit`.
    Refused,
    BadIds,
}

impl BatchBuilder {
    /// Appends one span. If it did not become a row, what it left in the lists is the caller's to drop.
    pub(super) fn append_span(
        &mut self,
        resource: u32,
        scope: u32,
        message: &[u8],
        admit: &mut impl FnMut(TraceId, usize) -> bool,
    ) -> Result<Outcome, AppendError> {
        let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let (mut name, mut trace_state, mut status_message): (&[u8], &[u8], &[u8]) =
            (b"", b"", b"");
        let (mut kind, mut status, mut start, mut end) = (0u64, 0u64, 0u64, 0u64);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0u64, 0u64, 0u64);
        let (mut measured, mut flags) = (0, 0u32);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => trace_id = value.bytes(1)?,
                2 => span_id = value.bytes(2)?,
                3 => trace_state = value.bytes(3)?,
                4 => parent = value.bytes(4)?,
                5 => name = value.bytes(5)?,
                6 => kind = value.varint(6)?,
                7 => start = value.fixed64(7)?,
                8 => end = value.fixed64(8)?,
                9 => {
                    self.entries.spend_attribute()?;
                    let (message, list) = (value.bytes(9)?, &mut self.batch.span_attributes);
                    match &self.selecting {
                        None => self.reader.append(message, list)?,
                        Some(at) => {
                            measured += self.reader.append_selected(message, list, &at.keys)?
                        }
                    }
                }
                10 => dropped_attributes = value.varint(10)?,
                11 if self.selecting.is_some() => {
                    measured += self.measure_event(value.bytes(11)?)?
                }
                11 => self.append_event(value.bytes(11)?)?,
                12 => dropped_events = value.varint(12)?,
                13 if self.selecting.is_some() => {
                    measured += self.measure_link(value.bytes(13)?)?
                }
                13 => self.append_link(value.bytes(13)?)?,
                14 => dropped_links = value.varint(14)?,
                15 => (status_message, status) = read_status(value.bytes(15)?)?,
                // No column has them; they count in the size.
                16 => flags = value.fixed32_or_none().unwrap_or(0),
                _ => {}
            }
        }
        // The receiver's walk looks at the first ids only, and what counts is the last.
        let (Ok(trace_id), Ok(span_id)) = (trace_id.try_into(), span_id.try_into()) else {
            return Ok(Outcome::BadIds);
        };
        let (trace_id, span_id) = (TraceId(trace_id), SpanId(span_id));
        if trace_id.is_zero() || span_id.is_zero() {
            return Ok(Outcome::BadIds);
        }
        if !admit(trace_id, message.len()) {
            return Ok(Outcome::Refused);
        }
        // Enum values beyond the known ones are legal protobuf; they mean "unspecified" and "unset". Generated metrics name the
        // number of such a kind.
        let known = if self.selecting.is_some() { u64::from(u8::MAX) } else { 5 };
        let kind = if kind <= known { kind as u8 } else { 0 };
        let status = if status <= 2 { status as u8 } else { 0 };
        let parent = SpanId::from_slice(parent);
        if let Some(selecting) = &mut self.selecting {
            let scalars = Scalars {
                has_parent: !parent.is_zero(),
                texts: [trace_state.len(), name.len(), status_message.len()],
                kind,
                status,
                start,
                end,
                dropped: [dropped_attributes, dropped_events, dropped_links],
                flags,
            };
            selecting.sizes.push((scalars.size() + measured) as u32);
        }
        let trace = self.trace_row(trace_id);
        let name = self.reader.strings.intern(name);
        let status_message = self.reader.strings.intern(status_message);
        let trace_state = self.reader.strings.intern(trace_state);
        let spans = &mut self.batch.spans;
        spans.trace.push(trace);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(span_id);
        spans.parent_span_id.push(parent);
        spans.start.push(start);
        spans.duration.push(end.wrapping_sub(start));
        spans.name.push(name);
        spans.kind.push(kind);
        spans.status.push(status);
        spans.status_message.push(status_message);
        spans.trace_state.push(trace_state);
        spans.dropped_attributes.push(dropped_attributes as u32);
        spans.dropped_events.push(dropped_events as u32);
        spans.dropped_links.push(dropped_links as u32);
        self.batch.span_attributes.end_owner();
        self.batch.events.starts.push(self.batch.events.time.len() as u32);
        self.batch.links.starts.push(self.batch.links.trace_id.len() as u32);
        Ok(Outcome::Appended)
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

    fn append_link(&mut self, message: &[u8]) -> Result<(), AppendError> {
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
        Ok(())
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

fn read_status(message: &[u8]) -> Result<(&[u8], u64), WireError> {
    let (mut text, mut code): (&[u8], u64) = (b"", 0);
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            2 => text = value.bytes(2)?,
            3 => code = value.varint(3)?,
            _ => {}
        }
    }
    Ok((text, code))
}
