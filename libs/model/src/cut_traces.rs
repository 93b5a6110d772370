//! Traces of which spans were refused, because they were too large.

use std::collections::BTreeMap;

use crate::TraceId;

/// Which traces lack spans, and how many at least. At most [`CutTraces::MAX`] of them; further ones are not noted.
///
/// Copies of a span that several places refused are not told apart from different spans: whoever puts counts together
/// says which it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutTraces(BTreeMap<TraceId, u64>);

impl CutTraces {
    /// Traces that are noted; a block's list of this many has about 200 KB as JSON.
    pub const MAX: usize = 4096;

    /// No trace.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Notes refused spans, others than those before.
    pub fn add(&mut self, trace: TraceId, spans: u64) {
        self.note(trace, |before| before.saturating_add(spans));
    }

    /// Adds what was refused at the same place, but other spans.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(trace, spans)| self.add(trace, spans));
    }

    /// Adds what was refused somewhere else, where the same spans may have been sent.
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

    /// This many spans of the trace were refused at least; 0 if it is not known to lack any.
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
