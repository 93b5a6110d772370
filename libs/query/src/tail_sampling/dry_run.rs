//! Judges stored traces with tail sampling policies, some traces at a time.

use std::sync::Arc;
use std::time::Duration;

use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::TraceLookups;
use tactus_model::merge::merge;
use tactus_model::walk::walk_export;
use tactus_model::{AppendError, BatchBuilder, BuilderLimits, SpanBatch, TenantId, TraceId};
use tactus_tail_sampling::{Decider, Policies, bytes_per_trace, spans_per_trace};
use tactus_traceql::eval::Bitmap;

use crate::frontend::Frontend;
use crate::offload::offload;
use crate::trace_lookup::{FoundId, TraceLookup, WholeTrace};

/// Traces that are fetched and judged at a time: they are in memory together.
const TRACES_PER_ROUND: usize = 200;

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
        for round in ids.traces.chunks(TRACES_PER_ROUND) {
            let wanted: Vec<TraceId> = round.iter().map(|trace| trace.id).collect();
            let whole = self.whole_traces(tenants, &wanted, &TraceLookups::default()).await?;
            run.found.partial |= whole.partial;
            run.decider.advance(time_of(round));
            let judged = offload(true, move || {
                let batch = batch_of(whole.traces);
                batch.map(|batch| {
                    run.judge(&batch);
                    run
                })
            });
            run = judged.await??;
        }
        Ok(run.found)
    }
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

/// From the first start of some traces to the last.
fn time_of(traces: &[FoundId]) -> Duration {
    let starts = traces.iter().map(|trace| trace.start);
    let (first, last) =
        starts.fold((u64::MAX, 0), |(first, last), start| (first.min(start), last.max(start)));
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
    for run in &walk.runs {
        let resource = builder.resource(&trace[walk.resources[run.resource as usize].clone()])?;
        let scope = builder.scope(&trace[walk.scopes[run.scope as usize].clone()])?;
        let spans = &trace[run.scope_spans.clone()];
        builder.append_scope_spans(resource, scope, spans, |_, _| true)?;
    }
    Ok(())
}
