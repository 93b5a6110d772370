//! Root spans of this process, counted by operation until the next flush.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::by_operation::{ByOperation, OperationLimits};

/// How many different probabilities are remembered for an operation in an interval.
const MAX_PROBABILITIES: usize = 10;
/// Longer names of services and operations are not counted, because clients need the exact names.
const MAX_NAME_BYTES: usize = 512;
/// No sampler has a larger parameter.
const MAX_PARAM: f64 = 1e9;

/// Which sampler of a client decided about a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// By the probability that the client was told.
    Probabilistic,
    /// By the lower bound on sampled traces per second that the client was told.
    LowerBound,
    /// By a limit on traces per second.
    RateLimiting,
    /// All or none.
    Const,
}

impl SamplerKind {
    /// Parses the value of an attribute `sampler.type`; `None` for an unknown one.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"probabilistic" => Some(Self::Probabilistic),
            b"lowerbound" => Some(Self::LowerBound),
            b"ratelimiting" => Some(Self::RateLimiting),
            b"const" => Some(Self::Const),
            _ => None,
        }
    }
}

/// A root span that says how it was sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampledSpan<'a> {
    /// `service.name` of its resource.
    pub service: &'a str,
    /// Its name.
    pub operation: &'a str,
    /// From `sampler.type`.
    pub kind: SamplerKind,
    /// From `sampler.param`.
    pub param: f64,
}

/// The counts of one operation over some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationCount {
    /// Traces sampled by probability.
    pub(crate) count: u64,
    /// The probabilities that their clients used, with six decimals.
    pub(crate) probabilities: BTreeSet<String>,
}

impl OperationCount {
    /// Adds what another process counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        for probability in &other.probabilities {
            self.saw(probability.clone());
        }
    }

    fn saw(&mut self, probability: String) {
        if self.probabilities.len() < MAX_PROBABILITIES {
            self.probabilities.insert(probability);
        }
    }
}

/// A probability as text with six decimals, in which form probabilities are compared.
pub(crate) fn six_decimals(probability: f64) -> String {
    format!("{probability:.6}")
}

#[derive(Debug)]
pub(crate) struct Counter {
    limits: OperationLimits,
    counts: Mutex<ByOperation<OperationCount>>,
}

impl Counter {
    pub(crate) fn new(limits: OperationLimits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// Counts spans of a tenant; returns how many were counted.
    pub(crate) fn add(&self, tenant: &str, spans: &[SampledSpan<'_>]) -> u64 {
        let mut counted = 0;
        let mut counts = self.counts.lock();
        for span in spans {
            counted += u64::from(add_one(&mut counts, tenant, span, self.limits));
        }
        counted
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> ByOperation<OperationCount> {
        std::mem::take(&mut self.counts.lock())
    }
}

fn add_one(
    counts: &mut ByOperation<OperationCount>,
    tenant: &str,
    span: &SampledSpan<'_>,
    limits: OperationLimits,
) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    if !is_name(span.service)
        || !is_name(span.operation)
        || !(0.0..=MAX_PARAM).contains(&span.param)
    {
        return false;
    }
    let Some(entry) = counts.entry(tenant, span.service, span.operation, limits) else {
        return false;
    };
    entry.count += u64::from(span.kind == SamplerKind::Probabilistic);
    // The parameter of a limit is no probability. OpenTelemetry's sampler for Go has it at samples of the lower bound, so it
    // does not say which probability the client uses.
    if span.kind != SamplerKind::RateLimiting {
        entry.saw(six_decimals(span.param));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: SamplerKind, param: f64) -> SampledSpan<'static> {
        SampledSpan { service: "s", operation: "o", kind, param }
    }

    #[test]
    fn only_traces_sampled_by_probability_count() {
        let counter = Counter::new(OperationLimits { all: 9, per_tenant: 9 });
        let spans = [
            span(SamplerKind::LowerBound, 0.001),
            span(SamplerKind::Probabilistic, 0.0015),
            span(SamplerKind::Probabilistic, 0.0015),
            span(SamplerKind::Const, 1.0),
            span(SamplerKind::RateLimiting, 0.016667),
            span(SamplerKind::Probabilistic, f64::NAN),
            span(SamplerKind::Probabilistic, -1.0),
            SampledSpan { service: "", ..span(SamplerKind::Probabilistic, 1.0) },
        ];
        assert_eq!(counter.add("t", &spans), 5);
        let counts = counter.take();
        let found = counts.get("t", "s", "o").unwrap();
        assert_eq!(found.count, 2);
        let probabilities: Vec<_> = found.probabilities.iter().map(String::as_str).collect();
        assert_eq!(probabilities, ["0.001000", "0.001500", "1.000000"]);
        assert!(counter.take().is_empty());
    }

    #[test]
    fn probabilities_of_an_operation_are_bounded() {
        let counter = Counter::new(OperationLimits { all: 9, per_tenant: 9 });
        for step in 0..100 {
            counter.add("t", &[span(SamplerKind::LowerBound, f64::from(step) / 100.0)]);
        }
        let counts = counter.take();
        let found = counts.get("t", "s", "o").unwrap();
        assert_eq!((found.count, found.probabilities.len()), (0, MAX_PROBABILITIES));
    }
}
