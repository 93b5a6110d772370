//! Queries over live spans and segments, which no block holds yet.
//!
//! Most traces are in only one segment, and the query evaluates these inside the segment. For the other traces, it
//! first finds candidates in each batch, then gathers their spans from everywhere and evaluates whole traces. If the
//! query reads a segment's block, the segment is used only for traces that also have spans elsewhere.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use tactus_model::{SpanBatch, TenantId, TraceId, merge::gather_traces, span_end};
use tactus_traceql::eval::{
    Assembled, Bitmap, Candidate, CompiledQuery, EvaluateError, NewestTraces, SearchOptions,
    TraceMatch, Window,
};
use tactus_work::is_over;

use crate::{
    ingester::Ingester,
    recent_view::{FEW_TRACES, Gathered, Place, RecentView, Rounds, Scattered},
    segment::{OpenSegment, SegmentError},
};

/// How many candidate traces are gathered at a time. Their spans are copied.
const CANDIDATES_PER_ROUND: usize = 512;

/// The result of a search, and the work it took.
#[derive(Debug, Default)]
pub(crate) struct RecentMatches {
    pub(crate) traces: Vec<TraceMatch>,
    pub(crate) inspected_bytes: u64,
    /// Each trace counts once, however many places it is in.
    pub(crate) inspected_traces: u32,
    pub(crate) inspected_spans: u64,
    /// Segments and live batches.
    pub(crate) parts: u32,
    /// Segments that were skipped because the query reads their block.
    pub(crate) left_out: u32,
    /// Segments and live batches that another ingester evaluates.
    pub(crate) left_to_others: u32,
    /// Segments without a trace within the window.
    pub(crate) outside: u32,
    /// Segments whose traces are all older than the oldest one that fits into the answer.
    pub(crate) older: u32,
}

impl RecentMatches {
    fn inspect(&mut self, batch: &SpanBatch) {
        self.inspected_bytes += inspected_bytes(batch);
        self.inspected_spans += batch.len() as u64;
        self.parts += 1;
    }
}

/// What a search has found.
struct Found<'t> {
    all: NewestTraces,
    tell: &'t dyn Fn(&TraceMatch),
}

impl<'t> Found<'t> {
    fn new(tell: &'t dyn Fn(&TraceMatch)) -> Self {
        Self { all: NewestTraces::default(), tell }
    }

    fn add(&mut self, traces: Assembled) {
        for trace in traces {
            (self.tell)(&trace);
            self.all.add(trace);
        }
    }
}

/// Bytes that count as inspected for a batch. This is an estimate, because the columns that are read depend on the
/// query.
pub(crate) fn inspected_bytes(batch: &SpanBatch) -> u64 {
    batch.len() as u64 * 200
}

impl Ingester {
    /// The spans of a tenant at this moment.
    pub(crate) fn recent_view(&self, tenant: &TenantId) -> RecentView {
        self.tenant(tenant).map(|it| it.recent_view()).unwrap_or_default()
    }

    /// Evaluates the spans that a tenant has at this moment.
    ///
    /// Errors: a segment cannot be read. It is then set aside.
    pub(crate) fn read_recent<R>(
        &self,
        tenant: &TenantId,
        read: impl FnOnce(RecentView) -> R,
    ) -> Result<R, SegmentError> {
        let view = self.recent_view(tenant);
        let segments = view.segments.clone();
        let result = read(view);
        match self.unreadable(tenant, &segments) {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    /// The first error that readers of these segments got. Damaged segments are set aside.
    pub(crate) fn unreadable(
        &self,
        tenant: &TenantId,
        segments: &[OpenSegment],
    ) -> Option<SegmentError> {
        let mut first = None;
        for open in segments {
            let Some(error) = open.failure() else { continue };
            if error.is_of_file() {
                self.set_aside(tenant, open.segment(), &error);
            }
            first.get_or_insert(error);
        }
        first
    }
}

impl RecentView {
    /// The traces that match, the newest first. Calls `tell` for each as soon as it is found.
    pub(crate) fn search_recent(
        &self,
        query: &CompiledQuery,
        (window, options): (Window, SearchOptions),
        tell: &dyn Fn(&TraceMatch),
    ) -> Result<RecentMatches, EvaluateError> {
        let mut result = RecentMatches::default();
        let view = self;
        view.live_batches().for_each(|batch| result.inspect(batch));
        let mut found = Found::new(tell);
        let scattered = view.scattered();
        result.inspected_traces = scattered.count() as u32;
        for (number, segment) in view.stored.iter().enumerate() {
            let split = scattered.of_stored(number).len();
            if split == 0 {
                result.left_out += 1;
                continue;
            }
            result.parts += 1;
            if split > FEW_TRACES {
                let batch = segment.batch();
                result.inspected_bytes += inspected_bytes(&batch);
                result.inspected_spans += batch.len() as u64;
            }
        }
        let bounds = (window, options);
        view.search_segments(query, bounds, &scattered, &mut found, &mut result)?;
        view.search_scattered(query, bounds, &scattered, &mut found)?;
        result.traces = found.all.finish(options.limit);
        Ok(result)
    }

    /// Searches the segments, the newest first. In each it evaluates the traces that are in no other place.
    fn search_segments(
        &self,
        query: &CompiledQuery,
        (window, options): (Window, SearchOptions),
        scattered: &Scattered,
        found: &mut Found<'_>,
        result: &mut RecentMatches,
    ) -> Result<(), EvaluateError> {
        let latest = |number: &usize| self.segments[*number].starts().1;
        let mut newest: Vec<usize> = (0..self.segments.len()).collect();
        newest.sort_by_cached_key(|number| Reverse(latest(number)));
        for number in newest {
            if is_over() {
                break;
            }
            let segment = &self.segments[number];
            let kept = found.all.oldest_kept_start(options.limit);
            // A trace starts no later than its last span.
            let is_older = kept.is_some_and(|kept| latest(&number) < kept);
            if is_older || !segment.touches(window) {
                // A scattered trace may have one span here, and others within the window.
                let skipped = if is_older { &mut result.older } else { &mut result.outside };
                match scattered.touches(Place::Segment(number)) {
                    true => result.inspect(&segment.batch()),
                    false => *skipped += 1,
                }
                continue;
            }
            let window = if segment.is_within(window) { Window::default() } else { window };
            let batch = &segment.batch();
            result.inspect(batch);
            let alone = scattered.alone_in(number, batch);
            result.inspected_traces +=
                alone.as_ref().map_or(batch.traces.ids.len(), Bitmap::count) as u32;
            let mut matches =
                query.find_newest_among(batch, window, options.limit, alone.as_ref())?;
            matches.traces.retain(|it| kept.is_none_or(|kept| it.start_unix_nanos >= kept));
            found.add(query.assemble(batch, &matches, &options));
        }
        Ok(())
    }

    /// Searches the traces that are in several places: gathers those that may match, and evaluates them as a whole.
    fn search_scattered(
        &self,
        query: &CompiledQuery,
        (window, options): (Window, SearchOptions),
        scattered: &Scattered,
        found: &mut Found<'_>,
    ) -> Result<(), EvaluateError> {
        let candidates = candidates(self, scattered, query, window);
        let mut rounds = Rounds::of(&candidates, CANDIDATES_PER_ROUND);
        while let Some(round) = rounds.next() {
            // The earliest start known so far can only get earlier, so none of the remaining traces is newer than this.
            let newest_left = round[0].1;
            if is_over()
                || found.all.oldest_kept_start(options.limit).is_some_and(|kept| kept > newest_left)
            {
                break;
            }
            let wanted = round.iter().map(|(id, _)| *id).collect();
            let batch = self.gather(&wanted);
            rounds.took(&batch);
            let matches = query.find_matches(&batch, window)?;
            found.add(query.assemble(&batch, &matches, &options));
        }
        Ok(())
    }

    /// As [`Self::search_recent`], for these traces only.
    pub(crate) fn search_traces(
        &self,
        traces: &HashSet<TraceId>,
        query: &CompiledQuery,
        (window, options): (Window, SearchOptions),
        tell: &dyn Fn(&TraceMatch),
    ) -> Result<RecentMatches, EvaluateError> {
        let mut result = RecentMatches {
            left_out: self.stored.len() as u32,
            left_to_others: (self.live_batches().count() + self.segments.len()) as u32,
            ..RecentMatches::default()
        };
        let mut found = Found::new(tell);
        let traces: Vec<TraceId> = traces.iter().copied().collect();
        for batch in self.gathered(&traces) {
            result.inspected_bytes += inspected_bytes(&batch);
            result.inspected_spans += batch.len() as u64;
            result.inspected_traces += batch.traces.ids.len() as u32;
            let matches = query.find_matches(&batch, window)?;
            found.add(query.assemble(&batch, &matches, &options));
        }
        result.traces = found.all.finish(options.limit);
        Ok(result)
    }

    /// Passes batches with a span in the window to a collector of tags or values, until it has enough. `whole`: with all
    /// spans of each trace in one of them.
    pub(crate) fn collect_recent(
        &self,
        window: Window,
        whole: bool,
        mut collect: impl FnMut(&SpanBatch),
    ) -> u64 {
        let mut inspected = 0;
        let mut look = |batch: &SpanBatch| {
            if !is_over() && touches(batch, window) {
                inspected += inspected_bytes(batch);
                collect(batch);
            }
        };
        if !whole {
            self.for_each_batch(|_, batch| look(batch));
            return inspected;
        }
        let scattered = self.scattered();
        for (number, segment) in self.segments.iter().enumerate() {
            match scattered.touches(Place::Segment(number)) {
                false => look(&segment.batch()),
                true => look(&gather_traces(&[&segment.batch()], |id| !scattered.contains(id))),
            }
        }
        for batch in self.gathered(&scattered.ids()) {
            look(&batch);
        }
        inspected
    }

    /// All spans of these traces, of some of them at a time, until the query is over.
    fn gathered<'a>(&'a self, traces: &'a [TraceId]) -> impl Iterator<Item = Gathered> + 'a {
        let mut rounds = Rounds::of(traces, CANDIDATES_PER_ROUND);
        std::iter::from_fn(move || {
            let round = rounds.next().filter(|_| !is_over())?;
            let batch = self.gather(&round.iter().copied().collect());
            rounds.took(&batch);
            Some(batch)
        })
    }
}

/// Scattered traces of the window that may match, with the earliest start that is known of them, the newest first.
fn candidates(
    view: &RecentView,
    scattered: &Scattered,
    query: &CompiledQuery,
    window: Window,
) -> Vec<(TraceId, u64)> {
    let mut known: HashMap<TraceId, Candidate> = HashMap::new();
    for_each_part(view, scattered, |batch| {
        for found in query.find_candidates(batch, |id| scattered.contains(id)) {
            let known = known.entry(found.id).or_insert(found);
            known.start = known.start.min(found.start);
            known.end = known.end.max(found.end);
        }
    });
    let is_within = |it: &Candidate| window.touches(it.start, it.end);
    // Of these, only spans that do not match can reach into the window.
    let (within, far): (Vec<_>, Vec<_>) = known.into_values().partition(is_within);
    let mut far: HashMap<TraceId, Candidate> = far.into_iter().map(|it| (it.id, it)).collect();
    if !far.is_empty() {
        for_each_part(view, scattered, |batch| widen(&mut far, batch));
    }
    let far = far.into_values().filter(is_within);
    let mut newest: Vec<_> = within.into_iter().chain(far).map(|it| (it.id, it.start)).collect();
    newest.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    newest
}

/// Shows every batch with spans of scattered traces.
fn for_each_part(view: &RecentView, scattered: &Scattered, mut read: impl FnMut(&SpanBatch)) {
    view.for_each_batch(|place, batch| {
        if !is_over() && scattered.touches(place) {
            read(batch);
        }
    });
    for (number, segment) in view.stored.iter().enumerate() {
        let split = scattered.of_stored(number);
        if is_over() || split.is_empty() {
            continue;
        }
        let batch = segment.batch();
        if split.len() <= FEW_TRACES {
            let slices = split.iter().map(|&id| segment.slice(&batch, id, id));
            slices.for_each(|slice| read(&slice));
        } else {
            read(&batch);
        }
    }
}

/// Adds the times of all spans of these traces.
fn widen(traces: &mut HashMap<TraceId, Candidate>, batch: &SpanBatch) {
    let ids = &batch.traces.ids;
    let wanted: Vec<bool> = ids.iter().map(|id| traces.contains_key(id)).collect();
    let times = batch.spans.start.iter().zip(batch.spans.duration.iter());
    for (&trace, (&start, &duration)) in batch.spans.trace.iter().zip(times) {
        let trace = trace as usize;
        if wanted[trace]
            && let Some(known) = traces.get_mut(&ids[trace])
        {
            known.start = known.start.min(start);
            known.end = known.end.max(span_end(start, duration));
        }
    }
}

/// True if some span of the batch overlaps the window.
fn touches(batch: &SpanBatch, window: Window) -> bool {
    let times = batch.spans.start.iter().zip(batch.spans.duration.iter());
    window.is_unbounded()
        || times
            .into_iter()
            .any(|(&start, &duration)| window.touches(start, span_end(start, duration)))
}
