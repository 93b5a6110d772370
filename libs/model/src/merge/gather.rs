//! Copies chosen spans of several batches into a new batch.

use std::ops::Range;

use crate::batch::each_span_column;
use crate::{AttributeList, SpanBatch, SpanId, SpanIdentity, StringCode, TraceId};

mod copy;
mod limit;
mod output;

use output::InputMap;
pub use output::MergeOutput;

const UNMAPPED: u32 = u32::MAX;

/// Divisor: the output reserves this fraction more than estimated from the inputs.
const SLACK: usize = 16;
/// Spans that are copied at a time: few enough that they stay in the processor's cache from one column to the next.
const SPANS_AT_A_TIME: usize = 4096;

/// The span columns of one input as slices, because each access to a stored column costs a check.
struct Columns<'a> {
    resource: &'a [u32],
    scope: &'a [u32],
    span_id: &'a [SpanId],
    parent_span_id: &'a [SpanId],
    start: &'a [u64],
    duration: &'a [u64],
    name: &'a [StringCode],
    kind: &'a [u8],
    status: &'a [u8],
    status_message: &'a [StringCode],
    trace_state: &'a [StringCode],
    dropped_attributes: &'a [u32],
    dropped_events: &'a [u32],
    dropped_links: &'a [u32],
    /// Empty if no span has one.
    origin: &'a [u64],
    attributes: AttributeColumns<'a>,
    event_starts: &'a [u32],
    link_starts: &'a [u32],
}

/// An attribute list as slices.
#[derive(Clone, Copy)]
struct AttributeColumns<'a> {
    starts: &'a [u32],
    keys: &'a [StringCode],
    types: &'a [u8],
    payloads: &'a [u64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a SpanBatch) -> Self {
        let spans = &batch.spans;
        Self {
            resource: &spans.resource,
            scope: &spans.scope,
            span_id: &spans.span_id,
            parent_span_id: &spans.parent_span_id,
            start: &spans.start,
            duration: &spans.duration,
            name: &spans.name,
            kind: &spans.kind,
            status: &spans.status,
            status_message: &spans.status_message,
            trace_state: &spans.trace_state,
            dropped_attributes: &spans.dropped_attributes,
            dropped_events: &spans.dropped_events,
            dropped_links: &spans.dropped_links,
            origin: &spans.origin,
            attributes: AttributeColumns::of(&batch.span_attributes),
            event_starts: &batch.events.starts,
            link_starts: &batch.links.starts,
        }
    }
}

impl<'a> AttributeColumns<'a> {
    fn of(list: &'a AttributeList) -> Self {
        Self {
            starts: &list.starts,
            keys: &list.keys,
            types: &list.types,
            payloads: &list.payloads,
        }
    }
}

/// Combines one trace after the other, each from fragments of several batches: [`Self::start_trace`],
/// [`Self::add_rows`] for each fragment, [`Self::finish_trace`].
pub struct TraceMerger<'a> {
    inputs: &'a [&'a SpanBatch],
    columns: Vec<Columns<'a>>,
    to: MergeOutput,
    /// How many spans may be waiting, after a trace ends, to be copied together with later ones.
    spans_at_a_time: usize,
    waiting_spans: usize,
}

impl<'a> TraceMerger<'a> {
    /// Continues an output. Inputs keep their positions from one merger to the next.
    pub fn new(inputs: &'a [&'a SpanBatch], mut to: MergeOutput) -> Self {
        to.maps.resize_with(inputs.len().max(to.maps.len()), InputMap::default);
        for (map, batch) in to.maps.iter_mut().zip(inputs) {
            // A dictionary is never empty, so a map without codes was not made yet.
            if map.codes.is_empty() {
                *map = InputMap::of(batch);
            }
        }
        let columns = inputs.iter().map(|batch| Columns::of(batch)).collect();
        Self { inputs, columns, to, spans_at_a_time: 1, waiting_spans: 0 }
    }

    /// From now on several traces are copied at a time. That is faster if their spans are scattered over the inputs,
    /// but [`Self::output`] then lags behind.
    pub(super) fn copy_together(&mut self) {
        self.spans_at_a_time = SPANS_AT_A_TIME;
    }

    /// The output, which another merger can continue.
    pub fn into_output(mut self) -> MergeOutput {
        self.copy_runs();
        self.to
    }

    /// The output so far.
    pub fn output(&self) -> &MergeOutput {
        &self.to
    }

    /// Reserves capacity for this many spans of the inputs.
    pub(super) fn reserve(&mut self, spans: usize) {
        let all_spans: usize = self.inputs.iter().map(|batch| batch.len()).sum();
        let part = |total: usize| {
            let estimate = (total as u128 * spans as u128 / all_spans.max(1) as u128) as usize;
            estimate + estimate / SLACK + 1
        };
        let entries = self.inputs.iter().map(|batch| batch.span_attributes.len()).sum();
        let strings = self.inputs.iter().map(|batch| batch.strings.len()).sum();
        let bytes = self.inputs.iter().map(|batch| batch.strings.byte_len()).sum();
        self.to.strings.reserve(part(strings), part(bytes));
        let columns = &mut self.to.out.spans;
        macro_rules! reserve_rows {
            ($column:ident) => {
                columns.$column.make_mut().reserve_exact(spans);
            };
        }
        each_span_column!(reserve_rows);
        for starts in [
            &mut self.to.out.events.starts,
            &mut self.to.out.links.starts,
            &mut self.to.out.span_attributes.starts,
        ] {
            starts.make_mut().reserve_exact(spans + 1);
        }
        if self.columns.iter().any(|input| !input.origin.is_empty()) {
            columns.origin.make_mut().reserve_exact(spans);
        }
        let attributes = &mut self.to.out.span_attributes;
        attributes.keys.make_mut().reserve_exact(part(entries));
        attributes.types.make_mut().reserve_exact(part(entries));
        attributes.payloads.make_mut().reserve_exact(part(entries));
    }

    /// Starts a trace. For a sorted output its id must be higher than that of the previous trace.
    pub fn start_trace(&mut self, id: TraceId) {
        self.to.candidates.clear();
        self.to.out.traces.ids.push(id);
    }

    /// Adds a span of the trace by its row in an input.
    #[inline]
    pub fn add_row(&mut self, input: u32, row: u32) {
        self.to.candidates.push((input, row));
    }

    /// Ends a trace and puts its spans into the output. Of equal spans only the first one added is kept. A trace
    /// without spans leaves nothing.
    ///
    /// `max_bytes`: approximate limit, in bytes as OTLP, for fragments of different inputs together. If they exceed it,
    /// the largest fragment is kept whole, then those spans of the others that fit, in the order in which they were
    /// added. A single fragment may have any size. Returns the number of spans left out.
    pub fn finish_trace(&mut self, max_bytes: u64) -> u64 {
        if self.to.candidates.is_empty() {
            self.to.out.traces.ids.make_mut().pop();
            return 0;
        }
        let is_large = self.is_above(max_bytes);
        if is_large {
            self.put_largest_first();
        }
        self.mark_duplicates();
        if is_large {
            let cut = self.append_until(max_bytes);
            self.copy_runs();
            return cut;
        }
        let mut next = 0;
        while next < self.to.candidates.len() {
            if self.to.duplicate[next] {
                self.to.stats.duplicate_spans += 1;
                next += 1;
            } else {
                let (input, rows) = self.run_at(next);
                next += rows.len();
                self.append(input, rows);
            }
        }
        self.waiting_spans += self.to.candidates.len();
        if self.waiting_spans >= self.spans_at_a_time {
            self.copy_runs();
            self.waiting_spans = 0;
        }
        0
    }

    /// The input of a candidate, and its rows together with those of the following candidates if they are consecutive.
    fn run_at(&self, first: usize) -> (usize, Range<usize>) {
        let (input, row) = self.to.candidates[first];
        let candidates = self.to.candidates[first..].iter().zip(&self.to.duplicate[first..]);
        let count = candidates
            .zip(row..)
            .take_while(|&((&found, &duplicate), row)| found == (input, row) && !duplicate)
            .count();
        (input as usize, row as usize..row as usize + count)
    }

    /// Marks candidates that equal an earlier one. The earlier one gets the highest origin of them all.
    fn mark_duplicates(&mut self) {
        self.to.duplicate.clear();
        self.to.duplicate.resize(self.to.candidates.len(), false);
        self.to.higher_origins.clear();
        self.to.keys.clear();
        let candidates = self.to.candidates.iter().zip(0..);
        self.to.keys.extend(candidates.map(|(&(input, row), candidate)| {
            (self.columns[input as usize].span_id[row as usize], candidate)
        }));
        self.to.keys.sort_unstable();
        if self.to.keys.windows(2).all(|pair| pair[0].0 != pair[1].0) {
            return;
        }
        let mut keys = std::mem::take(&mut self.to.keys);
        for same_id in keys.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            same_id
                .sort_unstable_by_key(|&(_, candidate)| (self.identity_of(candidate), candidate));
            let mut kept = same_id[0].1;
            for pair in same_id.windows(2) {
                let (one, two) = (pair[0].1, pair[1].1);
                if self.identity_of(one) == self.identity_of(two) {
                    self.to.duplicate[two as usize] = true;
                    self.raise_origin(kept, self.origin_of(two));
                } else {
                    kept = two;
                }
            }
        }
        self.to.keys = keys;
        // Each run looks for its own.
        self.to.higher_origins.sort_unstable();
    }

    fn identity_of(&self, candidate: u32) -> SpanIdentity<&[u8]> {
        let (input, row) = self.to.candidates[candidate as usize];
        self.inputs[input as usize].span_identity(row as usize)
    }

    fn origin_of(&self, candidate: u32) -> u64 {
        let (input, row) = self.to.candidates[candidate as usize];
        self.columns[input as usize].origin.get(row as usize).copied().unwrap_or(0)
    }

    /// Equal spans may have different origins elsewhere. Everybody who holds some of them settles on the highest.
    fn raise_origin(&mut self, candidate: u32, origin: u64) {
        if origin > self.origin_of(candidate) {
            let (input, row) = self.to.candidates[candidate as usize];
            self.to.higher_origins.push((input, row, origin));
        }
    }
}
