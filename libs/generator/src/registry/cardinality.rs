//! A limit on the values of each label.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::FixedState;
use std::hash::BuildHasher;

use super::hyperloglog::Window;
use super::labels::Labels;

/// Replaces the values of a label that has too many.
const OVERFLOW: &str = "__cardinality_overflow__";

/// Milliseconds between checks of the estimates.
const REFRESH_MS: i64 = 15_000;

#[derive(Debug)]
pub(super) struct LabelLimits {
    labels: HashMap<Arc<str>, Values>,
    periods: usize,
    refreshed_ms: i64,
}

#[derive(Debug)]
struct Values {
    seen: Window,
    over: bool,
    replaced: u64,
}

impl LabelLimits {
    pub(super) fn new(periods: usize, now_ms: i64) -> Self {
        Self { labels: HashMap::new(), periods, refreshed_ms: now_ms }
    }

    /// Forgets which labels had too many values.
    pub(super) fn reset(&mut self, periods: usize, now_ms: i64) {
        *self = Self::new(periods, now_ms);
    }

    pub(super) fn rotate(&mut self) {
        self.labels.values_mut().for_each(|values| values.seen.rotate());
    }

    /// Finds the labels with too many values, if a check is due. Returns true if it checked.
    pub(super) fn refresh(&mut self, limit: u64, now_ms: i64) -> bool {
        if now_ms.saturating_sub(self.refreshed_ms) < REFRESH_MS {
            return false;
        }
        self.refreshed_ms = now_ms;
        let all = self.labels.values_mut();
        all.for_each(|values| values.over = values.seen.estimate() > limit);
        true
    }

    /// Counts the values, and replaces those of labels that have too many; returns the names of these.
    pub(super) fn apply(&mut self, labels: &mut Labels) -> Vec<Arc<str>> {
        let mut limited = Vec::new();
        for (name, value) in labels.iter() {
            let hash = FixedState::with_seed(2).hash_one(value);
            if let Some(values) = self.labels.get_mut(&**name) {
                values.seen.insert(hash);
                if values.over {
                    limited.push(Arc::clone(name));
                }
                continue;
            }
            let mut seen = Window::new(self.periods);
            seen.insert(hash);
            self.labels.insert(Arc::clone(name), Values { seen, over: false, replaced: 0 });
        }
        limited.iter().for_each(|name| labels.set(name, OVERFLOW));
        limited
    }

    /// Counts a value that was replaced.
    pub(super) fn count(&mut self, name: &str) {
        if let Some(values) = self.labels.get_mut(name) {
            values.replaced += 1;
        }
    }

    /// Name, estimated values, values replaced.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.labels.iter().map(|(name, values)| (&**name, values.seen.estimate(), values.replaced))
    }
}
