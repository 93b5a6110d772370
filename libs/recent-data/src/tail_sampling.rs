//! Tail sampling: decides which whole traces are kept, once their spans have had time to arrive.
//!
//! The spans of a tenant with policies are logged, and found by queries, like all others. A cut writes them to
//! *pending* segments, which do not become blocks. When the newest span of a pending segment has waited long enough,
//! its traces are judged, together with their spans in all other pending segments and heads. Then a segment with the
//! kept traces replaces it. Decisions are remembered, and apply to spans of the trace that arrive later, and to those
//! in segments that are decided later. While the disk cannot read an undecided segment, and may soon be able to, only
//! what exceeds the limits is decided.
//!
//! At every instant a span is in the log, is in a pending segment, or was decided. If the process is killed at any
//! point, the pending segment exists, or the result of its decision, or both; then the result counts, unless it is
//! damaged.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tactus_model::{
    SpanBatch, TenantId, TraceId,
    merge::{MergePlan, gather_traces},
};
use tactus_tail_sampling::Decision;
use tactus_telemetry::{error_text, log_limited};
use tokio::task::{JoinError, JoinSet};

use crate::{
    begun_blocks::MAX_SEGMENTS,
    decisions::Deciding,
    error::Error,
    ingester::Ingester,
    recent_view::RecentView,
    segment::{OpenSegment, Segment, SegmentError},
};

mod rewrite;

/// Spans of due segments that are judged at a time, in whole traces.
const WINDOW_SPANS: usize = 32_768;
/// If a tenant has more undecided segments, the oldest are decided early, because a decision reads all of them.
const MAX_PENDING_SEGMENTS: usize = 1_000;
/// The same for all tenants together.
const MAX_PENDING_SEGMENTS_OF_ALL: usize = MAX_SEGMENTS / 2;
/// Tenants that are decided at the same time, so that one with much to decide does not delay all others. Each holds a
/// window of spans in memory.
pub(crate) const MAX_DECIDING: usize = 4;

/// Locked while a segment with kept traces is written. On the disk there is room for one beside the pending segments.
static WRITING: Mutex<()> = Mutex::new(());

/// Which traces are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Traces whose spans have waited long enough; the oldest ones earlier if too many wait. A tenant that is being
    /// decided already is passed over.
    Waited,
    /// All traces that were cut, with the spans that are there now.
    All,
}

/// Decisions of a round.
type Decided = HashMap<TraceId, bool, RandomState>;
/// Traces to judge.
type Wanted = HashSet<TraceId, RandomState>;

impl Ingester {
    /// Decides traces of all tenants. Tries all of them, then returns the first error.
    pub(crate) async fn decide(self: &Arc<Self>, due: Due) -> Result<(), Error> {
        let at_a_time = match due {
            // Other rounds run beside this one.
            Due::Waited => 1,
            Due::All => MAX_DECIDING,
        };
        let mut result = Ok(());
        let mut running = JoinSet::new();
        for (id, tenant) in self.all_tenants() {
            if !tenant.pending_segments().is_empty() {
                if running.len() >= at_a_time {
                    result = result.and(ended(running.join_next().await));
                }
                let ingester = Arc::clone(self);
                running.spawn(async move { ingester.decide_tenant(&id, due).await });
            } else if let Some(mut state) = tenant.deciding.try_lock()
                && state.is_some()
                && self.settings.tail_sampling.of(&id).is_none()
            {
                // What is kept until there are policies again is not in it.
                *state = None;
            }
        }
        while !running.is_empty() {
            result = result.and(ended(running.join_next().await));
        }
        result.and(self.decide_early(MAX_PENDING_SEGMENTS_OF_ALL).await)
    }

    /// Decides early, the tenants that have waited longest first, until at most `limit` segments wait besides those of
    /// tenants that are being decided. Does nothing if another round does it already, which would find the same tenants.
    pub(crate) async fn decide_early(self: &Arc<Self>, limit: usize) -> Result<(), Error> {
        let Ok(_deciding) = self.deciding_early.try_lock() else { return Ok(()) };
        let now = Instant::now();
        let mut waiting: Vec<(Reverse<Duration>, usize, TenantId)> = self
            .all_tenants()
            .into_iter()
            .filter(|(_, tenant)| !tenant.deciding.is_locked())
            .filter_map(|(id, tenant)| {
                let pending = tenant.pending_segments();
                Some((Reverse(pending.first()?.age(now)), pending.len(), id))
            })
            .collect();
        let mut left: usize = waiting.iter().map(|(_, segments, _)| segments).sum();
        if left <= limit {
            return Ok(());
        }
        log_limited!(warn, segments = left, "too many undecided segments: deciding early");
        waiting.sort();
        let mut result = Ok(());
        for (_, segments, id) in waiting {
            if left <= limit {
                break;
            }
            left -= segments;
            // What is decided now need not be decided early once more.
            if self.tenant(&id).is_none_or(|tenant| !tenant.deciding.is_locked()) {
                result = result.and(self.decide_tenant(&id, Due::All).await);
            }
        }
        result
    }

    /// Decides traces of a tenant. Runs to its end even if the caller stops waiting.
    pub(crate) async fn decide_tenant(
        self: &Arc<Self>,
        id: &TenantId,
        due: Due,
    ) -> Result<(), Error> {
        let (ingester, id) = (Arc::clone(self), id.clone());
        let decide = move || {
            let result = ingester.decide_now(&id, due);
            if let Err(error) = &result {
                log_limited!(error, tenant = %id, error = error_text(error), "cannot decide traces");
            }
            result
        };
        tokio::task::spawn_blocking(decide).await?
    }

    fn decide_now(&self, id: &TenantId, due: Due) -> Result<(), Error> {
        let Some(tenant) = self.tenant(id) else { return Ok(()) };
        let state = match due {
            Due::All => Some(tenant.deciding.lock()),
            Due::Waited => tenant.deciding.try_lock(),
        };
        let Some(mut state) = state else { return Ok(()) };
        // It may come back or go while the view is taken.
        let may_lack_spans = || self.unreadable.may_return_undecided(id);
        let lacked_spans = may_lack_spans();
        // Take both at one moment, because a cut moves spans from one to the other.
        let view = tenant.recent_view();
        let pending = view.segments.iter().filter(|segment| segment.is_pending());
        let pending: Vec<OpenSegment> = pending.cloned().collect();
        let Some(settings) = self.settings.tail_sampling.of(id) else {
            // Turned off since the cut.
            let kept = pending.iter().try_for_each(|it| self.keep_all(id, &tenant, it.segment()));
            self.metrics.tail_sampling.undecided(id, traces_of(&tenant.pending_segments()));
            return kept;
        };
        let decision_wait = match lacked_spans || may_lack_spans() {
            true => Duration::MAX,
            false => settings.decision_wait,
        };
        let (waited, overflow) = due_segments(&pending, decision_wait, settings.num_traces, due);
        let due = pending.get(..waited + overflow.segments).unwrap_or(&pending);
        let mut result = Ok(());
        if !due.is_empty() {
            let state = match &mut *state {
                Some(state) => state,
                none => none.insert(Box::new(Deciding::new(&settings, &view))),
            };
            state.follow(&settings);
            state.advance(due);
            let started = Instant::now();
            let decided = self.judge(id, state, &view, &pending, due)?;
            self.metrics.tail_sampling.round(started.elapsed());
            self.metrics.tail_sampling.dropped_too_early(id, overflow.traces);
            // A segment that cannot be written is tried again. Others may free space on the disk.
            let settled = due.iter().map(|it| {
                let _writing = WRITING.lock();
                self.settle(id, &tenant, it, &decided)
            });
            result = settled.fold(Ok(()), Result::and);
            self.unreadable(id, due);
        }
        self.metrics.tail_sampling.undecided(id, traces_of(&tenant.pending_segments()));
        result
    }

    /// Decides the traces of due segments, with their spans from all places. Memory: one window of spans, and the
    /// decisions.
    ///
    /// Errors: a segment cannot be read. It is then set aside.
    fn judge(
        &self,
        id: &TenantId,
        state: &mut Deciding,
        view: &RecentView,
        pending: &[OpenSegment],
        due: &[OpenSegment],
    ) -> Result<Decided, SegmentError> {
        let now = tactus_clock::since_epoch().as_secs();
        let (plan, ids) = {
            let batches: Vec<_> = due.iter().map(|segment| segment.batch()).collect();
            let ids: Vec<_> = batches.iter().map(|batch| batch.traces.ids.clone()).collect();
            (MergePlan::new(&batches.iter().map(|batch| &***batch).collect::<Vec<_>>()), ids)
        };
        let mut decided = Decided::default();
        for range in plan.cut(WINDOW_SPANS) {
            let Some(window) = plan.bounds(&range) else { continue };
            let mut wanted = Wanted::default();
            for trace in ids.iter().flat_map(|ids| &ids[rows(ids, window)]) {
                if decided.contains_key(trace) || wanted.contains(trace) {
                    continue;
                }
                match state.cache.find(*trace) {
                    Some(Decision { sampled, made_at }) => {
                        let age = now.saturating_sub(made_at);
                        self.metrics.tail_sampling.late(id, sampled, age);
                        decided.insert(*trace, sampled);
                    }
                    None => drop(wanted.insert(*trace)),
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let batch = gather(view, pending, window, &wanted);
            let decisions = state.decider.decide(&batch);
            if let Some(error) = self.unreadable(id, &view.segments) {
                // Decisions that were made without the segment are made again.
                return Err(error);
            }
            let policies = state.decider.policies();
            self.metrics.tail_sampling.decided(id, policies, &batch, &decisions);
            for (row, &trace) in batch.traces.ids.iter().enumerate() {
                let sampled = decisions.kept.contains(row);
                decided.insert(trace, sampled);
                state.cache.remember(trace, Decision { sampled, made_at: now });
            }
        }
        state.decided = Instant::now();
        Ok(decided)
    }
}

/// How a tenant's decisions ended.
fn ended(joined: Option<Result<Result<(), Error>, JoinError>>) -> Result<(), Error> {
    joined.map_or(Ok(()), |decided| decided?)
}

/// What is decided early because too much waits.
#[derive(Debug, Default)]
struct Overflow {
    segments: usize,
    traces: usize,
}

/// How many of the oldest segments have waited long enough, and how many more exceed the limits.
fn due_segments(
    pending: &[OpenSegment],
    decision_wait: Duration,
    num_traces: usize,
    due: Due,
) -> (usize, Overflow) {
    if due == Due::All {
        return (pending.len(), Overflow::default());
    }
    let now = Instant::now();
    let has_waited = |segment: &&OpenSegment| segment.age(now) >= decision_wait;
    let waited = pending.iter().take_while(has_waited).count();
    let mut overflow = Overflow::default();
    let mut waiting = pending.len() - waited;
    let mut traces: usize = pending[waited..].iter().map(|segment| segment.traces()).sum();
    for segment in &pending[waited..] {
        if traces <= num_traces && waiting <= MAX_PENDING_SEGMENTS {
            break;
        }
        let of_segment = segment.traces();
        overflow.segments += 1;
        overflow.traces += of_segment;
        waiting -= 1;
        traces -= of_segment;
    }
    (waited, overflow)
}

fn traces_of(segments: &[Arc<Segment>]) -> usize {
    segments.iter().map(|segment| segment.traces()).sum()
}

/// The rows of the ids from the first to the last, in a sorted list.
fn rows(ids: &[TraceId], (first, last): (TraceId, TraceId)) -> std::ops::Range<usize> {
    ids.partition_point(|id| *id < first)..ids.partition_point(|id| *id <= last)
}

/// All undecided spans of these traces, which are within the window.
fn gather(
    view: &RecentView,
    pending: &[OpenSegment],
    (first, last): (TraceId, TraceId),
    wanted: &Wanted,
) -> SpanBatch {
    let is_wanted = |id| wanted.contains(&id);
    let on_disk = pending.iter().map(|segment| segment.slice(&segment.batch(), first, last));
    let on_disk: Vec<SpanBatch> = on_disk.collect();
    let batches: Vec<&SpanBatch> = on_disk.iter().chain(view.live_batches()).collect();
    gather_traces(&batches, is_wanted)
}
