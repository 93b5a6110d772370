//! The registry of metrics.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::encode::{Collected, Format, page};
use super::family::{Collect, CounterVec, Family, GaugeVec, HistogramVec, PageBudget};
use super::value::clean_bounds;
use super::{Counter, Gauge, Histogram, Metric, process};

type Collector = Arc<dyn Fn(&mut Collected) + Send + Sync>;

/// Bytes of the page that series of tenants may take, of all metrics together; the rest is counted as `overflow`.
pub(crate) const MAX_TENANT_SERIES_BYTES: usize = 4 << 20;

/// The part of it for metrics of queries. Who asks may name any tenant, and must not take the series of those who push.
const MAX_QUERY_SERIES_BYTES: usize = MAX_TENANT_SERIES_BYTES / 4;

/// How the names of metrics of queries begin.
const OF_QUERIES: &str = "tempo_query_frontend_";

/// A set of metrics with distinct names.
pub struct Registry {
    started: Instant,
    budget: Arc<PageBudget>,
    query_budget: Arc<PageBudget>,
    families: Mutex<BTreeMap<&'static str, Registered>>,
    collectors: Mutex<Vec<Collector>>,
}

struct Registered {
    /// To write it, and to give it out again: the same family seen through two traits.
    collect: Arc<dyn Collect>,
    family: Arc<dyn Any + Send + Sync>,
}

impl Registry {
    /// An empty registry, for tests; services use [`Registry::global`].
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            budget: Arc::new(PageBudget::new(MAX_TENANT_SERIES_BYTES - MAX_QUERY_SERIES_BYTES)),
            query_budget: Arc::new(PageBudget::new(MAX_QUERY_SERIES_BYTES)),
            families: Mutex::default(),
            collectors: Mutex::default(),
        }
    }

    /// The registry of this process. It holds the `process_*` metrics as well.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Registry> = LazyLock::new(|| {
            let registry = Registry::new();
            registry.register_collector(process::collect);
            registry
        });
        &GLOBAL
    }

    /// A counter without labels. It is shown from now on, as 0.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.counter_vec(name, help, []).with([])
    }

    /// Counters with the labels named. The name is used as it is: `_total` is not added.
    pub fn counter_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> CounterVec<N> {
        self.register(name, help, labels, Counter::default)
    }

    /// A gauge without labels. It is shown from now on, as 0.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.gauge_vec(name, help, []).with([])
    }

    /// Gauges with the labels named.
    pub fn gauge_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> GaugeVec<N> {
        self.register(name, help, labels, Gauge::default)
    }

    /// A histogram without labels. `bounds` are the upper bounds of its buckets; +Inf is implied.
    pub fn histogram(&self, name: &'static str, help: &'static str, bounds: &[f64]) -> Histogram {
        self.histogram_vec(name, help, [], bounds).with([])
    }

    /// Histograms with the labels named. Of a name registered twice the first bounds hold.
    pub fn histogram_vec<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &[f64],
    ) -> HistogramVec<N> {
        let bounds = clean_bounds(bounds);
        self.register(name, help, labels, move || Histogram::new(&bounds))
    }

    /// Calls `collect` at every scrape to write metrics (or to set gauges) that are not kept up to
    /// date in between. It must not block, nor register metrics.
    pub fn register_collector(&self, collect: impl Fn(&mut Collected) + Send + Sync + 'static) {
        self.collectors.lock().push(Arc::new(collect));
    }

    /// The content type and the page for a request with this `Accept` header, empty if there is none.
    pub fn page(&self, accept: &str) -> (&'static str, String) {
        let format = Format::accepted(accept);
        (format.content_type(), self.encode_as(format))
    }

    /// Changes how many bytes of the page series of tenants may take; those that exist stay.
    #[cfg(test)]
    fn set_max_tenant_series_bytes(&self, bytes: usize) {
        self.budget.set_max(bytes);
    }

    /// All metrics in the text format 0.0.4, by name; metrics without series are left out.
    pub fn encode(&self) -> String {
        self.encode_as(Format::Classic)
    }

    /// All metrics. In OpenMetrics counters whose name does not end in `_total` are shown as `unknown`.
    pub(crate) fn encode_as(&self, format: Format) -> String {
        self.encode_after(self.started.elapsed(), format)
    }

    /// As [`Self::encode_as`], at a time after the registry was made.
    fn encode_after(&self, now: Duration, format: Format) -> String {
        let mut collected = Collected::default();
        let collectors: Vec<Collector> = self.collectors.lock().iter().map(Arc::clone).collect();
        for collect in collectors {
            collect(&mut collected);
        }
        let families: Vec<_> =
            self.families.lock().values().map(|found| Arc::clone(&found.collect)).collect();
        page(format, move |page| {
            families.iter().try_for_each(|family| family.encode(page, now))?;
            collected.encode(page)
        })
    }

    fn register<M: Metric, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        create: impl Fn() -> M + Send + Sync + 'static,
    ) -> Arc<Family<M, N>> {
        let budget = match name.starts_with(OF_QUERIES) {
            true => &self.query_budget,
            false => &self.budget,
        };
        let family = Arc::new(Family::new(name, help, labels, create, budget));
        if !is_metric_name(name) || !labels.iter().all(|label| is_label_name(label)) {
            // A mistake in our own code. The metric works and is not shown; a service must not fall
            // over its self-observation.
            tracing::error!(name, ?labels, "metric has an invalid name and is not exported");
            return family;
        }
        let mut families = self.families.lock();
        let Some(found) = families.get(name) else {
            let collect: Arc<dyn Collect> = Arc::<Family<M, N>>::clone(&family);
            let any: Arc<dyn Any + Send + Sync> = Arc::<Family<M, N>>::clone(&family);
            families.insert(name, Registered { collect, family: any });
            return family;
        };
        if found.collect.labels() == labels
            && let Ok(known) = Arc::clone(&found.family).downcast::<Family<M, N>>()
        {
            return known;
        }
        tracing::error!(name, "metric is registered twice with different types or labels");
        family
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.families.lock().keys()).finish()
    }
}

/// True for the name of a metric of Prometheus.
fn is_metric_name(name: &str) -> bool {
    is_name(name, ":")
}

fn is_label_name(name: &str) -> bool {
    is_name(name, "") && !name.starts_with("__")
}

fn is_name(name: &str, more: &str) -> bool {
    let allowed = |character: char| {
        character.is_ascii_alphanumeric() || character == '_' || more.contains(character)
    };
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(allowed)
}

#[cfg(test)]
mod tests;
