//! The columns with one value a trace, and the service statistics.

use tactus_model::{SpanBatch, StringCode};

use super::canonical::CanonicalResources;
use super::layout::Layout;

const STATUS_ERROR: u8 = 2;
/// A link with this attribute and value is a parent reference of an OpenTracing client.
const REFERENCE_TYPE: &[u8] = b"opentracing.ref_type";
const CHILD_OF: &[u8] = b"child_of";

/// What is stored of each whole trace.
#[derive(Debug, Default)]
pub(super) struct TraceColumns {
    /// Earliest start that is not 0, unix nanoseconds.
    pub(super) start: Vec<i64>,
    /// Latest end.
    pub(super) end: Vec<i64>,
    /// End minus start, wrapping.
    pub(super) duration: Vec<i64>,
    pub(super) root_service: Vec<StringCode>,
    pub(super) root_name: Vec<StringCode>,
    /// Services of each trace.
    pub(super) service_counts: Vec<u32>,
    pub(super) service_names: Vec<StringCode>,
    pub(super) service_spans: Vec<i64>,
    pub(super) service_errors: Vec<i64>,
    services: Vec<(StringCode, u32, u32)>,
}

impl TraceColumns {
    pub(super) fn set(
        &mut self,
        batch: &SpanBatch,
        layout: &Layout,
        resources: &CanonicalResources,
    ) {
        self.start.clear();
        self.end.clear();
        self.duration.clear();
        self.root_service.clear();
        self.root_name.clear();
        self.service_counts.clear();
        self.service_names.clear();
        self.service_spans.clear();
        self.service_errors.clear();
        let reference = ReferenceType::new(batch);
        for trace in 0..batch.traces.ids.len() {
            self.add_trace(batch, layout, resources, &reference, trace);
        }
    }

    fn add_trace(
        &mut self,
        batch: &SpanBatch,
        layout: &Layout,
        resources: &CanonicalResources,
        reference: &ReferenceType,
        trace: usize,
    ) {
        let spans = &batch.spans;
        let (starts, durations) = (spans.start.as_slice(), spans.duration.as_slice());
        let (parents, statuses) = (spans.parent_span_id.as_slice(), spans.status.as_slice());
        let (mut start, mut end) = (None, 0u64);
        let (mut root_service, mut root_name) = (0, 0);
        // Of several roots, the last one in the order of identities, so that neither the order of arrival nor a merge
        // makes a difference.
        let mut root = None;
        self.services.clear();
        let mut order = layout.order[layout.spans_of(trace)].iter();
        for resource in layout.resources_of(trace) {
            let service = resources.service_name(resource.canonical);
            let mut errors = 0;
            for &row in order.by_ref().take(resource.spans as usize) {
                let row = row as usize;
                let span_start = starts[row];
                if span_start != 0 {
                    start = Some(start.map_or(span_start, |start: u64| start.min(span_start)));
                }
                end = end.max(span_start.wrapping_add(durations[row]));
                errors += u32::from(statuses[row] == STATUS_ERROR);
                if parents[row].is_zero()
                    && !reference.is_child(batch, row, trace)
                    && root.is_none_or(|root| batch.span_identity(root) < batch.span_identity(row))
                {
                    root = Some(row);
                    (root_service, root_name) = (service, spans.name[row]);
                }
            }
            self.services.push((service, resource.spans, errors));
        }
        let start = start.unwrap_or(0);
        self.start.push(start as i64);
        self.end.push(end as i64);
        self.duration.push(end.wrapping_sub(start) as i64);
        self.root_service.push(root_service);
        self.root_name.push(root_name);
        self.add_services(batch);
    }

    fn add_services(&mut self, batch: &SpanBatch) {
        let services = &mut self.services;
        services.sort_unstable_by_key(|&(service, ..)| service);
        services.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
                kept.2 += next.2;
            }
            same
        });
        let name = |code| batch.strings.get(code);
        services.sort_unstable_by(|a, b| name(a.0).cmp(name(b.0)));
        self.service_counts.push(services.len() as u32);
        for &(service, spans, errors) in services.iter() {
            self.service_names.push(service);
            self.service_spans.push(i64::from(spans as i32));
            self.service_errors.push(i64::from(errors as i32));
        }
    }
}

/// Finds spans without a parent id that name their parent in a link.
struct ReferenceType {
    key: Option<StringCode>,
}

impl ReferenceType {
    fn new(batch: &SpanBatch) -> Self {
        let has_link_attributes = !batch.links.attributes.is_empty();
        Self { key: has_link_attributes.then(|| batch.strings.find(REFERENCE_TYPE)).flatten() }
    }

    fn is_child(&self, batch: &SpanBatch, row: usize, trace: usize) -> bool {
        let Some(key) = self.key else { return false };
        batch.links.range(row).any(|link| {
            batch.links.trace_id[link] == batch.traces.ids[trace]
                && batch
                    .links
                    .attributes
                    .find_string(link, key)
                    .is_some_and(|value| batch.strings.get(value) == CHILD_OF)
        })
    }
}
