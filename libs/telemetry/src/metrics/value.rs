//! Counters, gauges and histograms: cheap handles on shared atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::encode::{Kind, Series};

/// Bucket bounds in seconds that fit request durations, when a metric has no list of its own.
pub const DEFAULT_BUCKETS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// `count` bounds: `start`, `start · factor`, `start · factor²`, …
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

/// `count` bounds: `start`, `start + width`, `start + 2 · width`, …
pub fn linear_buckets(start: f64, width: f64, count: usize) -> Vec<f64> {
    (0..count).map(|step| start + width * step as f64).collect()
}

/// What a [`Family`](super::Family) can hold.
pub trait Metric: Clone + Send + Sync + 'static {
    /// The type named in the exposition.
    const KIND: Kind;

    #[doc(hidden)]
    fn encode(&self, series: &mut Series<'_>);

    /// True if somebody keeps a handle besides the family.
    #[doc(hidden)]
    fn is_held(&self) -> bool;
}

/// A count that only grows. Clones share the count; increments never lock.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds `count`.
    pub fn inc_by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metric for Counter {
    const KIND: Kind = Kind::Counter;

    fn encode(&self, series: &mut Series<'_>) {
        series.sample("", None, self.get() as f64);
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// A value that goes up and down. Clones share the value; updates never lock.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicF64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `value`, which may be negative.
    pub fn add(&self, value: f64) {
        self.0.add(value);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts one.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

impl Metric for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn encode(&self, series: &mut Series<'_>) {
        series.sample("", None, self.get());
    }

    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Observations counted in buckets. Clones share the counts; observing never locks.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, strictly increasing and finite.
    bounds: Arc<[f64]>,
    /// Observations by bucket, not cumulated; the last one is for those above every bound.
    counts: Box<[AtomicU64]>,
    sum: AtomicF64,
}

impl Histogram {
    /// `bounds` are sorted already.
    pub(super) fn new(bounds: Arc<[f64]>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum: AtomicF64::default() }))
    }

    /// Counts one observation, in the unit of the metric. NaN is ignored.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.add(value);
    }

    /// Counts one observation of a metric in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Sum of all observed values.
    pub fn sum(&self) -> f64 {
        self.0.sum.get()
    }
}

impl Metric for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn encode(&self, series: &mut Series<'_>) {
        // The count is what the buckets add up to, so that a scrape amid observations is consistent.
        let mut count = 0;
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, bucket) in bounds.zip(&self.0.counts) {
            count += bucket.load(Ordering::Relaxed);
            series.sample("_bucket", Some(bound), count as f64);
        }
        series.sample("_sum", None, self.sum());
        series.sample("_count", None, count as f64);
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

#[derive(Debug, Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never gives up, so neither does the update.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}
