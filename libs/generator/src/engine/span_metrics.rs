//! The span-metrics processor: calls, latencies and sizes of spans by label set.

mod labels;
mod target_info;

use tactus_config::sections::generator::SpanMetrics as Section;
use tactus_model::StringCode;

use self::labels::{FIRST_INPUT, Key, LabelPlan, NOT_FOUND};

pub(super) use self::labels::dimension_label;
use self::target_info::TargetInfo;
use super::handles::Handles;
use super::interner::TextId;
use super::policies::{Policies, PolicyRoom};
use super::value_text::seconds;
use super::view::{Names, View, Weight};
use crate::registry::{
    Adjusted, Alias, Handle, Kind, Labels, MetricId, MetricSpec, Processor, Registry,
};

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency";
const SIZE: &str = "traces_spanmetrics_size_total";
const TARGET_INFO: &str = "traces_target_info";

/// Names of the metrics.
pub(super) const METRICS: [&str; 4] = [CALLS, LATENCY, SIZE, TARGET_INFO];

/// What the processor makes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpanMetricsSettings {
    pub(crate) count: bool,
    pub(crate) latency: bool,
    pub(crate) size: bool,
    /// Of the tenant.
    pub(crate) section: Section,
    /// Further names, in seconds and in milliseconds.
    pub(crate) aliases: Aliases,
}

/// Names of the OpenTelemetry Collector under which series are sent too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aliases {
    pub(crate) seconds: bool,
    pub(crate) milliseconds: bool,
}

/// Spans that were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Discarded {
    /// By policies.
    pub(crate) filtered: u64,
    /// Their labels are no UTF-8.
    pub(crate) invalid_utf8: u64,
}

/// The span-metrics processor of a tenant: which spans it counts, and by which labels.
#[derive(Debug)]
pub(crate) struct SpanMetrics {
    policies: Policies,
    weight: Weight,
    plan: LabelPlan,
    calls: Option<MetricId>,
    latency: Option<MetricId>,
    size: Option<MetricId>,
    target_info: Option<TargetInfo>,
    handles: Handles<Entry>,
    /// For each resource of the batch the place of its key in `keys`.
    resources: Vec<u32>,
    keys: Vec<TextId>,
    key: Key,
    labels: Labels,
    discarded: Discarded,
}

/// What is kept for a label set.
#[derive(Debug)]
enum Entry {
    InvalidUtf8,
    Series { calls: Handle, latency: Handle, size: Handle, adjusted: Option<Box<Adjusted>> },
}

/// No key was made for a resource of the batch yet.
const NO_KEY: u32 = u32::MAX;

/// Numbers in the keys of a batch's resources; then all are forgotten.
const MAX_KEY_NUMBERS: usize = 1 << 20;

impl SpanMetrics {
    /// Makes its metrics, or finds them again.
    ///
    /// Errors: a policy that is none.
    pub(crate) fn new(
        settings: &SpanMetricsSettings,
        registry: &mut Registry,
        names: &mut Names,
        room: &mut PolicyRoom,
    ) -> Result<Self, String> {
        let plan = LabelPlan::new(settings, registry, names);
        let mut metric = |is_on: bool, name: &str, kind: Kind, aliases: Vec<Alias>| {
            let processor = Processor::SpanMetrics;
            let spec = MetricSpec { processor, name: name.to_owned(), kind, aliases };
            is_on.then(|| registry.metric(spec))
        };
        let Aliases { seconds, milliseconds } = settings.aliases;
        let alias = |name: &str, thousandfold| Alias { name: name.to_owned(), thousandfold };
        let calls =
            (seconds || milliseconds).then(|| alias("traces_span_metrics_calls_total", false));
        let durations = [
            seconds.then(|| alias("traces_span_metrics_duration_seconds", false)),
            milliseconds.then(|| alias("traces_span_metrics_duration_milliseconds", true)),
        ];
        let bounds = Kind::Histogram(settings.section.histogram_buckets.as_slice().into());
        let durations = durations.into_iter().flatten().collect();
        let calls = metric(settings.count, CALLS, Kind::Counter, calls.into_iter().collect());
        let latency = metric(settings.latency, LATENCY, bounds, durations);
        let size = metric(settings.size, SIZE, Kind::Counter, Vec::new());
        let target_info = settings.section.enable_target_info;
        let info = metric(target_info, TARGET_INFO, Kind::Gauge, Vec::new());
        Ok(Self {
            policies: Policies::new(&settings.section.filter_policies, names, room)?,
            weight: Weight::new(
                &settings.section.span_multiplier_key,
                settings.section.enable_tracestate_span_multiplier,
                names,
            ),
            handles: Handles::new(plan.width()),
            target_info: info.map(|metric| TargetInfo::new(metric, settings)),
            plan,
            calls,
            latency,
            size,
            resources: Vec::new(),
            keys: Vec::new(),
            key: Key::new(),
            labels: Labels::default(),
            discarded: Discarded::default(),
        })
    }

    /// Counts the spans of a batch.
    pub(crate) fn push(&mut self, view: &mut View<'_>, registry: &mut Registry, now_ms: i64) {
        let batch = view.batch;
        self.policies.start();
        self.resources.clear();
        self.resources.resize(batch.resources.len(), NO_KEY);
        self.keys.clear();
        if let Some(info) = &mut self.target_info {
            info.start(batch.resources.len());
        }
        for row in 0..batch.len() {
            if !self.policies.keep(view, row) {
                self.discarded.filtered += 1;
                continue;
            }
            let resource = batch.spans.resource[row] as usize;
            self.write_key(view, row, resource);
            self.handles.keep_within(registry.epoch(), registry.statistics().active_entities);
            let place = match self.handles.find(&self.key) {
                Some(place) => place,
                None => {
                    let entry = self.entry(view, registry, now_ms);
                    // Making it may have begun another epoch.
                    self.handles.keep_within(registry.epoch(), u64::MAX);
                    self.handles.insert(&self.key, entry)
                }
            };
            let Entry::Series { calls, latency, size, adjusted } = self.handles.at(place) else {
                self.discarded.invalid_utf8 += 1;
                continue;
            };
            let weight = self.weight.of(view, row, resource);
            if let Some(adjusted) = adjusted {
                registry.count_adjusted(adjusted);
            }
            if let Some(metric) = self.calls {
                registry.add(metric, *calls, weight, now_ms);
            }
            if let Some(metric) = self.latency {
                let value = seconds(batch.spans.duration[row]);
                let trace = batch.traces.ids[batch.spans.trace[row] as usize];
                registry.observe(metric, *latency, (value, weight), trace, now_ms);
            }
            if let Some(metric) = self.size {
                let bytes = view.sizes.get(row).copied().unwrap_or(0);
                registry.add(metric, *size, f64::from(bytes), now_ms);
            }
            if let Some(info) = &mut self.target_info {
                info.count(view, resource, registry, &mut self.labels, now_ms);
            }
        }
    }

    /// The numbers of the texts that a span's labels are made of.
    #[inline]
    fn write_key(&mut self, view: &mut View<'_>, row: usize, resource: usize) {
        let width = self.plan.width();
        let mut place = self.resources[resource];
        if place == NO_KEY {
            if self.keys.len() > MAX_KEY_NUMBERS {
                self.keys.clear();
                self.resources.fill(NO_KEY);
            }
            place = self.keys.len() as u32;
            self.resources[resource] = place;
            self.plan.write_resource(view, resource, &mut self.keys);
        }
        self.key.clear();
        self.key.extend_from_slice(&self.keys[place as usize..place as usize + width]);
        self.plan.write_span(view, row, &mut self.key);
        for (input, id) in self.plan.inputs().iter().zip(&mut self.key[FIRST_INPUT..]) {
            if *id == NOT_FOUND {
                *id = match view.of_span(row, *input) {
                    Some(attribute) => view.value_id(attribute),
                    None => 0,
                };
            }
        }
    }

    /// The series of a label set that was not seen lately.
    #[cold]
    fn entry(&mut self, view: &View<'_>, registry: &mut Registry, now_ms: i64) -> Entry {
        let labels = &mut self.labels;
        registry.start(labels);
        if self.plan.write_labels(view.interner, &self.key, labels).is_err() {
            return Entry::InvalidUtf8;
        }
        let adjusted = registry.adjust(labels, now_ms);
        let set = registry.intern(labels);
        let mut handle = |metric: Option<MetricId>| match metric {
            Some(metric) => registry.handle(metric, set, now_ms),
            None => Handle::NONE,
        };
        let (calls, latency, size) = (handle(self.calls), handle(self.latency), handle(self.size));
        registry.release(set);
        let adjusted = (adjusted != Adjusted::default()).then(|| Box::new(adjusted));
        Entry::Series { calls, latency, size, adjusted }
    }

    /// Spans left out since the last call.
    pub(crate) fn take_discarded(&mut self) -> Discarded {
        std::mem::take(&mut self.discarded)
    }

    /// Estimated memory of the names that resources bring.
    pub(crate) fn name_bytes(&self) -> usize {
        self.target_info.as_ref().map_or(0, TargetInfo::name_bytes)
    }

    /// Texts may have other numbers now.
    pub(crate) fn forget_texts(&mut self) {
        self.handles.clear();
    }
}

/// A column of string codes at a row.
#[inline]
fn code_at(column: &[StringCode], row: usize) -> StringCode {
    column.get(row).copied().unwrap_or(0)
}
