//! Which traces of an origin are kept, if tail sampling dropped others of the same origin.
//!
//! Ingesters decide independently, and may decide differently: about a trace with an error that arrived just at the end
//! of its waiting time, or about one of which an ingester lacks spans. A trace that any of them kept must be counted.
//! So each ingester names the traces of such an origin that it kept, and the first ingester that has a trace counts it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tactus_model::{OriginSet, TraceId, fnv1a_32};
use tactus_proto::tactus::v1::{Holder, KeptTraces};
use tactus_work::tick;

use super::rank;
use crate::recent_view::RecentView;

/// Most traces of such origins that an ingester names to a query: 4 MiB. If there are more, none are named, and the
/// answer is partial.
const MAX_KEPT_TRACES: usize = 1 << 20;

/// A number for a trace, the same in all processes and releases. Traces of one push rarely share a number.
pub(crate) fn trace_mark(TraceId(id): TraceId) -> u32 {
    fnv1a_32(&id)
}

/// The traces that are left of these origins; `None` if there are too many.
pub(crate) fn kept_traces(view: &RecentView, thinned: &OriginSet) -> Option<Vec<KeptTraces>> {
    let mut kept: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let mut count = 0;
    view.for_each_batch(|_, batch| {
        let (mut last, mut is_thinned) = (None, false);
        for (&origin, &trace) in batch.spans.origin.iter().zip(batch.spans.trace.iter()) {
            if count > MAX_KEPT_TRACES || tick(1) {
                return;
            }
            let before = last.replace((origin, trace));
            if before == last {
                continue;
            }
            if before.is_none_or(|(before, _)| before != origin) {
                is_thinned = thinned.contains(origin);
            }
            if is_thinned {
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

/// Traces of origins that ingesters decided differently, and that others count.
#[derive(Debug, Default)]
pub(super) struct Differing {
    /// Every origin that any ingester names.
    pub(super) origins: OriginSet,
    counted_elsewhere: HashMap<u64, HashSet<u32>>,
}

impl Differing {
    /// The view of the ingester `own_id`. `ahead`: true if another ingester comes before it for a stream.
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

    /// Keeps only these origins. The others are complete at some ingester, which counts all of their traces.
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
