//! Undoing what a push appended.

use std::hash::BuildHasher;

use super::{BatchBuilder, attribute::ReaderMark, limits::EntryBudget};
use crate::batch::each_span_column;
use crate::{SpanBatch, buffer::mostly_unused};

/// A state of the builder that [`BatchBuilder::rollback`] returns to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    spans: usize,
    traces: usize,
    resources: usize,
    scopes: usize,
    strings: ReaderMark,
}

impl BatchBuilder {
    /// Marks the end of the batch, where a push begins. The limits on a push in relation to its bytes start anew here,
    /// and so does the count of spans refused for their ids.
    pub fn mark(&mut self) -> Mark {
        self.entries = EntryBudget::default();
        self.refused_ids = 0;
        Mark {
            spans: self.batch.len(),
            traces: self.batch.traces.ids.len(),
            resources: self.batch.resources.len(),
            scopes: self.batch.scopes.len(),
            strings: self.reader.mark(),
        }
    }

    /// Removes everything that was appended since the mark, strings included. Rows and codes are then assigned as if it
    /// had never been there.
    pub fn rollback(&mut self, mark: Mark) {
        truncate_spans(&mut self.batch, &mark);
        if let Some(selecting) = &mut self.selecting {
            selecting.sizes.truncate(mark.spans);
        }
        self.drop_half_span();
        self.truncate_traces(mark.traces);
        truncate_owners(&mut self.batch, &mark);
        self.resource_index.truncate(mark.resources);
        self.scope_index.truncate(mark.scopes);
        self.reader.rollback(mark.strings);
    }

    /// A copy of the batch as it was at the mark, except that its dictionary also has the strings that were added
    /// since.
    pub fn copy_before(&mut self, mark: Mark) -> SpanBatch {
        let mut batch = self.with_batch(SpanBatch::clone);
        truncate_spans(&mut batch, &mark);
        drop_half_span(&mut batch);
        batch.traces.ids.truncate(mark.traces);
        truncate_owners(&mut batch, &mark);
        batch
    }

    /// Removes attributes, events and links of a span that did not become a row.
    pub(super) fn drop_half_span(&mut self) {
        drop_half_span(&mut self.batch);
    }

    fn truncate_traces(&mut self, traces: usize) {
        let ids = &mut self.batch.traces.ids;
        for (row, id) in ids.iter().enumerate().skip(traces) {
            let hash = self.hasher.hash_one(id.0);
            if let Ok(entry) = self.trace_index.find_entry(hash, |&other| other as usize == row) {
                entry.remove();
            }
        }
        ids.truncate(traces);
        if mostly_unused(self.trace_index.capacity(), self.trace_index.len()) {
            let (ids, hasher) = (&*ids, &self.hasher);
            self.trace_index.shrink_to(2 * traces, |&row| hasher.hash_one(ids[row as usize].0));
        }
    }
}

fn truncate_spans(batch: &mut SpanBatch, mark: &Mark) {
    let spans = &mut batch.spans;
    macro_rules! truncate {
        ($column:ident) => {
            spans.$column.truncate(mark.spans);
        };
    }
    each_span_column!(truncate);
    if spans.origin.len() > mark.spans {
        spans.origin.truncate(mark.spans);
    }
    batch.events.starts.truncate(mark.spans + 1);
    batch.links.starts.truncate(mark.spans + 1);
}

fn truncate_owners(batch: &mut SpanBatch, mark: &Mark) {
    batch.resources.attributes.truncate_owners(mark.resources);
    batch.resources.dropped_attributes.truncate(mark.resources);
    let scopes = &mut batch.scopes;
    scopes.attributes.truncate_owners(mark.scopes);
    for column in [&mut scopes.name, &mut scopes.version, &mut scopes.dropped_attributes] {
        column.truncate(mark.scopes);
    }
}

fn drop_half_span(batch: &mut SpanBatch) {
    let spans = batch.len();
    batch.span_attributes.truncate_owners(spans);
    let events = &mut batch.events;
    let keep = events.starts[spans] as usize;
    events.attributes.truncate_owners(keep);
    events.time.truncate(keep);
    events.name.truncate(keep);
    events.dropped_attributes.truncate(keep);
    let links = &mut batch.links;
    let keep = links.starts[spans] as usize;
    links.attributes.truncate_owners(keep);
    links.trace_id.truncate(keep);
    links.span_id.truncate(keep);
    links.trace_state.truncate(keep);
    links.dropped_attributes.truncate(keep);
}
