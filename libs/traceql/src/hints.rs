//! `with (name=value, …)`: hints about how to run a query.
//!
//! Unknown names and values of the wrong type are ignored, so every accessor returns an option.

use crate::static_value::Static;

/// Search: newest traces first. Boolean.
pub(crate) const MOST_RECENT: &str = "most_recent";
/// Metrics: the number of exemplars, or whether to return any.
pub(crate) const EXEMPLARS: &str = "exemplars";
/// Metrics: true for adaptive sampling, or a fixed rate.
pub(crate) const SAMPLE: &str = "sample";
/// Metrics: fixed rate of spans.
pub(crate) const SPAN_SAMPLE: &str = "span_sample";
/// Metrics: fixed rate of traces.
pub(crate) const TRACE_SAMPLE: &str = "trace_sample";
/// Metrics: weight spans by the probability in their trace state. Boolean.
pub(crate) const EXTRAPOLATE: &str = "extrapolate";
/// Metrics: weight spans by the probability in their trace state, or else in an attribute. Boolean.
pub(crate) const ADJUSTED: &str = "adjusted";
/// Metrics: bytes per job. Unsafe.
pub const JOB_SIZE: &str = "job_size";
/// Metrics: blocks in parallel per querier. Unsafe.
pub const CONCURRENT_BLOCKS: &str = "concurrent_blocks";
/// Metrics: buckets for each doubling of the value, in histograms and quantiles. 1 to 4.
pub(crate) const BUCKETS: &str = "buckets";
/// Search and metrics: the answer explains how the query was run. Boolean.
pub(crate) const EXPLAIN: &str = "explain";

const SAFE: [&str; 9] = [
    MOST_RECENT,
    EXEMPLARS,
    SAMPLE,
    SPAN_SAMPLE,
    TRACE_SAMPLE,
    EXTRAPOLATE,
    ADJUSTED,
    BUCKETS,
    EXPLAIN,
];

/// More buckets for each doubling would not fit into the number of a bucket.
const MOST_BUCKETS: u8 = 4;

/// One `name=value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    /// The name as written.
    pub name: Box<str>,
    /// The value.
    pub value: Static,
}

/// The hints of a query, in the order written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hints {
    /// All hints; names may repeat.
    pub entries: Vec<Hint>,
}

/// What the sampling hints ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleHint {
    /// `sample=true`: adaptive.
    Adaptive,
    /// `sample=f`, 0 < f < 1: a fixed rate; spans or traces are sampled depending on the query.
    Fixed(f64),
    /// `span_sample=f`: fixed, of spans.
    Spans(f64),
    /// `trace_sample=f`: fixed, of traces.
    Traces(f64),
}

impl Hints {
    /// A copy without the hints that require permission for unsafe hints.
    pub fn only_safe(&self) -> Hints {
        let safe = |hint: &&Hint| SAFE.contains(&&*hint.name);
        Hints { entries: self.entries.iter().filter(safe).cloned().collect() }
    }

    /// The result of the first hint with this name for which `convert` returns a value.
    fn first<T>(&self, name: &str, convert: impl Fn(&Static) -> Option<T>) -> Option<T> {
        self.entries.iter().filter(|hint| &*hint.name == name).find_map(|hint| convert(&hint.value))
    }

    /// The first boolean hint of that name.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.first(name, |value| match value {
            Static::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// The first integer hint of that name.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.first(name, |value| match value {
            Static::Int(value) => Some(*value),
            _ => None,
        })
    }

    /// The first float or integer hint of that name.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.first(name, |value| match value {
            Static::Float(value) => Some(*value),
            Static::Int(value) => Some(*value as f64),
            _ => None,
        })
    }

    /// `most_recent=true`.
    pub fn most_recent(&self) -> bool {
        self.boolean(MOST_RECENT) == Some(true)
    }

    /// `explain=true`.
    pub fn explain(&self) -> bool {
        self.boolean(EXPLAIN) == Some(true)
    }

    /// The number of exemplars if the hints determine it: `exemplars=N` (negative is 0) takes precedence over
    /// `exemplars=false` (0). With `exemplars=true` the number in the request applies.
    pub fn exemplars(&self) -> Option<u64> {
        if let Some(count) = self.int(EXEMPLARS) {
            return Some(u64::try_from(count).unwrap_or(0));
        }
        (self.boolean(EXEMPLARS) == Some(false)).then_some(0)
    }

    /// `buckets=N`: buckets for each doubling, 1 to 4. Other values are ignored.
    pub fn buckets(&self) -> u8 {
        let hinted = self.int(BUCKETS).and_then(|count| u8::try_from(count).ok());
        hinted.filter(|count| (1..=MOST_BUCKETS).contains(count)).unwrap_or(1)
    }

    /// The requested sampling. Rates outside of (0, 1) are ignored.
    pub fn sampling(&self) -> Option<SampleHint> {
        let rate = |name| self.float(name).filter(|rate| *rate > 0.0 && *rate < 1.0);
        if let Some(f) = rate(SPAN_SAMPLE) {
            return Some(SampleHint::Spans(f));
        }
        if let Some(f) = rate(TRACE_SAMPLE) {
            return Some(SampleHint::Traces(f));
        }
        if self.boolean(SAMPLE) == Some(true) {
            return Some(SampleHint::Adaptive);
        }
        rate(SAMPLE).map(SampleHint::Fixed)
    }
}
