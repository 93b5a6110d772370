//! Decides which traces of a search this ingester evaluates.
//!
//! Several ingesters have the same spans, and a search asks all of them. The request lists what each of them has, in
//! the same order for all. An ingester leaves out a trace if an earlier one in this order has all of the trace's spans
//! that are here: the earlier one evaluates the trace, with these spans and perhaps more, or leaves it out for the same
//! reason. Spans that a replica missed, because it was down or is behind, are not in its list, so nothing is hidden.
//!
//! Spans are compared by their origins. If another ingester has most of the spans here, as in a ring with as many
//! members as replicas, whole segments are left out without being read. If replicas are scattered over a larger ring,
//! nothing is left out: checking the origin of each span would cost more than evaluating the query.

use std::{borrow::Cow, collections::HashSet};

use tactus_model::{OriginSet, SpanBatch, TraceId};
use tactus_proto::tactus::v1::Holder;

use super::MalformedHolders;
use crate::{origins::HeldOrigins, recent_view::RecentView, segment::OpenSegment};

/// Up to this many traces are checked one by one. If there are more, all are evaluated.
const MAX_TRACES: usize = 16_384;

/// The turns of the ingesters in a search.
#[derive(Debug, PartialEq)]
pub(crate) struct Turns {
    /// What this ingester has, according to the request.
    own: OriginSet,
    /// What the ingesters before it have.
    before: Vec<OriginSet>,
}

impl Turns {
    /// The share of the ingester `own_id`; `None` if every ingester evaluates everything.
    pub(crate) fn of(holders: &[Holder], own_id: &str) -> Result<Option<Self>, MalformedHolders> {
        if holders.is_empty() {
            return Ok(None);
        }
        let mut turns = Self { own: OriginSet::new(), before: Vec::new() };
        let mut is_before = true;
        for holder in holders {
            let set = OriginSet::from_bounds(&holder.complete).ok_or(MalformedHolders)?;
            if holder.ingester_id == own_id {
                turns.own.unite(&set);
                is_before = false;
            } else if is_before {
                turns.before.push(set);
            }
        }
        Ok(Some(turns))
    }

    /// True if everything that others leave to this ingester is still in `held`.
    pub(crate) fn is_there(&self, held: &HeldOrigins) -> bool {
        self.own.is_within(&held.complete.without(&held.thinned))
    }

    /// The traces of which no earlier ingester has all spans; `None` for all traces.
    pub(crate) fn traces(&self, view: &RecentView) -> Option<HashSet<TraceId>> {
        let mut parts: Vec<Part<'_>> = view.live_batches().map(Part::Live).collect();
        parts.extend(view.segments.iter().chain(&view.stored).map(Part::Segment));
        let origins: Vec<Cow<'_, HeldOrigins>> = parts.iter().map(Part::origins).collect();
        let parts = || parts.iter().zip(&origins);
        let covered = |set: &OriginSet| -> usize {
            parts().filter(|(_, held)| is_within(held, set)).map(|(part, _)| part.traces()).sum()
        };
        let all: usize = parts().map(|(part, _)| part.traces()).sum();
        let best = self.before.iter().map(|set| (covered(set), set));
        let (covered, best) = best.max_by_key(|(covered, _)| *covered)?;
        if covered < all - covered {
            return None;
        }
        let mut traces = HashSet::new();
        for (part, _) in parts().filter(|(_, held)| !is_within(held, best)) {
            match part {
                Part::Live(batch) => add_missing(&mut traces, batch, best),
                Part::Segment(segment) => add_missing(&mut traces, &segment.batch(), best),
            }
            if traces.len() > MAX_TRACES {
                return None;
            }
        }
        Some(traces)
    }
}

/// A batch or a segment.
enum Part<'v> {
    Live(&'v SpanBatch),
    Segment(&'v OpenSegment),
}

impl<'v> Part<'v> {
    fn origins(&self) -> Cow<'v, HeldOrigins> {
        match *self {
            Self::Live(batch) => Cow::Owned(HeldOrigins::of([batch], &OriginSet::new())),
            Self::Segment(segment) => Cow::Borrowed(segment.origins()),
        }
    }

    fn traces(&self) -> usize {
        match self {
            Self::Live(batch) => batch.traces.ids.len(),
            Self::Segment(segment) => segment.traces(),
        }
    }
}

/// True if the set has the origins of all spans.
fn is_within(held: &HeldOrigins, set: &OriginSet) -> bool {
    !held.has_none && held.complete.is_within(set) && held.incomplete.is_within(set)
}

/// Adds the traces of a batch with a span that is not in the set.
fn add_missing(traces: &mut HashSet<TraceId>, batch: &SpanBatch, set: &OriginSet) {
    let origins = &batch.spans.origin;
    if origins.is_empty() {
        traces.extend(batch.traces.ids.iter());
        return;
    }
    let mut last = (0, true);
    for (row, &origin) in origins.iter().enumerate() {
        if origin != last.0 {
            last = (origin, origin == 0 || !set.contains(origin));
        }
        if last.1 {
            traces.insert(batch.traces.ids[batch.spans.trace[row] as usize]);
        }
    }
}
