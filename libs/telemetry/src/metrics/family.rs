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
pub(crate) const DEFAULT_MAX_SERIES: usize = 10_000;

/// Series of a tenant that nobody touched for this long are forgotten at the next scrape.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(6 * 3600);
/// The same while the page has little room.
pub(super) const FORGET_AFTER_FOR_ROOM: Duration = Duration::from_secs(15 * 60);

/// Labels whose values come and go.
const TENANT_LABELS: [&str; 2] = ["tenant", "user"];

/// The value of the labels of the series that take what is over the limit.
pub const OVERFLOW: &str = "overflow";
/// Series that take what is over the limit, of one metric: of tenants, one for each value of the other labels.
const MAX_OVERFLOW_SERIES: usize = 100;
/// What a line has besides its name and labels, in bytes, about.
const LINE_BYTES: usize = 16;
/// Estimated lines of a histogram.
const LINES_OF_HISTOGRAM: usize = 16;

/// Counters by label values.
pub type CounterVec<const N: usize> = Arc<Family<Counter, N>>;
/// Gauges by label values.
pub type GaugeVec<const N: usize> = Arc<Family<Gauge, N>>;
/// Histograms by label values.
pub type HistogramVec<const N: usize> = Arc<Family<Histogram, N>>;

/// All series of one metric, one for each combination of values of its `N` labels.
///
/// The number of series is bounded, and the bytes that series of tenants take on the page: what comes after goes to
/// series whose tenant, or whose labels all, say `overflow`, so that a client that invents label values costs precision and
/// not memory.
///
/// Counters and histograms of a tenant are forgotten if nobody used them for hours and no code keeps a
/// handle: a tenant that comes back counts from 0, which readers of counters know.
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
    /// Of a metric with tenants: the bytes of the page that all such metrics share.
    budget: Option<Arc<PageBudget>>,
}

type Table<M, const N: usize> = HashTable<Arc<Series<M, N>>>;

struct Series<M, const N: usize> {
    values: [Box<str>; N],
    metric: M,
    /// Bytes that it took of the page's budget.
    reserved: usize,
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
        budget: &Arc<PageBudget>,
    ) -> Self {
        let has_tenants = labels.iter().any(|label| TENANT_LABELS.contains(label));
        Self {
            budget: has_tenants.then(|| Arc::clone(budget)),
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
        self.try_with(values).unwrap_or_else(|| self.overflow(values))
    }

    /// As [`Self::with`], or `None` if there is no room for a series with these values.
    ///
    /// For those who sum up what has no room, and show the sum as [`OVERFLOW`].
    pub fn try_with(&self, values: [&str; N]) -> Option<M> {
        {
            let table = self.series.read();
            if let Some(series) = self.find(&table, values) {
                return Some(series.touch());
            }
            if !self.has_room(&table, values) {
                return None;
            }
        }
        let mut table = self.series.write();
        if let Some(series) = self.find(&table, values) {
            return Some(series.touch());
        }
        if table.len() >= self.max_series.load(Ordering::Relaxed) {
            return None;
        }
        let reserved = match &self.budget {
            None => 0,
            Some(budget) => Some(self.page_bytes(values)).filter(|&bytes| budget.reserve(bytes))?,
        };
        Some(self.insert(&mut table, values, reserved))
    }

    /// What takes the counts of these values when there is no room for a series of theirs; a gauge of a tenant is one that
    /// nobody sees.
    fn overflow(&self, values: [&str; N]) -> M {
        let label = |at: usize| match TENANT_LABELS.contains(&self.labels[at]) {
            true => OVERFLOW,
            false => values[at],
        };
        let of_others = std::array::from_fn(label);
        let is_of_tenant = self.budget.is_some() && values != of_others;
        if M::KIND == Kind::Gauge && is_of_tenant {
            return (self.create)();
        }
        if let Some(series) = self.find(&self.series.read(), of_others) {
            return series.touch();
        }
        let mut table = self.series.write();
        let most = self.max_series.load(Ordering::Relaxed).saturating_add(MAX_OVERFLOW_SERIES);
        let fits = self.budget.is_some() && table.len() < most;
        let values = if fits { of_others } else { [OVERFLOW; N] };
        match self.find(&table, values) {
            Some(series) => series.touch(),
            None => self.insert(&mut table, values, 0),
        }
    }

    fn find<'t>(&self, table: &'t Table<M, N>, values: [&str; N]) -> Option<&'t Series<M, N>> {
        let hash = self.hasher.hash_one(values);
        table.find(hash, |series| series.is_of(values)).map(|series| &**series)
    }

    fn has_room(&self, table: &Table<M, N>, values: [&str; N]) -> bool {
        table.len() < self.max_series.load(Ordering::Relaxed)
            && self.budget.as_ref().is_none_or(|budget| budget.has_room(self.page_bytes(values)))
    }

    fn insert(&self, table: &mut Table<M, N>, values: [&str; N], reserved: usize) -> M {
        let series = Arc::new(Series {
            values: values.map(Box::from),
            metric: (self.create)(),
            reserved,
            touched: AtomicBool::new(true),
            idle_since: AtomicU64::new(0),
        });
        let metric = series.metric.clone();
        let rehash = |series: &Arc<Series<M, N>>| self.hasher.hash_one(series.labels());
        table.insert_unique(self.hasher.hash_one(values), series, rehash);
        metric
    }

    /// What a series takes on the page, about.
    fn page_bytes(&self, values: [&str; N]) -> usize {
        // `="",` of a label; braces, a space, a number and the end of the line.
        let labels =
            self.labels.iter().zip(values).map(|(name, value)| name.len() + value.len() + 4);
        let line = self.name.len() + labels.sum::<usize>() + LINE_BYTES;
        match M::KIND {
            Kind::Histogram => line * LINES_OF_HISTOGRAM,
            _ => line,
        }
    }

    /// Gives back the room of a series that goes.
    fn give_back(&self, series: &Series<M, N>) {
        if let Some(budget) = &self.budget {
            budget.release(series.reserved);
        }
    }

    /// Changes how many series are kept besides the overflow; those that exist stay.
    #[cfg(test)]
    pub(super) fn set_max_series(&self, max_series: usize) {
        self.max_series.store(max_series, Ordering::Relaxed);
    }

    /// Removes one series; false if there was none.
    pub fn remove(&self, values: [&str; N]) -> bool {
        let hash = self.hasher.hash_one(values);
        match self.series.write().find_entry(hash, |series| series.is_of(values)) {
            Ok(found) => {
                let (series, _) = found.remove();
                self.give_back(&series);
                true
            }
            Err(_) => false,
        }
    }

    /// Removes the series whose label values `keep` refuses, such as those of a departed tenant.
    pub fn retain(&self, keep: impl Fn([&str; N]) -> bool) {
        self.series.write().retain(|series| {
            let stays = keep(series.labels());
            if !stays {
                self.give_back(series);
            }
            stays
        });
    }
}

impl<M: Metric, const N: usize> Family<M, N> {
    /// Removes the series of tenants that were idle at all scrapes of the time before `now`.
    fn forget_idle(&self, now: Duration) {
        if M::KIND == Kind::Gauge || !self.labels.iter().any(|name| TENANT_LABELS.contains(name)) {
            return;
        }
        let is_short = self.budget.as_ref().is_some_and(|budget| budget.is_short());
        let after = if is_short { FORGET_AFTER_FOR_ROOM } else { FORGET_AFTER };
        // A read lock first: a scrape must seldom keep those who count waiting. All are looked at.
        let due = self.series.read().iter().filter(|series| series.is_due(now, after)).count();
        if due > 0 {
            self.series.write().retain(|series| {
                let goes = series.is_due(now, after);
                if goes {
                    self.give_back(series);
                }
                !goes
            });
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

    fn touch(&self) -> M {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
        self.metric.clone()
    }

    /// Looks whether the series was used since the last look. True once it was idle for this long.
    fn is_due(&self, now: Duration, after: Duration) -> bool {
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
            since => now.saturating_sub(since) >= after.as_secs(),
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

/// Bytes of the page that series of tenants take, of all metrics together.
///
/// Clients choose tenants, and a page that grows with them would in the end not be scraped.
#[derive(Debug)]
pub(super) struct PageBudget {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl PageBudget {
    pub(super) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    #[cfg(test)]
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.max.load(Ordering::Relaxed)
    }

    /// Takes this many bytes, or none.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn release(&self, bytes: usize) {
        let left = |used: usize| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// True when most of it is taken.
    pub(super) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max.load(Ordering::Relaxed) / 4 * 3
    }
}
