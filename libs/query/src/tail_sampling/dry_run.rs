//! Judges stored traces with tail sampling policies, some traces at a time.

use std::sync::Arc;
use std::time::Duration;

use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::merge::merge;
use tactus_model::walk::walk_export;
use tactus_model::{
    AppendError, BatchBuilder, BuilderLimits, KnownOwners, RunMessages, SpanBatch, TenantId,
    TraceId,
};
use tactus_tail_sampling::{Decider, Policies, bytes_per_trace, spans_per_trace};
use tactus_traceql::eval::Bitmap;
use tactus_work::Held;

use crate::frontend::Frontend;
use crate::offload::offload;
use crate::trace_lookup::{FoundId, TraceLookup, WholeTrace, WholeTraces};

/// Traces that are fetched and judged at a time: they are in memory together.
const TRACES_PER_ROUND: usize = 200;
/// Bytes of the traces of a round that has several.
const BYTES_PER_ROUND: u64 = 16 << 20;
/// A batch is built of the encoded traces, and a sorted one of that: each takes about the same memory again.
const BATCHES: usize = 2;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) seen: Tally,
    pub(super) kept: Tally,
    /// In the order of the policies.
    pub(super) policies: Vec<Said>,
    /// Something could not be read, or was too much: there may be more.
    pub(super) partial: bool,
    /// There are as many traces as were asked for, and so perhaps more.
    pub(super) limit_reached: bool,
}

/// What a policy samples; one that drops, what it drops.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Said {
    pub(super) sampled: Tally,
    pub(super) failed_traces: u64,
}

/// Traces, with their spans and bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) traces: u64,
    pub(super) spans: u64,
    pub(super) bytes: u64,
}

impl Frontend {
    /// What policies keep of the newest stored traces of a window.
    pub(super) async fn try_policies(
        &self,
        tenants: &[TenantId],
        lookup: &TraceLookup,
        policies: Arc<Policies>,
    ) -> Result<Found> {
        let run = Box::pin(self.try_all(tenants, lookup, policies));
        self.within_limits(tenants, run).await
    }

    async fn try_all(
        &self,
        tenants: &[TenantId],
        lookup: &TraceLookup,
        policies: Arc<Policies>,
    ) -> Result<Found> {
        let ids = self.find_trace_ids(tenants, lookup).await?;
        let mut run = Run {
            found: Found {
                policies: vec![Said::default(); policies.names().count()],
                partial: ids.partial,
                limit_reached: ids.traces.len() >= lookup.limit as usize,
                ..Found::default()
            },
            decider: Decider::new(policies),
        };
        let settings =
            TraceLookups { max_answer_bytes: BYTES_PER_ROUND, ..TraceLookups::default() };
        let (mut rest, mut oldest, mut failure) = (ids.traces.as_slice(), None, None);
        while !rest.is_empty() {
            let wanted = rest.iter().take(TRACES_PER_ROUND).map(|trace| trace.id);
            let wanted: Vec<TraceId> = wanted.collect();
            let whole = match self.whole_traces(tenants, &wanted, &settings).await {
                Ok(whole) => whole,
                Err(error @ (Error::TooManyBytes | Error::NeedsTooMuchMemory(_))) => {
                    // Of the first one, or of all.
                    let is_first = error == Error::TooManyBytes;
                    rest = &rest[if is_first { 1 } else { wanted.len() }..];
                    run.found.partial = true;
                    failure = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (round, later) = rest.split_at(reached(&wanted, &whole));
            rest = later;
            run.found.partial |= if round.len() == wanted.len() {
                whole.partial
            } else {
                // The others are for the next round. That is no reason to be partial.
                let lacks_spans = whole.traces.iter().any(WholeTrace::may_lack_spans);
                lacks_spans || whole.traces.len() < round.len()
            };
            run.decider.advance(time_of(round, &mut oldest));
            let judged = offload(true, move || {
                let mut held = Held::default();
                let bytes: usize = whole.traces.iter().map(|trace| trace.encoded.len()).sum();
                if !held.grow_if_free(BATCHES * bytes) {
                    run.found.partial = true;
                    return Ok(run);
                }
                let batch = batch_of(whole.traces);
                batch.map(|batch| {
                    run.judge(&batch);
                    run
                })
            });
            run = judged.await??;
        }
        match failure {
            Some(error) if run.found.seen.traces == 0 => Err(error),
            _ => Ok(run.found),
        }
    }
}

/// How many of the traces that were asked for came or were left out, when the rest had no room. At least one.
fn reached(wanted: &[TraceId], whole: &WholeTraces) -> usize {
    let is_known = |id: &TraceId| {
        whole.missing.contains(id) || whole.traces.iter().any(|trace| trace.id == *id)
    };
    if !whole.partial {
        return wanted.len();
    }
    wanted.iter().rposition(is_known).map_or(1, |last| last + 1)
}

struct Run {
    decider: Decider,
    found: Found,
}

impl Run {
    fn judge(&mut self, batch: &SpanBatch) {
        let (spans, bytes) = (spans_per_trace(batch), bytes_per_trace(batch));
        let tally = |rows: &Bitmap| {
            rows.rows().fold(Tally::default(), |sum, row| Tally {
                traces: sum.traces + 1,
                spans: sum.spans + spans.get(row).copied().unwrap_or(0),
                bytes: sum.bytes + bytes.get(row).copied().unwrap_or(0),
            })
        };
        let decisions = self.decider.decide(batch);
        self.found.seen.add(tally(&Bitmap::all(batch.traces.ids.len())));
        self.found.kept.add(tally(&decisions.kept));
        for (sum, said) in self.found.policies.iter_mut().zip(&decisions.policies) {
            sum.sampled.add(tally(&said.sampled));
            sum.failed_traces += said.failed.count() as u64;
        }
    }
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.traces += more.traces;
        self.spans += more.spans;
        self.bytes += more.bytes;
    }
}

/// From the first start of some traces to the last, or to the `oldest` of the traces before, which are newer.
fn time_of(traces: &[FoundId], oldest: &mut Option<u64>) -> Duration {
    let starts = traces.iter().map(|trace| trace.start);
    let (first, last) =
        starts.fold((u64::MAX, 0), |(first, last), start| (first.min(start), last.max(start)));
    let last = oldest.replace(first).unwrap_or(last);
    Duration::from_nanos(last.saturating_sub(first))
}

fn batch_of(traces: Vec<WholeTrace>) -> Result<SpanBatch> {
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    for trace in traces {
        let appended = append(&mut builder, &trace.encoded);
        appended.map_err(|error| Error::Internal(error.to_string()))?;
    }
    Ok(merge(&[&builder.finish()]).0)
}

fn append(builder: &mut BatchBuilder, trace: &[u8]) -> std::result::Result<(), AppendError> {
    let walk = walk_export(trace, |_| {})?;
    let mut owners = KnownOwners::default();
    for run in &walk.runs {
        let messages = RunMessages {
            resource: &trace[walk.resources[run.resource as usize].clone()],
            scope: &trace[walk.scopes[run.scope as usize].clone()],
            scope_spans: &trace[run.scope_spans.clone()],
            origin: 0,
        };
        builder.append_next_run(&mut owners, messages, |_, _| true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::large_resource_of_many_scopes;

    fn id(byte: u8) -> TraceId {
        TraceId([byte; 16])
    }

    #[test]
    fn traces_without_room_are_left_for_the_next_round() {
        let wanted = [1, 2, 3, 4].map(id);
        let with = |partial, missing: &[u8]| WholeTraces {
            missing: missing.iter().map(|&byte| id(byte)).collect(),
            partial,
            ..WholeTraces::default()
        };
        assert_eq!(reached(&wanted, &with(true, &[1])), 1);
        assert_eq!(reached(&wanted, &with(true, &[1, 3])), 3, "the second was too large");
        assert_eq!(reached(&wanted, &with(true, &[])), 1);
        assert_eq!(reached(&wanted, &with(false, &[1])), 4);
    }

    #[test]
    fn large_resource_is_looked_up_once_for_all_its_scopes() {
        let trace = large_resource_of_many_scopes();
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let began = std::time::Instant::now();
        append(&mut builder, &trace).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        let batch = builder.finish();
        assert_eq!((batch.len(), batch.resources.len(), batch.scopes.len()), (10_000, 1, 10_000));
    }

    #[test]
    fn time_of_rounds_is_that_of_all_their_traces() {
        let found = |start| FoundId { id: id(1), start, end: start };
        let mut oldest = None;
        let rounds = [vec![found(100), found(90)], vec![found(70)], vec![found(50), found(40)]];
        let times = rounds.map(|round| time_of(&round, &mut oldest).as_nanos());
        assert_eq!(times, [10, 20, 30]);
    }
}
