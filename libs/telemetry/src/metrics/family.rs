//! Metrics with labels.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::RwLock;

use super::encode::Families;
use super::{Counter, Gauge, Histogram, Kind, Metric};

/// Series of one metric before further label values are counted as [`OVERFLOW`].
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// Series of a tenant that nobody touched for so long are forgotten at the next scrape.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Labels whose values come and go.
const TENANT_LABELS: [&str; 2] = ["tenant", "user"];

/// The value of every label of the series that takes what is over the limit.
pub const OVERFLOW: &str = "overflow";

/// Counters by label values.
pub type CounterVec<const N: usize> = Arc<Family<Counter, N>>;
/// Gauges by label values.
pub type GaugeVec<const N: usize> = Arc<Family<Gauge, N>>;
/// Histograms by label values.
pub type HistogramVec<const N: usize> = Arc<Family<Histogram, N>>;

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
    /// The library's family cannot be walked, to forget who is idle, and looks a series up by owned label values only.
    series: RwLock<HashTable<Arc<Series<M, N>>>>,
    /// With a random key, since clients choose label values.
    hasher: RandomState,
    max_series: AtomicUsize,
}

struct Series<M, const N: usize> {
    values: [Box<str>; N],
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
            hasher: RandomState::new(),
            max_series: AtomicUsize::new(DEFAULT_MAX_SERIES),
        }
    }

    /// The series with these label values, in the order of the label names; created if it is new.
    ///
    /// Takes a read lock and hashes the values: on hot paths keep the handle. A handle that is kept
    /// over the removal of its series goes on counting, but nobody sees it.
    pub fn with(&self, values: [&str; N]) -> M {
        let hash = self.hasher.hash_one(values);
        if let Some(series) = self.series.read().find(hash, |series| series.is_of(values)) {
            if !series.touched.load(Ordering::Relaxed) {
                series.touched.store(true, Ordering::Relaxed);
            }
            return series.metric.clone();
        }
        let mut table = self.series.write();
        let known = table.find(hash, |series| series.is_of(values)).is_some();
        let full = table.len() >= self.max_series.load(Ordering::Relaxed);
        let values = if full && !known { [OVERFLOW; N] } else { values };
        let rehash = |series: &Arc<Series<M, N>>| self.hasher.hash_one(series.labels());
        let entry =
            table.entry(self.hasher.hash_one(values), |series| series.is_of(values), rehash);
        let new = || {
            Arc::new(Series {
                values: values.map(Box::from),
                metric: (self.create)(),
                touched: AtomicBool::new(true),
                idle_since: AtomicU64::new(0),
            })
        };
        entry.or_insert_with(new).get().metric.clone()
    }

    /// Changes how many series are kept besides the overflow; those that exist stay.
    pub fn set_max_series(&self, max_series: usize) {
        self.max_series.store(max_series, Ordering::Relaxed);
    }

    /// Removes one series; false if there was none.
    pub fn remove(&self, values: [&str; N]) -> bool {
        let hash = self.hasher.hash_one(values);
        match self.series.write().find_entry(hash, |series| series.is_of(values)) {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Removes the series whose label values `keep` refuses, such as those of a departed tenant.
    pub fn retain(&self, keep: impl Fn([&str; N]) -> bool) {
        self.series.write().retain(|series| keep(series.labels()));
    }
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// Removes the series of tenants that were idle at all scrapes of the time before `now`.
    fn forget_idle(&self, now: Duration) {
        if M::KIND == Kind::Gauge || !self.labels.iter().any(|name| TENANT_LABELS.contains(name)) {
            return;
        }
        // A read lock first: a scrape must seldom keep those who count waiting. All are looked at.
        let due = self.series.read().iter().filter(|series| series.is_due(now)).count();
        if due > 0 {
            self.series.write().retain(|series| !series.is_due(now));
        }
    }
}

impl<M: Metric, const N: usize> Series<M, N> {
    fn labels(&self) -> [&str; N] {
        self.values.each_ref().map(|value| &**value)
    }

    fn is_of(&self, values: [&str; N]) -> bool {
        self.labels() == values
    }

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
    fn encode(&self, families: &mut Families<'_>, now: Duration) -> fmt::Result;
    fn labels(&self) -> &[&'static str];
}

impl<M: Metric, const N: usize> Collect for Family<M, N> {
    fn encode(&self, families: &mut Families<'_>, now: Duration) -> fmt::Result {
        self.forget_idle(now);
        // Series are taken out first: writing text must not keep new ones waiting.
        let mut series: Vec<_> = self.series.read().iter().map(Arc::clone).collect();
        if series.is_empty() {
            return Ok(());
        }
        series.sort_unstable_by(|left, right| left.values.cmp(&right.values));
        let Some((mut encoder, form)) = families.begin(self.name, self.help, M::KIND) else {
            return Ok(());
        };
        if N == 0 {
            return series[0].metric.encode(encoder, form);
        }
        for series in &series {
            let values = series.labels();
            let labels: [_; N] = std::array::from_fn(|label| (self.labels[label], values[label]));
            series.metric.encode(encoder.encode_family(&labels)?, form)?;
        }
        Ok(())
    }

    fn labels(&self) -> &[&'static str] {
        &self.labels
    }
}
