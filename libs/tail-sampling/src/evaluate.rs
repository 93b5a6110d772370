//! Evaluates conditions on batches.

use std::{cell::OnceCell, time::Duration};

use tactus_model::{SpanBatch, merge::gather_traces};
use tactus_traceql::eval::{Bitmap, CompiledQuery, Window};
use tactus_work::{Work, is_over};

use crate::{
    attributes::{traces_with, traces_with_state, traces_with_status},
    budget::Budget,
    condition::{Condition, Unit},
    facts::{bytes_per_trace, millis_per_trace, spans_per_trace},
};

/// Processor time that a query may use for a batch. If a policy takes longer, it fails for these traces, so that
/// segments do not pile up behind it.
const MAX_CPU_TIME: Duration = Duration::from_secs(10);

/// The result of a condition for traces, as rows of the batch's trace table.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) sampled: Bitmap,
    /// Traces on which it could not be evaluated. None of them is sampled.
    pub(crate) failed: Bitmap,
}

/// A batch and derived facts that conditions need. Each is computed once.
pub(crate) struct View<'b> {
    batch: &'b SpanBatch,
    spans: OnceCell<Vec<u64>>,
    millis: OnceCell<Vec<u64>>,
    bytes: OnceCell<Vec<u64>>,
}

impl<'b> View<'b> {
    /// `batch` must be sorted.
    pub(crate) fn new(batch: &'b SpanBatch) -> Self {
        let (spans, millis, bytes) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { batch, spans, millis, bytes }
    }

    pub(crate) fn traces(&self) -> usize {
        self.batch.traces.ids.len()
    }

    fn spans(&self) -> &[u64] {
        self.spans.get_or_init(|| spans_per_trace(self.batch))
    }

    /// The traces among `candidates` that a condition samples.
    pub(crate) fn judge(
        &self,
        condition: &Condition,
        budgets: &mut [Budget],
        candidates: &Bitmap,
    ) -> Verdict {
        let mut failed = Bitmap::none(self.traces());
        // Each condition reads all spans, and there may be many conditions.
        if candidates.count() == 0 || is_over() {
            return Verdict { sampled: failed.clone(), failed };
        }
        let mut sampled = match condition {
            Condition::Always => candidates.clone(),
            Condition::Traceql(query) => self.find(query, candidates, &mut failed),
            &Condition::Latency { threshold, upper } => {
                let millis = self.millis.get_or_init(|| millis_per_trace(self.batch));
                Bitmap::from_values(millis, |millis| match upper {
                    0 => millis >= threshold,
                    _ => millis > threshold && millis <= upper,
                })
            }
            Condition::Attribute(attribute) => {
                let mut found = traces_with(attribute, self.batch);
                if attribute.inverted {
                    found.invert();
                }
                found
            }
            Condition::Probabilistic(share) => {
                let ids = self.batch.traces.ids.as_slice();
                Bitmap::from_fn(ids.len(), |trace| share.contains(&ids[trace]))
            }
            Condition::Status(statuses) => traces_with_status(statuses, self.batch),
            &Condition::SpanCount { least, most } => Bitmap::from_values(self.spans(), |spans| {
                spans >= least && (most == 0 || spans <= most)
            }),
            Condition::TraceState { key, values } => traces_with_state(key, values, self.batch),
            &Condition::Rate { budget, unit } => {
                let sizes = match unit {
                    Unit::Spans => self.spans(),
                    Unit::Bytes => self.bytes.get_or_init(|| bytes_per_trace(self.batch)),
                };
                take(budgets.get_mut(budget), sizes, candidates)
            }
            Condition::And(all) => self.sampled_by_all(all, budgets, candidates, &mut failed),
            Condition::Not(inner) => {
                let verdict = self.judge(inner, budgets, candidates);
                let mut found = verdict.sampled;
                found.invert();
                found.subtract(&verdict.failed);
                failed = verdict.failed;
                found
            }
            Condition::Composite(parts) => self.composite(parts, budgets, candidates, &mut failed),
        };
        sampled.intersect(candidates);
        Verdict { sampled, failed }
    }

    fn sampled_by_all(
        &self,
        conditions: &[Condition],
        budgets: &mut [Budget],
        candidates: &Bitmap,
        failed: &mut Bitmap,
    ) -> Bitmap {
        let mut left = candidates.clone();
        for condition in conditions {
            let verdict = self.judge(condition, budgets, &left);
            left = verdict.sampled;
            failed.unite(&verdict.failed);
        }
        left
    }

    /// Each part judges what earlier parts did not sample, and keeps what its share of the rate allows.
    fn composite(
        &self,
        parts: &[(Condition, usize)],
        budgets: &mut [Budget],
        candidates: &Bitmap,
        failed: &mut Bitmap,
    ) -> Bitmap {
        let (mut found, mut left) = (Bitmap::none(self.traces()), candidates.clone());
        for (condition, budget) in parts {
            let verdict = self.judge(condition, budgets, &left);
            left.subtract(&verdict.sampled);
            failed.unite(&verdict.failed);
            let within = take(budgets.get_mut(*budget), self.spans(), &verdict.sampled);
            found.unite(&within);
        }
        // If another part of the policy sampled the trace, the failure does not matter.
        failed.subtract(&found);
        found
    }

    fn find(&self, query: &CompiledQuery, candidates: &Bitmap, failed: &mut Bitmap) -> Bitmap {
        let mut found = Bitmap::none(self.traces());
        let among = (candidates.count() < self.traces()).then_some(candidates);
        let evaluated = Work::of_thread().within_cpu_time(MAX_CPU_TIME).run(|| {
            match query.find_newest_among(self.batch, Window::default(), 0, among) {
                Ok(matches) => {
                    matches.traces.iter().for_each(|it| found.insert(it.trace as usize));
                }
                // A single trace may cause the error: smaller and smaller groups are evaluated.
                Err(_) => find_in(query, self.batch, 0, candidates, &mut found, failed),
            }
        });
        if evaluated.is_err() {
            // It took too long, so what was found so far is incomplete.
            failed.unite(candidates);
            return Bitmap::none(self.traces());
        }
        found
    }
}

/// Evaluates smaller and smaller parts of a batch, to find the traces on which the evaluation fails. `first`: the place
/// of its first trace among the candidates.
fn find_in(
    query: &CompiledQuery,
    batch: &SpanBatch,
    first: usize,
    candidates: &Bitmap,
    found: &mut Bitmap,
    failed: &mut Bitmap,
) {
    let ids = &batch.traces.ids;
    let among = Bitmap::from_fn(ids.len(), |trace| candidates.contains(first + trace));
    if among.count() == 0 {
        return;
    }
    match query.find_newest_among(batch, Window::default(), 0, Some(&among)) {
        Ok(matches) => {
            matches.traces.iter().for_each(|it| found.insert(first + it.trace as usize));
        }
        Err(_) if ids.len() == 1 => failed.insert(first),
        Err(_) => {
            let half = ids.len() / 2;
            let middle = ids[half];
            let low = gather_traces(&[batch], |id| id < middle);
            find_in(query, &low, first, candidates, found, failed);
            let high = gather_traces(&[batch], |id| id >= middle);
            find_in(query, &high, first + half, candidates, found, failed);
        }
    }
}

/// The traces that a budget allows. They are taken in the order of their ids, which are random.
fn take(budget: Option<&mut Budget>, sizes: &[u64], candidates: &Bitmap) -> Bitmap {
    let mut taken = Bitmap::none(sizes.len());
    let Some(budget) = budget else { return taken };
    for trace in candidates.rows() {
        if sizes.get(trace).is_some_and(|&size| budget.take(size)) {
            taken.insert(trace);
        }
    }
    taken
}
