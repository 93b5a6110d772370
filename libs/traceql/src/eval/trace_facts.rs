//! Facts about whole traces, computed from their spans.

use std::collections::HashMap;

use tactus_model::{SpanBatch, StringCode, TraceSummaries};

use super::scan::find_string;

const STATUS_ERROR: u8 = 2;

/// Start, end, root and service counts of every trace of a batch, in the form in which blocks store them.
///
/// Shape: one row for each trace, in the order of `batch.traces`; services of a trace in order of first appearance. A
/// trace starts with its earliest span that has a start time. The root is a span without a parent that is not a child
/// by an OpenTracing `child_of` link. Of several roots, it is the last one in the order of
/// [`tactus_model::SpanIdentity`], wherever it is in the batch. Without a root, service and name have code 0.
///
/// Needs all columns of spans and links, and `service.name` of resources. A column that was not read counts as empty.
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

/// True if the first of two roots follows the second one in the order of identities.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceCount {
    pub(crate) service: StringCode,
    pub(crate) spans: u32,
    pub(crate) errors: u32,
}

/// The services of these spans by trace, in order of first appearance. `slot_of`: the index of a trace in the result.
pub(crate) fn service_counts(
    batch: &SpanBatch,
    rows: impl Iterator<Item = usize>,
    slots: usize,
    slot_of: impl Fn(usize) -> usize,
) -> Vec<Vec<ServiceCount>> {
    let services = resource_services(batch);
    let mut counter = ServiceCounter { counts: vec![Vec::new(); slots], many: HashMap::new() };
    let (trace_of, resource_of) = (batch.spans.trace.as_slice(), batch.spans.resource.as_slice());
    for row in rows {
        let resource = resource_of[row] as usize;
        let service = services.get(resource).copied().unwrap_or(0);
        let is_error = batch.spans.status.get(row) == Some(&STATUS_ERROR);
        counter.add(slot_of(trace_of[row] as usize), service, is_error);
    }
    counter.counts
}

/// If a trace has at most this many services, a span's service is searched for one by one.
const FEW: usize = 32;

struct ServiceCounter {
    counts: Vec<Vec<ServiceCount>>,
    /// The places in traces with more services.
    many: HashMap<(usize, StringCode), usize>,
}

impl ServiceCounter {
    fn add(&mut self, slot: usize, service: StringCode, is_error: bool) {
        let counts = &mut self.counts[slot];
        let known = match counts.len() <= FEW {
            // Searched from the end, where the last span's service is.
            true => counts.iter().rposition(|count| count.service == service),
            false => self.many.get(&(slot, service)).copied(),
        };
        let errors = u32::from(is_error);
        if let Some(place) = known {
            counts[place].spans += 1;
            counts[place].errors += errors;
            return;
        }
        if counts.len() == FEW {
            let places = counts.iter().enumerate();
            self.many.extend(places.map(|(place, count)| ((slot, count.service), place)));
        }
        if counts.len() >= FEW {
            self.many.insert((slot, service), counts.len());
        }
        counts.push(ServiceCount { service, spans: 1, errors });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_a_trace_are_counted_however_many_there_are() {
        const SERVICES: u32 = 100_000;
        let began = std::time::Instant::now();
        let mut counter = ServiceCounter { counts: vec![Vec::new(); 2], many: HashMap::new() };
        for round in 0..3 {
            for service in 0..SERVICES {
                counter.add(0, service, round == 1);
                counter.add(1, service % 40, service % 2 == 0);
            }
        }
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
        let expected = |service| ServiceCount { service, spans: 3, errors: 1 };
        assert!(counter.counts[0].iter().copied().eq((0..SERVICES).map(expected)));
        let spans = 3 * SERVICES / 40;
        let expected = |service| ServiceCount {
            service,
            spans,
            errors: if service % 2 == 0 { spans } else { 0 },
        };
        assert!(counter.counts[1].iter().copied().eq((0..40).map(expected)));
    }
}
