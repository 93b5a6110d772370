//! The identities of spans, and the search for spans that are in two row groups.

use std::ops::Range;

use tactus_model::SpanBatch;

/// The identities of the spans of a row group, or of some of its rows.
pub(super) struct Spans {
    batch: SpanBatch,
    /// The row of the first trace.
    first_row: usize,
    /// The first span of each trace, which stand one after the other, and the end of the last.
    of_trace: Vec<usize>,
}

impl Spans {
    pub(super) fn of(batch: SpanBatch, first_row: usize) -> Self {
        let mut of_trace = vec![0; batch.traces.ids.len() + 1];
        batch.spans.trace.iter().for_each(|&trace| of_trace[trace as usize + 1] += 1);
        let mut end = 0;
        for count in &mut of_trace {
            end += *count;
            *count = end;
        }
        Self { batch, first_row, of_trace }
    }

    fn of_row(&self, row: usize) -> Range<usize> {
        let trace = row - self.first_row;
        self.of_trace[trace]..self.of_trace[trace + 1]
    }

    /// Visits the spans that others have as well. `traces`: rows of common traces here and there.
    pub(super) fn each_also_in(
        &self,
        others: &Self,
        traces: impl Iterator<Item = (usize, usize)>,
        mut visit: impl FnMut(usize),
    ) {
        let mut candidates = Vec::new();
        for (row, other_row) in traces {
            let (spans, near) = (self.of_row(row), others.of_row(other_row));
            // Replicas mostly have the spans of a trace in the same order.
            let pairs = spans.clone().zip(near.clone());
            let is_same = |&(span, other): &(usize, usize)| {
                self.batch.spans.start[span] == others.batch.spans.start[other]
                    && self.batch.span_identity(span) == others.batch.span_identity(other)
            };
            let same = pairs.take_while(is_same).count();
            let rest = spans.start + same..spans.end;
            (spans.start..rest.start).for_each(&mut visit);
            let starts = &self.batch.spans.start[rest.clone()];
            let (Some(&first), Some(&last)) = (starts.iter().min(), starts.iter().max()) else {
                continue;
            };
            let may_be_shared =
                |&span: &usize| (first..=last).contains(&others.batch.spans.start[span]);
            candidates.clear();
            let near = near.filter(may_be_shared);
            candidates.extend(near.map(|span| others.batch.span_identity(span)));
            if candidates.is_empty() {
                continue;
            }
            candidates.sort_unstable();
            for span in rest {
                if candidates.binary_search(&self.batch.span_identity(span)).is_ok() {
                    visit(span);
                }
            }
        }
    }
}
