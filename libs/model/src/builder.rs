//! Turns OTLP spans into columns, once.

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    DictionaryBuilder, SpanBatch, TraceId,
    wire::{Reader, WireError},
};

mod attribute;
mod by_trace;
mod limits;
mod owners;
mod rollback;
mod selection;
mod span;

pub use by_trace::{Candidate, LeftOut, RunMessages};
pub use owners::KnownOwners;
pub use rollback::Mark;
pub use selection::{SelectedBatch, SelectedKeys};

use attribute::AttributeReader;
use limits::EntryBudget;
use owners::{OwnerIndex, append_owner, scope_texts};
use selection::Selecting;
use span::Outcome;

/// What the builder cuts off.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuilderLimits {
    /// Keys and string values longer than this many bytes are cut at a character boundary; 0: never.
    pub max_attribute_bytes: usize,
}

/// How the text of an error begins if the request is no protobuf. Statuses of ingesters keep it.
pub const MALFORMED_PROTOBUF: &str = "malformed protobuf";

/// Why spans were not appended. The caller must roll back to its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The request is no protobuf; nothing after this span can be trusted.
    #[error("{MALFORMED_PROTOBUF}: {0}")]
    Malformed(#[from] WireError),
    /// The push has a message of more than 512 MiB, or so many almost empty events, links and attributes that they
    /// would take many times its bytes in memory. This depends only on what was appended since the mark: a push that
    /// was accepted once is always accepted.
    #[error("too many events, links or attributes for the size of the request")]
    TooLarge,
    /// The batch is near the limit of what it can number: 1 GiB of strings, or 2^31 rows or attributes of one kind.
    /// A new builder takes the same spans.
    #[error("batch is full")]
    Full,
}

/// A batch that grows span by span, in order of arrival.
///
/// Memory: what a push adds takes at most about six times its bytes plus 600 KB (for legitimate spans less than four
/// times). The capacity of growing vectors can be twice that.
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

    /// Number of spans that were left out because their trace or span id has the wrong length (not 16 and 8 bytes) or
    /// is all zero, since the last mark or call. A rollback does not change it.
    pub fn take_refused_ids(&mut self) -> u64 {
        std::mem::take(&mut self.refused_ids)
    }

    /// The key of the first attribute since the last call that is nested too deeply. A rollback does not change it.
    pub fn take_too_deep_key(&mut self) -> Option<TooDeepKey> {
        self.reader.too_deep.take()
    }

    /// Appends the spans of a ScopeSpans message with their Resource and InstrumentationScope messages, as
    /// [`Self::append_scope_spans`] does. If the resource or the scope is nested too deeply, all its spans count as
    /// nested too deeply.
    pub fn append_run(
        &mut self,
        resource: &[u8],
        scope: &[u8],
        scope_spans: &[u8],
        admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        let run = RunMessages { resource, scope, scope_spans, origin: 0 };
        self.append_next_run(&mut KnownOwners::default(), run, admit)
    }

    /// As [`Self::append_run`], of a push that named the `known` resources and scopes so far. The origin is not set.
    pub fn append_next_run<'a>(
        &mut self,
        known: &mut KnownOwners<'a>,
        RunMessages { resource, scope, scope_spans, .. }: RunMessages<'a>,
        admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        let Some((resource, scope)) = self.owners(known, resource, scope)? else {
            let (mut spans, mut reader) = (0, Reader::new(scope_spans));
            while let Some((field, _)) = reader.next_field()? {
                spans += u64::from(field == 2);
            }
            return Ok(spans);
        };
        self.append_scope_spans(resource, scope, scope_spans, admit)
    }

    /// The row of an OTLP Resource message, added if it is new.
    pub fn resource(&mut self, message: &[u8]) -> Result<u32, AppendError> {
        if let Some(row) = self.resource_index.find(message) {
            return Ok(row);
        }
        self.check_limits(message)?;
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
        self.check_limits(message)?;
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

    /// Appends the spans of a ScopeSpans message. `admit` is called with each span's trace and encoded size, in order,
    /// and refuses the span by returning false.
    ///
    /// Returns the number of spans that were left out because their values are nested too deeply. `admit` is not called
    /// for these, nor for those that [`Self::take_refused_ids`] counts. A span that is left out leaves nothing behind,
    /// except its resource and scope: a caller whose push appended no span at all rolls back.
    pub fn append_scope_spans(
        &mut self,
        resource: u32,
        scope: u32,
        scope_spans: &[u8],
        mut admit: impl FnMut(TraceId, usize) -> bool,
    ) -> Result<u64, AppendError> {
        self.check_limits(scope_spans)?;
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

    /// Sets the origin of the spans from `first` on; 0 is none. Call it after each run.
    pub fn set_origin(&mut self, first: usize, origin: u64) {
        let (origins, spans) = (&mut self.batch.spans.origin, self.batch.spans.trace.len());
        if origin == 0 && origins.is_empty() {
            return;
        }
        let origins = origins.make_mut();
        origins.resize(first.min(spans), 0);
        origins.resize(spans, origin);
    }

    /// Lets a reader see the batch as it is now, with its strings.
    pub fn with_batch<R>(&mut self, read: impl FnOnce(&SpanBatch) -> R) -> R {
        read(Shown::new(self).batch)
    }

    /// Returns the finished batch. The builder goes on with an empty one of the same capacity.
    pub fn finish_and_go_on(&mut self) -> SpanBatch {
        let next = Self {
            batch: limits::with_capacity_of(&self.batch),
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

/// Lends the builder's strings to the batch. They return to the builder when this is dropped, even if a reader panics.
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

#[cfg(test)]
mod tests;
