//! Counters, gauges and histograms: cheap handles on those of the library.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{
    CounterValueEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, GaugeValueEncoder,
    MetricEncoder,
};
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::{counter, gauge};

use crate::self_tracing::TraceId;

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket, with sum and count.
    Histogram,
}

/// Bucket bounds in seconds that fit request durations, when a metric has no list of its own.
pub const DEFAULT_BUCKETS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// `count` bounds: `start`, `start · factor`, `start · factor²`, …
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

/// What a [`Family`](super::Family) can hold.
pub trait Metric: Clone + Send + Sync + 'static {
    /// The type named in the exposition.
    const KIND: Kind;

    #[doc(hidden)]
    fn encode(&self, encoder: MetricEncoder<'_>, form: Form) -> fmt::Result;

    /// True if somebody keeps a handle besides the family.
    #[doc(hidden)]
    fn is_held(&self) -> bool;
}

/// How a value is written; decided once a family.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A counter whose `_total` the library adds.
    Suffixed,
    /// The name as it is.
    Plain,
}

/// A count that only grows. Clones share the count; increments never lock.
///
/// The outer `Arc` of this and of the others tells who keeps a handle, which the library's does not show.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<counter::Counter>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds `count`.
    pub fn inc_by(&self, count: u64) {
        self.0.inc_by(count);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Metric for Counter {
    const KIND: Kind = Kind::Counter;

    fn encode(&self, mut encoder: MetricEncoder<'_>, form: Form) -> fmt::Result {
        encode_number(&mut encoder, form, self.get() as f64)
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A value that goes up and down. Clones share the value; updates never lock.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<gauge::Gauge<f64, AtomicU64>>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds `value`, which may be negative.
    pub fn add(&self, value: f64) {
        self.0.inc_by(value);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Subtracts one.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Metric for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn encode(&self, mut encoder: MetricEncoder<'_>, form: Form) -> fmt::Result {
        encode_number(&mut encoder, form, self.get())
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Writes a counter or a gauge.
pub(super) fn encode_number(to: &mut MetricEncoder<'_>, form: Form, value: f64) -> fmt::Result {
    match form {
        Form::Suffixed => to.encode_counter::<TraceLabel, _, f64>(&Number(value), None),
        Form::Plain => to.encode_gauge(&Number(value)),
    }
}

/// A value that is spelled without a fraction if it has none.
struct Number(f64);

impl Number {
    fn whole(&self) -> Option<i64> {
        // Above, not every whole number is a float.
        (self.0.fract() == 0.0 && self.0.abs() < 9e15).then_some(self.0 as i64)
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self.whole() {
            Some(whole) => EncodeGaugeValue::encode(&whole, encoder),
            None => EncodeGaugeValue::encode(&self.0, encoder),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self.whole().map(u64::try_from) {
            Some(Ok(whole)) => EncodeCounterValue::encode(&whole, encoder),
            _ => EncodeCounterValue::encode(&self.0, encoder),
        }
    }
}

/// The labels of an exemplar.
type TraceLabel = [(&'static str, String); 1];

/// Observations counted in buckets. Clones share the counts; an observation holds a lock while it is counted.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramWithExemplars<TraceLabel>>);

impl Histogram {
    /// `bounds` are clean already.
    pub(super) fn new(bounds: &[f64]) -> Self {
        Self(Arc::new(HistogramWithExemplars::new(bounds.iter().copied())))
    }

    /// Counts one observation, in the unit of the metric. NaN is ignored.
    pub fn observe(&self, value: f64) {
        self.observe_of(value, None);
    }

    /// Counts one observation of a metric in seconds; the running code's own trace, if it is sampled, becomes its exemplar.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe_of(duration.as_secs_f64(), TraceId::current());
    }

    fn observe_of(&self, value: f64, trace: Option<TraceId>) {
        if value.is_nan() {
            return;
        }
        let exemplar = trace.map(|trace| [("trace_id", trace.to_string())]);
        let timestamp = exemplar.is_some().then(SystemTime::now);
        self.0.observe(value, exemplar, timestamp);
    }
}

impl Metric for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn encode(&self, encoder: MetricEncoder<'_>, _: Form) -> fmt::Result {
        EncodeMetric::encode(&*self.0, encoder)
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Bounds as a histogram needs them: sorted, finite, without repetition.
pub(super) fn clean_bounds(bounds: &[f64]) -> Arc<[f64]> {
    let mut bounds: Vec<f64> = bounds.iter().copied().filter(|bound| bound.is_finite()).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds.into()
}
