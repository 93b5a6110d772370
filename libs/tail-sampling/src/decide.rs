//! The decision about traces, of what all policies say.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tactus_model::SpanBatch;
use tactus_traceql::eval::Bitmap;

use crate::{
    budget::Budget,
    compile::Policies,
    evaluate::{Verdict, View},
};

/// Judges traces by policies, and keeps what is left of their rates.
#[derive(Debug)]
pub struct Decider {
    policies: Arc<Policies>,
    budgets: Vec<Budget>,
}

/// What becomes of the traces of a batch; rows of its trace table.
#[derive(Debug)]
pub struct Decisions {
    /// The traces that are kept.
    pub kept: Bitmap,
    /// What each policy said, in their order.
    pub policies: Vec<PolicyDecisions>,
}

/// What a policy said.
#[derive(Debug)]
pub struct PolicyDecisions {
    /// The traces that it samples; of a policy that drops, those that it drops.
    pub sampled: Bitmap,
    /// Traces on which it could not be evaluated: it is as if it were not there.
    pub failed: Bitmap,
    /// Time that it took.
    pub elapsed: Duration,
}

impl Decider {
    /// A decider whose rates are not used yet.
    pub fn new(policies: Arc<Policies>) -> Self {
        let budgets = policies.rates.iter().copied().map(Budget::new).collect();
        Self { policies, budgets }
    }

    /// The policies.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Says that the traces of the next batches took so long to arrive: rates let through what that time brings.
    pub fn advance(&mut self, time: Duration) {
        self.budgets.iter_mut().for_each(|budget| budget.advance(time.as_secs_f64()));
    }

    /// Decides all traces of a sorted batch on the spans that it has of them.
    ///
    /// A trace is dropped if a policy drops it, or one with `invert_match` meets a match; else it is kept if a policy
    /// samples it, where one with `invert_match` counts only if no policy without fails to sample it. Without policies all
    /// are kept.
    pub fn decide(&mut self, batch: &SpanBatch) -> Decisions {
        let view = View::new(batch);
        let traces = view.traces();
        let mut undropped = Bitmap::all(traces);
        let mut said: Vec<Option<PolicyDecisions>> = Vec::new();
        said.resize_with(self.policies.policies.len(), || None);
        // What is dropped takes nothing from the rates of the others.
        for drops in [true, false] {
            for (policy, said) in self.policies.policies.iter().zip(&mut said) {
                if policy.drops != drops {
                    continue;
                }
                let started = Instant::now();
                let candidates = if drops { Bitmap::all(traces) } else { undropped.clone() };
                let Verdict { sampled, failed } =
                    view.judge(&policy.condition, &mut self.budgets, &candidates);
                if drops {
                    undropped.subtract(&sampled);
                }
                *said = Some(PolicyDecisions { sampled, failed, elapsed: started.elapsed() });
            }
        }
        let said: Vec<_> = said.into_iter().flatten().collect();
        Decisions { kept: self.combine(&said, undropped), policies: said }
    }

    fn combine(&self, said: &[PolicyDecisions], undropped: Bitmap) -> Bitmap {
        if self.policies.is_empty() {
            return undropped;
        }
        let traces = undropped.len();
        let (mut sampled, mut unsampled) = (Bitmap::none(traces), Bitmap::none(traces));
        let mut sampled_by_inverted = Bitmap::none(traces);
        let mut kept = undropped;
        for (policy, said) in self.policies.policies.iter().zip(said) {
            if policy.drops {
                continue;
            }
            let mut refused = said.sampled.clone();
            refused.invert();
            refused.subtract(&said.failed);
            if policy.inverted {
                kept.subtract(&refused);
                sampled_by_inverted.unite(&said.sampled);
            } else {
                sampled.unite(&said.sampled);
                unsampled.unite(&refused);
            }
        }
        sampled_by_inverted.subtract(&unsampled);
        sampled.unite(&sampled_by_inverted);
        kept.intersect(&sampled);
        kept
    }
}
