//! Remembers decisions for spans that arrive late.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::TraceId;

/// A decision that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The trace is kept.
    pub sampled: bool,
    /// When it was made, in seconds of the caller's clock.
    pub made_at: u64,
}

/// The most recent decisions. Those to keep and those to drop have separate limits.
///
/// Memory: about 40 bytes a trace, and at most twice as many traces as the limits.
#[derive(Debug)]
pub struct DecisionCache {
    sampled: RecentIds,
    dropped: RecentIds,
}

impl DecisionCache {
    /// A cache for at least the last `sampled` traces that were kept and the last `dropped` traces that were dropped.
    pub fn new(sampled: usize, dropped: usize) -> Self {
        Self { sampled: RecentIds::new(sampled), dropped: RecentIds::new(dropped) }
    }

    /// Changes the limits for new decisions.
    pub fn resize(&mut self, sampled: usize, dropped: usize) {
        self.sampled.size = sampled;
        self.dropped.size = dropped;
    }

    /// Remembers a decision. A later one for the same trace replaces it.
    pub fn remember(&mut self, trace: TraceId, decision: Decision) {
        let (of, other) = match decision.sampled {
            true => (&mut self.sampled, &mut self.dropped),
            false => (&mut self.dropped, &mut self.sampled),
        };
        other.remove(trace);
        of.insert(trace, decision.made_at);
    }

    /// The decision on a trace, if it is remembered. It is then remembered for longer.
    pub fn find(&mut self, trace: TraceId) -> Option<Decision> {
        if let Some(made_at) = self.sampled.find(trace) {
            return Some(Decision { sampled: true, made_at });
        }
        self.dropped.find(trace).map(|made_at| Decision { sampled: false, made_at })
    }
}

/// The ids that were last looked up or inserted, in two halves. When the younger half is full, the older one is
/// forgotten.
#[derive(Debug)]
struct RecentIds {
    size: usize,
    young: HashMap<TraceId, u64, RandomState>,
    old: HashMap<TraceId, u64, RandomState>,
}

impl RecentIds {
    fn new(size: usize) -> Self {
        Self { size, young: HashMap::default(), old: HashMap::default() }
    }

    fn insert(&mut self, trace: TraceId, value: u64) {
        if self.size == 0 {
            return;
        }
        if self.young.len() >= self.size {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(trace, value);
    }

    fn remove(&mut self, trace: TraceId) {
        self.young.remove(&trace);
        self.old.remove(&trace);
    }

    fn find(&mut self, trace: TraceId) -> Option<u64> {
        if let Some(&value) = self.young.get(&trace) {
            return Some(value);
        }
        let value = self.old.remove(&trace)?;
        self.insert(trace, value);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TraceId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        TraceId(bytes)
    }

    #[test]
    fn last_decisions_are_remembered_within_the_bound() {
        let mut cache = DecisionCache::new(10, 5);
        for number in 0..100 {
            let decision = Decision { sampled: number % 2 == 0, made_at: number };
            cache.remember(id(number), decision);
        }
        let sampled = (0..100).filter(|&number| cache.sampled.find(id(number)).is_some()).count();
        assert!((10..=20).contains(&sampled), "{sampled}");
        for number in 91..100 {
            let found = cache.find(id(number)).unwrap();
            assert_eq!(found, Decision { sampled: number % 2 == 0, made_at: number });
        }
        assert_eq!(cache.find(id(1)), None);
    }

    #[test]
    fn asked_for_is_remembered_longer_and_the_last_decision_holds() {
        let mut cache = DecisionCache::new(10, 10);
        let decision = |sampled| Decision { sampled, made_at: 7 };
        cache.remember(id(1), decision(true));
        for number in 10..100 {
            cache.remember(id(number), decision(true));
            assert_eq!(cache.find(id(1)), Some(decision(true)));
        }
        cache.remember(id(1), decision(false));
        assert_eq!(cache.find(id(1)), Some(decision(false)));
        let mut none = DecisionCache::new(0, 0);
        none.remember(id(1), decision(true));
        assert_eq!(none.find(id(1)), None);
    }
}
