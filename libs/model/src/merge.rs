//! Sorts and combines batches. The ingester and the compactor use the same merge.

use std::ops::Range;

use crate::{SpanBatch, TraceId};

mod gather;
mod part;

pub use gather::{MergeOutput, TraceMerger};
pub use part::{ChosenSpans, SpanSlice, TracePart};

/// The traces of several batches in ascending order of id.
///
/// Memory: 24 bytes a trace of each input, and 4 bytes a span of an unsorted one.
#[derive(Debug)]
pub struct MergePlan {
    fragments: Vec<Fragment>,
    rows: Vec<TraceRows>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fragment {
    id: TraceId,
    input: u32,
    trace: u32,
}

/// The span rows of each trace of one input.
#[derive(Debug)]
struct TraceRows {
    offsets: Vec<u32>,
    /// Rows in order of trace; `None` if the input is sorted and row numbers are positions.
    order: Option<Vec<u32>>,
}

/// The spans and traces that a merge left out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MergeStats {
    /// Spans that were there more than once: in several inputs, or sent twice.
    pub duplicate_spans: u64,
    /// Spans of traces that would have become too large, see [`TraceMerger::finish_trace`].
    pub cut_spans: u64,
    /// The traces that lost these spans.
    pub cut_traces: u64,
}

impl MergePlan {
    /// Plans the merge of these batches.
    pub fn new(inputs: &[&SpanBatch]) -> Self {
        Self::of_traces(inputs, |_| true)
    }

    /// Plans the merge of the traces that are wanted.
    pub fn of_traces(inputs: &[&SpanBatch], wanted: impl Fn(TraceId) -> bool) -> Self {
        let mut fragments = Vec::new();
        let mut rows = Vec::with_capacity(inputs.len());
        for (input, batch) in inputs.iter().enumerate() {
            let before = fragments.len();
            let ids = batch.traces.ids.iter().enumerate().filter(|(_, id)| wanted(**id));
            fragments.extend(ids.map(|(trace, &id)| Fragment {
                id,
                input: input as u32,
                trace: trace as u32,
            }));
            let used = fragments.len() > before;
            rows.push(if used { TraceRows::new(batch) } else { TraceRows::unused() });
        }
        fragments.sort_unstable();
        Self { fragments, rows }
    }

    /// Cuts the plan into ranges of whole traces with about `spans` spans each, in order of id.
    pub fn cut(&self, spans: usize) -> Vec<Range<usize>> {
        let (mut ranges, mut start, mut count) = (Vec::new(), 0, 0);
        for (i, fragment) in self.fragments.iter().enumerate() {
            let new_trace = i == start || self.fragments[i - 1].id != fragment.id;
            if new_trace && count >= spans {
                ranges.push(start..i);
                (start, count) = (i, 0);
            }
            count += self.rows[fragment.input as usize].of(fragment.trace).len();
        }
        if start < self.fragments.len() {
            ranges.push(start..self.fragments.len());
        }
        ranges
    }

    /// Number of distinct traces.
    pub fn trace_count(&self) -> usize {
        self.fragments.chunk_by(|a, b| a.id == b.id).count()
    }

    /// All fragments as one range.
    pub fn whole(&self) -> Range<usize> {
        0..self.fragments.len()
    }

    /// First and last trace id of a range from [`Self::cut`].
    pub fn bounds(&self, range: &Range<usize>) -> Option<(TraceId, TraceId)> {
        let part = self.fragments.get(range.clone())?;
        Some((part.first()?.id, part.last()?.id))
    }

    /// Merges one range into a sorted batch; `inputs` are those of which the plan was made.
    ///
    /// Of equal spans (see [`crate::SpanIdentity`]) only the first by input is kept, with the highest origin of them
    /// all.
    pub fn gather(&self, inputs: &[&SpanBatch], range: Range<usize>) -> (SpanBatch, MergeStats) {
        let mut gather = TraceMerger::new(inputs, MergeOutput::default());
        gather.copy_together();
        let fragments = &self.fragments[range];
        let spans =
            |fragment: &Fragment| self.rows[fragment.input as usize].of(fragment.trace).len();
        gather.reserve(fragments.iter().map(spans).sum());
        for same_trace in fragments.chunk_by(|a, b| a.id == b.id) {
            gather.start_trace(same_trace[0].id);
            for fragment in same_trace {
                let rows = &self.rows[fragment.input as usize];
                for position in rows.of(fragment.trace) {
                    gather.add_row(fragment.input, rows.row(position));
                }
            }
            gather.finish_trace(u64::MAX);
        }
        gather.into_output().take()
    }
}

/// Merges whole batches into one sorted batch.
pub fn merge(inputs: &[&SpanBatch]) -> (SpanBatch, MergeStats) {
    let plan = MergePlan::new(inputs);
    plan.gather(inputs, plan.whole())
}

/// The sorted spans of the traces that are wanted; empty if no batch has any.
pub fn gather_traces(inputs: &[&SpanBatch], wanted: impl Fn(TraceId) -> bool) -> SpanBatch {
    let plan = MergePlan::of_traces(inputs, wanted);
    plan.gather(inputs, plan.whole()).0
}

impl TraceRows {
    fn unused() -> Self {
        Self { offsets: Vec::new(), order: None }
    }

    fn new(batch: &SpanBatch) -> Self {
        let offsets = batch.trace_offsets();
        if batch.spans.trace.is_sorted() {
            return Self { offsets, order: None };
        }
        let mut next = offsets.clone();
        let mut order = vec![0; batch.len()];
        for (row, &trace) in batch.spans.trace.iter().enumerate() {
            let position = &mut next[trace as usize];
            order[*position as usize] = row as u32;
            *position += 1;
        }
        Self { offsets, order: Some(order) }
    }

    fn of(&self, trace: u32) -> Range<u32> {
        self.offsets[trace as usize]..self.offsets[trace as usize + 1]
    }

    fn row(&self, position: u32) -> u32 {
        self.order.as_ref().map_or(position, |order| order[position as usize])
    }
}

#[cfg(test)]
mod tests;
