//! Counts spans of which other ingesters and blocks have copies.
//!
//! Origins decide which spans are counted here. If a client sends a span again, that copy has another origin, so copies
//! in several places are compared. (If one cut merged copies, the highest origin is left.)

use std::collections::{HashMap, HashSet};

use tactus_api::job::MetricsJob;
use tactus_model::{SpanBatch, SpanKey, TraceId};
use tactus_traceql::{
    eval::Bitmap,
    metrics::{MetricsCollector, MetricsError},
};
use tactus_work::{Held, is_over};

use super::{count_scattered, count_whole_traces, stored::Stored};
use crate::{
    recent_view::{Gathered, ID_BYTES, Place, RecentView, Scattered},
    segment::OpenSegment,
    share::{Part, Share, Weight, none_origin},
};

/// Counts this ingester's share of the spans.
pub(super) fn count(
    job: &MetricsJob,
    view: &RecentView,
    scattered: &Scattered,
    share: &Share,
    stored: &Stored,
    collector: &mut MetricsCollector,
) -> Result<(), MetricsError> {
    let counting = Counting { job, view, scattered, share, stored };
    let split = counting.split_traces();
    if job.query.reads_whole_trace() {
        let part_of = |place, batch: &SpanBatch| counting.part_of(place, batch);
        count_whole_traces(job, view, scattered, stored, collector, part_of)?;
        let gather = |wanted: &HashSet<_>| {
            let (batch, rows) = counting.gather(wanted);
            (batch, Some(rows))
        };
        let wants = move |id: &TraceId| split.contains(id);
        count_scattered(job, (view, scattered), stored, collector, wants, gather)
    } else {
        let winners = counting.winners(&split);
        counting.count_spans(&split, winners, collector)
    }
}

struct Counting<'a> {
    job: &'a MetricsJob,
    view: &'a RecentView,
    scattered: &'a Scattered,
    share: &'a Share,
    stored: &'a Stored,
}

impl Counting<'_> {
    fn part_of(&self, place: Place, batch: &SpanBatch) -> Part {
        match place {
            Place::Head => self.share.of_batch(batch),
            Place::Segment(number) => {
                let of_segment = |it: &OpenSegment| self.share.of_segment(it, batch);
                self.view.segments.get(number).map_or(Part::None, of_segment)
            }
        }
    }

    /// Traces that are in several places and have spans to count.
    fn split_traces(&self) -> HashSet<TraceId> {
        let mut split = HashSet::new();
        self.view.for_each_batch(|place, batch| {
            if is_over() || !self.scattered.touches(place) {
                return;
            }
            let ids = &batch.traces.ids;
            match self.part_of(place, batch) {
                Part::None => {}
                Part::All => split.extend(self.scattered_of(ids.iter())),
                Part::Some(rows) => {
                    let traces = rows.rows().map(|row| &ids[batch.spans.trace[row] as usize]);
                    split.extend(self.scattered_of(traces));
                }
            }
        });
        split
    }

    fn scattered_of<'i>(
        &self,
        ids: impl Iterator<Item = &'i TraceId>,
    ) -> impl Iterator<Item = TraceId> {
        ids.copied().filter(|&id| self.scattered.contains(id))
    }

    /// For each span of these traces, the weight of the copy that counts.
    fn winners(&self, split: &HashSet<TraceId>) -> (HashMap<SpanKey, Weight>, Held) {
        let (mut winners, mut held) = (HashMap::new(), Held::default());
        self.view.for_each_batch(|place, batch| {
            if is_over() || !self.scattered.touches(place) {
                return;
            }
            let is_split: Vec<bool> =
                batch.traces.ids.iter().map(|id| split.contains(id)).collect();
            if !is_split.contains(&true) {
                return;
            }
            // A full table is replaced by one of twice the size.
            if !held.grow_to((winners.len() + batch.len()) * 2 * ID_BYTES) {
                return;
            }
            let origins = Origins::of(self, place, batch);
            let mut last = (0, self.share.weight(0));
            for row in 0..batch.len() {
                if !is_split[batch.spans.trace[row] as usize] {
                    continue;
                }
                let origin = origins.of_row(row);
                if origin != last.0 {
                    last = (origin, self.share.weight(origin));
                }
                if let Some(weight) = last.1 {
                    let winner = winners.entry(batch.span_key(row)).or_insert(weight);
                    *winner = weight.max(*winner);
                }
            }
        });
        held.shrink_to(winners.len() * 2 * ID_BYTES);
        (winners, held)
    }

    /// Counts single spans. Of several copies, only the winning one counts.
    fn count_spans(
        &self,
        split: &HashSet<TraceId>,
        (mut winners, _held): (HashMap<SpanKey, Weight>, Held),
        collector: &mut MetricsCollector,
    ) -> Result<(), MetricsError> {
        let mut result = Ok(());
        self.view.for_each_batch(|place, batch| {
            if result.is_err() || is_over() {
                return;
            }
            let part = self.part_of(place, batch);
            if part == Part::None {
                return;
            }
            let is_split: Vec<bool> = match self.scattered.touches(place) {
                true => batch.traces.ids.iter().map(|id| split.contains(id)).collect(),
                false => Vec::new(),
            };
            if !is_split.contains(&true) {
                result = self.stored.observe(collector, &self.job.query, batch, part.rows());
                return;
            }
            let origins = Origins::of(self, place, batch);
            let rows = Bitmap::from_fn(batch.len(), |row| {
                if !part.contains(row) {
                    return false;
                }
                if !is_split[batch.spans.trace[row] as usize] {
                    return true;
                }
                let (key, weight) = (batch.span_key(row), self.share.weight(origins.of_row(row)));
                // The entry is removed, so that a copy with the same origin does not count again.
                winners.get(&key).copied() == weight && winners.remove(&key).is_some()
            });
            result = self.stored.observe(collector, &self.job.query, batch, Some(&rows));
        });
        result
    }

    /// All spans of these traces, each once, and which of them count.
    fn gather(&self, wanted: &HashSet<TraceId>) -> (Gathered, Bitmap) {
        let (mut parts, held) = self.view.fragments(wanted);
        let mut weights: HashMap<u64, Option<Weight>> = HashMap::new();
        let mut last = None;
        for (block, part) in &mut parts {
            let none = none_origin(*block);
            let spans = part.len();
            let origins = part.spans.origin.make_mut();
            origins.resize(spans, 0);
            for origin in origins {
                *origin = self.share.origin(*origin, none);
                if last != Some(*origin) {
                    last = Some(*origin);
                    weights.entry(*origin).or_insert_with_key(|&it| self.share.weight(it));
                }
            }
        }
        // The merge keeps the copy with the highest number, so copies are numbered in the order of their weights.
        let mut order: Vec<(Option<Weight>, u64)> =
            weights.into_iter().map(|(origin, weight)| (weight, origin)).collect();
        order.sort_unstable();
        let origin_of = |place: usize| {
            let (weight, origin) = *order.get(place)?;
            weight.map(|_| origin)
        };
        let places: HashMap<u64, u64> = order.iter().map(|it| it.1).zip(0..).collect();
        for (_, part) in &mut parts {
            let origins = part.spans.origin.make_mut().iter_mut();
            origins.for_each(|origin| *origin = places.get(origin).copied().unwrap_or(0));
        }
        let parts: Vec<_> = parts.iter().map(|(_, part)| part).collect();
        let batch = Gathered::of(&parts, held);
        let place = |row: usize| batch.spans.origin.get(row).map_or(0, |&place| place as usize);
        let rows = Bitmap::from_fn(batch.len(), |row| {
            let trace = batch.traces.ids[batch.spans.trace[row] as usize];
            origin_of(place(row)).is_some_and(|origin| self.share.counts(origin, trace))
        });
        (batch, rows)
    }
}

/// The origins that a batch's spans count with.
struct Origins<'b> {
    share: &'b Share,
    column: &'b [u64],
    /// The origin of the block that these spans become.
    of_block: u64,
}

impl<'b> Origins<'b> {
    fn of(counting: &'b Counting<'_>, place: Place, batch: &'b SpanBatch) -> Self {
        let of_block = match place {
            Place::Head => 0,
            Place::Segment(number) => {
                none_origin(counting.view.segments.get(number).and_then(|segment| segment.block()))
            }
        };
        Self { share: counting.share, column: &batch.spans.origin, of_block }
    }

    fn of_row(&self, row: usize) -> u64 {
        self.share.origin(self.column.get(row).copied().unwrap_or(0), self.of_block)
    }
}
