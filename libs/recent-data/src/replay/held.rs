//! Tells which frames of the write-ahead log segments hold.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch, SpanId, TenantId, TraceId};
use tactus_wal::Frame;

use crate::{
    clear::part_range, frame, generation::Tenant, head, ingester::Ingester, segment::Segment,
};

/// The spans of the segments that were made of one log part.
///
/// Memory: their ids, of tenants with pushes that have no origin, as where there is one ingester.
pub(super) struct HeldSpans<'a> {
    ingester: &'a Ingester,
    part: u64,
    tenants: HashMap<TenantId, HashSet<(TraceId, SpanId)>>,
}

impl<'a> HeldSpans<'a> {
    pub(super) fn new(ingester: &'a Ingester) -> Self {
        Self { ingester, part: 0, tenants: HashMap::new() }
    }

    /// True if all spans of a frame are in the segments of its log part, or none can be had from it.
    pub(super) fn has(&mut self, frame: &Frame) -> bool {
        let Some((push, refused)) = frame::decode(frame.payload.clone()) else { return true };
        let Ok(id) = TenantId::parse(&push.tenant) else { return true };
        let Some(tenant) = self.ingester.tenant(&id) else { return false };
        let is_known = |origin: u64| tenant.origins.contains(origin);
        if push.runs.iter().all(|run| is_known(run.origin)) {
            return true;
        }
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        if head::append_replayed(&mut builder, &push, &refused, is_known).is_err() {
            return true;
        }
        let batch = builder.finish();
        let held = self.spans_of(frame.position.part.number(), id, &tenant);
        ids(&batch).all(|id| held.contains(&id))
    }

    fn spans_of(
        &mut self,
        part: u64,
        id: TenantId,
        tenant: &Tenant,
    ) -> &HashSet<(TraceId, SpanId)> {
        if self.part != part {
            self.part = part;
            self.tenants.clear();
        }
        self.tenants.entry(id).or_insert_with(|| {
            let is_of_part = |segment: &Arc<Segment>| {
                part_range(segment.path()).is_some_and(|parts| parts.contains(part))
            };
            let segments = tenant.segments().into_iter().filter(is_of_part);
            let mut held = HashSet::new();
            // What the disk does not give now is zeros, which are no ids.
            for batch in segments.filter_map(|segment| segment.open_batch().ok()) {
                held.extend(ids(&batch));
            }
            held
        })
    }
}

fn ids(batch: &SpanBatch) -> impl Iterator<Item = (TraceId, SpanId)> {
    let spans = batch.spans.trace.iter().zip(batch.spans.span_id.iter());
    spans.filter_map(|(&trace, &id)| Some((*batch.traces.ids.get(trace as usize)?, id)))
}
