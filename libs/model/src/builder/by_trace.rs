//! Appends the spans of a push trace by trace.
//!
//! Senders group spans by resource and scope, so that those of one trace are scattered over a request. If they are
//! adjacent, a merge copies them together and reads its input sequentially, which takes half of the time.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{AppendError, BatchBuilder, KnownOwners, limits::MAX_MESSAGE_BYTES, span::Outcome};
use crate::{
    TraceId,
    walk::span_ids,
    wire::{Reader, WireError},
};

/// A ScopeSpans message with its Resource and InstrumentationScope messages.
#[derive(Debug, Clone, Copy)]
pub struct RunMessages<'a> {
    /// OTLP Resource.
    pub resource: &'a [u8],
    /// OTLP InstrumentationScope.
    pub scope: &'a [u8],
    /// Fields of OTLP ScopeSpans.
    pub scope_spans: &'a [u8],
    /// Which origin the spans have, see [`BatchBuilder::set_origin`].
    pub origin: u64,
}

/// A span that is about to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Number of its run.
    pub run: usize,
    /// How many spans of the push stand before it.
    pub place: u32,
    /// Its trace.
    pub trace: TraceId,
    /// Size of its message.
    pub bytes: usize,
}

/// The result of appending a push.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Spans left out because their values, or those of their resource or scope, are nested too deeply.
    pub too_deep: u64,
    /// Places of the spans that `admit` did not see, ascending: these, and those that [`BatchBuilder::take_refused_ids`] counts.
    unseen: Vec<u32>,
}

impl LeftOut {
    fn add_too_deep(&mut self, place: u32) {
        self.too_deep += 1;
        self.unseen.push(place);
    }

    /// Where a span stands among those that `admit` saw, in the order of the push.
    pub fn position(&self, place: u32) -> u32 {
        place - self.unseen.partition_point(|&unseen| unseen < place) as u32
    }
}

/// The position of a span in a push, and the number of its trace within the push.
#[derive(Debug, Clone, Copy)]
struct Found {
    run: u32,
    place: u32,
    start: u32,
    end: u32,
    trace: u32,
}

/// The spans of a push by trace id; those of one trace in the order in which they came.
#[derive(Debug, Default)]
struct Order {
    found: Vec<Found>,
    /// Each trace with the number of its spans.
    traces: Vec<(TraceId, u32)>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Order {
    fn add(&mut self, id: TraceId, mut found: Found) {
        let last = self.found.last().map(|found| found.trace);
        found.trace = match last {
            Some(last) if self.traces[last as usize].0 == id => last,
            _ => self.trace(id),
        };
        self.traces[found.trace as usize].1 += 1;
        self.found.push(found);
    }

    fn trace(&mut self, id: TraceId) -> u32 {
        let (traces, hasher) = (&mut self.traces, &self.hasher);
        let hash = hasher.hash_one(id.0);
        if let Some(&known) = self.index.find(hash, |&trace| traces[trace as usize].0 == id) {
            return known;
        }
        let new = traces.len() as u32;
        traces.push((id, 0));
        let rehash = |&trace: &u32| hasher.hash_one(traces[trace as usize].0.0);
        self.index.insert_unique(hash, new, rehash);
        new
    }

    fn sorted(mut self) -> Vec<Found> {
        // From here on the number is the position of the trace's next span, not the number of its spans.
        let mut by_id: Vec<u32> = (0..self.traces.len() as u32).collect();
        by_id.sort_unstable_by_key(|&trace| self.traces[trace as usize].0);
        let mut next = 0;
        for trace in by_id {
            let spans = &mut self.traces[trace as usize].1;
            next += std::mem::replace(spans, next);
        }
        let mut sorted = self.found.clone();
        for found in self.found {
            let place = &mut self.traces[found.trace as usize].1;
            sorted[*place as usize] = found;
            *place += 1;
        }
        sorted
    }
}

impl BatchBuilder {
    /// Appends the spans of a push, traces in order of their id and the spans of each in the order of the push. `admit` sees the
    /// spans that can be appended, in that order, and may refuse some by returning false. The spans, their origins and the
    /// errors are those of [`Self::append_run`] for one run after the other. Call it once after [`Self::mark`].
    ///
    /// Memory meanwhile: twenty bytes a span, twice.
    pub fn append_by_trace(
        &mut self,
        runs: &[RunMessages<'_>],
        mut admit: impl FnMut(Candidate) -> bool,
    ) -> Result<LeftOut, AppendError> {
        let bytes: usize = runs.iter().map(|run| run.scope_spans.len()).sum();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(AppendError::TooLarge);
        }
        let mut push = Push {
            owners: Vec::with_capacity(runs.len()),
            spent: vec![0; runs.len()],
            runs,
            left_out: LeftOut::default(),
        };
        let mut known = KnownOwners::default();
        for run in runs {
            push.owners.push(self.owners(&mut known, run.resource, run.scope)?);
            self.check_limits(run.scope_spans)?;
        }
        let free = self.entries.left();
        self.entries.add_message(bytes);
        let (mut order, mut place) = (Order::default(), 0);
        for (number, run) in runs.iter().enumerate() {
            let mut reader = Reader::new(run.scope_spans);
            while let Some((field, value)) = reader.next_field()? {
                if field != 2 {
                    continue;
                }
                if push.owners[number].is_none() {
                    push.left_out.add_too_deep(place);
                    place += 1;
                    continue;
                }
                let message = value.bytes(2)?;
                let end = run.scope_spans.len() - reader.remaining();
                let found = Found {
                    run: number as u32,
                    place,
                    start: (end - message.len()) as u32,
                    end: end as u32,
                    trace: 0,
                };
                place += 1;
                match trace_of(message)? {
                    Some(trace) => order.add(trace, found),
                    // Such a span is refused, so it takes no memory in the order.
                    None => self.append_one(&mut push, found, &mut admit)?,
                }
            }
        }
        for found in order.sorted() {
            self.append_one(&mut push, found, &mut admit)?;
        }
        // A replay of the log appends run by run, and each run may use only the budget of the runs so far. What
        // passes here must pass there.
        let mut left = free;
        for (run, spent) in runs.iter().zip(&push.spent) {
            left = left.saturating_add(run.scope_spans.len());
            left = left.checked_sub(*spent).ok_or(AppendError::TooLarge)?;
        }
        push.left_out.unseen.sort_unstable();
        Ok(push.left_out)
    }

    fn append_one(
        &mut self,
        push: &mut Push<'_>,
        found: Found,
        admit: &mut impl FnMut(Candidate) -> bool,
    ) -> Result<(), AppendError> {
        let (number, place) = (found.run as usize, found.place);
        let Some((resource, scope)) = push.owners[number] else {
            push.left_out.add_too_deep(place);
            return Ok(());
        };
        let run = push.runs[number];
        let message = &run.scope_spans[found.start as usize..found.end as usize];
        let mut admit = |trace, bytes| admit(Candidate { run: number, place, trace, bytes });
        let (first, left, strings) = (self.len(), self.entries.left(), self.reader.mark());
        let appended = self.append_span(resource, scope, message, &mut admit);
        push.spent[number] += left - self.entries.left();
        match appended {
            Ok(Outcome::Appended) => {
                self.set_origin(first, run.origin);
                return Ok(());
            }
            Ok(Outcome::Refused) => {}
            Ok(Outcome::BadIds) => {
                self.refused_ids += 1;
                push.left_out.unseen.push(place);
            }
            Err(AppendError::Malformed(WireError::Depth)) => {
                push.left_out.add_too_deep(place);
            }
            Err(error) => return Err(error),
        }
        self.drop_half_span();
        self.reader.rollback(strings);
        Ok(())
    }
}

/// The trace of a span; none if the span has no such id and cannot be appended.
fn trace_of(message: &[u8]) -> Result<Option<TraceId>, WireError> {
    if let Ok(id) = span_ids(message)?.0.try_into() {
        return Ok(Some(TraceId(id)));
    }
    // The last one counts, wherever it stands.
    let (mut last, mut reader): (&[u8], _) = (b"", Reader::new(message));
    while let Some((field, value)) = reader.next_field()? {
        if field == 1 {
            last = value.bytes(1)?;
        }
    }
    Ok(last.try_into().ok().map(TraceId))
}

/// A push that is being appended.
struct Push<'a> {
    runs: &'a [RunMessages<'a>],
    /// Resource and scope of each run; none where one of them is nested too deeply.
    owners: Vec<Option<(u32, u32)>>,
    /// What the events, links and attributes of each run took, in bytes.
    spent: Vec<usize>,
    left_out: LeftOut,
}

#[cfg(test)]
mod tests;
