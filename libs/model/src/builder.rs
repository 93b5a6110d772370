//! Turns OTLP spans into columns, once.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::{
    AttributeList, SpanBatch, SpanId, TraceId,
    wire::{Reader, WireError},
};

mod attribute;

use attribute::AttributeReader;

/// What the builder cuts.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuilderLimits {
    /// Keys and string values longer than this many bytes are cut at a character boundary; 0: never.
    pub max_attribute_bytes: usize,
}

/// Why a span was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The request is no protobuf; nothing after this span can be trusted.
    #[error("malformed protobuf: {0}")]
    Malformed(#[from] WireError),
}

/// A place to return to with [`BatchBuilder::rollback`].
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    spans: usize,
    traces: usize,
    resources: usize,
    scopes: usize,
}

/// A batch that grows span by span, in order of arrival.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    batch: SpanBatch,
    reader: AttributeReader,
    trace_index: HashTable<u32>,
    /// Encoded resource or scope -> row.
    resource_index: HashMap<Box<[u8]>, u32, RandomState>,
    scope_index: HashMap<Box<[u8]>, u32, RandomState>,
    hasher: RandomState,
    last_trace: u32,
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new(limits: BuilderLimits) -> Self {
        Self { reader: AttributeReader::new(limits), ..Self::default() }
    }

    /// Spans so far.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// True if there is no span.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        self.batch.heap_bytes()
            + self.reader.strings.heap_bytes()
            + self.trace_index.allocation_size()
            + self.resource_index.keys().map(|key| key.len() + 32).sum::<usize>()
    }

    /// Attributes cut by `max_attribute_bytes` so far.
    pub fn truncated_attributes(&self) -> u64 {
        self.reader.truncated
    }

    /// The row of an OTLP Resource message, added if it is new.
    pub fn resource(&mut self, message: &[u8]) -> Result<u32, AppendError> {
        if let Some(&row) = self.resource_index.get(message) {
            return Ok(row);
        }
        let table = &mut self.batch.resources;
        let result = append_owner(message, 1, 2, &mut table.attributes, &mut self.reader);
        let row = table.dropped_attributes.len() as u32;
        match result {
            Ok(dropped) => table.dropped_attributes.push(dropped),
            Err(error) => {
                table.attributes.truncate_owners(row as usize);
                return Err(error.into());
            }
        }
        self.resource_index.insert(message.into(), row);
        Ok(row)
    }

    /// The row of an OTLP InstrumentationScope message, added if it is new.
    pub fn scope(&mut self, message: &[u8]) -> Result<u32, AppendError> {
        if let Some(&row) = self.scope_index.get(message) {
            return Ok(row);
        }
        let table = &mut self.batch.scopes;
        let row = table.name.len() as u32;
        let result = append_owner(message, 3, 4, &mut table.attributes, &mut self.reader);
        let texts = scope_texts(message);
        let (dropped, name, version) = match result.and_then(|d| texts.map(|(n, v)| (d, n, v))) {
            Ok(parts) => parts,
            Err(error) => {
                table.attributes.truncate_owners(row as usize);
                return Err(error.into());
            }
        };
        table.name.push(self.reader.strings.intern(name));
        table.version.push(self.reader.strings.intern(version));
        table.dropped_attributes.push(dropped);
        self.scope_index.insert(message.into(), row);
        Ok(row)
    }

    /// Appends the spans of a ScopeSpans message. `admit` sees each span's trace and encoded size, in order, and may
    /// refuse it by returning false.
    ///
    /// Returns the spans left out because their values are nested too deeply. On an error the caller rolls back
    /// to its mark.
    pub fn append_scope_spans(
        &mut self,
        resource: u32,
        scope: u32,
        scope_spans: &[u8],
        mut admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        let mut too_deep = 0;
        let mut reader = Reader::new(scope_spans);
        while let Some((field, value)) = reader.next_field()? {
            if field != 2 {
                continue;
            }
            match self.append_span(resource, scope, value.bytes(2)?, &mut admit) {
                Ok(true) => {}
                Ok(false) => self.drop_half_span(),
                Err(WireError::Depth) => {
                    self.drop_half_span();
                    too_deep += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(too_deep)
    }

    /// Appends one span; false if it was refused, and then what it left in the lists is the caller's to drop.
    fn append_span(
        &mut self,
        resource: u32,
        scope: u32,
        message: &[u8],
        admit: &mut impl FnMut(TraceId, usize) -> bool,
    ) -> Result<bool, WireError> {
        let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let (mut name, mut trace_state, mut status_message): (&[u8], &[u8], &[u8]) =
            (b"", b"", b"");
        let (mut kind, mut status, mut start, mut end) = (0u64, 0u64, 0u64, 0u64);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0u64, 0u64, 0u64);
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
                9 => self.reader.append(value.bytes(9)?, &mut self.batch.span_attributes)?,
                10 => dropped_attributes = value.varint(10)?,
                11 => self.append_event(value.bytes(11)?)?,
                12 => dropped_events = value.varint(12)?,
                13 => self.append_link(value.bytes(13)?)?,
                14 => dropped_links = value.varint(14)?,
                15 => (status_message, status) = read_status(value.bytes(15)?)?,
                _ => {}
            }
        }
        let trace_id = TraceId::from_slice(trace_id);
        if !admit(trace_id, message.len()) {
            return Ok(false);
        }
        let trace = self.trace_row(trace_id);
        let name = self.reader.strings.intern(name);
        let status_message = self.reader.strings.intern(status_message);
        let trace_state = self.reader.strings.intern(trace_state);
        let spans = &mut self.batch.spans;
        spans.trace.push(trace);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(SpanId::from_slice(span_id));
        spans.parent_span_id.push(SpanId::from_slice(parent));
        spans.start.push(start);
        spans.duration.push(end.wrapping_sub(start));
        spans.name.push(name);
        // Enum values beyond the known ones are legal protobuf; they mean "unspecified" and "unset".
        spans.kind.push(if kind <= 5 { kind as u8 } else { 0 });
        spans.status.push(if status <= 2 { status as u8 } else { 0 });
        spans.status_message.push(status_message);
        spans.trace_state.push(trace_state);
        spans.dropped_attributes.push(dropped_attributes as u32);
        spans.dropped_events.push(dropped_events as u32);
        spans.dropped_links.push(dropped_links as u32);
        self.batch.span_attributes.end_owner();
        self.batch.events.starts.push(self.batch.events.time.len() as u32);
        self.batch.links.starts.push(self.batch.links.trace_id.len() as u32);
        Ok(true)
    }

    fn append_event(&mut self, message: &[u8]) -> Result<(), WireError> {
        let (mut time, mut name, mut dropped): (u64, &[u8], u64) = (0, b"", 0);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => time = value.fixed64(1)?,
                2 => name = value.bytes(2)?,
                3 => self.reader.append(value.bytes(3)?, &mut self.batch.events.attributes)?,
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

    fn append_link(&mut self, message: &[u8]) -> Result<(), WireError> {
        let (mut trace_id, mut span_id, mut state): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
        let mut dropped = 0;
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match field {
                1 => trace_id = value.bytes(1)?,
                2 => span_id = value.bytes(2)?,
                3 => state = value.bytes(3)?,
                4 => self.reader.append(value.bytes(4)?, &mut self.batch.links.attributes)?,
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

    /// Where the batch ends now.
    pub fn mark(&self) -> Mark {
        Mark {
            spans: self.batch.len(),
            traces: self.batch.traces.ids.len(),
            resources: self.batch.resources.len(),
            scopes: self.batch.scopes.len(),
        }
    }

    /// Forgets everything appended since the mark was taken. Strings stay in the dictionary.
    pub fn rollback(&mut self, mark: Mark) {
        let spans = &mut self.batch.spans;
        for column in [
            &mut spans.trace,
            &mut spans.resource,
            &mut spans.scope,
            &mut spans.name,
            &mut spans.status_message,
            &mut spans.trace_state,
            &mut spans.dropped_attributes,
            &mut spans.dropped_events,
            &mut spans.dropped_links,
        ] {
            column.make_mut().truncate(mark.spans);
        }
        spans.span_id.make_mut().truncate(mark.spans);
        spans.parent_span_id.make_mut().truncate(mark.spans);
        spans.start.make_mut().truncate(mark.spans);
        spans.duration.make_mut().truncate(mark.spans);
        spans.kind.make_mut().truncate(mark.spans);
        spans.status.make_mut().truncate(mark.spans);
        self.batch.events.starts.make_mut().truncate(mark.spans + 1);
        self.batch.links.starts.make_mut().truncate(mark.spans + 1);
        self.drop_half_span();
        for row in mark.traces..self.batch.traces.ids.len() {
            let hash = self.hasher.hash_one(self.batch.traces.ids[row].0);
            if let Ok(entry) = self.trace_index.find_entry(hash, |&other| other as usize == row) {
                entry.remove();
            }
        }
        self.batch.traces.ids.make_mut().truncate(mark.traces);
        self.batch.resources.attributes.truncate_owners(mark.resources);
        self.batch.resources.dropped_attributes.make_mut().truncate(mark.resources);
        self.resource_index.retain(|_, row| (*row as usize) < mark.resources);
        let scopes = &mut self.batch.scopes;
        scopes.attributes.truncate_owners(mark.scopes);
        for column in [&mut scopes.name, &mut scopes.version, &mut scopes.dropped_attributes] {
            column.make_mut().truncate(mark.scopes);
        }
        self.scope_index.retain(|_, row| (*row as usize) < mark.scopes);
    }

    /// Drops attributes, events and links that were appended for a span which did not become a row.
    fn drop_half_span(&mut self) {
        let spans = self.batch.len();
        self.batch.span_attributes.truncate_owners(spans);
        let events = &mut self.batch.events;
        let keep = events.starts[spans] as usize;
        events.attributes.truncate_owners(keep);
        events.time.make_mut().truncate(keep);
        events.name.make_mut().truncate(keep);
        events.dropped_attributes.make_mut().truncate(keep);
        let links = &mut self.batch.links;
        let keep = links.starts[spans] as usize;
        links.attributes.truncate_owners(keep);
        links.trace_id.make_mut().truncate(keep);
        links.span_id.make_mut().truncate(keep);
        links.trace_state.make_mut().truncate(keep);
        links.dropped_attributes.make_mut().truncate(keep);
    }

    /// Shows the batch as it stands, with its strings, to a reader.
    pub fn with_batch<R>(&mut self, read: impl FnOnce(&SpanBatch) -> R) -> R {
        self.reader.strings.swap_dictionary(&mut self.batch.strings);
        let result = read(&self.batch);
        self.reader.strings.swap_dictionary(&mut self.batch.strings);
        result
    }

    /// The finished batch.
    pub fn finish(mut self) -> SpanBatch {
        self.batch.strings = self.reader.strings.finish();
        self.batch
    }
}

/// Appends the attributes of a resource or scope; returns its dropped count.
fn append_owner(
    message: &[u8],
    attributes_field: u32,
    dropped_field: u32,
    list: &mut AttributeList,
    attributes: &mut AttributeReader,
) -> Result<u32, WireError> {
    let mut dropped = 0;
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        if field == attributes_field {
            attributes.append(value.bytes(field)?, list)?;
        } else if field == dropped_field {
            dropped = value.varint(field)? as u32;
        }
    }
    list.end_owner();
    Ok(dropped)
}

fn scope_texts(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut version): (&[u8], &[u8]) = (b"", b"");
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        match field {
            1 => name = value.bytes(1)?,
            2 => version = value.bytes(2)?,
            _ => {}
        }
    }
    Ok((name, version))
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

#[cfg(test)]
mod tests;
