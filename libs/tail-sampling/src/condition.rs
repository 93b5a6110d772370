//! Compiled policies.

use tactus_model::{TraceId, fnv1a_64};
use tactus_traceql::{UnanchoredRegex, eval::CompiledQuery};

/// What a policy asks of a trace.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    Traceql(Box<CompiledQuery>),
    /// In milliseconds. An upper threshold of 0 is no bound.
    Latency {
        threshold: u64,
        upper: u64,
    },
    Attribute(AttributeCondition),
    Probabilistic(Share),
    /// For each OTLP status code: whether it is wanted.
    Status([bool; 3]),
    /// `most` of 0 is no bound.
    SpanCount {
        least: u64,
        most: u64,
    },
    TraceState {
        key: Vec<u8>,
        /// Sorted.
        values: Vec<Vec<u8>>,
    },
    /// Samples traces as long as the budget lasts.
    Rate {
        budget: usize,
        unit: Unit,
    },
    And(Vec<Condition>),
    Not(Box<Condition>),
    /// The first part that samples a trace decides, if its budget has spans left.
    Composite(Vec<(Condition, usize)>),
}

impl Condition {
    pub(crate) fn limits_rate(&self) -> bool {
        match self {
            Self::Rate { .. } | Self::Composite(_) => true,
            Self::And(all) => all.iter().any(Self::limits_rate),
            Self::Not(inner) => inner.limits_rate(),
            _ => false,
        }
    }
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Spans,
    Bytes,
}

/// An attribute of a span or a resource with a certain value.
#[derive(Debug)]
pub(crate) struct AttributeCondition {
    pub(crate) key: Vec<u8>,
    pub(crate) test: AttributeTest,
    /// True if traces without the attribute match, and those with it do not.
    pub(crate) inverted: bool,
}

#[derive(Debug)]
pub(crate) enum AttributeTest {
    Int { least: i64, most: i64 },
    Bool(bool),
    Equals(Vec<Vec<u8>>),
    Matches(Vec<UnanchoredRegex>),
}

/// A share of all traces, chosen by a hash of their ids.
#[derive(Debug)]
pub(crate) struct Share {
    salt: Vec<u8>,
    /// The highest hash that belongs to the share.
    threshold: u64,
}

impl Share {
    /// `percent` is 0 to 100.
    pub(crate) fn new(percent: f64, salt: &str) -> Self {
        // As a float, `u64::MAX` becomes 2^64. The conversion back to an integer saturates.
        let threshold = (percent / 100.0 * u64::MAX as f64) as u64;
        Self { salt: salt.as_bytes().to_vec(), threshold }
    }

    pub(crate) fn contains(&self, trace: &TraceId) -> bool {
        trace_hash(&self.salt, trace) <= self.threshold
    }
}

/// FNV-1a of salt and id, as in OpenTelemetry collectors, so that both choose the same traces.
pub(crate) fn trace_hash(salt: &[u8], trace: &TraceId) -> u64 {
    fnv1a_64(salt.iter().chain(&trace.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_drawn_as_collectors_draw_them() {
        let quarter = Share::new(25.0, "default-hash-seed");
        for (id, hash, sampled) in [
            ("00000000000000010000000000000002", 5_632_560_098_869_031_620, false),
            ("0af7651916cd43dd8448eb211c80319c", 3_728_843_964_641_534_796, true),
        ] {
            let id = TraceId::from_hex(id).unwrap();
            assert_eq!(trace_hash(b"default-hash-seed", &id), hash);
            assert_eq!(quarter.contains(&id), sampled);
            assert!(Share::new(100.0, "").contains(&id) && !Share::new(0.0, "").contains(&id));
        }
    }
}
