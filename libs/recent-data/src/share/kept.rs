//! The traces that tail sampling kept of origins from which it dropped others.
//!
//! Ingesters decide alone, and may decide differently: about a trace whose error arrived just at the end of its waiting
//! time, or of which one ingester lacks spans. So that the traces that any of them kept are counted, each ingester
//! names those that it kept of such an origin, and the first one that has a trace counts it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tactus_model::{OriginSet, TraceId, fnv1a_32};
use tactus_proto::tactus::v1::{Holder, KeptTraces};

use super::rank;
use crate::recent_view::RecentView;

/// Traces of origins that an ingester names to a query: 4 MiB. Beyond, none are named, and the answer is
/// partial.
const MAX_KEPT_TRACES: usize = 1 << 20;

/// A number for a trace, the same for all processes and releases. Traces of one push hardly ever share one.
pub(crate) fn trace_mark(TraceId(id): TraceId) -> u32 {
    fnv1a_32(&id)
}

/// The traces that are left of these origins; `None` if they are too many.
pub(crate) fn kept_traces(view: &RecentView, thinned: &OriginSet) -> Option<Vec<KeptTraces>> {
    let mut kept: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let (mut count, mut last) = (0, (0, false));
    view.for_each_batch(|_, batch| {
        if count > MAX_KEPT_TRACES {
            return;
        }
        for (&origin, &trace) in batch.spans.origin.iter().zip(batch.spans.trace.iter()) {
            if origin != last.0 {
                last = (origin, thinned.contains(origin));
            }
            if last.1 {
                let mark = trace_mark(batch.traces.ids[trace as usize]);
                count += usize::from(kept.entry(origin).or_default().insert(mark));
            }
        }
    });
    let message = |(origin, traces): (u64, BTreeSet<u32>)| KeptTraces {
        origin,
        traces: traces.into_iter().collect(),
    };
    (count <= MAX_KEPT_TRACES).then(|| kept.into_iter().map(message).collect())
}

/// The traces of origins that ingesters differ about and that others count.
#[derive(Debug, Default)]
pub(super) struct Differing {
    /// All that any ingester names.
    pub(super) origins: OriginSet,
    counted_elsewhere: HashMap<u64, HashSet<u32>>,
}

impl Differing {
    /// The view of the ingester `own_id`. `ahead`: whether another ingester comes before it for a stream.
    pub(super) fn of(holders: &[Holder], own_id: &str) -> Self {
        let mut differing = Self::default();
        let named = holders.iter().flat_map(|holder| &holder.kept);
        differing.origins = named.map(|kept| kept.origin).collect();
        for holder in holders.iter().filter(|holder| holder.ingester_id != own_id) {
            for kept in &holder.kept {
                let stream = tactus_model::origin_stream(kept.origin);
                if rank(stream, &holder.ingester_id) < rank(stream, own_id) {
                    let traces = differing.counted_elsewhere.entry(kept.origin).or_default();
                    traces.extend(&kept.traces);
                }
            }
        }
        differing
    }

    /// Leaves these: an ingester that has an origin as a whole counts all of it.
    pub(super) fn keep(&mut self, origins: &OriginSet) {
        self.counted_elsewhere.retain(|&origin, _| origins.contains(origin));
    }

    /// True if another ingester counts some traces of an origin.
    pub(super) fn splits(&self, origin: u64) -> bool {
        self.counted_elsewhere.contains_key(&origin)
    }

    pub(super) fn is_counted_elsewhere(&self, origin: u64, trace: TraceId) -> bool {
        let traces = self.counted_elsewhere.get(&origin);
        traces.is_some_and(|traces| traces.contains(&trace_mark(trace)))
    }
}
