//! Finds the traces that are in several places, so that a query has to gather them.

use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher as _,
};

use foldhash::fast::RandomState;
use tactus_model::{SpanBatch, TraceId};
use tactus_traceql::eval::Bitmap;
use tactus_work::Held;

use super::{ID_BYTES, Place, RecentView, split::Split};
use crate::segment::OpenSegment;

type Ids = HashSet<TraceId, RandomState>;

/// Bits of a filter for each id. One of 16 other ids is mistaken for one in the set.
const BITS_PER_ID: usize = 16;

/// The traces that a query must gather: all except those in a single segment or in a single stored block.
#[derive(Debug, Default)]
pub(crate) struct Scattered {
    traces: Ids,
    /// Which segments hold any of them.
    segments: Vec<bool>,
    /// The scattered traces of each stored segment.
    stored: Vec<Vec<TraceId>>,
    _held: Held,
}

/// The place of a segment in a view.
#[derive(Debug, Clone, Copy)]
enum Stand {
    Segment(usize),
    Stored(usize),
}

impl RecentView {
    /// Finds the traces that are in several places, or are live.
    pub(crate) fn scattered(&self) -> Scattered {
        let (split, mut held) = self.split.of(self.segments.iter().chain(&self.stored));
        let live_ids = self.live_batches().map(|batch| batch.traces.ids.len()).sum::<usize>();
        let split_bytes = split.len() * (size_of::<Split>() + ID_BYTES / 2);
        let has_room = held.grow_to(split_bytes + live_ids * ID_BYTES);
        let live = self.live_batches().filter(|_| has_room);
        let live: Ids = live.flat_map(|batch| batch.traces.ids.iter().copied()).collect();
        let (segments, stored) = self.segments_with(&live);
        let mut scattered = Scattered { traces: live, segments, stored, _held: held };
        let stands = self.stands();
        for run in split.chunk_by(|one, other| one.0 == other.0) {
            let stands: Vec<Stand> =
                run.iter().filter_map(|(_, number)| stands.get(number).copied()).collect();
            if self.is_split(&stands) {
                scattered.add(run[0].0, &stands);
            }
        }
        for found in &mut scattered.stored {
            found.sort_unstable();
            found.dedup();
        }
        scattered
    }

    /// Which segments hold any of these traces, and which of these traces each stored segment holds.
    fn segments_with(&self, ids: &Ids) -> (Vec<bool>, Vec<Vec<TraceId>>) {
        if ids.is_empty() {
            return (vec![false; self.segments.len()], vec![Vec::new(); self.stored.len()]);
        }
        let filter = Filter::of(ids);
        let is_among = |id: &TraceId| filter.may_hold(ids, id) && ids.contains(id);
        let has_some = |segment: &OpenSegment| segment.batch().traces.ids.iter().any(is_among);
        let some_of = |segment: &OpenSegment| -> Vec<TraceId> {
            segment.batch().traces.ids.iter().copied().filter(is_among).collect()
        };
        let segments = self.segments.iter().map(has_some).collect();
        (segments, self.stored.iter().map(some_of).collect())
    }

    /// Where each segment stands, by its number.
    fn stands(&self) -> HashMap<u64, Stand> {
        let segments = self.segments.iter().enumerate();
        let segments = segments.map(|(at, it)| (it.number(), Stand::Segment(at)));
        let stored = self.stored.iter().enumerate();
        segments.chain(stored.map(|(at, it)| (it.number(), Stand::Stored(at)))).collect()
    }

    /// True if a trace with spans in these segments is complete neither in one of them nor in one stored block.
    fn is_split(&self, stands: &[Stand]) -> bool {
        let mut segments = 0;
        let mut blocks = Vec::new();
        for stand in stands {
            match *stand {
                Stand::Segment(_) => segments += 1,
                Stand::Stored(number) => blocks.push(self.stored[number].block()),
            }
        }
        blocks.sort_unstable();
        blocks.dedup();
        segments + blocks.len() > 1
    }
}

impl Scattered {
    fn add(&mut self, trace: TraceId, stands: &[Stand]) {
        self.traces.insert(trace);
        for stand in stands {
            match *stand {
                Stand::Segment(number) => self.segments[number] = true,
                Stand::Stored(number) => self.stored[number].push(trace),
            }
        }
    }

    /// All of them, in order.
    pub(crate) fn ids(&self) -> Vec<TraceId> {
        let mut ids: Vec<TraceId> = self.traces.iter().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn count(&self) -> usize {
        self.traces.len()
    }

    pub(crate) fn contains(&self, trace: TraceId) -> bool {
        self.traces.contains(&trace)
    }

    /// Scattered traces of a stored segment.
    pub(crate) fn of_stored(&self, number: usize) -> &[TraceId] {
        self.stored.get(number).map_or(&[], Vec::as_slice)
    }

    /// True if a batch may hold a scattered trace.
    pub(crate) fn touches(&self, place: Place) -> bool {
        match place {
            Place::Head => true,
            Place::Segment(number) => self.segments.get(number).copied().unwrap_or(true),
        }
    }

    /// The traces of a segment that are nowhere else, as rows of its trace table; `None` if that is all of them.
    pub(crate) fn alone_in(&self, number: usize, batch: &SpanBatch) -> Option<Bitmap> {
        let ids = &batch.traces.ids;
        self.touches(Place::Segment(number))
            .then(|| Bitmap::from_fn(ids.len(), |trace| !self.contains(ids[trace])))
    }
}

/// One bit for each of a set of ids, so that most other ids need not be looked up. Small enough for the processor's
/// cache.
struct Filter {
    bits: Vec<u64>,
    mask: u64,
}

impl Filter {
    fn of(ids: &Ids) -> Self {
        let bits = (ids.len() * BITS_PER_ID).next_power_of_two().max(64);
        let mut filter = Self { bits: vec![0; bits / 64], mask: bits as u64 - 1 };
        for id in ids {
            let bit = ids.hasher().hash_one(id) & filter.mask;
            filter.bits[bit as usize / 64] |= 1 << (bit % 64);
        }
        filter
    }

    fn may_hold(&self, ids: &Ids, id: &TraceId) -> bool {
        let bit = ids.hasher().hash_one(id) & self.mask;
        self.bits[bit as usize / 64] & (1 << (bit % 64)) != 0
    }
}
