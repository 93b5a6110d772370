//! The spans of a tenant at one moment.
//!
//! The spans of a trace are scattered: every push and every cut may have some. A trace that is in only one segment is
//! complete there, and its spans are distinct. In a large backlog most traces are like that. All others are gathered
//! first.

use std::{collections::HashSet, ops::Deref, sync::Arc};

use tactus_model::{
    OriginSet, SpanBatch, TraceId,
    merge::{gather_traces, merge},
};
use tactus_storage::{Uuid, meta::block_origin};
use tactus_work::Held;

use crate::{head::HeadSnapshot, origins::HeldOrigins, segment::OpenSegment};
pub(crate) use scattered::Scattered;
pub(crate) use split::SplitTraces;

mod scattered;
mod split;

pub(crate) mod part;

/// Up to this many traces are copied out of a segment one by one, without reading the rest of it.
pub(crate) const FEW_TRACES: usize = 16;
/// This many ids of a segment can be compared in the time of one search among them.
const SEARCHES_PER_SCAN: usize = 16;
/// Bytes of an entry with a trace or span id in a set or map.
pub(crate) const ID_BYTES: usize = 48;
/// Spans that are gathered at a time take about this many bytes, unless a single trace has more.
const ROUND_BYTES: usize = 16 << 20;

/// Live spans, segments and released blocks at one moment.
#[derive(Debug, Default)]
pub(crate) struct RecentView {
    /// A chunk that was being closed at this moment may be there twice.
    pub(crate) live: Vec<HeadSnapshot>,
    pub(crate) segments: Vec<OpenSegment>,
    /// Segments whose block the query reads. They are used only for traces that are not complete there.
    pub(crate) stored: Vec<OpenSegment>,
    pub(crate) split: Arc<SplitTraces>,
    /// Blocks whose spans were here until recently.
    pub(crate) released: Vec<Uuid>,
}

/// The place of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Live.
    Head,
    /// The number of the segment.
    Segment(usize),
}

/// Spans that were copied together, and their memory.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) batch: SpanBatch,
    _held: Held,
}

impl Gathered {
    /// Joins what [`RecentView::fragments`] found.
    pub(crate) fn of(parts: &[&SpanBatch], mut held: Held) -> Self {
        let batch = merge(parts).0;
        held.shrink_to(2 * batch.heap_bytes());
        Self { batch, _held: held }
    }
}

impl Deref for Gathered {
    type Target = SpanBatch;

    fn deref(&self) -> &SpanBatch {
        &self.batch
    }
}

/// Divides traces into rounds that are gathered at a time. The larger the traces, the fewer are in a round.
#[derive(Debug)]
pub(crate) struct Rounds<'t, T> {
    left: &'t [T],
    size: usize,
    most: usize,
}

impl<'t, T> Rounds<'t, T> {
    /// Rounds of `most` traces at most.
    pub(crate) fn of(traces: &'t [T], most: usize) -> Self {
        Self { left: traces, size: most, most }
    }

    /// The traces of the next round; `None` if all are done.
    pub(crate) fn next(&mut self) -> Option<&'t [T]> {
        let (round, left) = self.left.split_at(self.size.min(self.left.len()));
        self.left = left;
        (!round.is_empty()).then_some(round)
    }

    /// Adapts the size of the next round to the memory that the last one took.
    pub(crate) fn took(&mut self, batch: &SpanBatch) {
        let bytes = batch.heap_bytes();
        if bytes > ROUND_BYTES {
            self.size = (self.size / (bytes / ROUND_BYTES + 1)).max(1);
        } else if bytes < ROUND_BYTES / 4 {
            self.size = self.size.saturating_mul(2).min(self.most);
        }
    }
}

impl RecentView {
    /// Moves segments that became one of these blocks, which the query reads, to `stored`.
    ///
    /// They are still needed, because a trace may have spans both in such a block and elsewhere.
    pub(crate) fn without_stored(mut self, blocks: &HashSet<Uuid>) -> Self {
        if !blocks.is_empty() {
            let is_stored = |it: &OpenSegment| it.block().is_some_and(|id| blocks.contains(&id));
            (self.stored, self.segments) = self.segments.into_iter().partition(is_stored);
        }
        self
    }

    /// Leaves segments out that became one of these blocks, to whose spans those of the rest are added.
    pub(crate) fn besides_stored(self, blocks: &HashSet<Uuid>) -> Self {
        Self { stored: Vec::new(), ..self.without_stored(blocks) }
    }

    /// The batches of live spans.
    pub(crate) fn live_batches(&self) -> impl Iterator<Item = &SpanBatch> {
        self.live.iter().flat_map(|head| &head.batches).map(|batch| &**batch)
    }

    /// Shows every batch.
    pub(crate) fn for_each_batch(&self, mut read: impl FnMut(Place, &SpanBatch)) {
        self.live_batches().for_each(|batch| read(Place::Head, batch));
        for (number, segment) in self.segments.iter().enumerate() {
            read(Place::Segment(number), &segment.batch());
        }
    }

    /// The origins of all spans. Spans without one that become a block have that of the block.
    pub(crate) fn origins(&self) -> HeldOrigins {
        let mut held = HeldOrigins::default();
        self.live.iter().for_each(|head| held.unite(&head.origins()));
        let mut ranges = Vec::new();
        for segment in &self.segments {
            let origins = segment.origins();
            ranges.extend_from_slice(origins.complete.ranges());
            held.incomplete.unite(&origins.incomplete);
            held.thinned.unite(&origins.thinned);
            if let Some(block) = segment.block().filter(|_| origins.has_none) {
                let origin = block_origin(block);
                ranges.push((origin, origin));
            }
        }
        held.complete.unite(&OriginSet::from_ranges(ranges));
        held
    }

    /// True if other ingesters may have some of the spans, too: they came with an origin.
    pub(crate) fn has_copies(&self) -> bool {
        self.live.iter().any(|head| !head.origins().all().is_empty())
            || self.segments.iter().any(|segment| !segment.origins().all().is_empty())
    }

    /// All spans of these traces, each once.
    pub(crate) fn gather(&self, wanted: &HashSet<TraceId>) -> Gathered {
        let (parts, held) = self.fragments(wanted);
        Gathered::of(&parts.iter().map(|(_, part)| part).collect::<Vec<_>>(), held)
    }

    /// The spans of these traces from each place, and the block that the segment's spans become. Their memory is
    /// counted twice, because they will be merged.
    pub(crate) fn fragments(
        &self,
        wanted: &HashSet<TraceId>,
    ) -> (Vec<(Option<Uuid>, SpanBatch)>, Held) {
        let (mut held, mut bytes) = (Held::default(), 0);
        let mut has_room = |part: &SpanBatch| {
            bytes += 2 * part.heap_bytes();
            held.grow_to(bytes)
        };
        let mut parts = Vec::new();
        for batch in self.live_batches() {
            let part = gather_traces(&[batch], |id| wanted.contains(&id));
            if !has_room(&part) {
                return (Vec::new(), held);
            }
            parts.push((None, part));
        }
        for segment in self.segments.iter().chain(&self.stored) {
            let (block, batch) = (segment.block(), segment.batch());
            let before = parts.len();
            let mut found = Vec::new();
            add_common(&mut found, wanted, &batch.traces.ids);
            if found.len() <= FEW_TRACES {
                let slice = |trace| (block, segment.slice(&batch, trace, trace));
                parts.extend(found.into_iter().map(slice));
            } else {
                parts.push((block, gather_traces(&[&batch], |id| wanted.contains(&id))));
            }
            if !parts[before..].iter().all(|(_, part)| has_room(part)) {
                return (Vec::new(), held);
            }
        }
        (parts, held)
    }
}

/// Adds those of `wanted` that are in this sorted list of ids.
fn add_common(found: &mut Vec<TraceId>, wanted: &HashSet<TraceId>, ids: &[TraceId]) {
    if wanted.len() < ids.len() / SEARCHES_PER_SCAN {
        found.extend(wanted.iter().filter(|id| ids.binary_search(id).is_ok()));
    } else {
        found.extend(ids.iter().filter(|id| wanted.contains(id)));
    }
}
