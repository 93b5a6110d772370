//! Decides about traces from the results of all policies.

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

/// Judges traces with policies, and tracks what is left of their rates.
#[derive(Debug)]
pub struct Decider {
    policies: Arc<Policies>,
    budgets: Vec<Budget>,
}

/// The decisions on the traces of a batch, as rows of its trace table.
#[derive(Debug)]
pub struct Decisions {
    /// The traces that are kept.
    pub kept: Bitmap,
    /// What each policy decided, in the order of the policies.
    pub policies: Vec<PolicyDecisions>,
}

/// What one policy decided.
#[derive(Debug)]
pub struct PolicyDecisions {
    /// The traces that the policy samples; for a policy that drops, those that it drops.
    pub sampled: Bitmap,
    /// Traces on which the policy could not be evaluated. It is ignored for them.
    pub failed: Bitmap,
    /// How long the policy took.
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

    /// Sets how long the traces of the next batches took to arrive. Rates allow what that time brings.
    pub fn advance(&mut self, time: Duration) {
        self.budgets.iter_mut().for_each(|budget| budget.advance(time.as_secs_f64()));
    }

    /// Decides all traces of a sorted batch, with the spans that the batch has of them.
    ///
    /// A trace is dropped if a policy drops it, or if a policy with `invert_match` finds a match. Otherwise it is kept
    /// if a policy without `invert_match` samples it, or if one with it does and every policy without it that could be
    /// evaluated samples it as well. Without policies all are kept.
    pub fn decide(&mut self, batch: &SpanBatch) -> Decisions {
        let view = View::new(batch);
        let traces = view.traces();
        let mut undropped = Bitmap::all(traces);
        let mut said: Vec<Option<PolicyDecisions>> = Vec::new();
        said.resize_with(self.policies.policies.len(), || None);
        // What is dropped does not use up the rates of other policies.
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
