//! The traces that a server has acknowledged, including those of earlier processes.

use std::collections::BTreeMap;

/// How many runs are kept. Each refused push divides a run, and the oldest runs are forgotten.
const MAX_RUNS: usize = 4096;

/// A set of slots, stored as runs of consecutive slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written(BTreeMap<u64, u64>);

impl Written {
    /// Adds a slot.
    pub(crate) fn insert(&mut self, slot: u64) {
        self.insert_run(slot, slot);
    }

    /// Adds the slots from `first` to `last`, both included.
    pub(crate) fn insert_run(&mut self, mut first: u64, mut last: u64) {
        while let Some((&start, &end)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            (first, last) = (first.min(start), last.max(end));
            self.0.remove(&start);
        }
        self.0.insert(first, last);
        while self.0.len() > MAX_RUNS {
            self.0.pop_first();
        }
    }

    /// Adds all of another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(&first, &last)| self.insert_run(first, last));
    }

    pub(crate) fn contains(&self, slot: u64) -> bool {
        self.0.range(..=slot).next_back().is_some_and(|(_, &last)| slot <= last)
    }

    /// Slots from `first` to `last`, both included, that are in the set.
    pub(crate) fn count(&self, first: u64, last: u64) -> u64 {
        self.within(first, last).map(|(first, last)| last - first + 1).sum()
    }

    /// The slot at `index` among those from `first` to `last`, counted from 0.
    pub(crate) fn nth(&self, first: u64, last: u64, mut index: u64) -> Option<u64> {
        for (first, last) in self.within(first, last) {
            let length = last - first + 1;
            if index < length {
                return Some(first + index);
            }
            index -= length;
        }
        None
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(&first, _)| first)
    }

    /// Removes all slots below `slot`.
    pub(crate) fn forget_before(&mut self, slot: u64) {
        while let Some((first, last)) = self.0.pop_first() {
            if last >= slot {
                self.0.insert(first.max(slot), last);
                return;
            }
        }
    }

    /// The newest `runs` of the set: `first+further,…`, the newest first.
    pub(crate) fn to_text(&self, runs: usize) -> String {
        let runs = self.0.iter().rev().take(runs);
        runs.map(|(first, last)| format!("{first}+{}", last - first)).collect::<Vec<_>>().join(",")
    }

    /// The set that a text describes; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut written = Self::default();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let (first, further) = run.split_once('+')?;
            let first: u64 = first.parse().ok()?;
            written.insert_run(first, first.checked_add(further.parse().ok()?)?);
        }
        Some(written)
    }

    fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
        let runs = self.0.iter().map(move |(&start, &end)| (start.max(first), end.min(last)));
        runs.filter(|(first, last)| first <= last)
    }
}

/// How many runs a trace names. They take at most about 1.3 kB, which is below the limit of attributes.
pub(crate) const RUNS_IN_A_TRACE: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn set_is_that_of_its_slots(runs in prop::collection::vec((0..60_u64, 0..6_u64), 0..20), cut in 0..70_u64) {
            let (mut written, mut slots) = (Written::default(), BTreeSet::new());
            for &(first, further) in &runs {
                written.insert_run(first, first + further);
                slots.extend(first..=first + further);
            }
            prop_assert_eq!(Written::parse(&written.to_text(100)), Some(written.clone()));
            written.forget_before(cut);
            slots = slots.split_off(&cut);
            prop_assert_eq!(written.first(), slots.first().copied());
            prop_assert!((0..80).all(|slot| written.contains(slot) == slots.contains(&slot)));
            let inner: Vec<u64> = slots.range(10..=40).copied().collect();
            prop_assert_eq!(written.count(10, 40), inner.len() as u64);
            let found: Vec<u64> = (0..).map_while(|index| written.nth(10, 40, index)).collect();
            prop_assert_eq!(found, inner);
            // Neighbours are one run: a text says as much as it can.
            prop_assert!(written.0.iter().zip(written.0.keys().skip(1)).all(|((_, last), next)| last + 1 < *next));
        }

        #[test]
        fn any_text_is_a_set_or_none(text in "[0-9+,]{0,40}") {
            let _ = Written::parse(&text);
        }
    }

    #[test]
    fn number_of_runs_is_bounded() {
        let mut written = Written::default();
        (0..10_000).for_each(|slot| written.insert(slot * 2));
        assert_eq!(written.0.len(), MAX_RUNS);
        assert!(written.contains(19_998) && !written.contains(0));
        written.insert_run(0, u64::MAX);
        assert_eq!(written.to_text(9), format!("0+{}", u64::MAX));
    }

    #[test]
    fn text_names_the_newest_runs() {
        let mut written = Written::default();
        [1, 2, 3, 7, 9, 10].into_iter().for_each(|slot| written.insert(slot));
        assert_eq!(written.to_text(2), "9+1,7+0");
        for wrong in ["x", "1", "1+x", "-1+2", "18446744073709551615+1"] {
            assert_eq!(Written::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Written::parse(""), Some(Written::default()));
    }
}
