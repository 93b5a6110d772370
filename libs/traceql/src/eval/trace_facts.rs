//! Facts about whole traces, computed from their spans.

use tactus_model::{SpanBatch, StringCode, TraceSummaries};

const STATUS_ERROR: u8 = 2;

/// Start, end, root and service counts of every trace of a batch, as a block stores them.
///
/// Shape: one row a trace, in the order of `batch.traces`; services of a trace in order of first appearance.
/// A trace starts with its earliest span that has a start time. The root is the last span without a parent that is
/// no child by an OpenTracing `child_of` link; its service and name are code 0 if there is none.
/// Needs all columns of spans and links and the resources' `service.name`; a column that was not read counts as
/// empty.
pub fn trace_facts(batch: &SpanBatch) -> TraceSummaries {
    let traces = batch.traces.ids.len();
    let mut start = vec![0u64; traces];
    let mut end = vec![0u64; traces];
    let spans = &batch.spans;
    for (row, &trace) in spans.trace.iter().enumerate() {
        let Some(&span_start) = spans.start.get(row) else { break };
        let span_end = span_start.wrapping_add(spans.duration.get(row).copied().unwrap_or(0));
        let (start, end) = (&mut start[trace as usize], &mut end[trace as usize]);
        if *start == 0 || (span_start != 0 && span_start < *start) {
            *start = span_start;
        }
        *end = span_end.max(*end);
    }
    let services = resource_services(batch);
    let mut facts =
        TraceSummaries { start: start.into(), end: end.into(), ..TraceSummaries::default() };
    add_roots(batch, &services, &mut facts);
    add_service_counts(batch, &services, &mut facts);
    facts
}

/// Code of the `service.name` of each resource; 0 if it has none.
pub(crate) fn resource_services(batch: &SpanBatch) -> Vec<StringCode> {
    let key = batch.strings.find(b"service.name");
    (0..batch.resources.len()).map(|resource| batch.service_name(resource, key)).collect()
}

fn add_roots(batch: &SpanBatch, services: &[StringCode], facts: &mut TraceSummaries) {
    let traces = batch.traces.ids.len();
    let mut root_service = vec![0; traces];
    let mut root_name = vec![0; traces];
    let reference_type = batch.strings.find(b"opentracing.ref_type");
    let child_of = batch.strings.find(b"child_of");
    for (row, parent) in batch.spans.parent_span_id.iter().enumerate() {
        if !parent.is_zero() || is_child_by_link(batch, row, reference_type, child_of) {
            continue;
        }
        let trace = batch.spans.trace[row] as usize;
        let resource = batch.spans.resource[row] as usize;
        root_service[trace] = services.get(resource).copied().unwrap_or(0);
        root_name[trace] = batch.spans.name.get(row).copied().unwrap_or(0);
    }
    facts.root_service = root_service.into();
    facts.root_name = root_name.into();
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

fn add_service_counts(batch: &SpanBatch, services: &[StringCode], facts: &mut TraceSummaries) {
    let traces = batch.traces.ids.len();
    // Few services a trace: a short list searched from its end, where the last span's service stands.
    let mut counts: Vec<Vec<(StringCode, u32, u32)>> = vec![Vec::new(); traces];
    for (row, &trace) in batch.spans.trace.iter().enumerate() {
        let resource = batch.spans.resource[row] as usize;
        let service = services.get(resource).copied().unwrap_or(0);
        let error = u32::from(batch.spans.status.get(row) == Some(&STATUS_ERROR));
        let counts = &mut counts[trace as usize];
        match counts.iter_mut().rev().find(|entry| entry.0 == service) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += error;
            }
            None => counts.push((service, 1, error)),
        }
    }
    let mut starts = vec![0u32];
    for counts in &counts {
        starts.push(starts[starts.len() - 1] + counts.len() as u32);
    }
    let entries = counts.iter().flatten();
    facts.service_starts = starts.into();
    facts.service_name = entries.clone().map(|entry| entry.0).collect();
    facts.service_spans = entries.clone().map(|entry| entry.1).collect();
    facts.service_errors = entries.map(|entry| entry.2).collect();
}
