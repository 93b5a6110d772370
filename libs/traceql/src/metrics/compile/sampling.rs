//! Sampling hints: count a part of the data, or weight spans that represent others.

use tactus_model::Projection;

use crate::SampleHint;
use crate::hints::{self, Hints};

/// Which part of spans or traces is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metrics) enum Sampling {
    All,
    /// One span in this many.
    Spans(u64),
    /// One trace in this many.
    Traces(u64),
}

/// Where to find how many spans of the sender a span represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metrics) enum Weighing {
    /// In the trace state. Whole numbers that are right on average, if it has a random value.
    TraceState,
    /// In the trace state, else in the attribute [`PROBABILITY`] of span or resource.
    TraceStateOrAttribute,
}

/// The attribute in which a sampler stores its probability.
pub(in crate::metrics) const PROBABILITY: &str = "sampling.probability";

impl Weighing {
    pub(super) fn of(hints: &Hints) -> Option<Self> {
        if hints.boolean(hints::ADJUSTED) == Some(true) {
            return Some(Weighing::TraceStateOrAttribute);
        }
        (hints.boolean(hints::EXTRAPOLATE) == Some(true)).then_some(Weighing::TraceState)
    }

    pub(super) fn project(self, columns: &mut Projection) {
        columns.trace_state = true;
        if self == Weighing::TraceStateOrAttribute {
            columns.span_attributes.add(PROBABILITY.as_bytes());
            columns.resource_attributes.add(PROBABILITY.as_bytes());
        }
    }
}

impl Sampling {
    pub(super) fn of(hint: Option<SampleHint>, whole_traces: bool) -> Self {
        let one_in = |rate: f64| ((1.0 / rate) as u64).max(1);
        match hint {
            // An adaptive sample takes everything: columns are counted faster than sampling would save.
            None | Some(SampleHint::Adaptive) => Sampling::All,
            Some(SampleHint::Fixed(rate) | SampleHint::Spans(rate)) if whole_traces => {
                Sampling::Traces(one_in(rate))
            }
            Some(SampleHint::Fixed(rate) | SampleHint::Spans(rate)) => {
                Sampling::Spans(one_in(rate))
            }
            Some(SampleHint::Traces(rate)) => Sampling::Traces(one_in(rate)),
        }
    }
}
