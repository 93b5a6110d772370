//! Turns OTLP spans into columns, once.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    DictionaryBuilder, SpanBatch, SpanId, TraceId,
    wire::{Reader, WireError},
};

mod attribute;
mod owners;
mod rollback;
mod room;
mod selection;

pub use rollback::Mark;
pub use selection::{SelectedBatch, SelectedKeys};

use attribute::AttributeReader;
use owners::{OwnerIndex, append_owner, scope_texts};
use room::EntryBudget;
use selection::{Scalars, Selecting};

/// What the builder cuts.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuilderLimits {
    /// Keys and string values longer than this many bytes are cut at a character boundary; 0: never.
    pub max_attribute_bytes: usize,
}

/// Why spans were not appended. The caller rolls back to its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The request is no protobuf; nothing after this span can be trusted.
    #[error("malformed protobuf: {0}")]
    Malformed(#[from] WireError),
    /// A message of more than 512 MiB, or with so many almost empty events, links and attributes that they would take
    /// many times its bytes. Depends on what was appended since the mark only: a push that was accepted once always is.
    #[error("too many events, links or attributes for the size of the request")]
    TooLarge,
    /// The batch is near the limit of what it can number: 1 GiB of strings, or 2^31 rows or attributes of one kind.
    /// A new builder takes the same spans.
    #[error("batch is full")]
    Full,
}

/// What became of a span that was read without error.
enum Outcome {
    Appended,
    /// By `admit`.
    Refused,
    BadIds,
}

/// A batch that grows span by span, in order of arrival.
///
/// Memory: values of a push take at most about six times its bytes and 600 KB (legitimate spans less than four times);
/// vectors that grow can have twice that.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    batch: SpanBatch,
    reader: AttributeReader,
    trace_index: HashTable<u32>,
    resource_index: OwnerIndex,
    scope_index: OwnerIndex,
    hasher: RandomState,
    last_trace: u32,
    entries: EntryBudget,
    refused_ids: u64,
    selecting: Option<Box<Selecting>>,
}

/// The key of an attribute that is nested deeper than [`crate::wire::MAX_DEPTH`].
pub type TooDeepKey = Vec<u8>;

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
            + self.reader.heap_bytes()
            + self.trace_index.allocation_size()
            + self.resource_index.heap_bytes()
            + self.scope_index.heap_bytes()
    }

    /// Attributes cut by `max_attribute_bytes` so far.
    pub fn truncated_attributes(&self) -> u64 {
        self.reader.truncated
    }

    /// Spans left out since the last mark or call because their trace or span id is not 16 or 8 bytes long or is all
    /// zero. A rollback does not change it.
    pub fn take_refused_ids(&mut self) -> u64 {
        std::mem::take(&mut self.refused_ids)
    }

    /// Key of the first attribute since the last call that is nested too deeply. A rollback does not change it.
    pub fn take_too_deep_key(&mut self) -> Option<TooDeepKey> {
        self.reader.too_deep.take()
    }

    /// Appends the spans of a ScopeSpans message with their Resource and InstrumentationScope messages, as
    /// [`Self::append_scope_spans`] does. If resource or scope is nested too deeply, all the spans are.
    pub fn append_run(
        &mut self,
        resource: &[u8],
        scope: &[u8],
        scope_spans: &[u8],
        admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        let Some((resource, scope)) = self.owners(resource, scope)? else {
            let (mut spans, mut reader) = (0, Reader::new(scope_spans));
            while let Some((field, _)) = reader.next_field()? {
                spans += u64::from(field == 2);
            }
            return Ok(spans);
        };
        self.append_scope_spans(resource, scope, scope_spans, admit)
    }

    /// The rows of a Resource and an InstrumentationScope message; `None` if one of them is nested too deeply.
    pub fn owners(
        &mut self,
        resource: &[u8],
        scope: &[u8],
    ) -> Result<Option<(u32, u32)>, AppendError> {
        let rows = self.resource(resource).and_then(|resource| Ok((resource, self.scope(scope)?)));
        match rows {
            Ok(rows) => Ok(Some(rows)),
            Err(AppendError::Malformed(WireError::Depth)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The row of an OTLP Resource message, added if it is new.
    pub fn resource(&mut self, message: &[u8]) -> Result<u32, AppendError> {
        if let Some(row) = self.resource_index.find(message) {
            return Ok(row);
        }
        self.check_room(message)?;
        let strings = self.reader.mark();
        let table = &mut self.batch.resources;
        let result = append_owner(message, 1, 2, &mut table.attributes, &mut self.reader);
        let row = table.dropped_attributes.len() as u32;
        match result {
            Ok(dropped) => table.dropped_attributes.push(dropped),
            Err(error) => {
                table.attributes.truncate_owners(row as usize);
                self.reader.rollback(strings);
                return Err(error.into());
            }
        }
        self.resource_index.push(message);
        Ok(row)
    }

    /// The row of an OTLP InstrumentationScope message, added if it is new.
    pub fn scope(&mut self, message: &[u8]) -> Result<u32, AppendError> {
        if let Some(row) = self.scope_index.find(message) {
            return Ok(row);
        }
        self.check_room(message)?;
        let strings = self.reader.mark();
        let table = &mut self.batch.scopes;
        let row = table.name.len() as u32;
        let result = append_owner(message, 3, 4, &mut table.attributes, &mut self.reader);
        let texts = scope_texts(message);
        let (dropped, name, version) = match result.and_then(|d| texts.map(|(n, v)| (d, n, v))) {
            Ok(parts) => parts,
            Err(error) => {
                table.attributes.truncate_owners(row as usize);
                self.reader.rollback(strings);
                return Err(error.into());
            }
        };
        table.name.push(self.reader.strings.intern(name));
        table.version.push(self.reader.strings.intern(version));
        table.dropped_attributes.push(dropped);
        self.scope_index.push(message);
        Ok(row)
    }

    /// Appends the spans of a ScopeSpans message. `admit` sees each span's trace and encoded size, in order, and may
    /// refuse it by returning false.
    ///
    /// Returns the spans left out because their values are nested too deeply; `admit` does not see them, nor those
    /// that [`Self::take_refused_ids`] counts. Nothing stays of a span that was left out. Its resource and scope do
    /// stay: a caller whose push appended no span rolls back.
    pub fn append_scope_spans(
        &mut self,
        resource: u32,
        scope: u32,
        scope_spans: &[u8],
        mut admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        self.check_room(scope_spans)?;
        self.entries.add_message(scope_spans.len());
        let mut too_deep = 0;
        let mut reader = Reader::new(scope_spans);
        while let Some((field, value)) = reader.next_field()? {
            if field != 2 {
                continue;
            }
            let strings = self.reader.mark();
            match self.append_span(resource, scope, value.bytes(2)?, &mut admit) {
                Ok(Outcome::Appended) => continue,
                Ok(Outcome::Refused) => {}
                Ok(Outcome::BadIds) => self.refused_ids += 1,
                Err(AppendError::Malformed(WireError::Depth)) => too_deep += 1,
                Err(error) => return Err(error),
            }
            self.drop_half_span();
            self.reader.rollback(strings);
        }
        Ok(too_deep)
    }

    /// Gives the spans from `first` on this origin. Called for each run once it is appended; 0 is none.
    pub fn set_origin(&mut self, first: usize, origin: u64) {
        let (origins, spans) = (&mut self.batch.spans.origin, self.batch.spans.trace.len());
        if origin == 0 && origins.is_empty() {
            return;
        }
        let origins = origins.make_mut();
        origins.resize(first.min(spans), 0);
        origins.resize(spans, origin);
    }

    /// Appends one span. If it did not become a row, what it left in the lists is the caller's to drop.
    fn append_span(
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
        let mut measured = 0;
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
        // Enum values beyond the known ones are legal protobuf; they mean "unspecified" and "unset".
        let kind = if kind <= 5 { kind as u8 } else { 0 };
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

    /// Shows the batch as it stands, with its strings, to a reader.
    pub fn with_batch<R>(&mut self, read: impl FnOnce(&SpanBatch) -> R) -> R {
        read(Shown::new(self).batch)
    }

    /// The finished batch; the builder goes on with an empty one, for which it makes as much room as this one took.
    pub fn finish_and_go_on(&mut self) -> SpanBatch {
        let next = Self {
            batch: room::with_room_of(&self.batch),
            reader: self.reader.successor(),
            trace_index: HashTable::with_capacity(self.trace_index.len()),
            ..Self::default()
        };
        std::mem::replace(self, next).finish()
    }

    /// The finished batch.
    pub fn finish(mut self) -> SpanBatch {
        self.batch.strings = self.reader.strings.finish();
        self.batch
    }
}

/// A batch that has its strings for now; they return to the builder when it is dropped, even if a reader panics.
struct Shown<'a> {
    batch: &'a mut SpanBatch,
    strings: &'a mut DictionaryBuilder,
}

impl<'a> Shown<'a> {
    fn new(builder: &'a mut BatchBuilder) -> Self {
        let (batch, strings) = (&mut builder.batch, &mut builder.reader.strings);
        strings.swap_dictionary(&mut batch.strings);
        Self { batch, strings }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.strings.swap_dictionary(&mut self.batch.strings);
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

#[cfg(test)]
mod tests;
