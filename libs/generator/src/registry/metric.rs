//! A metric and its series.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use tactus_model::TraceId;

use super::HistogramMode;
use super::histograms::{Classic, Native, NativeSettings, slot_of};
use super::hyperloglog::Window;
use super::labels::{bound_text, thousandfold};

/// Memory of a series in its label set, in bytes.
const INDEX_BYTES: usize = 24;

/// Estimated buckets of a native histogram; the real number depends on what is observed.
const NATIVE_BUCKETS: usize = 32;

/// Numbers of series. None is used twice.
static NEXT_REFERENCE: AtomicU64 = AtomicU64::new(1);

/// The processor that a metric belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    /// Calls, latencies and sizes of spans.
    SpanMetrics,
    /// Calls between services.
    ServiceGraphs,
    /// Hosts.
    HostInfo,
}

/// What a metric measures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram, with the upper bounds of its buckets, ascending, without infinity.
    Histogram(Arc<[f64]>),
}

/// Another name under which the series of a metric are sent too, with `service` called `service_name`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alias {
    /// Name of the metric.
    pub name: String,
    /// Values and bounds of a histogram are a thousand times those of the source. It has no native histogram then: its
    /// buckets would not be those of the source.
    pub thousandfold: bool,
}

/// A metric to keep.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetricSpec {
    /// Its processor.
    pub processor: Processor,
    /// Name without a suffix.
    pub name: String,
    /// What it measures.
    pub kind: Kind,
    /// Other names.
    pub aliases: Vec<Alias>,
}

/// Number of a metric in its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricId(pub(super) usize);

/// The names of a metric's series.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) bucket: String,
    pub(super) sum: String,
    pub(super) count: String,
    /// One more than there are bounds.
    pub(super) bounds: Vec<String>,
    pub(super) scale: f64,
}

/// An observation that may become an exemplar.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// All zero: none.
    pub(super) trace: TraceId,
    pub(super) value: f64,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) enum Value {
    Number(f64),
    Histogram(Box<Histogram>),
}

#[derive(Debug)]
pub(super) struct Histogram {
    pub(super) classic: Option<Classic>,
    pub(super) native: Option<Native>,
    /// The last observation of each bucket since the last collection.
    pub(super) exemplars: Box<[Seen]>,
}

/// The series of a metric for one label set.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) set: u32,
    /// The first collection that has it.
    pub(super) generation: u32,
    /// Its first reference. Each series of it and of its aliases has one.
    pub(super) reference: u64,
    pub(super) updated_ms: i64,
    /// Its last sample before it was removed and made again.
    pub(super) last_sent_ms: i64,
    /// True once a collection that has it was confirmed.
    pub(super) collected: bool,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) struct Metric {
    pub(super) spec: MetricSpec,
    /// The metric itself, then its aliases.
    pub(super) shown: Arc<[Shown]>,
    pub(super) series: Vec<Option<Series>>,
    pub(super) demand: Window,
    mode: HistogramMode,
    series_a_set: u64,
    free: Vec<u32>,
    index: HashMap<u32, u32, RandomState>,
}

impl Metric {
    pub(super) fn new(spec: MetricSpec, mode: HistogramMode, periods: usize) -> Self {
        let mut metric = Self {
            shown: shown(&spec),
            spec,
            series: Vec::new(),
            demand: Window::new(periods),
            mode,
            series_a_set: 0,
            free: Vec::new(),
            index: HashMap::default(),
        };
        metric.set_mode(mode);
        metric
    }

    pub(super) fn is_histogram(&self) -> bool {
        matches!(self.spec.kind, Kind::Histogram(_))
    }

    /// What tells its histograms from those of other buckets.
    pub(super) fn form(&self) -> Option<(HistogramMode, Vec<u64>)> {
        let Kind::Histogram(bounds) = &self.spec.kind else { return None };
        Some((self.mode, bounds.iter().map(|bound| bound.to_bits()).collect()))
    }

    /// Changes the form of histograms. There must be no series of the old form.
    pub(super) fn set_mode(&mut self, mode: HistogramMode) {
        self.mode = mode;
        let parts = |shown: &Shown| shown.parts(&self.spec.kind, mode);
        self.series_a_set = self.shown.iter().map(parts).sum();
    }

    /// Estimated memory of the series of a label set.
    pub(super) fn bytes_a_set(&self) -> u64 {
        let own = size_of::<Option<Series>>() + INDEX_BYTES;
        let Kind::Histogram(bounds) = &self.spec.kind else { return own as u64 };
        let bucket = size_of::<f64>() + size_of::<Seen>();
        let native = match self.mode {
            HistogramMode::Classic => 0,
            _ => NATIVE_BUCKETS * size_of::<(i32, f64)>(),
        };
        (own + size_of::<Histogram>() + (bounds.len() + 1) * bucket + native) as u64
    }

    /// Series of a label set, aliases included.
    #[inline]
    pub(super) fn series_a_set(&self) -> u64 {
        self.series_a_set
    }

    pub(super) fn slot_of(&self, set: u32) -> Option<u32> {
        self.index.get(&set).copied()
    }

    pub(super) fn create(
        &mut self,
        set: u32,
        generation: u32,
        last_sent_ms: i64,
        native: &NativeSettings,
        now_ms: i64,
    ) -> u32 {
        let value = match &self.spec.kind {
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
            Kind::Histogram(bounds) => Value::Histogram(Box::new(Histogram {
                classic: (self.mode != HistogramMode::Native).then(|| Classic::new(bounds)),
                native: (self.mode != HistogramMode::Classic).then(|| Native::new(native, now_ms)),
                exemplars: vec![Seen::default(); bounds.len() + 1].into(),
            })),
        };
        let series = Series {
            set,
            generation,
            reference: NEXT_REFERENCE.fetch_add(self.series_a_set(), Ordering::Relaxed),
            updated_ms: now_ms,
            last_sent_ms,
            collected: false,
            value,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.series[slot as usize] = Some(series);
                slot
            }
            None => {
                self.series.push(Some(series));
                (self.series.len() - 1) as u32
            }
        };
        self.index.insert(set, slot);
        slot
    }

    /// Empties histograms whose reset is due, in both forms.
    pub(super) fn reset_due(&mut self, native: &NativeSettings, now_ms: i64) {
        if self.mode == HistogramMode::Classic || !self.is_histogram() {
            return;
        }
        for series in self.series.iter_mut().flatten() {
            if let Value::Histogram(histogram) = &mut series.value
                && let Some(own) = &mut histogram.native
                && own.reset_if_due(native, now_ms)
                && let Some(classic) = &mut histogram.classic
            {
                classic.clear();
            }
        }
    }

    /// Removes the stale series; [`Self::forget`] ends each.
    pub(super) fn take_if(&mut self, gone: impl Fn(&Series) -> bool) -> Vec<(u32, Series)> {
        let slots = self.series.iter_mut().enumerate();
        let taken = slots.filter_map(|(slot, series)| {
            Some((slot as u32, series.take_if(|series| gone(series))?))
        });
        taken.collect()
    }

    pub(super) fn forget(&mut self, slot: u32, set: u32) {
        self.index.remove(&set);
        self.free.push(slot);
    }

    #[inline]
    fn at(&mut self, slot: u32, now_ms: i64) -> Option<&mut Value> {
        let series = self.series.get_mut(slot as usize)?.as_mut()?;
        series.updated_ms = now_ms;
        Some(&mut series.value)
    }

    #[inline]
    pub(super) fn add(&mut self, slot: u32, value: f64, now_ms: i64) {
        if let Some(Value::Number(number)) = self.at(slot, now_ms) {
            *number += value;
        }
    }

    pub(super) fn set(&mut self, slot: u32, value: f64, now_ms: i64) {
        if let Some(Value::Number(number)) = self.at(slot, now_ms) {
            *number = value;
        }
    }

    #[inline]
    pub(super) fn observe(
        &mut self,
        slot: u32,
        weight: f64,
        seen: Seen,
        native: &NativeSettings,
        now_ms: i64,
    ) {
        let Kind::Histogram(bounds) = &self.spec.kind else { return };
        let bucket = slot_of(bounds, seen.value);
        let Some(Value::Histogram(histogram)) = self.at(slot, now_ms) else { return };
        if let Some(own) = &mut histogram.native
            && own.observe(seen.value, weight, native, now_ms)
            && let Some(classic) = &mut histogram.classic
        {
            classic.clear();
        }
        if let Some(classic) = &mut histogram.classic {
            classic.observe(bucket, seen.value, weight);
        }
        if let Some(exemplar) = histogram.exemplars.get_mut(bucket)
            && !seen.trace.is_zero()
        {
            *exemplar = seen;
        }
    }
}

fn shown(spec: &MetricSpec) -> Arc<[Shown]> {
    let own = Alias { name: spec.name.clone(), thousandfold: false };
    let names = std::iter::once(&own).chain(&spec.aliases);
    names.map(|alias| Shown::new(alias, &spec.kind)).collect()
}

impl Shown {
    fn new(alias: &Alias, kind: &Kind) -> Self {
        let name = &alias.name;
        let bounds: &[f64] = if let Kind::Histogram(bounds) = kind { bounds } else { &[] };
        let shown = |bound| if alias.thousandfold { thousandfold(bound) } else { bound };
        let mut texts: Vec<String> = bounds.iter().map(|bound| bound_text(shown(*bound))).collect();
        texts.push(bound_text(f64::INFINITY));
        Self {
            name: name.clone(),
            bucket: format!("{name}_bucket"),
            sum: format!("{name}_sum"),
            count: format!("{name}_count"),
            bounds: texts,
            scale: if alias.thousandfold { 1000.0 } else { 1.0 },
        }
    }

    /// True if its native histograms are those of the source.
    pub(super) fn has_native(&self) -> bool {
        self.scale == 1.0
    }

    /// Series of a label set under this name.
    fn parts(&self, kind: &Kind, mode: HistogramMode) -> u64 {
        let Kind::Histogram(bounds) = kind else { return 1 };
        let classic = if mode == HistogramMode::Native { 0 } else { bounds.len() as u64 + 3 };
        let native = mode != HistogramMode::Classic && self.has_native();
        classic + u64::from(native)
    }
}
