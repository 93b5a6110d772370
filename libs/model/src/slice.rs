//! Copies consecutive traces of a sorted batch.

use std::ops::Range;

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
    let trace_start = traces.start as u32;
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
        traces: TraceTable { ids: copy(&batch.traces.ids, traces), summaries: None },
        spans: SpanColumns {
            trace: of.trace[rows.clone()].iter().map(|&trace| trace - trace_start).collect(),
            resource: copy(&of.resource, rows.clone()),
            scope: copy(&of.scope, rows.clone()),
            span_id: copy(&of.span_id, rows.clone()),
            parent_span_id: copy(&of.parent_span_id, rows.clone()),
            start: copy(&of.start, rows.clone()),
            duration: copy(&of.duration, rows.clone()),
            name: copy(&of.name, rows.clone()),
            kind: copy(&of.kind, rows.clone()),
            status: copy(&of.status, rows.clone()),
            status_message: copy(&of.status_message, rows.clone()),
            trace_state: copy(&of.trace_state, rows.clone()),
            dropped_attributes: copy(&of.dropped_attributes, rows.clone()),
            dropped_events: copy(&of.dropped_events, rows.clone()),
            dropped_links: copy(&of.dropped_links, rows.clone()),
            origin: if of.origin.is_empty() {
                Buffer::new()
            } else {
                copy(&of.origin, rows.clone())
            },
            ..SpanColumns::default()
        },
        span_attributes: slice_attributes(&batch.span_attributes, rows.clone()),
        events: slice_events(&batch.events, rows.clone()),
        links: slice_links(&batch.links, rows),
    }
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
