//! Collects what a search finds in the parts of a source.

use tactus_work::Held;

use super::matches::TraceMatch;

/// The traces that a search has found, of which the newest are kept. Each comes from one part: a block has the spans of a
/// trace in one row, and live spans are joined before they are evaluated.
#[derive(Debug, Default)]
pub struct NewestTraces {
    traces: Vec<TraceMatch>,
    bytes: usize,
    held: Held,
}

impl NewestTraces {
    /// Adds a trace, unless there is no memory for it: then nobody wants the answer any more.
    pub fn add(&mut self, found: TraceMatch) {
        self.bytes += found.heap_bytes();
        if self.held.grow_to(self.bytes) {
            self.traces.push(found);
        }
    }

    /// Number of traces so far.
    pub fn count(&self) -> usize {
        self.traces.len()
    }

    /// The start of the `limit`-th newest trace so far. A source whose traces all start earlier cannot change the
    /// answer. `None` if there are fewer traces, or `limit` is 0.
    pub fn oldest_kept_start(&self, limit: usize) -> Option<u64> {
        let place = limit.checked_sub(1).filter(|&place| place < self.traces.len())?;
        let mut starts: Vec<u64> = self.traces.iter().map(|it| it.start_unix_nanos).collect();
        let (_, start, _) = starts.select_nth_unstable_by(place, |a, b| b.cmp(a));
        Some(*start)
    }

    /// The `limit` newest traces (0: all), newest first, then by trace id.
    pub fn finish(self, limit: usize) -> Vec<TraceMatch> {
        let mut traces = self.traces;
        traces.sort_by(|a, b| {
            b.start_unix_nanos.cmp(&a.start_unix_nanos).then(a.trace_id.cmp(&b.trace_id))
        });
        if limit > 0 {
            traces.truncate(limit);
        }
        traces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_model::TraceId;

    fn found(id: u8, start_unix_nanos: u64) -> TraceMatch {
        TraceMatch {
            trace_id: TraceId::from_slice(&[id]),
            root_service_name: String::new(),
            root_trace_name: String::new(),
            start_unix_nanos,
            duration_nanos: 1,
            service_stats: Default::default(),
            span_sets: Vec::new(),
        }
    }

    #[test]
    fn limit_keeps_the_newest_and_ties_go_by_id() {
        let mut newest = NewestTraces::default();
        for (id, start) in [(1, 5), (4, 9), (3, 9), (2, 7)] {
            newest.add(found(id, start));
        }
        assert_eq!(newest.oldest_kept_start(3), Some(7));
        assert_eq!(newest.oldest_kept_start(5), None);
        let ids: Vec<_> = newest.finish(3).iter().map(|found| found.trace_id).collect();
        assert_eq!(ids, [3, 4, 2].map(|id| TraceId::from_slice(&[id])));
    }
}
