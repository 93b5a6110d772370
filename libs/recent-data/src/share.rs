//! Decides which replicated spans this ingester counts.
//!
//! Several ingesters and blocks have the same spans, and a metrics query asks all of them. The request lists what each
//! of them has, and every ingester decides by itself which spans it counts. A span that is in a block of the query is
//! counted there. Otherwise, of the ingesters that have all spans of an origin, the first one counts them; which
//! ingester is first differs from stream to stream. If all of them dropped traces of an origin, but not the same ones,
//! each remaining trace is counted by the first ingester that has it.

use tactus_model::{OriginSet, SpanBatch, TraceId, fnv1a_64, mix_64, origin_stream};
use tactus_proto::tactus::v1::{Holder, MetricsRequest};
use tactus_storage::Uuid;
use tactus_storage::meta::block_origin;
use tactus_traceql::eval::Bitmap;

use crate::{
    origins::HeldOrigins,
    segment::{OpenSegment, Segment},
};
use kept_traces::Differing;

pub(crate) mod kept_traces;
pub(crate) mod search;

/// Streams are numbered at random, so a range rarely reaches from one into the next.
const MAX_STREAMS_OF_RANGE: u64 = 16;

/// What this ingester has to count for a query.
#[derive(Debug, Default)]
pub(crate) struct Share {
    mine: OriginSet,
    /// Origins in blocks that the query reads.
    stored: OriginSet,
    /// Origins of which blocks have only some traces. What an ingester kept of these counts as well, unless its own
    /// block is read.
    thinned_in_blocks: OriginSet,
    /// Origins of which this ingester had dropped traces when the request was made.
    told_thinned: OriginSet,
    differing: Differing,
    /// The origins that each of the asked ingesters has.
    held: Vec<OriginSet>,
}

/// How strong a copy of a span is against copies with other origins: the number of ingesters that have its origin, and the
/// origin.
pub(crate) type Weight = (usize, u64);

/// Some of the spans of a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    None,
    All,
    Some(Bitmap),
}

/// A request that contradicts itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedHolders;

impl Share {
    /// The share of the ingester `own_id`; `None` if the request is about spans without replicas.
    pub(crate) fn of(
        request: &MetricsRequest,
        own_id: &str,
    ) -> Result<Option<Self>, MalformedHolders> {
        if request.holders.is_empty() {
            return Ok(None);
        }
        let is_sound = |set: &OriginSet| {
            let streams = |range: &(u64, u64)| origin_stream(range.1) - origin_stream(range.0);
            set.ranges().iter().all(|range| streams(range) <= MAX_STREAMS_OF_RANGE)
        };
        let set = |bounds: &[u64]| {
            OriginSet::from_bounds(bounds).filter(is_sound).ok_or(MalformedHolders)
        };
        let (stored, thinned_in_blocks) =
            (set(&request.stored_origins)?, set(&request.thinned_origins)?);
        let differing = Differing::of(&request.holders, own_id);
        let mut share = Self { stored, thinned_in_blocks, differing, ..Self::default() };
        let (mut own, mut others) = (HeldOrigins::default(), Vec::new());
        for Holder { ingester_id, complete, incomplete, thinned, .. } in &request.holders {
            let (complete, incomplete, thinned) = (set(complete)?, set(incomplete)?, set(thinned)?);
            let holder = HeldOrigins { complete, incomplete, thinned, has_none: false };
            share.held.push(holder.all());
            if ingester_id == own_id {
                own.unite(&holder);
            } else {
                others.push((ingester_id.as_str(), holder));
            }
        }
        let ahead = |stream, other: &str| rank(stream, other) < rank(stream, own_id);
        let stored = share.stored.without(&share.thinned_in_blocks);
        // In this order: origins that are complete here; those of which all ingesters dropped the same traces; those of
        // which they dropped different ones; and those that were refused in part.
        let mut whole = own.complete.without(&own.thinned).without(&stored);
        let thinned = own.thinned.without(&stored);
        let mut differing = thinned.intersection(&share.differing.origins);
        let mut same = thinned.without(&differing);
        let mut rest = own.incomplete.without(&stored);
        for (id, holder) in &others {
            let theirs = holder.complete.without(&holder.thinned);
            whole = whole.without(&of_streams(&theirs, |stream| ahead(stream, id)));
            same = same.without(&theirs);
            same = same.without(&of_streams(&holder.thinned, |stream| ahead(stream, id)));
            differing = differing.without(&theirs);
            rest = rest.without(&holder.complete);
            rest = rest.without(&of_streams(&holder.incomplete, |stream| ahead(stream, id)));
        }
        share.differing.keep(&differing);
        share.mine = whole;
        [same, differing, rest].iter().for_each(|set| share.mine.unite(set));
        share.told_thinned = own.thinned;
        Ok(Some(share))
    }

    /// True if everything to be counted is still in `held`, and none of its traces was dropped since the request was
    /// made.
    pub(crate) fn is_there(&self, held: &HeldOrigins) -> bool {
        let newly_thinned = held.thinned.without(&self.told_thinned);
        self.mine.is_within(&held.all()) && !self.mine.intersects(&newly_thinned)
    }

    /// The origin under which a span counts: its own. That of its block if it has none, or if the block is read and may
    /// lack other spans of the push.
    pub(crate) fn origin(&self, of_span: u64, of_block: u64) -> u64 {
        let is_read = || of_block != 0 && self.stored.contains(of_block);
        match of_span {
            0 => of_block,
            _ if self.thinned_in_blocks.contains(of_span) && is_read() => of_block,
            _ => of_span,
        }
    }

    /// True if a span with this origin may be in a block although it is to be counted here.
    pub(crate) fn may_be_stored(&self, origin: u64) -> bool {
        self.thinned_in_blocks.contains(origin)
    }

    /// True if there are such origins.
    pub(crate) fn has_thinned_in_blocks(&self) -> bool {
        !self.thinned_in_blocks.is_empty()
    }

    /// True if a span is to be counted. `origin`: see [`Self::origin`].
    pub(crate) fn counts(&self, origin: u64, trace: TraceId) -> bool {
        self.counts_origin(origin) && !self.differing.is_counted_elsewhere(origin, trace)
    }

    /// True if spans of an origin are to be counted. Spans without an origin count; if they become a block, they have
    /// the origin of the block.
    fn counts_origin(&self, origin: u64) -> bool {
        match origin {
            0 => true,
            _ if is_of_block(origin) => !self.stored.contains(origin),
            _ => self.mine.contains(origin),
        }
    }

    /// The weight of a copy of a span against copies with other origins, which exist if a client sent the span again. The
    /// heaviest counts.
    ///
    /// An ingester that missed one of two pushes counts its copy of the other if it is the first to have that, whatever
    /// others have. So the origin that more ingesters have comes first: whoever would count the other one sees both. If a
    /// block has a copy, none counts here. `None`: nobody counts this copy.
    pub(crate) fn weight(&self, origin: u64) -> Option<Weight> {
        if origin != 0 && self.stored.contains(origin) && !self.may_be_stored(origin) {
            return Some((usize::MAX, u64::MAX));
        }
        if is_of_block(origin) {
            return Some((0, 0));
        }
        match self.held.iter().filter(|held| held.contains(origin)).count() {
            0 => None,
            holders => Some((holders, origin)),
        }
    }

    /// The spans of a live batch that are to be counted.
    pub(crate) fn of_batch(&self, batch: &SpanBatch) -> Part {
        if batch.spans.origin.is_empty() {
            return Part::All;
        }
        self.rows(batch, 0)
    }

    /// True if no span of a segment is to be counted. Does not read its columns.
    pub(crate) fn skips(&self, segment: &Segment) -> bool {
        let origins = segment.origins();
        let counts_none = origins.has_none && self.counts_origin(none_origin(segment.block()));
        !counts_none
            && !origins.complete.intersects(&self.mine)
            && !origins.incomplete.intersects(&self.mine)
    }

    /// The spans of a segment that are to be counted. `batch` are all of its spans.
    pub(crate) fn of_segment(&self, segment: &OpenSegment, batch: &SpanBatch) -> Part {
        if self.skips(segment) {
            return Part::None;
        }
        let none = none_origin(segment.block());
        let origins = segment.origins();
        let counts_none = origins.has_none && self.counts_origin(none);
        let counts_all = (!origins.has_none || counts_none)
            && origins.complete.is_within(&self.mine)
            && origins.incomplete.is_within(&self.mine)
            && !origins.complete.intersects(&self.thinned_in_blocks)
            && !origins.complete.intersects(&self.differing.origins);
        if counts_all || batch.spans.origin.is_empty() {
            return Part::All;
        }
        self.rows(batch, none)
    }

    fn rows(&self, batch: &SpanBatch, none: u64) -> Part {
        let origins = &batch.spans.origin;
        let (mut last, mut counted) = (none, 0);
        let (mut counts, mut origin, mut splits) = (self.counts_origin(none), none, false);
        let rows = Bitmap::from_fn(origins.len(), |row| {
            if origins[row] != last {
                last = origins[row];
                origin = self.origin(last, none);
                (counts, splits) = (self.counts_origin(origin), self.differing.splits(origin));
            }
            let trace = || batch.traces.ids[batch.spans.trace[row] as usize];
            let counts =
                counts && !(splits && self.differing.is_counted_elsewhere(origin, trace()));
            counted += usize::from(counts);
            counts
        });
        match counted {
            0 => Part::None,
            _ if counted == origins.len() => Part::All,
            _ => Part::Some(rows),
        }
    }
}

impl Part {
    /// The rows to be counted; `None` for all. Do not call it if none are.
    pub(crate) fn rows(&self) -> Option<&Bitmap> {
        match self {
            Self::None | Self::All => None,
            Self::Some(rows) => Some(rows),
        }
    }

    pub(crate) fn contains(&self, row: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Some(rows) => rows.contains(row),
        }
    }
}

/// The origin of spans that have none, whether or not they become a block.
pub(crate) fn none_origin(block: Option<Uuid>) -> u64 {
    block.map_or(0, block_origin)
}

/// True for spans without an origin, too.
fn is_of_block(origin: u64) -> bool {
    origin & 0xff_ffff == 0
}

/// The part of a set that belongs to some streams.
fn of_streams(set: &OriginSet, mut is_wanted: impl FnMut(u64) -> bool) -> OriginSet {
    let wanted = set.by_stream().filter(|(stream, _)| is_wanted(*stream));
    OriginSet::from_ranges(wanted.map(|(_, range)| range).collect())
}

/// The rank of an ingester among those that have a stream; the lowest is first. The same in all processes and releases.
fn rank(stream: u64, ingester: &str) -> (u64, &str) {
    let name = fnv1a_64(ingester.as_bytes());
    (mix_64(name ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)), ingester)
}

#[cfg(test)]
mod tests;
