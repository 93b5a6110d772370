//! Finds the series that an observation counts in, by its label set.

use std::sync::Arc;

use tactus_model::TraceId;

use super::collect::Ended;
use super::metric::{self, Metric};
use super::{Labels, Limiter, MetricId, Registry, Settings, SpanNames, Statistics};

/// Where a metric keeps what belongs to a label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    slot: u32,
    /// The label set is beyond a limit, so `slot` is the overflow series.
    refused: bool,
}

impl Handle {
    /// For a metric that does not exist.
    pub(crate) const NONE: Self = Self { slot: u32::MAX, refused: true };
}

/// A label set that was interned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    hash: u64,
    /// `None` if it is beyond the limits for every metric.
    id: Option<u32>,
}

/// The changes to a label set before it was interned, to count them for each span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Adjusted {
    sanitized: bool,
    limited: Vec<Arc<str>>,
}

impl Registry {
    /// Empties a label set so that it can be written.
    pub(crate) fn start(&self, labels: &mut Labels) {
        labels.clear(self.settings.max_label_value_bytes);
    }

    /// Sanitises the span name and limits the values of each label, if that is asked for.
    pub(crate) fn adjust(&mut self, labels: &mut Labels, now_ms: i64) -> Adjusted {
        let mut adjusted = Adjusted::default();
        if self.settings.span_names != SpanNames::AsTheyAre {
            let name = labels.get("span_name").unwrap_or("");
            let may_grow = !self.is_memory_full();
            let sanitized = self.drain.sanitized(name, now_ms, may_grow);
            self.note_memory();
            if self.drain.take_changed() {
                self.epoch += 1;
            }
            if let Some(sanitized) = sanitized {
                adjusted.sanitized = true;
                if self.settings.span_names == SpanNames::Sanitized {
                    labels.set(&self.span_name, &sanitized);
                }
            }
        }
        if self.settings.max_cardinality_per_label > 0 {
            adjusted.limited = self.label_limits.apply(labels);
        }
        adjusted
    }

    /// Counts an observation of a label set that was adjusted.
    #[inline]
    pub(crate) fn count_adjusted(&mut self, adjusted: &Adjusted) {
        self.statistics.spans_sanitized += u64::from(adjusted.sanitized);
        for name in &adjusted.limited {
            self.label_limits.count(name);
        }
    }

    /// Finds a label set, or adds it. [`Self::release`] ends its use.
    pub(crate) fn intern(&mut self, labels: &mut Labels) -> Set {
        self.external.iter().for_each(|(name, value)| labels.set_whole(name, value));
        labels.sort();
        let hash = labels.hash();
        self.sets.demand.insert(hash);
        if let Some(id) = self.sets.find(hash, labels) {
            return Set { hash, id: Some(id) };
        }
        let id = self.has_room(1, true).then(|| self.sets.insert(hash, labels));
        self.note_memory();
        Set { hash, id }
    }

    /// Removes a label set that no metric uses.
    pub(crate) fn release(&mut self, set: Set) {
        if let Some(id) = set.id
            && id != self.overflow_set
        {
            self.sets.drop_unused(id);
            self.note_memory();
        }
    }

    fn has_room(&self, needed: u64, new_entity: bool) -> bool {
        if self.is_memory_full() {
            return false;
        }
        let Settings { limiter, limit, .. } = self.settings;
        match limiter {
            _ if limit == 0 => true,
            Limiter::Series => self.statistics.active_series + needed <= limit,
            Limiter::Entity => !new_entity || self.statistics.active_entities < limit,
        }
    }

    /// The series of a label set in a metric. Adds it if it is missing; the overflow series if it would be beyond the limit.
    pub(crate) fn handle(&mut self, id: MetricId, set: Set, now_ms: i64) -> Handle {
        let nothing = Handle::NONE;
        let Some(Some(metric)) = self.metrics.get_mut(id.0) else { return nothing };
        metric.demand.insert(set.hash);
        let needed = metric.series_a_set();
        if let Some(slot) = set.id.and_then(|set| metric.slot_of(set)) {
            return Handle { slot, refused: false };
        }
        let new_entity = set.id.is_none_or(|id| self.sets.get(id).uses == 0);
        let accepted = set.id.filter(|_| self.has_room(needed, new_entity));
        let set = accepted.unwrap_or(self.overflow_set);
        if accepted.is_some() {
            self.statistics.active_series += needed;
            self.statistics.series_added += needed;
            if self.sets.retain(set) {
                self.statistics.active_entities += 1;
                self.statistics.entities_added += 1;
            }
        }
        let set_hash = self.sets.get(set).hash;
        let Some(Some(metric)) = self.metrics.get_mut(id.0) else { return nothing };
        let slot = metric.slot_of(set).unwrap_or_else(|| {
            let ended = match self.ended.is_empty() {
                true => None,
                false => self.ended.remove(&Ended::key(metric, set_hash)),
            };
            if !metric.spec.aliases.is_empty() {
                self.sets.rename(set);
            }
            let last_sent_ms = ended.map_or(i64::MIN, |ended| ended.last_ms);
            self.series_bytes += metric.bytes_a_set();
            metric.create(set, self.generation, last_sent_ms, &self.settings.native, now_ms)
        });
        self.note_memory();
        Handle { slot, refused: accepted.is_none() }
    }

    /// Adds to a counter.
    #[inline]
    pub(crate) fn add(&mut self, id: MetricId, handle: Handle, value: f64, now_ms: i64) {
        if let Some(Some(metric)) = self.metrics.get_mut(id.0) {
            metric.add(handle.slot, value, now_ms);
            count_refused(&mut self.statistics, &self.settings, metric, handle);
        }
    }

    /// Sets a gauge.
    pub(crate) fn set(&mut self, id: MetricId, handle: Handle, value: f64, now_ms: i64) {
        if let Some(Some(metric)) = self.metrics.get_mut(id.0) {
            metric.set(handle.slot, value, now_ms);
            count_refused(&mut self.statistics, &self.settings, metric, handle);
        }
    }

    /// Observes a value of a histogram, `weight` times, of a span of this trace.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        id: MetricId,
        handle: Handle,
        (value, weight): (f64, f64),
        trace: TraceId,
        now_ms: i64,
    ) {
        if let Some(Some(metric)) = self.metrics.get_mut(id.0) {
            let exemplar = metric::Seen { trace, value, generation: self.generation };
            metric.observe(handle.slot, weight, exemplar, &self.settings.native, now_ms);
            count_refused(&mut self.statistics, &self.settings, metric, handle);
        }
    }
}

#[inline]
fn count_refused(
    statistics: &mut Statistics,
    settings: &Settings,
    metric: &Metric,
    handle: Handle,
) {
    if handle.refused {
        match settings.limiter {
            Limiter::Series => statistics.series_limited += metric.series_a_set(),
            Limiter::Entity => statistics.entities_limited += 1,
        }
    }
}
