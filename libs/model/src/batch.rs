//! [`SpanBatch`]: spans in columns. Queries, merges and the block writer all work on this form.

use crate::{AttributeList, Buffer, Dictionary, SpanId, StringCode, TraceId};

/// Spans of any number of traces, in dictionary-encoded columns.
///
/// Shape: `spans.*` hold one value a span; `spans.trace[i]`, `spans.resource[i]` and `spans.scope[i]` are
/// rows of `traces`, `resources` and `scopes`. Span `i` owns the events `events.starts[i]..events.starts[i + 1]`
/// and likewise its links and attributes. A batch is *sorted* if its traces are in ascending order of id and
/// its spans in order of trace; a live batch is in order of arrival.
///
/// A batch that was read with a [`crate::Projection`] leaves the columns that were not asked for empty (length 0),
/// but `spans.trace`, `spans.resource` and `spans.scope` are always there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanBatch {
    /// All strings of the batch.
    pub strings: Dictionary,
    /// Distinct resources.
    pub resources: ResourceTable,
    /// Distinct instrumentation scopes.
    pub scopes: ScopeTable,
    /// Traces.
    pub traces: TraceTable,
    /// One row a span.
    pub spans: SpanColumns,
    /// Attributes of spans; owner = span.
    pub span_attributes: AttributeList,
    /// Events of spans.
    pub events: EventTable,
    /// Links of spans.
    pub links: LinkTable,
}

/// Resources, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceTable {
    /// Attributes; owner = resource. `service.name` is an attribute like any other.
    pub attributes: AttributeList,
    /// Attributes the sender dropped.
    pub dropped_attributes: Buffer<u32>,
}

/// Instrumentation scopes, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeTable {
    /// Scope name.
    pub name: Buffer<StringCode>,
    /// Scope version.
    pub version: Buffer<StringCode>,
    /// Attributes; owner = scope.
    pub attributes: AttributeList,
    /// Attributes the sender dropped.
    pub dropped_attributes: Buffer<u32>,
}

/// The traces of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceTable {
    /// Trace ids, each once.
    pub ids: Buffer<TraceId>,
    /// What a block stores of each whole trace; absent for live batches, which compute it.
    pub summaries: Option<TraceSummaries>,
}

/// Trace-level columns of a block; one value a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceSummaries {
    /// Earliest span start, unix nanoseconds.
    pub start: Buffer<u64>,
    /// Latest span end, unix nanoseconds.
    pub end: Buffer<u64>,
    /// Service of the root span; code 0 if none.
    pub root_service: Buffer<StringCode>,
    /// Name of the root span; code 0 if none.
    pub root_name: Buffer<StringCode>,
    /// First entry of each trace in the three columns below, and the end.
    pub service_starts: Buffer<u32>,
    /// Service of an entry.
    pub service_name: Buffer<StringCode>,
    /// Spans of that service in the trace.
    pub service_spans: Buffer<u32>,
    /// Spans of that service with status error.
    pub service_errors: Buffer<u32>,
}

/// One row a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanColumns {
    /// Row in [`TraceTable`].
    pub trace: Buffer<u32>,
    /// Row in [`ResourceTable`].
    pub resource: Buffer<u32>,
    /// Row in [`ScopeTable`].
    pub scope: Buffer<u32>,
    /// Span id.
    pub span_id: Buffer<SpanId>,
    /// Parent's span id; all zero for a root.
    pub parent_span_id: Buffer<SpanId>,
    /// Start, unix nanoseconds.
    pub start: Buffer<u64>,
    /// End minus start in nanoseconds, wrapping: a span that ends before it starts has a value above `i64::MAX`.
    pub duration: Buffer<u64>,
    /// Name.
    pub name: Buffer<StringCode>,
    /// OTLP kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer; others are read as 0.
    pub kind: Buffer<u8>,
    /// OTLP status code: 0 unset, 1 ok, 2 error; others are read as 0.
    pub status: Buffer<u8>,
    /// Status message.
    pub status_message: Buffer<StringCode>,
    /// W3C trace state.
    pub trace_state: Buffer<StringCode>,
    /// Attributes the sender dropped.
    pub dropped_attributes: Buffer<u32>,
    /// Events the sender dropped.
    pub dropped_events: Buffer<u32>,
    /// Links the sender dropped.
    pub dropped_links: Buffer<u32>,
    /// Which push of a distributor the span came with, see [`crate::OriginSet`]; 0 for none. Empty if no span has one,
    /// as in every batch read from a block.
    pub origin: Buffer<u64>,
    /// Nested-set left, right and parent; empty unless computed or read from a block.
    pub nested_left: Buffer<i32>,
    /// See `nested_left`.
    pub nested_right: Buffer<i32>,
    /// Left of the parent; -1 for a root; 0 unknown. See `nested_left`.
    pub nested_parent: Buffer<i32>,
}

/// Hands the name of every column of [`SpanColumns`] that has a value for each span to a macro. (Some batches have no
/// origins, and most no nested sets.)
macro_rules! each_span_column {
    ($each:ident) => {
        $each!(trace);
        $each!(resource);
        $each!(scope);
        $each!(span_id);
        $each!(parent_span_id);
        $each!(start);
        $each!(duration);
        $each!(name);
        $each!(kind);
        $each!(status);
        $each!(status_message);
        $each!(trace_state);
        $each!(dropped_attributes);
        $each!(dropped_events);
        $each!(dropped_links);
    };
}
pub(crate) use each_span_column;

/// Events of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTable {
    /// First event of each span, and the end.
    pub starts: Buffer<u32>,
    /// Unix nanoseconds.
    pub time: Buffer<u64>,
    /// Event name.
    pub name: Buffer<StringCode>,
    /// Attributes the sender dropped.
    pub dropped_attributes: Buffer<u32>,
    /// Attributes; owner = event.
    pub attributes: AttributeList,
}

/// Links of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkTable {
    /// First link of each span, and the end.
    pub starts: Buffer<u32>,
    /// Linked trace.
    pub trace_id: Buffer<TraceId>,
    /// Linked span.
    pub span_id: Buffer<SpanId>,
    /// W3C trace state of the link.
    pub trace_state: Buffer<StringCode>,
    /// Attributes the sender dropped.
    pub dropped_attributes: Buffer<u32>,
    /// Attributes; owner = link.
    pub attributes: AttributeList,
}

impl Default for EventTable {
    fn default() -> Self {
        Self {
            starts: vec![0].into(),
            time: Buffer::new(),
            name: Buffer::new(),
            dropped_attributes: Buffer::new(),
            attributes: AttributeList::default(),
        }
    }
}

impl Default for LinkTable {
    fn default() -> Self {
        Self {
            starts: vec![0].into(),
            trace_id: Buffer::new(),
            span_id: Buffer::new(),
            trace_state: Buffer::new(),
            dropped_attributes: Buffer::new(),
            attributes: AttributeList::default(),
        }
    }
}

impl EventTable {
    /// Events of a span; empty if events were not read.
    #[inline]
    pub fn range(&self, span: usize) -> std::ops::Range<usize> {
        range(&self.starts, span)
    }
}

impl LinkTable {
    /// Links of a span; empty if links were not read.
    #[inline]
    pub fn range(&self, span: usize) -> std::ops::Range<usize> {
        range(&self.starts, span)
    }
}

#[inline]
fn range(starts: &[u32], owner: usize) -> std::ops::Range<usize> {
    match starts.get(owner..owner + 2) {
        Some(bounds) => bounds[0] as usize..bounds[1] as usize,
        None => 0..0,
    }
}

/// The end of a span in unix nanoseconds. A span that ends before it starts counts as ending at its start. `duration`:
/// as in [`SpanColumns::duration`].
#[inline]
pub fn span_end(start: u64, duration: u64) -> u64 {
    start.saturating_add(if duration > i64::MAX as u64 { 0 } else { duration })
}

impl SpanColumns {
    /// True if every column has a value for each span. The origin column may be empty; the nested-set columns are not
    /// checked.
    pub fn are_complete(&self) -> bool {
        let spans = self.trace.len();
        let mut are_complete = self.origin.is_empty() || self.origin.len() == spans;
        macro_rules! check {
            ($column:ident) => {
                are_complete &= self.$column.len() == spans;
            };
        }
        each_span_column!(check);
        are_complete
    }
}

impl TraceSummaries {
    /// Entries of a trace in the service columns.
    pub fn services(&self, trace: usize) -> std::ops::Range<usize> {
        range(&self.service_starts, trace)
    }
}

impl ResourceTable {
    /// Number of resources.
    pub fn len(&self) -> usize {
        self.attributes.owners()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ScopeTable {
    /// Number of scopes.
    pub fn len(&self) -> usize {
        self.name.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SpanBatch {
    /// Number of spans.
    pub fn len(&self) -> usize {
        self.spans.trace.len()
    }

    /// True if there is no span.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The code of the string `service.name` of a resource; code 0 (empty) if absent or no string.
    /// `service_name_key` is the dictionary's code of `service.name`.
    pub fn service_name(
        &self,
        resource: usize,
        service_name_key: Option<StringCode>,
    ) -> StringCode {
        service_name_key
            .and_then(|key| self.resources.attributes.find_string(resource, key))
            .unwrap_or(0)
    }

    /// Spans of each trace of a sorted batch: trace `t` has spans `offsets[t]..offsets[t + 1]`.
    pub fn trace_offsets(&self) -> Vec<u32> {
        let mut offsets = vec![0u32; self.traces.ids.len() + 1];
        for &trace in self.spans.trace.iter() {
            offsets[trace as usize + 1] += 1;
        }
        for i in 1..offsets.len() {
            offsets[i] += offsets[i - 1];
        }
        offsets
    }

    /// True if traces ascend by id and spans by trace.
    pub fn is_sorted(&self) -> bool {
        self.traces.ids.is_sorted() && self.spans.trace.is_sorted()
    }

    /// Bytes of memory held.
    pub fn heap_bytes(&self) -> usize {
        let spans = &self.spans;
        let mut of_spans = spans.origin.heap_bytes() + spans.nested_left.heap_bytes() * 3;
        macro_rules! add {
            ($column:ident) => {
                of_spans += spans.$column.heap_bytes();
            };
        }
        each_span_column!(add);
        let codes = [
            &self.events.starts,
            &self.events.name,
            &self.events.dropped_attributes,
            &self.links.starts,
            &self.links.trace_state,
            &self.links.dropped_attributes,
            &self.resources.dropped_attributes,
            &self.scopes.name,
            &self.scopes.version,
            &self.scopes.dropped_attributes,
        ];
        self.strings.heap_bytes()
            + codes.iter().map(|column| column.heap_bytes()).sum::<usize>()
            + of_spans
            + self.traces.ids.heap_bytes()
            + self.events.time.heap_bytes()
            + self.links.trace_id.heap_bytes()
            + self.links.span_id.heap_bytes()
            + [
                &self.span_attributes,
                &self.events.attributes,
                &self.links.attributes,
                &self.resources.attributes,
                &self.scopes.attributes,
            ]
            .iter()
            .map(|list| list.heap_bytes())
            .sum::<usize>()
    }
}
