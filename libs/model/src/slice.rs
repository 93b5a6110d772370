//! Copies consecutive traces of a sorted batch.

use std::ops::Range;

use crate::batch::each_span_column;
use crate::{
    AttributeList, Buffer, EventTable, LinkTable, ResourceTable, ScopeTable, SpanBatch,
    SpanColumns, TraceTable,
};

/// Copies some consecutive traces of a sorted batch, with all columns but the nested-set ones, and without trace
/// summaries. Strings are shared with the batch if they are in a file.
///
/// Cost: in proportion to these traces, plus the tables of resources and scopes.
pub fn slice_traces(batch: &SpanBatch, traces: Range<usize>) -> SpanBatch {
    let of = &batch.spans;
    let first = of.trace.partition_point(|&trace| (trace as usize) < traces.start);
    let end = of.trace.partition_point(|&trace| (trace as usize) < traces.end);
    let rows = first..end;
    SpanBatch {
        strings: batch.strings.clone(),
        resources: ResourceTable {
            attributes: slice_attributes(&batch.resources.attributes, 0..batch.resources.len()),
            dropped_attributes: copy_all(&batch.resources.dropped_attributes),
        },
        scopes: ScopeTable {
            name: copy_all(&batch.scopes.name),
            version: copy_all(&batch.scopes.version),
            attributes: slice_attributes(&batch.scopes.attributes, 0..batch.scopes.len()),
            dropped_attributes: copy_all(&batch.scopes.dropped_attributes),
        },
        traces: TraceTable { ids: copy(&batch.traces.ids, traces.clone()), summaries: None },
        spans: slice_spans(of, rows.clone(), traces.start as u32),
        span_attributes: slice_attributes(&batch.span_attributes, rows.clone()),
        events: slice_events(&batch.events, rows.clone()),
        links: slice_links(&batch.links, rows),
    }
}

fn slice_spans(of: &SpanColumns, rows: Range<usize>, first_trace: u32) -> SpanColumns {
    let mut spans = SpanColumns::default();
    macro_rules! copy_rows {
        ($column:ident) => {
            spans.$column = copy(&of.$column, rows.clone());
        };
    }
    each_span_column!(copy_rows);
    for trace in spans.trace.make_mut() {
        *trace -= first_trace;
    }
    if !of.origin.is_empty() {
        spans.origin = copy(&of.origin, rows);
    }
    spans
}

fn slice_events(from: &EventTable, rows: Range<usize>) -> EventTable {
    let (starts, events) = slice_starts(&from.starts, rows);
    EventTable {
        starts,
        time: copy(&from.time, events.clone()),
        name: copy(&from.name, events.clone()),
        dropped_attributes: copy(&from.dropped_attributes, events.clone()),
        attributes: slice_attributes(&from.attributes, events),
    }
}

fn slice_links(from: &LinkTable, rows: Range<usize>) -> LinkTable {
    let (starts, links) = slice_starts(&from.starts, rows);
    LinkTable {
        starts,
        trace_id: copy(&from.trace_id, links.clone()),
        span_id: copy(&from.span_id, links.clone()),
        trace_state: copy(&from.trace_state, links.clone()),
        dropped_attributes: copy(&from.dropped_attributes, links.clone()),
        attributes: slice_attributes(&from.attributes, links),
    }
}

fn slice_attributes(from: &AttributeList, owners: Range<usize>) -> AttributeList {
    let (starts, entries) = slice_starts(&from.starts, owners);
    AttributeList {
        starts,
        keys: copy(&from.keys, entries.clone()),
        types: copy(&from.types, entries.clone()),
        payloads: copy(&from.payloads, entries),
    }
}

/// The starts of some owners, counted from the first of them, and the range of entries that they cover.
fn slice_starts(starts: &[u32], owners: Range<usize>) -> (Buffer<u32>, Range<usize>) {
    let part = &starts[owners.start..owners.end + 1];
    let (first, last) = (part[0], part[part.len() - 1]);
    (part.iter().map(|&start| start - first).collect(), first as usize..last as usize)
}

fn copy_all<T: bytemuck::Pod>(column: &[T]) -> Buffer<T> {
    column.to_vec().into()
}

fn copy<T: bytemuck::Pod>(column: &[T], rows: Range<usize>) -> Buffer<T> {
    column[rows].to_vec().into()
}
