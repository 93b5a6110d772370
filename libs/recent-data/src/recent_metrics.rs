//! Metrics over live spans and segments: each span counts once, wherever and however often it is stored.

use std::collections::HashSet;

use tactus_api::job::MetricsJob;
use tactus_model::{SpanBatch, SpanKey, TraceId};
use tactus_storage::Uuid;
use tactus_traceql::{
    eval::Bitmap,
    metrics::{MetricsCollector, MetricsError, PartialSeries},
};
use tactus_work::{Held, is_over};

use stored::{SharedTraces, Stored};

use crate::{
    recent::inspected_bytes,
    recent_view::{Gathered, ID_BYTES, Place, RecentView, Rounds, Scattered},
    segment::OpenSegment,
    share::{Part, Share},
};

mod shared;
pub(crate) mod stored;

/// How many traces are gathered at a time. Their spans are copied.
const TRACES_PER_ROUND: usize = 2_048;

/// The series of the recent data, and how much was read for them.
#[derive(Debug, Default)]
pub(crate) struct RecentSeries {
    pub(crate) series: Vec<PartialSeries>,
    pub(crate) inspected_bytes: u64,
    pub(crate) inspected_spans: u64,
    pub(crate) matched_spans: u64,
    /// Segments and live batches.
    pub(crate) parts: u32,
    /// Blocks being made of counted spans.
    pub(crate) counted_blocks: Vec<Uuid>,
    /// Blocks whose spans are not here any more.
    pub(crate) released_blocks: Vec<Uuid>,
    /// Traces of counted spans that may be in blocks as well.
    pub(crate) shared: SharedTraces,
    /// Memory of the series.
    pub(crate) held: Vec<Held>,
}

/// Why recent data cannot be counted.
#[derive(Debug)]
pub(crate) enum RecentError {
    Query(MetricsError),
    /// Spans that had to be counted here were released meanwhile, because they are in a block now.
    LetGo,
}

impl From<MetricsError> for RecentError {
    fn from(error: MetricsError) -> Self {
        Self::Query(error)
    }
}

impl RecentView {
    /// Counts the spans of a tenant that no block holds. `share`: which spans are counted here, if others hold them as
    /// well. `stored`: which are not counted because a block has them, too.
    pub(crate) fn metrics_recent(
        self,
        job: &MetricsJob,
        share: Option<&Share>,
        stored: &Stored,
    ) -> Result<RecentSeries, RecentError> {
        let mut result = RecentSeries::default();
        let view = self;
        if share.is_some_and(|share| !share.is_there(&view.origins())) {
            return Err(RecentError::LetGo);
        }
        let mut collector = MetricsCollector::new(&job.query);
        // This is usual when blocks have everything that is still held.
        let has_none = share.is_some_and(|share| {
            view.live_batches().all(SpanBatch::is_empty)
                && view.segments.iter().all(|segment| share.skips(segment))
        });
        if !job.query.is_never() && !has_none {
            let scattered = view.scattered();
            if let Some(share) = share {
                shared::count(job, &view, &scattered, share, stored, &mut collector)?;
            } else if job.query.reads_whole_trace() {
                count_whole_traces(job, &view, &scattered, stored, &mut collector, |_, _| {
                    Part::All
                })?;
                let wants = |id: &TraceId| scattered.contains(*id);
                let gather = |wanted: &HashSet<_>| (view.gather(wanted), None);
                count_scattered(job, (&view, &scattered), stored, &mut collector, wants, gather)?;
            } else {
                count_spans(job, &view, &scattered, stored, &mut collector)?;
            }
        }
        let inspect = |result: &mut RecentSeries, batch: &SpanBatch| {
            result.inspected_bytes += inspected_bytes(batch);
            result.parts += 1;
        };
        view.live_batches().for_each(|batch| inspect(&mut result, batch));
        let is_skipped = |segment: &OpenSegment| share.is_some_and(|share| share.skips(segment));
        for segment in view.segments.iter().filter(|&segment| !is_skipped(segment)) {
            inspect(&mut result, &segment.batch());
        }
        if !job.query.is_never() && !has_none {
            result.shared = stored.shared(&job.query, &view, share);
        }
        result.inspected_spans = collector.inspected_spans();
        result.matched_spans = collector.matched_spans();
        result.held = collector.take_held();
        result.series = collector.finish(&job.query);
        if share.is_some() {
            // Origins already distinguish the spans of blocks from recent data.
            return Ok(result);
        }
        let counted: HashSet<_> = view.segments.iter().filter_map(|it| it.block()).collect();
        result.counted_blocks = counted.into_iter().collect();
        result.released_blocks = view.released;
        Ok(result)
    }
}

/// Counts the traces that are complete in one segment. `part_of`: which spans of a segment are counted here.
fn count_whole_traces(
    job: &MetricsJob,
    view: &RecentView,
    scattered: &Scattered,
    stored: &Stored,
    collector: &mut MetricsCollector,
    part_of: impl Fn(Place, &SpanBatch) -> Part,
) -> Result<(), MetricsError> {
    for (number, segment) in view.segments.iter().enumerate() {
        if is_over() {
            break;
        }
        let batch = &segment.batch();
        let part = part_of(Place::Segment(number), batch);
        if part == Part::None {
            continue;
        }
        let mut rows = scattered.alone_in(number, batch).map(|it| it.gather(&batch.spans.trace));
        match (&mut rows, &part) {
            (Some(rows), Part::Some(part)) => rows.intersect(part),
            (None, Part::Some(part)) => rows = Some(part.clone()),
            _ => {}
        }
        stored.observe(collector, &job.query, batch, rows.as_ref())?;
    }
    Ok(())
}

/// Counts the spans of traces that are in several places. Each trace is put together first. `gather` returns all spans
/// of some traces, and which of them count, unless all do.
fn count_scattered(
    job: &MetricsJob,
    (view, scattered): (&RecentView, &Scattered),
    stored: &Stored,
    collector: &mut MetricsCollector,
    wants: impl Fn(&TraceId) -> bool,
    gather: impl Fn(&HashSet<TraceId>) -> (Gathered, Option<Bitmap>),
) -> Result<(), MetricsError> {
    let mut candidates = HashSet::new();
    view.for_each_batch(|place, batch| {
        if !is_over() && scattered.touches(place) {
            candidates.extend(job.query.find_candidates(batch).into_iter().filter(&wants));
        }
    });
    drop(wants);
    let candidates: Vec<_> = candidates.into_iter().collect();
    let mut rounds = Rounds::of(&candidates, TRACES_PER_ROUND);
    while let Some(round) = rounds.next() {
        if is_over() {
            break;
        }
        let (batch, rows) = gather(&round.iter().copied().collect());
        rounds.took(&batch);
        if rows.as_ref().is_none_or(|rows| !rows.is_empty()) {
            stored.observe(collector, &job.query, &batch, rows.as_ref())?;
        }
    }
    Ok(())
}

/// Counts single spans. If a span is in several places, or was sent twice, the first one found counts.
fn count_spans(
    job: &MetricsJob,
    view: &RecentView,
    scattered: &Scattered,
    stored: &Stored,
    collector: &mut MetricsCollector,
) -> Result<(), MetricsError> {
    let mut seen = SeenSpans::default();
    let mut result = Ok(());
    view.for_each_batch(|place, batch| {
        if result.is_err() || is_over() {
            return;
        }
        let first = match place {
            Place::Head => seen.first_occurrences(batch, |_| true),
            Place::Segment(_) if !scattered.touches(place) => None,
            Place::Segment(_) => seen.first_occurrences(batch, |id| scattered.contains(id)),
        };
        result = stored.observe(collector, &job.query, batch, first.as_ref());
    });
    result
}

/// Spans of scattered traces that were counted.
#[derive(Default)]
struct SeenSpans {
    keys: HashSet<SpanKey, foldhash::fast::RandomState>,
    held: Held,
}

impl SeenSpans {
    /// The spans that were not seen before; `None` if that is all. Only spans of scattered traces are looked up.
    fn first_occurrences(
        &mut self,
        batch: &SpanBatch,
        is_scattered: impl Fn(TraceId) -> bool,
    ) -> Option<Bitmap> {
        let is_scattered: Vec<bool> = batch.traces.ids.iter().copied().map(is_scattered).collect();
        if !is_scattered.contains(&true) {
            return None;
        }
        let rows =
            Bitmap::from_fn(batch.len(), |row| is_scattered[batch.spans.trace[row] as usize]);
        // A full table is replaced by one of twice the size. Without room, the query has ended.
        if !self.held.grow_to((self.keys.len() + rows.count()) * 2 * ID_BYTES) {
            return None;
        }
        let first = Bitmap::from_fn(batch.len(), |row| {
            !rows.contains(row) || self.keys.insert(batch.span_key(row))
        });
        self.held.shrink_to(self.keys.len() * 2 * ID_BYTES);
        Some(first)
    }
}
