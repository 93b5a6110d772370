//! The identities of spans, and the search for spans that are in two row groups.

use std::ops::Range;

use tactus_model::{Dictionary, SpanBatch, StringCode};

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
        let (mut candidates, mut names) = (Vec::new(), SameNames::of(self, others));
        for (row, other_row) in traces {
            let (spans, near) = (self.of_row(row), others.of_row(other_row));
            // Replicas mostly have the spans of a trace in the same order.
            let pairs = spans.clone().zip(near.clone());
            let (own, theirs) = (&self.batch.spans, &others.batch.spans);
            let is_same = |&(span, other): &(usize, usize)| {
                own.start[span] == theirs.start[other]
                    && own.span_id[span] == theirs.span_id[other]
                    && own.kind[span] == theirs.kind[other]
                    && names.are_equal(own.name[span], theirs.name[other])
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

/// Compares names of two row groups, whose codes differ. Few names make many spans: what was found equal is remembered.
struct SameNames<'s> {
    own: &'s Dictionary,
    others: &'s Dictionary,
    /// For each code here, one there that has the same text, once it was met.
    known: Vec<Option<StringCode>>,
}

impl<'s> SameNames<'s> {
    fn of(own: &'s Spans, others: &'s Spans) -> Self {
        let (own, others) = (&own.batch.strings, &others.batch.strings);
        Self { own, others, known: vec![None; own.len()] }
    }

    fn are_equal(&mut self, own: StringCode, other: StringCode) -> bool {
        let known = self.known.get_mut(own as usize);
        if known.as_ref().is_some_and(|known| **known == Some(other)) {
            return true;
        }
        let are_equal = self.own.get(own) == self.others.get(other);
        if let (true, Some(known)) = (are_equal, known) {
            *known = Some(other);
        }
        are_equal
    }
}
