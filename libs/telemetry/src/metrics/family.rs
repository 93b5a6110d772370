//! Metrics with labels.

use std::fmt;
use std::hash::{Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;

use super::encode::{Kind, TextEncoder, label_pairs};
use super::{Counter, Gauge, Histogram, Metric};

/// Series of one metric before further label values are counted as [`OVERFLOW`].
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// Series of a tenant that nobody touched for so long are forgotten at the next scrape.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Labels whose values come and go.
const TENANT_LABELS: [&str; 2] = ["tenant", "user"];

/// The value of every label of the series that takes what is over the limit.
pub const OVERFLOW: &str = "overflow";

/// Counters by label values.
pub type CounterVec<const N: usize> = std::sync::Arc<Family<Counter, N>>;
/// Gauges by label values.
pub type GaugeVec<const N: usize> = std::sync::Arc<Family<Gauge, N>>;
/// Histograms by label values.
pub type HistogramVec<const N: usize> = std::sync::Arc<Family<Histogram, N>>;

/// All series of one metric, one for each combination of values of its `N` labels.
///
/// The number of series is bounded: what comes after goes to one series whose labels all say
/// `overflow`, so that a client that invents label values costs precision and not memory.
///
/// Counters and histograms of a tenant that nobody touched for hours, and of which nobody keeps a
/// handle, are forgotten: a tenant that comes back counts from 0, which readers of counters know.
/// Gauges stay, since one that is set once may still be true; who made them removes them.
pub struct Family<M, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    create: Box<dyn Fn() -> M + Send + Sync>,
    /// Hashed with a random key, since clients choose label values.
    series: RwLock<HashMap<Values<N>, Series<M>, RandomState>>,
    max_series: AtomicUsize,
}

struct Series<M> {
    metric: M,
    /// Asked for since the last scrape.
    touched: AtomicBool,
    /// The first scrape, in seconds of the registry's clock plus one, that found it untouched; 0: it was touched.
    idle_since: AtomicU64,
}

impl<M: Metric, const N: usize> Family<M, N> {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        create: impl Fn() -> M + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            help,
            labels,
            create: Box::new(create),
            series: RwLock::default(),
            max_series: AtomicUsize::new(DEFAULT_MAX_SERIES),
        }
    }

    /// The series with these label values, in the order of the label names; created if it is new.
    ///
    /// Takes a read lock and hashes the values: on hot paths keep the handle. A handle that is kept
    /// over the removal of its series goes on counting, but nobody sees it.
    pub fn with(&self, values: [&str; N]) -> M {
        if let Some(series) = self.series.read().get(&Borrowed(values)) {
            if !series.touched.load(Ordering::Relaxed) {
                series.touched.store(true, Ordering::Relaxed);
            }
            return series.metric.clone();
        }
        let mut series = self.series.write();
        let known = series.contains_key(&Borrowed(values));
        let full = series.len() >= self.max_series.load(Ordering::Relaxed);
        let values = if full && !known { [OVERFLOW; N] } else { values };
        let new = || Series {
            metric: (self.create)(),
            touched: AtomicBool::new(true),
            idle_since: AtomicU64::new(0),
        };
        series.entry(Values(values.map(Box::from))).or_insert_with(new).metric.clone()
    }

    /// Changes how many series are kept besides the overflow; those that exist stay.
    pub fn set_max_series(&self, max_series: usize) {
        self.max_series.store(max_series, Ordering::Relaxed);
    }

    /// Removes one series; false if there was none.
    pub fn remove(&self, values: [&str; N]) -> bool {
        self.series.write().remove(&Borrowed(values)).is_some()
    }

    /// Removes the series whose label values `keep` refuses, such as those of a departed tenant.
    pub fn retain(&self, keep: impl Fn([&str; N]) -> bool) {
        self.series.write().retain(|values, _| keep(values.0.each_ref().map(|value| &**value)));
    }
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// Removes the series of tenants that were idle at all scrapes of the time before `now`.
    fn forget_idle(&self, now: Duration) {
        if M::KIND == Kind::Gauge || !self.labels.iter().any(|name| TENANT_LABELS.contains(name)) {
            return;
        }
        // A read lock first: a scrape must seldom keep those who count waiting. All are looked at.
        let due = self.series.read().values().filter(|series| series.is_due(now)).count();
        if due > 0 {
            self.series.write().retain(|_, series| !series.is_due(now));
        }
    }
}

impl<M: Metric> Series<M> {
    /// Looks whether the series was used since the last look. True once it was idle for long.
    fn is_due(&self, now: Duration) -> bool {
        let now = now.as_secs() + 1;
        if self.touched.swap(false, Ordering::Relaxed) || self.metric.is_held() {
            self.idle_since.store(0, Ordering::Relaxed);
            return false;
        }
        match self.idle_since.load(Ordering::Relaxed) {
            0 => {
                self.idle_since.store(now, Ordering::Relaxed);
                false
            }
            since => now.saturating_sub(since) >= FORGET_AFTER.as_secs(),
        }
    }
}

impl<M, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A family of any type, as the registry sees it.
pub(super) trait Collect: Send + Sync {
    /// Writes all series; `now` is the time since the registry was made.
    fn encode(&self, encoder: &mut TextEncoder, now: Duration);
    fn labels(&self) -> &[&'static str];
}

impl<M: Metric, const N: usize> Collect for Family<M, N> {
    fn encode(&self, encoder: &mut TextEncoder, now: Duration) {
        self.forget_idle(now);
        // Handles are taken out first: writing text must not keep new series waiting.
        let mut series: Vec<(String, M)> = {
            let series = self.series.read();
            let pairs = |values: &Values<N>| {
                label_pairs(self.labels.iter().copied().zip(values.0.iter().map(|value| &**value)))
            };
            series.iter().map(|(values, series)| (pairs(values), series.metric.clone())).collect()
        };
        if series.is_empty() {
            return;
        }
        series.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        encoder.family(self.name, self.help, M::KIND);
        for (labels, metric) in &series {
            metric.encode(&mut encoder.series(labels));
        }
    }

    fn labels(&self) -> &[&'static str] {
        &self.labels
    }
}

#[derive(PartialEq, Eq)]
struct Values<const N: usize>([Box<str>; N]);

/// Looks up `Values` without allocating.
struct Borrowed<'a, const N: usize>([&'a str; N]);

impl<const N: usize> Hash for Values<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| value.hash(state));
    }
}

impl<const N: usize> Hash for Borrowed<'_, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| value.hash(state));
    }
}

impl<const N: usize> Equivalent<Values<N>> for Borrowed<'_, N> {
    fn equivalent(&self, key: &Values<N>) -> bool {
        self.0.iter().zip(&key.0).all(|(left, right)| **left == **right)
    }
}
