//! Facts about whole traces, computed from their spans.

use tactus_model::{SpanBatch, StringCode, TraceSummaries};

use super::scan::find_string;

const STATUS_ERROR: u8 = 2;

/// Start, end, root and service counts of every trace of a batch, as a block stores them.
///
/// Shape: one row a trace, in the order of `batch.traces`; services of a trace in order of first appearance.
/// A trace starts with its earliest span that has a start time. The root is a span without a parent that is no child by
/// an OpenTracing `child_of` link, of several the last one in the order of [`tactus_model::SpanIdentity`], wherever it
/// lies; its service and name are code 0 if there is none.
/// Needs all columns of spans and links and the resources' `service.name`; a column that was not read counts as
/// empty.
pub fn trace_facts(batch: &SpanBatch) -> TraceSummaries {
    let (start, end) = trace_times(batch, 0..batch.spans.start.len());
    let (root_service, root_name) = trace_roots(batch, 0..batch.spans.parent_span_id.len());
    let counts = service_counts(batch, 0..batch.len(), batch.traces.ids.len(), |trace| trace);
    let mut starts = vec![0u32];
    for counts in &counts {
        starts.push(starts[starts.len() - 1] + counts.len() as u32);
    }
    let entries = counts.iter().flatten();
    TraceSummaries {
        start: start.into(),
        end: end.into(),
        root_service: root_service.into(),
        root_name: root_name.into(),
        service_starts: starts.into(),
        service_name: entries.clone().map(|entry| entry.service).collect(),
        service_spans: entries.clone().map(|entry| entry.spans).collect(),
        service_errors: entries.map(|entry| entry.errors).collect(),
    }
}

/// Start and end of each trace of these spans.
pub(crate) fn trace_times(
    batch: &SpanBatch,
    rows: impl Iterator<Item = usize>,
) -> (Vec<u64>, Vec<u64>) {
    let traces = batch.traces.ids.len();
    let (mut starts, mut ends) = (vec![0u64; traces], vec![0u64; traces]);
    let spans = &batch.spans;
    let (trace_of, durations) = (spans.trace.as_slice(), spans.duration.as_slice());
    let start_of = spans.start.as_slice();
    for row in rows {
        let Some(&span_start) = start_of.get(row) else { continue };
        let trace = trace_of[row];
        let span_end = span_start.wrapping_add(durations.get(row).copied().unwrap_or(0));
        let (start, end) = (&mut starts[trace as usize], &mut ends[trace as usize]);
        if *start == 0 || (span_start != 0 && span_start < *start) {
            *start = span_start;
        }
        *end = span_end.max(*end);
    }
    (starts, ends)
}

/// Service and name of the root of each trace of these spans.
pub(crate) fn trace_roots(
    batch: &SpanBatch,
    rows: impl Iterator<Item = usize>,
) -> (Vec<StringCode>, Vec<StringCode>) {
    let traces = batch.traces.ids.len();
    let (mut root_service, mut root_name) = (vec![0; traces], vec![0; traces]);
    let mut roots: Vec<Option<usize>> = vec![None; traces];
    let services = resource_services(batch);
    let reference_type = find_string(&batch.strings, b"opentracing.ref_type");
    let child_of = reference_type.and_then(|_| find_string(&batch.strings, b"child_of"));
    let parents = batch.spans.parent_span_id.as_slice();
    for row in rows {
        let Some(parent) = parents.get(row) else { continue };
        if !parent.is_zero() || is_child_by_link(batch, row, reference_type, child_of) {
            continue;
        }
        let trace = batch.spans.trace[row] as usize;
        let known = &mut roots[trace];
        if known.is_some_and(|known| is_later_root(batch, known, row)) {
            continue;
        }
        *known = Some(row);
        let resource = batch.spans.resource[row] as usize;
        root_service[trace] = services.get(resource).copied().unwrap_or(0);
        root_name[trace] = batch.spans.name.get(row).copied().unwrap_or(0);
    }
    (root_service, root_name)
}

/// True if of two roots the first comes after the second, which stands later in the batch.
fn is_later_root(batch: &SpanBatch, one: usize, other: usize) -> bool {
    batch.spans.are_complete() && batch.span_identity(one) > batch.span_identity(other)
}

/// Code of the `service.name` of each resource; 0 if it has none.
fn resource_services(batch: &SpanBatch) -> Vec<StringCode> {
    let key = find_string(&batch.strings, b"service.name");
    (0..batch.resources.len()).map(|resource| batch.service_name(resource, key)).collect()
}

fn is_child_by_link(
    batch: &SpanBatch,
    row: usize,
    reference_type: Option<StringCode>,
    child_of: Option<StringCode>,
) -> bool {
    let (Some(key), Some(child_of)) = (reference_type, child_of) else { return false };
    let trace_id = batch.traces.ids[batch.spans.trace[row] as usize];
    let links = &batch.links;
    links.range(row).any(|link| {
        links.trace_id.get(link) == Some(&trace_id)
            && links.attributes.find_string(link, key) == Some(child_of)
    })
}

/// Spans of one service in a trace.
#[derive(Clone, Copy)]
pub(crate) struct ServiceCount {
    pub(crate) service: StringCode,
    pub(crate) spans: u32,
    pub(crate) errors: u32,
}

/// The services of these spans by trace, in order of first appearance. `slot_of`: the place of a trace in the result.
pub(crate) fn service_counts(
    batch: &SpanBatch,
    rows: impl Iterator<Item = usize>,
    slots: usize,
    slot_of: impl Fn(usize) -> usize,
) -> Vec<Vec<ServiceCount>> {
    let services = resource_services(batch);
    let mut counts: Vec<Vec<ServiceCount>> = vec![Vec::new(); slots];
    let (trace_of, resource_of) = (batch.spans.trace.as_slice(), batch.spans.resource.as_slice());
    for row in rows {
        let slot = slot_of(trace_of[row] as usize);
        let resource = resource_of[row] as usize;
        let service = services.get(resource).copied().unwrap_or(0);
        let error = u32::from(batch.spans.status.get(row) == Some(&STATUS_ERROR));
        // Few services a trace: searched from the end, where the last span's service stands.
        let counts = &mut counts[slot];
        match counts.iter_mut().rev().find(|count| count.service == service) {
            Some(count) => {
                count.spans += 1;
                count.errors += error;
            }
            None => counts.push(ServiceCount { service, spans: 1, errors: error }),
        }
    }
    counts
}
