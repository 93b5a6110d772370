//! The generator of one tenant: spans in, series out.
//!
//! A push gives each processor a view of the batch: attributes by the names that it needs, texts by numbers that stay
//! the same from batch to batch. A processor converts a span to a tuple of such numbers, and uses it to find the
//! handles of the series to count in. Labels are built only for tuples that it has not seen recently. Nothing here
//! reads a clock: times are unix milliseconds, which the caller provides.

mod handles;
mod host_info;
mod interner;
mod own_metrics;
mod policies;
mod service_graphs;
mod settings;
mod span_metrics;
mod value_text;
mod view;

use std::sync::Arc;

use tactus_model::{SelectedBatch, SelectedKeys};

use self::host_info::HostInfo;
use self::interner::Interner;
use self::own_metrics::TenantMetrics;
use self::policies::PolicyRoom;
use self::service_graphs::ServiceGraphs;
use self::span_metrics::SpanMetrics;
use self::view::{Names, View, ViewScratch};
use crate::memory::{SeriesMemory, Share};
use crate::registry::{Collected, Processor as Owner, Registry, Statistics};
use tactus_remote_write::series::Sink;

pub use self::own_metrics::EngineMetrics;
pub use self::settings::Processor;
pub use self::settings::Settings;
pub(crate) use self::settings::collection_interval;

/// Texts kept besides four for each label set; then those that nobody waits for are forgotten.
const SPARE_TEXTS: usize = 16 * 1024;

/// Bytes of texts kept besides a kilobyte for each label set.
const SPARE_TEXT_BYTES: usize = 16 << 20;

/// While there is no memory for more series, bytes of texts kept besides those that label sets need.
const SCARCE_TEXT_BYTES: usize = 64 << 10;

/// Few label sets need more texts that no other set has.
const TEXTS_PER_SET: usize = 2;

/// What is kept of a text besides its bytes.
const TEXT_BYTES: usize = 48;

/// What a tenant takes without any series: estimates of how many there would be, of each metric and period, and its task.
pub(crate) const TENANT_BYTES: u64 = 64 << 10;

/// The processors of a tenant and their series.
#[derive(Debug)]
pub struct Tenant {
    settings: Settings,
    registry: Registry,
    names: Names,
    texts: Interner,
    scratch: ViewScratch,
    span_metrics: Option<SpanMetrics>,
    service_graphs: Option<ServiceGraphs>,
    host_info: Option<HostInfo>,
    collected: Option<Collected>,
    metrics: TenantMetrics,
    /// Of all but the series.
    memory: Share,
    /// Most bytes that texts had while there was memory for more series, up to those that the label sets there are need. They
    /// stay counted when texts are forgotten: those that are needed come again, and series must not have taken their room.
    text_room: usize,
}

impl Tenant {
    /// A tenant without series. `memory`: what the series of all tenants may take.
    ///
    /// Errors: a filter policy that is none, which [`Settings::resolve`] would have refused.
    pub fn new(
        tenant: &str,
        settings: Settings,
        metrics: &EngineMetrics,
        memory: &Arc<SeriesMemory>,
        now_ms: i64,
    ) -> Result<Self, String> {
        let mut new = Self {
            registry: Registry::new(settings.registry.clone(), memory, now_ms),
            memory: Share::of(memory),
            text_room: 0,
            names: Names::default(),
            texts: Interner::default(),
            scratch: ViewScratch::default(),
            span_metrics: None,
            service_graphs: None,
            host_info: None,
            collected: None,
            metrics: TenantMetrics::new(metrics, tenant, &settings),
            settings,
        };
        new.make_processors()?;
        new.note_memory();
        Ok(new)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes other settings. A processor with other settings begins anew: its series end, and those that come again
    /// count from 0. Series of a removed processor end. Calls of which one side waits go on waiting, and count when they end:
    /// as in Tempo, their series stay until they are stale.
    ///
    /// Errors: a filter policy that is none, which [`Settings::resolve`] would have refused; what was in force is no
    /// more.
    pub fn set(&mut self, settings: Settings, now_ms: i64) -> Result<(), String> {
        if settings == self.settings {
            return Ok(());
        }
        let before = &self.settings;
        for (owner, is_same) in [
            (Owner::SpanMetrics, before.span_metrics == settings.span_metrics),
            (Owner::ServiceGraphs, before.service_graphs == settings.service_graphs),
            (Owner::HostInfo, before.host_info == settings.host_info),
        ] {
            if !is_same {
                self.registry.remove_metrics(owner);
            }
        }
        let max_values = |of: &Settings| of.registry.max_cardinality_per_label;
        if max_values(before) != max_values(&settings) {
            self.metrics.end_label_values(&self.registry);
        }
        self.settings = settings;
        self.registry.update(self.settings.registry.clone(), now_ms);
        self.metrics.set(&self.settings);
        self.make_processors()?;
        self.note_memory();
        self.metrics.count_series(&self.registry);
        Ok(())
    }

    fn make_processors(&mut self) -> Result<(), String> {
        let (registry, mut names) = (&mut self.registry, Names::default());
        let mut room = PolicyRoom::default();
        if let Some(mut before) = self.span_metrics.take() {
            self.metrics.count_spans(before.take_discarded());
        }
        if let Some(settings) = &self.settings.span_metrics {
            self.span_metrics = Some(SpanMetrics::new(settings, registry, &mut names, &mut room)?);
        }
        let before = self.service_graphs.take();
        self.service_graphs = match (&self.settings.service_graphs, before) {
            (Some(settings), before) => {
                Some(ServiceGraphs::new(settings, registry, &mut names, &mut room, before)?)
            }
            // It was removed: it takes no spans, and looks for no attributes.
            (None, Some(before)) => Some(before.ending(registry)?),
            (None, None) => None,
        };
        let host_info = self.settings.host_info.as_ref();
        self.host_info = host_info.map(|settings| HostInfo::new(settings, registry, &mut names));
        self.names = names;
        self.end_service_graphs();
        Ok(())
    }

    /// Forgets the processor if it was removed and no call waits any more.
    fn end_service_graphs(&mut self) {
        let is_over = |processor: &mut ServiceGraphs| processor.waiting() == 0;
        if self.settings.service_graphs.is_none()
            && let Some(mut ended) = self.service_graphs.take_if(is_over)
        {
            self.metrics.count_edges(ended.take_counted());
        }
    }

    /// Attributes of spans that the processors look for; another one after each change of settings.
    pub fn selected_keys(&self) -> &Arc<SelectedKeys> {
        self.names.keys()
    }

    /// Counts the spans of a batch that holds at least the selected keys. `skip`: the client asked that nothing be made
    /// of them.
    pub fn push(&mut self, spans: &SelectedBatch, skip: bool, now_ms: i64) {
        if skip {
            let active = [
                self.span_metrics.is_some(),
                self.settings.service_graphs.is_some(),
                self.host_info.is_some(),
            ];
            let active = active.into_iter().filter(|active| *active).count();
            self.metrics.skipped(active as u64);
            return;
        }
        if spans.batch.is_empty() {
            return;
        }
        let registry = &mut self.registry;
        registry.refresh(now_ms);
        let max_bytes = self.settings.registry.max_label_value_bytes;
        let mut view = View::new(spans, &self.names, max_bytes, &mut self.texts, &mut self.scratch);
        if let Some(processor) = &mut self.span_metrics {
            processor.push(&mut view, registry, now_ms);
            self.metrics.count_spans(processor.take_discarded());
        }
        if let Some(processor) = &mut self.service_graphs
            && self.settings.service_graphs.is_some()
        {
            processor.push(&mut view, registry, now_ms);
            self.metrics.count_edges(processor.take_counted());
        }
        if let Some(processor) = &mut self.host_info {
            processor.push(&view, registry, now_ms);
            self.metrics.count_hosts(processor.take_invalid_utf8());
        }
        self.bound_texts();
        self.metrics.count_series(&self.registry);
    }

    /// Tells what is kept besides series.
    fn note_memory(&mut self) {
        let statistics = self.registry.statistics();
        let sets = usize::try_from(statistics.active_entities).unwrap_or(usize::MAX);
        let values = usize::try_from(self.registry.value_bytes()).unwrap_or(usize::MAX);
        let needed = values.saturating_add(sets.saturating_mul(TEXTS_PER_SET * TEXT_BYTES));
        self.text_room = self.text_room.min(needed);
        let texts = self.text_bytes().max(self.text_room);
        let waiting = self.service_graphs.as_ref().map_or(0, ServiceGraphs::bytes);
        let names = self.span_metrics.as_ref().map_or(0, SpanMetrics::name_bytes);
        self.memory.set(TENANT_BYTES + (texts + waiting + names) as u64);
    }

    /// Estimated memory of the texts.
    fn text_bytes(&self) -> usize {
        self.texts.bytes() + self.texts.len() * TEXT_BYTES
    }

    /// Forgets texts that only handles know, if there are many, and tells what is kept besides series.
    fn bound_texts(&mut self) {
        let sets =
            usize::try_from(self.registry.statistics().active_entities).unwrap_or(usize::MAX);
        self.note_memory();
        let are_many = match self.registry.is_memory_full() {
            false => {
                self.text_room = self.text_room.max(self.text_bytes());
                self.texts.len() > SPARE_TEXTS.saturating_add(sets.saturating_mul(4))
                    || self.texts.bytes()
                        > SPARE_TEXT_BYTES.saturating_add(sets.saturating_mul(1024))
            }
            // What overflows has texts, too, and nobody asks for room for them.
            true => self.text_bytes() > self.text_room.saturating_add(SCARCE_TEXT_BYTES),
        };
        if are_many {
            self.forget_texts();
            self.note_memory();
        }
    }

    fn forget_texts(&mut self) {
        if let Some(processor) = &mut self.span_metrics {
            processor.forget_texts();
        }
        match &mut self.service_graphs {
            Some(processor) => {
                processor.forget_texts();
                self.texts.retain(processor.texts());
            }
            None => self.texts.retain(std::iter::empty()),
        }
    }

    /// True if [`Self::expire`] has something to do.
    pub fn has_to_expire(&self, now_ms: i64) -> bool {
        let calls = self.service_graphs.as_ref();
        calls.is_some_and(ServiceGraphs::has_to_expire) || self.registry.is_stale_check_due(now_ms)
    }

    /// Ends calls whose other side did not come in time, and now and then series that were not updated for long. To be
    /// called every other second.
    pub fn expire(&mut self, now_ms: i64) {
        if let Some(processor) = &mut self.service_graphs {
            processor.expire(&mut self.texts, &mut self.registry, now_ms);
            self.metrics.count_edges(processor.take_counted());
        }
        self.end_service_graphs();
        let epoch = self.registry.epoch();
        self.registry.remove_stale(now_ms);
        if self.registry.epoch() != epoch {
            self.forget_texts();
        }
        self.note_memory();
        self.metrics.count_series(&self.registry);
    }

    /// Ends all calls of which one side waits: nothing comes any more.
    pub fn expire_all(&mut self, now_ms: i64) {
        if let Some(processor) = &mut self.service_graphs {
            processor.expire_all(&mut self.texts, &mut self.registry, now_ms);
            self.metrics.count_edges(processor.take_counted());
        }
        self.metrics.count_series(&self.registry);
    }

    /// Hands all series to a sink; `now_ms` is the time of their samples. [`Self::committed`] says that they arrived.
    pub fn collect(&mut self, now_ms: i64, sink: &mut dyn Sink) {
        self.collected = Some(self.registry.collect(now_ms, sink));
        self.show_demand();
    }

    /// The last collection arrived whole. Without that its zero samples, exemplars and staleness markers come again.
    pub fn committed(&mut self) {
        if let Some(collected) = self.collected.take() {
            self.registry.commit(collected);
        }
    }

    /// Tells the estimates of what there would be without limits; a collection does so too.
    pub(crate) fn show_demand(&mut self) {
        self.metrics.show_demand(&self.registry);
    }

    /// Active series.
    pub fn series(&self) -> usize {
        usize::try_from(self.registry.statistics().active_series).unwrap_or(usize::MAX)
    }

    /// True if there is no series, and no call of which one side waits.
    pub fn is_empty(&self) -> bool {
        let waiting = self.service_graphs.as_ref().map_or(0, ServiceGraphs::waiting);
        self.registry.is_empty() && waiting == 0
    }

    /// True if a collection has samples.
    pub(crate) fn has_samples(&self) -> bool {
        !self.registry.is_empty() || self.owes_markers()
    }

    /// True while a collection is to bring staleness markers of series that ended.
    pub(crate) fn owes_markers(&self) -> bool {
        self.registry.owes_markers()
    }

    /// Totals and levels of the registry.
    pub fn statistics(&self) -> &Statistics {
        self.registry.statistics()
    }
}
