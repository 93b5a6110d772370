//! Traces that lack spans, because they were too large and some of their spans were refused.

use std::collections::BTreeMap;

use crate::TraceId;

/// Traces that lack spans, and at least how many each. Holds at most [`CutTraces::MAX`] traces; further ones are not
/// recorded.
///
/// If several places refused copies of the same span, this cannot tell them from different spans. So there are two ways
/// to combine counts: [`Self::add_all`] for different spans, [`Self::unite`] for possible copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutTraces(BTreeMap<TraceId, u64>);

impl CutTraces {
    /// Most traces that are recorded. A block's list of this many takes about 200 KB as JSON.
    pub const MAX: usize = 4096;

    /// No trace.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds refused spans that were not counted before.
    pub fn add(&mut self, trace: TraceId, spans: u64) {
        self.note(trace, |before| before.saturating_add(spans));
    }

    /// Adds what the same place refused of other spans.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(trace, spans)| self.add(trace, spans));
    }

    /// Adds what another place refused, possibly copies of the same spans.
    pub fn unite(&mut self, other: &Self) {
        other.iter().for_each(|(trace, spans)| self.note(trace, |before| before.max(spans)));
    }

    fn note(&mut self, trace: TraceId, change: impl Fn(u64) -> u64) {
        if let Some(known) = self.0.get_mut(&trace) {
            *known = change(*known);
        } else if self.0.len() < Self::MAX {
            self.0.insert(trace, change(0));
        }
    }

    /// At least this many spans of the trace were refused; 0 if none is known.
    pub fn spans(&self, trace: TraceId) -> u64 {
        self.0.get(&trace).copied().unwrap_or(0)
    }

    /// Traces and numbers of spans, in order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (TraceId, u64)> + '_ {
        self.0.iter().map(|(&trace, &spans)| (trace, spans))
    }

    /// Forgets the traces that are not wanted.
    pub fn retain(&mut self, mut wanted: impl FnMut(TraceId) -> bool) {
        self.0.retain(|&trace, _| wanted(trace));
    }

    /// True without a trace.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TraceId, u64)> for CutTraces {
    fn from_iter<I: IntoIterator<Item = (TraceId, u64)>>(traces: I) -> Self {
        let mut cut = Self::new();
        traces.into_iter().for_each(|(trace, spans)| cut.add(trace, spans));
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> TraceId {
        TraceId::from_slice(&number.to_be_bytes())
    }

    #[test]
    fn spans_of_one_place_add_up_and_those_of_copies_do_not() {
        let mut cut = CutTraces::from_iter([(id(1), 3), (id(1), 2), (id(2), 1)]);
        cut.add_all(&CutTraces::from_iter([(id(1), 5)]));
        assert_eq!((cut.spans(id(1)), cut.spans(id(2)), cut.spans(id(3))), (10, 1, 0));
        cut.unite(&CutTraces::from_iter([(id(1), 7), (id(2), 4), (id(3), 9)]));
        assert_eq!(cut.iter().map(|(_, spans)| spans).collect::<Vec<_>>(), [10, 4, 9]);
        cut.retain(|trace| trace != id(1));
        assert_eq!(cut.spans(id(1)), 0);
    }

    #[test]
    fn number_of_traces_is_bounded_and_known_ones_still_count() {
        let mut cut: CutTraces = (0..CutTraces::MAX as u32 + 5).map(|n| (id(n), 1)).collect();
        assert_eq!(cut.iter().count(), CutTraces::MAX);
        cut.add(id(0), 2);
        assert_eq!(cut.spans(id(0)), 3);
    }
}
