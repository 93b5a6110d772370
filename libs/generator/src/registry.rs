//! The series of a tenant.
//!
//! A processor writes a label set, interns it, and gets a handle for each metric. A handle is valid until
//! [`Registry::remove_stale`] or a change of settings. Beyond a limit, or if the memory for all tenants is used up,
//! observations go to one series for each metric, with the label `metric_overflow`. The registry reads no clock.

mod cardinality;
mod collect;
mod drain;
mod histograms;
mod hyperloglog;
mod labels;
mod metric;
mod observe;
mod sets;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::memory::{SeriesMemory, Share};
use cardinality::LabelLimits;
use collect::Ended;
use drain::Drain;
use metric::{Metric, Series};
use sets::Sets;
use settings::{valid_trace_id_label, windows};

pub(crate) use collect::Collected;
pub(crate) use histograms::NativeSettings;
use labels::free_name;
pub(crate) use labels::{InvalidUtf8, Label, Labels, cut};
pub(crate) use metric::{Alias, Kind, MetricId, MetricSpec, Processor};
pub(crate) use observe::{Adjusted, Handle};
pub(crate) use settings::{
    HistogramMode, Limiter, STALE_CHECK_MS, Settings, SpanNames, Statistics,
};

/// The series of a tenant.
#[derive(Debug)]
pub(crate) struct Registry {
    settings: Settings,
    external: Vec<Label>,
    trace_id_label: String,
    metrics: Vec<Option<Metric>>,
    sets: Sets,
    overflow_set: u32,
    statistics: Statistics,
    label_limits: LabelLimits,
    drain: Drain,
    span_name: Arc<str>,
    /// Number of the next collection.
    generation: u32,
    last_commit_ms: i64,
    ended: HashMap<u64, Ended, RandomState>,
    stale_checked_ms: i64,
    epoch: u64,
    memory: Share,
    /// Estimated memory of the series, without their label sets.
    series_bytes: u64,
}

impl Registry {
    /// A registry without series; `now_ms` is unix time in milliseconds.
    pub(crate) fn new(settings: Settings, memory: &Arc<SeriesMemory>, now_ms: i64) -> Self {
        let external: Vec<Label> = settings
            .external_labels
            .iter()
            .map(|(name, value)| (free_name(name), Arc::from(value.as_str())))
            .collect();
        let mut labels = Labels::default();
        labels.clear(0);
        labels.set(&"metric_overflow".into(), "true");
        external.iter().for_each(|(name, value)| labels.set(name, value));
        labels.sort();
        let mut sets = Sets::default();
        let overflow_set = sets.insert(labels.hash(), &labels);
        Self {
            trace_id_label: valid_trace_id_label(&settings.trace_id_label),
            label_limits: LabelLimits::new(windows(&settings), now_ms),
            settings,
            external,
            metrics: Vec::new(),
            sets,
            overflow_set,
            statistics: Statistics::default(),
            drain: Drain::default(),
            span_name: "span_name".into(),
            generation: 0,
            last_commit_ms: i64::MIN,
            ended: HashMap::default(),
            stale_checked_ms: now_ms,
            epoch: 0,
            memory: Share::of(memory),
            series_bytes: 0,
        }
    }

    /// True if there is no series, also none of what is beyond a limit.
    pub(crate) fn is_empty(&self) -> bool {
        self.series_bytes == 0
    }

    /// True if the memory that the series of all tenants may take is used up.
    pub(crate) fn is_memory_full(&self) -> bool {
        !self.memory.has_room(1)
    }

    /// Bytes of the values of all labels.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.sets.value_bytes
    }

    /// Reports the memory of series, label sets and patterns of span names.
    fn note_memory(&mut self) {
        self.memory.set(self.sets.bytes + self.series_bytes + self.drain.bytes());
    }

    /// When this number changes, all handles from before are invalid.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Checks the limits on the values of labels, every few seconds.
    pub(crate) fn refresh(&mut self, now_ms: i64) {
        let limit = self.settings.max_cardinality_per_label;
        if limit > 0 && self.label_limits.refresh(limit, now_ms) {
            self.epoch += 1;
        }
    }

    /// Applies new settings. Histograms whose form changes start again; everything else keeps its counts.
    pub(crate) fn update(&mut self, settings: Settings, now_ms: i64) {
        self.epoch += 1;
        let native = settings.histograms != HistogramMode::Classic;
        let reshaped = settings.histograms != self.settings.histograms
            || (native && settings.native != self.settings.native);
        if reshaped {
            for id in 0..self.metrics.len() {
                let histogram = matches!(&self.metrics[id], Some(metric) if metric.is_histogram());
                if histogram {
                    self.drop_series(MetricId(id), |_| true);
                }
            }
        }
        self.trace_id_label = valid_trace_id_label(&settings.trace_id_label);
        if settings.span_names != self.settings.span_names {
            self.drain = Drain::default();
            self.note_memory();
        }
        if settings.max_cardinality_per_label != self.settings.max_cardinality_per_label {
            self.label_limits.reset(windows(&settings), now_ms);
        }
        let external_labels = std::mem::take(&mut self.settings.external_labels);
        self.settings = Settings { external_labels, ..settings };
        let mode = self.settings.histograms;
        self.metrics.iter_mut().flatten().for_each(|metric| metric.set_mode(mode));
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Totals and levels.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Estimate of the series that there would be without limits.
    pub(crate) fn series_demand(&self) -> u64 {
        let demand = |metric: &Metric| metric.demand.estimate() * metric.series_a_set();
        self.metrics.iter().flatten().map(demand).sum()
    }

    /// Estimate of the label sets that there would be without limits.
    pub(crate) fn entity_demand(&self) -> u64 {
        self.sets.demand.estimate()
    }

    /// For each label with a limit: its name, its estimated values, and how often a value was replaced.
    pub(crate) fn label_cardinality(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.label_limits.iter()
    }

    /// The metric of this kind and these names. Adds it if it is missing.
    pub(crate) fn metric(&mut self, spec: MetricSpec) -> MetricId {
        let is_same = |metric: &Option<Metric>| metric.as_ref().is_some_and(|it| it.spec == spec);
        if let Some(id) = self.metrics.iter().position(is_same) {
            return MetricId(id);
        }
        let metric = Metric::new(spec, self.settings.histograms, windows(&self.settings));
        match self.metrics.iter().position(Option::is_none) {
            Some(free) => {
                self.metrics[free] = Some(metric);
                MetricId(free)
            }
            None => {
                self.metrics.push(Some(metric));
                MetricId(self.metrics.len() - 1)
            }
        }
    }

    /// Removes the metrics of a processor.
    pub(crate) fn remove_metrics(&mut self, processor: Processor) {
        for id in 0..self.metrics.len() {
            let metric = self.metrics[id].as_ref();
            if metric.is_some_and(|metric| metric.spec.processor == processor) {
                self.drop_series(MetricId(id), |_| true);
                self.metrics[id] = None;
            }
        }
    }

    /// True if [`Self::remove_stale`] would look for stale series.
    pub(crate) fn is_stale_check_due(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.stale_checked_ms) >= STALE_CHECK_MS
    }

    /// Removes stale series. Does nothing if the last call is less than [`STALE_CHECK_MS`] ago.
    pub(crate) fn remove_stale(&mut self, now_ms: i64) {
        if !self.is_stale_check_due(now_ms) {
            return;
        }
        self.stale_checked_ms = now_ms;
        // Estimates start a new period, in which each label set must be counted again.
        self.epoch += 1;
        let oldest = now_ms.saturating_sub(self.settings.stale_after_ms);
        for id in 0..self.metrics.len() {
            self.drop_series(MetricId(id), |series| series.updated_ms < oldest);
        }
        self.metrics.iter_mut().flatten().for_each(|metric| metric.demand.rotate());
        self.sets.demand.rotate();
        self.label_limits.rotate();
        self.drain.prune(oldest);
        self.note_memory();
    }

    fn drop_series(&mut self, id: MetricId, gone: impl Fn(&Series) -> bool) {
        let Some(metric) = &mut self.metrics[id.0] else { return };
        self.epoch += 1;
        let (needed, bytes) = (metric.series_a_set(), metric.bytes_a_set());
        for (slot, series) in metric.take_if(gone) {
            self.series_bytes -= bytes;
            let set = self.sets.get(series.set);
            if series.collected {
                let key = Ended::key(metric, set.hash);
                let ended = Ended::new(metric, set, &series, self.last_commit_ms);
                self.ended.insert(key, ended);
            }
            metric.forget(slot, series.set);
            if series.set == self.overflow_set {
                continue;
            }
            self.statistics.active_series -= needed;
            self.statistics.series_removed += needed;
            if self.sets.release(series.set) {
                self.statistics.active_entities -= 1;
                self.statistics.entities_removed += 1;
            }
        }
        self.note_memory();
    }

    /// A label name, cut to the limit, and different from the labels that every series has.
    pub(crate) fn label_name(&self, name: &str) -> Arc<str> {
        free_name(cut(name, self.settings.max_label_name_bytes))
    }
}
