//! The origins of a tenant's spans that are stored here.
//!
//! A distributor sends the same spans to several ingesters. The origin identifies them, so that queries count them once,
//! and an ingester does not store again what it has or had recently: what segments hold may also be in the log.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tactus_model::{OriginCollector, OriginSet, SpanBatch};
use tactus_proto::tactus::v1::PushRequest;

/// How long origins are remembered after their spans were released: longer than any distributor retries.
const GONE_MEMORY: Duration = Duration::from_secs(3600);
/// Ranges of origins that are kept for a tenant. Beyond that, the ranges that were released first are forgotten.
const MAX_RANGES: usize = 200_000;

/// The origins of the spans in a segment or a head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeldOrigins {
    /// Origins whose spans are all stored.
    pub(crate) complete: OriginSet,
    /// Origins with refused spans.
    pub(crate) incomplete: OriginSet,
    /// Complete origins of which tail sampling dropped some traces.
    pub(crate) thinned: OriginSet,
    /// There are spans without an origin.
    pub(crate) has_none: bool,
}

impl HeldOrigins {
    /// The origins of the spans of some batches. `incomplete`: origins with refused spans; may include other origins.
    pub(crate) fn of<'a>(
        batches: impl IntoIterator<Item = &'a SpanBatch>,
        incomplete: &OriginSet,
    ) -> Self {
        let mut collector = OriginCollector::default();
        batches.into_iter().for_each(|batch| collect(&mut collector, batch));
        Self::new(collector, incomplete)
    }

    pub(crate) fn new(collector: OriginCollector, incomplete: &OriginSet) -> Self {
        let (all, has_none) = collector.finish();
        if incomplete.is_empty() {
            return Self { complete: all, has_none, ..Self::default() };
        }
        let complete = all.without(incomplete);
        Self { incomplete: all.without(&complete), complete, has_none, ..Self::default() }
    }

    pub(crate) fn unite(&mut self, other: &Self) {
        self.complete.unite(&other.complete);
        self.incomplete.unite(&other.incomplete);
        self.thinned.unite(&other.thinned);
        self.has_none |= other.has_none;
    }

    /// Bytes of memory of all sets.
    pub(crate) fn heap_bytes(&self) -> usize {
        let sets = [&self.complete, &self.incomplete, &self.thinned];
        sets.iter().map(|set| size_of_val(set.ranges())).sum()
    }

    /// All origins, complete or not.
    pub(crate) fn all(&self) -> OriginSet {
        let mut all = self.complete.clone();
        all.unite(&self.incomplete);
        all
    }
}

/// Notes the origins of a batch's spans.
pub(crate) fn collect(collector: &mut OriginCollector, batch: &SpanBatch) {
    if batch.spans.origin.is_empty() {
        if !batch.is_empty() {
            collector.add_none();
        }
    } else {
        collector.add(&batch.spans.origin);
    }
}

/// The origins that are stored for a tenant, or were stored recently.
#[derive(Debug, Default)]
pub(crate) struct KnownOrigins {
    state: Mutex<State>,
    /// A push ended.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    known: OriginSet,
    /// Origins that are being stored now.
    under_way: Vec<u64>,
    /// Origins whose spans were released, and when; the oldest first.
    gone: VecDeque<(Instant, OriginSet)>,
}

/// The new origins of a push. While this exists, no other push stores them.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    of: &'a KnownOrigins,
    /// Ascending.
    new: Vec<u64>,
    has_known: bool,
}

impl KnownOrigins {
    /// Claims the origins of a push; `None` if it has none. Waits while another push is storing one of them.
    pub(crate) fn claim(&self, push: &PushRequest) -> Option<Claim<'_>> {
        if push.runs.iter().all(|run| run.origin == 0) {
            return None;
        }
        let mut origins: Vec<u64> = push.runs.iter().map(|run| run.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        origins.retain(|&origin| origin != 0);
        let mut state = self.state.lock();
        while origins.iter().any(|origin| state.under_way.contains(origin)) {
            self.settled.wait(&mut state);
        }
        let all = origins.len();
        origins.retain(|&origin| !state.known.contains(origin));
        state.under_way.extend_from_slice(&origins);
        Some(Claim { of: self, has_known: origins.len() < all, new: origins })
    }

    /// True if the spans of an origin need not be stored.
    pub(crate) fn contains(&self, origin: u64) -> bool {
        origin != 0 && self.state.lock().known.contains(origin)
    }

    /// Adds the origins that an earlier process stored.
    pub(crate) fn add(&self, origins: &OriginSet) {
        if !origins.is_empty() {
            self.state.lock().known.unite(origins);
        }
    }

    /// Records that the spans of these origins were released. The origins stay known for a while.
    pub(crate) fn let_go(&self, origins: OriginSet) {
        let mut state = self.state.lock();
        let is_old = |gone: &(Instant, OriginSet)| gone.0.elapsed() > GONE_MEMORY;
        while state.gone.front().is_some_and(is_old) || state.known.ranges().len() > MAX_RANGES {
            let Some((_, forgotten)) = state.gone.pop_front() else { break };
            state.known = state.known.without(&forgotten);
        }
        if !origins.is_empty() {
            state.gone.push_back((Instant::now(), origins));
        }
    }
}

impl Claim<'_> {
    /// The part of the push that is not stored yet; `None` if all of it is new.
    pub(crate) fn new_part(&self, push: &PushRequest) -> Option<PushRequest> {
        if !self.has_known {
            return None;
        }
        let is_new = |origin: u64| origin == 0 || self.new.binary_search(&origin).is_ok();
        let mut part = push.clone();
        part.runs.retain(|run| is_new(run.origin));
        Some(part)
    }

    /// Notes that spans of these origins are stored.
    pub(crate) fn store(self, origins: &[u64]) {
        let mut state = self.of.state.lock();
        origins.iter().for_each(|&origin| state.known.insert(origin));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.of.state.lock();
        state.under_way.retain(|origin| self.new.binary_search(origin).is_err());
        drop(state);
        self.of.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tactus::v1::SpanRun;

    fn push(origins: &[u64]) -> PushRequest {
        let run = |&origin: &u64| SpanRun { origin, ..SpanRun::default() };
        PushRequest { runs: origins.iter().map(run).collect(), ..PushRequest::default() }
    }

    fn new_part(known: &KnownOrigins, origins: &[u64]) -> Option<Vec<u64>> {
        let claim = known.claim(&push(origins)).unwrap();
        let part = claim.new_part(&push(origins))?;
        Some(part.runs.iter().map(|run| run.origin).collect())
    }

    #[test]
    fn known_origins_are_left_out_of_a_push() {
        let known = KnownOrigins::default();
        assert!(known.claim(&push(&[0, 0])).is_none());
        let claim = known.claim(&push(&[7, 8, 7])).unwrap();
        assert!(claim.new_part(&push(&[7, 8, 7])).is_none());
        claim.store(&[7]);
        assert!(known.contains(7) && !known.contains(8) && !known.contains(0));
        assert_eq!(new_part(&known, &[8, 0]), None, "8 was not stored");
        assert_eq!(new_part(&known, &[8, 7, 0]), Some(vec![8, 0]));
        assert_eq!(new_part(&known, &[7]), Some(vec![]));
        known.let_go(OriginSet::from_iter([7]));
        assert_eq!(new_part(&known, &[7]), Some(vec![]), "for a while");
    }

    #[test]
    fn second_push_waits_for_the_first() {
        let known = KnownOrigins::default();
        let first = known.claim(&push(&[7])).unwrap();
        let found = std::thread::scope(|scope| {
            let second = scope.spawn(|| new_part(&known, &[6, 7]));
            // The first push did not store the span, so the second one has to.
            drop(first);
            second.join().unwrap()
        });
        assert_eq!(found, None);
        let first = known.claim(&push(&[7])).unwrap();
        let found = std::thread::scope(|scope| {
            let second = scope.spawn(|| new_part(&known, &[6, 7]));
            first.store(&[7]);
            second.join().unwrap()
        });
        assert_eq!(found, Some(vec![6]));
    }

    #[test]
    fn number_of_ranges_that_are_remembered_is_bounded() {
        let known = KnownOrigins::default();
        for part in 0..5u64 {
            let origins: OriginSet =
                (0..MAX_RANGES as u64 / 2).map(|number| (part << 32) + 2 * number + 2).collect();
            known.add(&origins);
            known.let_go(origins);
        }
        known.let_go(OriginSet::new());
        assert!(known.state.lock().known.ranges().len() <= MAX_RANGES);
        assert!(known.contains((4 << 32) + 2) && !known.contains(2));
    }
}
