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

use super::{TRACES_PER_ROUND, stored::Stored};
use crate::{
    recent_view::{Gathered, ID_BYTES, Place, RecentView, Rounds, Scattered},
    segment::OpenSegment,
    share::{Part, Share, none_origin},
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
    let torn = counting.torn();
    if job.query.reads_whole_trace() {
        counting.count_whole(collector)?;
        counting.count_torn(torn, collector)
    } else {
        let winners = counting.winners(&torn);
        counting.count_spans(&torn, winners, collector)
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
    fn torn(&self) -> HashSet<TraceId> {
        let mut torn = HashSet::new();
        self.view.for_each_batch(|place, batch| {
            if is_over() || !self.scattered.touches(place) {
                return;
            }
            let ids = &batch.traces.ids;
            match self.part_of(place, batch) {
                Part::None => {}
                Part::All => torn.extend(self.scattered_of(ids.iter())),
                Part::Some(rows) => {
                    let traces = rows.rows().map(|row| &ids[batch.spans.trace[row] as usize]);
                    torn.extend(self.scattered_of(traces));
                }
            }
        });
        torn
    }

    fn scattered_of<'i>(
        &self,
        ids: impl Iterator<Item = &'i TraceId>,
    ) -> impl Iterator<Item = TraceId> {
        ids.copied().filter(|&id| self.scattered.contains(id))
    }

    /// For each span of these traces, the weight of the copy that counts.
    fn winners(&self, torn: &HashSet<TraceId>) -> (HashMap<SpanKey, u64>, Held) {
        let (mut winners, mut held) = (HashMap::new(), Held::default());
        self.view.for_each_batch(|place, batch| {
            if is_over() || !self.scattered.touches(place) {
                return;
            }
            let is_torn: Vec<bool> = batch.traces.ids.iter().map(|id| torn.contains(id)).collect();
            if !is_torn.contains(&true) {
                return;
            }
            // A full table is replaced by one of twice the size.
            if !held.grow_to((winners.len() + batch.len()) * 2 * ID_BYTES) {
                return;
            }
            let origins = Origins::of(self, place, batch);
            let mut last = (0, self.share.weight(0));
            for row in 0..batch.len() {
                if !is_torn[batch.spans.trace[row] as usize] {
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
        torn: &HashSet<TraceId>,
        (mut winners, _held): (HashMap<SpanKey, u64>, Held),
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
            let is_torn: Vec<bool> = match self.scattered.touches(place) {
                true => batch.traces.ids.iter().map(|id| torn.contains(id)).collect(),
                false => Vec::new(),
            };
            if !is_torn.contains(&true) {
                result = self.stored.observe(collector, &self.job.query, batch, part.rows());
                return;
            }
            let origins = Origins::of(self, place, batch);
            let rows = Bitmap::from_fn(batch.len(), |row| {
                if !part.contains(row) {
                    return false;
                }
                if !is_torn[batch.spans.trace[row] as usize] {
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

    /// Counts the traces that are complete in one segment.
    fn count_whole(&self, collector: &mut MetricsCollector) -> Result<(), MetricsError> {
        for (number, segment) in self.view.segments.iter().enumerate() {
            if is_over() {
                break;
            }
            let batch = &segment.batch();
            let part = self.part_of(Place::Segment(number), batch);
            if part == Part::None {
                continue;
            }
            let mut rows =
                self.scattered.alone_in(number, batch).map(|it| it.gather(&batch.spans.trace));
            match (&mut rows, &part) {
                (Some(rows), Part::Some(part)) => rows.intersect(part),
                (None, Part::Some(part)) => rows = Some(part.clone()),
                _ => {}
            }
            self.stored.observe(collector, &self.job.query, batch, rows.as_ref())?;
        }
        Ok(())
    }

    /// Counts spans of traces that are in several places. Each trace is put together first.
    fn count_torn(
        &self,
        torn: HashSet<TraceId>,
        collector: &mut MetricsCollector,
    ) -> Result<(), MetricsError> {
        let mut candidates = HashSet::new();
        self.view.for_each_batch(|place, batch| {
            if !is_over() && self.scattered.touches(place) {
                let found = self.job.query.find_candidates(batch).into_iter();
                candidates.extend(found.filter(|id| torn.contains(id)));
            }
        });
        drop(torn);
        let candidates: Vec<_> = candidates.into_iter().collect();
        let mut rounds = Rounds::of(&candidates, TRACES_PER_ROUND);
        while let Some(round) = rounds.next() {
            if is_over() {
                break;
            }
            let wanted = round.iter().copied().collect();
            let (batch, rows) = self.gather(&wanted);
            rounds.took(&batch);
            if !rows.is_empty() {
                self.stored.observe(collector, &self.job.query, &batch, Some(&rows))?;
            }
        }
        Ok(())
    }

    /// All spans of these traces, each once, and which of them count.
    fn gather(&self, wanted: &HashSet<TraceId>) -> (Gathered, Bitmap) {
        let (mut parts, held) = self.view.fragments(wanted);
        let mut weights: HashMap<u64, Option<u64>> = HashMap::new();
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
        let mut order: Vec<(Option<u64>, u64)> =
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
