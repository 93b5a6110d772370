//! A collection: hands all series to a sink.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::Registry;
use super::labels::Label;
use super::metric::{Histogram, Metric, Seen, Series as Kept, Shown, Value};
use super::sets::LabelSet;
use tactus_remote_write::series::{Exemplar, NativeHistogram, STALE, Series, Sink};

/// A collection that was handed over. [`Registry::commit`] confirms it. Without that, the next collection repeats its zero
/// samples, exemplars and staleness markers.
#[derive(Debug, Clone, Copy)]
#[must_use = "a collection that is not committed is repeated"]
pub(crate) struct Collected {
    generation: u32,
    now_ms: i64,
}

/// A removed series, of which samples were sent.
#[derive(Debug)]
pub(super) struct Ended {
    /// Their last sample.
    pub(super) last_ms: i64,
    /// The series that the marker is for; `None` once it is sent.
    marks: Option<Box<Marks>>,
    /// The collection that holds the marker.
    marked_in: Option<u32>,
}

#[derive(Debug)]
struct Marks {
    shown: Arc<[Shown]>,
    labels: Box<[Label]>,
    renamed: Option<Box<[Label]>>,
    reference: u64,
    value: Value,
}

/// Zero samples are at most this much older than their collection.
const ZERO_REACH_MS: i64 = 61_000;

impl Ended {
    /// Histograms of another form have other series.
    pub(super) fn key(metric: &Metric, set: u64) -> u64 {
        FixedState::with_seed(1).hash_one((&metric.spec.name, set, metric.form()))
    }

    pub(super) fn new(metric: &Metric, set: &LabelSet, series: &Kept, last_ms: i64) -> Self {
        let value = match &series.value {
            Value::Number(number) => Value::Number(*number),
            Value::Histogram(histogram) => Value::Histogram(Box::new(Histogram {
                classic: histogram.classic.clone(),
                native: histogram.native.clone(),
                exemplars: Box::default(),
            })),
        };
        let marks = Marks {
            shown: Arc::clone(&metric.shown),
            labels: set.labels.clone(),
            renamed: set.renamed.clone(),
            reference: series.reference,
            value,
        };
        Self { last_ms, marks: Some(Box::new(marks)), marked_in: None }
    }
}

/// Where a new series starts: a second before the minute of the collection.
fn zero_ms(now_ms: i64) -> i64 {
    now_ms - now_ms.rem_euclid(60_000) - 1_000
}

impl Registry {
    /// Hands each live series to a sink. `now_ms` is the time of all samples except the zero samples of new series.
    pub(crate) fn collect(&mut self, now_ms: i64, sink: &mut dyn Sink) -> Collected {
        let generation = self.generation;
        self.generation = self.generation.wrapping_add(1);
        let native = &self.settings.native;
        self.metrics.iter_mut().flatten().for_each(|metric| metric.reset_due(native, now_ms));
        let zero_ms = zero_ms(now_ms);
        let trace_id_label = &self.trace_id_label;
        let mut emitter = Emitter { sink, now_ms, trace_id_label, ends: false };
        for metric in self.metrics.iter().flatten() {
            let counter = !matches!(metric.spec.kind, super::Kind::Gauge);
            for series in metric.series.iter().flatten() {
                let set = self.sets.get(series.set);
                let starts = counter && !series.collected && series.last_sent_ms < zero_ms;
                let zero = starts.then_some(zero_ms);
                let labels = (&*set.labels, set.renamed.as_deref());
                emitter.series(&metric.shown, labels, series.reference, &series.value, zero);
            }
        }
        if !self.settings.staleness_markers {
            self.ended.values_mut().for_each(|ended| ended.marks = None);
        }
        // After all values: those of the same labels tell the queue to leave the marker out.
        emitter.ends = true;
        for ended in self.ended.values_mut() {
            if let Some(marks) = &ended.marks {
                ended.marked_in = Some(generation);
                let labels = (&*marks.labels, marks.renamed.as_deref());
                emitter.series(&marks.shown, labels, marks.reference, &marks.value, None);
            }
        }
        Collected { generation, now_ms }
    }

    /// True while a collection is to bring staleness markers.
    pub(crate) fn owes_markers(&self) -> bool {
        self.settings.staleness_markers && self.ended.values().any(|ended| ended.marks.is_some())
    }

    /// Confirms that a collection arrived completely.
    pub(crate) fn commit(&mut self, collected: Collected) {
        let Collected { generation, now_ms } = collected;
        self.last_commit_ms = now_ms;
        for series in self.metrics.iter_mut().flatten().flat_map(|metric| &mut metric.series) {
            let Some(series) = series else { continue };
            series.collected |= series.generation <= generation;
            if let Value::Histogram(histogram) = &mut series.value {
                let seen = histogram.exemplars.iter_mut();
                let sent = seen.filter(|seen| seen.generation <= generation);
                sent.for_each(|seen| *seen = Seen::default());
            }
        }
        for ended in self.ended.values_mut() {
            if ended.marked_in.is_some_and(|marked| marked <= generation) {
                ended.marks = None;
                ended.last_ms = now_ms;
                ended.marked_in = None;
            }
        }
        self.ended.retain(|_, ended| {
            ended.marks.is_some() || ended.last_ms.saturating_add(ZERO_REACH_MS) > now_ms
        });
    }
}

struct Emitter<'a> {
    sink: &'a mut dyn Sink,
    now_ms: i64,
    trace_id_label: &'a str,
    /// Staleness markers stand for the values.
    ends: bool,
}

/// The series of one label set under one name. `reference` belongs to the first of them.
struct Part<'a> {
    shown: &'a Shown,
    labels: &'a [Label],
    reference: u64,
}

impl<'a> Part<'a> {
    fn series(&self, number: u64, name: &'a str, le: Option<&'a str>) -> Series<'a> {
        Series { reference: self.reference + number, labels: self.labels, name, le }
    }
}

impl Emitter<'_> {
    fn series(
        &mut self,
        shown: &[Shown],
        (labels, renamed): (&[Label], Option<&[Label]>),
        mut reference: u64,
        value: &Value,
        zero_ms: Option<i64>,
    ) {
        for (number, shown) in shown.iter().enumerate() {
            let labels = if number == 0 { labels } else { renamed.unwrap_or(labels) };
            let part = Part { shown, labels, reference };
            reference += match value {
                Value::Number(number) => {
                    self.float(&part.series(0, &shown.name, None), zero_ms, *number);
                    1
                }
                Value::Histogram(histogram) => self.histogram(&part, histogram, zero_ms),
            };
        }
    }

    fn float(&mut self, series: &Series<'_>, zero_ms: Option<i64>, value: f64) {
        if let Some(at) = zero_ms {
            self.sink.float(series, at, 0.0);
        }
        self.sink.float(series, self.now_ms, if self.ends { STALE } else { value });
    }

    /// Returns the number of series.
    fn histogram(&mut self, part: &Part<'_>, histogram: &Histogram, zero_ms: Option<i64>) -> u64 {
        let shown = part.shown;
        let mut number = 0;
        if let Some(classic) = &histogram.classic {
            let count = part.series(0, &shown.count, None);
            if let Some(at) = zero_ms {
                self.sink.float(&count, at, 0.0);
            }
            let sum = part.series(1, &shown.sum, None);
            self.float(&sum, None, classic.sum * shown.scale);
            self.float(&count, None, classic.count());
            number = 2;
            let mut cumulated = 0.0;
            for (slot, le) in shown.bounds.iter().enumerate() {
                cumulated += classic.counts.get(slot).copied().unwrap_or(0.0);
                let bucket = part.series(number, &shown.bucket, Some(le));
                self.float(&bucket, zero_ms, cumulated);
                if let Some(seen) = histogram.exemplars.get(slot) {
                    self.exemplar(&bucket, seen);
                }
                number += 1;
            }
        }
        if let Some(native) = histogram.native.as_ref().filter(|_| shown.has_native()) {
            let series = part.series(number, &shown.name, None);
            if let Some(at) = zero_ms {
                self.sink.histogram(&series, at, &native.empty());
            }
            let value = if self.ends {
                // The marker of a histogram is its sum.
                NativeHistogram { sum: STALE, ..native.empty() }
            } else {
                native.shown()
            };
            self.sink.histogram(&series, self.now_ms, &value);
            histogram.exemplars.iter().for_each(|seen| self.exemplar(&series, seen));
            number += 1;
        }
        number
    }

    /// The same under all names: its value is in seconds.
    fn exemplar(&mut self, series: &Series<'_>, seen: &Seen) {
        if seen.trace.is_zero() {
            return;
        }
        let exemplar = Exemplar {
            label: self.trace_id_label,
            trace_id: &seen.trace.to_hex_trimmed(),
            value: seen.value,
            timestamp_ms: self.now_ms,
        };
        self.sink.exemplar(series, &exemplar);
    }
}

#[cfg(test)]
mod tests {
    use super::zero_ms;

    #[test]
    fn zero_is_a_second_before_the_minute() {
        assert_eq!(zero_ms(1_767_268_820_000), 1_767_268_799_000);
        assert_eq!(zero_ms(1_767_268_800_000), 1_767_268_799_000);
        assert_eq!(zero_ms(1_767_268_799_999), 1_767_268_739_000);
    }
}
