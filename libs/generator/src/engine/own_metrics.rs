//! Metrics of the engine itself, under Tempo's names.

use std::collections::HashMap;

use tactus_telemetry::log_limited;
use tactus_telemetry::metrics::{Counter, CounterVec, Gauge, GaugeVec, Registry as Metrics};

use super::service_graphs::Counted;
use super::settings::{Processor, Settings};
use super::span_metrics::Discarded;
use crate::registry::{self, Limiter, Registry, Statistics};

tactus_telemetry::metrics! {
    /// The generator's own metrics that the engine counts, of all tenants.
    #[derive(Clone, Debug)]
    pub struct EngineMetrics {
        active_processors: GaugeVec<2> = "tempo_metrics_generator_active_processors",
            "1 for each processor that a tenant has.", ["tenant", "processor"];
        skipped: CounterVec<1> = "tempo_metrics_generator_metrics_generation_skipped_processor_pushes_total",
            "Pushes that a processor left out because the client asked for it.", ["tenant"];
        discarded: CounterVec<3> = "tempo_metrics_generator_spans_discarded_total",
            "Spans that a processor left out, by reason.", ["tenant", "reason", "processor"];
        edges: CounterVec<1> = "tempo_metrics_generator_processor_service_graphs_edges",
            "Calls between services of which a side was seen.", ["tenant"];
        expired_edges: CounterVec<1> = "tempo_metrics_generator_processor_service_graphs_expired_edges",
            "Calls whose other side did not come.", ["tenant"];
        dropped_spans: CounterVec<1> = "tempo_metrics_generator_processor_service_graphs_dropped_spans",
            "Spans left out because too many calls wait.", ["tenant"];
        dropped_edges: CounterVec<1> = "tempo_metrics_generator_processor_service_graphs_dropped_edges_total",
            "Calls left out because a policy refused a side.", ["tenant"];
        side_overflows: CounterVec<1> = "tempo_metrics_generator_processor_service_graphs_dropped_span_side_cache_overflow_total",
            "Refused sides of calls that could not be remembered.", ["tenant"];
        series: Limited => Limited::named([
            ("tempo_metrics_generator_registry_active_series", "Active series per tenant."),
            ("tempo_metrics_generator_registry_max_active_series", "Most active series per tenant."),
            ("tempo_metrics_generator_registry_series_added_total", "Series added per tenant."),
            ("tempo_metrics_generator_registry_series_removed_total", "Series removed per tenant."),
            ("tempo_metrics_generator_registry_series_limited_total", "Series that observations would have needed beyond the limit."),
            ("tempo_metrics_generator_registry_active_series_demand_estimate", "Series that there would be without a limit."),
        ]);
        entities: Limited => Limited::named([
            ("tempo_metrics_generator_registry_active_entities", "Active label sets per tenant."),
            ("tempo_metrics_generator_registry_max_active_entities", "Most active label sets per tenant."),
            ("tempo_metrics_generator_registry_entities_added_total", "Label sets added per tenant."),
            ("tempo_metrics_generator_registry_entities_removed_total", "Label sets removed per tenant."),
            ("tempo_metrics_generator_registry_entities_limited_total", "Observations of label sets beyond the limit."),
            ("tempo_metrics_generator_registry_entity_demand_estimate", "Label sets that there would be without a limit."),
        ]);
        spans_sanitized: CounterVec<1> = "tempo_metrics_generator_registry_spans_sanitized_total",
            "Spans whose name was sanitised, or would have been.", ["tenant"];
        label_values_limited: CounterVec<2> = "tempo_metrics_generator_registry_label_values_limited_total",
            "Values of labels replaced because there are too many of them.", ["tenant", "label_name"];
        label_demand: GaugeVec<2> = "tempo_metrics_generator_registry_label_cardinality_demand_estimate",
            "Values of a label that there would be without a limit.", ["tenant", "label_name"];
    }
}

/// The metrics of what a limit counts.
#[derive(Clone, Debug)]
struct Limited {
    active: GaugeVec<1>,
    max: GaugeVec<1>,
    added: CounterVec<1>,
    removed: CounterVec<1>,
    limited: CounterVec<1>,
    demand: GaugeVec<1>,
}

impl Limited {
    /// Names and meanings in the order of the fields.
    fn named(names: [(&'static str, &'static str); 6]) -> impl Fn(&Metrics) -> Self {
        let [active, max, added, removed, limited, demand] = names;
        let counter = |of: &Metrics, (name, help)| of.counter_vec(name, help, ["tenant"]);
        let gauge = |of: &Metrics, (name, help)| of.gauge_vec(name, help, ["tenant"]);
        move |of| Self {
            active: gauge(of, active),
            max: gauge(of, max),
            added: counter(of, added),
            removed: counter(of, removed),
            limited: counter(of, limited),
            demand: gauge(of, demand),
        }
    }
}

impl EngineMetrics {
    /// The tenant is gone: takes away what says how it is. Counters stay for as long as the registry keeps them.
    pub fn forget_tenant(&self, tenant: &str) {
        self.active_processors.retain(|[known, _]| known != tenant);
        self.label_demand.retain(|[known, _]| known != tenant);
        for limited in [&self.series, &self.entities] {
            for gauge in [&limited.active, &limited.max, &limited.demand] {
                gauge.remove([tenant]);
            }
        }
    }
}

/// The engine's metrics of one tenant.
pub(super) struct TenantMetrics {
    all: EngineMetrics,
    tenant: String,
    limiter: Limiter,
    counts: Option<LimitedCounts>,
    spans: Option<[Counter; 2]>,
    edges: Option<[Counter; 7]>,
    hosts: Option<Counter>,
    reported: Statistics,
    /// The limit that is shown.
    limit: u64,
    values_limited: HashMap<String, (Counter, u64)>,
}

/// Kept handles, made when there is something to say.
struct LimitedCounts {
    active: Gauge,
    max: Gauge,
    added: Counter,
    removed: Counter,
    limited: Counter,
}

tactus_telemetry::debug_of!(TenantMetrics { tenant });

impl TenantMetrics {
    pub(super) fn new(all: &EngineMetrics, tenant: &str, settings: &Settings) -> Self {
        let mut metrics = Self {
            all: all.clone(),
            tenant: tenant.to_owned(),
            limiter: settings.registry.limiter,
            counts: None,
            spans: None,
            edges: None,
            hosts: None,
            reported: Statistics::default(),
            limit: settings.registry.limit,
            values_limited: HashMap::new(),
        };
        metrics.set(settings);
        metrics
    }

    /// The tenant has other processors.
    pub(super) fn set(&mut self, settings: &Settings) {
        let (all, tenant) = (&self.all, self.tenant.as_str());
        for processor in Processor::ALL {
            // Its parts make one processor, which is shown under one name.
            let is_active = match processor {
                Processor::SpanMetrics => settings.span_metrics.is_some(),
                Processor::ServiceGraphs => settings.service_graphs.is_some(),
                Processor::HostInfo => settings.host_info.is_some(),
                _ => false,
            };
            let gauge = all.active_processors.with([tenant, processor.as_str()]);
            gauge.set(f64::from(u8::from(is_active)));
        }
        let discarded = |reason, processor| all.discarded.with([tenant, reason, processor]);
        self.spans = settings.span_metrics.is_some().then(|| {
            ["span_metrics_filtered", "invalid_utf8"]
                .map(|reason| discarded(reason, "span-metrics"))
        });
        // A removed processor still counts the calls that wait.
        if settings.service_graphs.is_some() && self.edges.is_none() {
            let own = [
                &all.edges,
                &all.expired_edges,
                &all.dropped_spans,
                &all.dropped_edges,
                &all.side_overflows,
            ];
            let [edges, expired, spans, dropped, overflows] = own.map(|all| all.with([tenant]));
            let filtered = discarded("service_graphs_filtered", "service-graphs");
            let invalid = discarded("invalid_utf8", "service-graphs");
            self.edges = Some([edges, expired, spans, dropped, overflows, filtered, invalid]);
        }
        self.hosts = settings.host_info.is_some().then(|| discarded("invalid_utf8", "host-info"));
    }

    /// So many processors left out a push because the client asked for it.
    pub(super) fn skipped(&self, processors: u64) {
        self.all.skipped.with([&self.tenant]).inc_by(processors);
    }

    pub(super) fn count_spans(&self, discarded: Discarded) {
        let Discarded { filtered, invalid_utf8 } = discarded;
        add(self.spans.iter().flatten(), [filtered, invalid_utf8]);
    }

    pub(super) fn count_edges(&self, counted: Counted) {
        let Counted {
            edges,
            expired,
            dropped_spans,
            dropped_edges,
            side_overflows,
            filtered,
            invalid_utf8,
        } = counted;
        let counts =
            [edges, expired, dropped_spans, dropped_edges, side_overflows, filtered, invalid_utf8];
        add(self.edges.iter().flatten(), counts);
    }

    pub(super) fn count_hosts(&self, invalid_utf8: u64) {
        add(self.hosts.iter(), [invalid_utf8]);
    }

    /// Tells what the registry counted since the last call, and its limit.
    pub(super) fn count_series(&mut self, registry: &Registry) {
        let (now, limit) = (registry.statistics(), registry.settings().limit);
        if *now == self.reported && limit == self.limit {
            return;
        }
        self.limit = limit;
        let before = std::mem::replace(&mut self.reported, now.clone());
        let tenant = [self.tenant.as_str()];
        let entity = self.limiter == Limiter::Entity;
        let family = if entity { &self.all.entities } else { &self.all.series };
        let pick = |of: &Statistics| match entity {
            true => {
                [of.entities_added, of.entities_removed, of.entities_limited, of.active_entities]
            }
            false => [of.series_added, of.series_removed, of.series_limited, of.active_series],
        };
        let ([added, removed, limited, active], before_all) = (pick(now), pick(&before));
        if [added, removed, limited] != before_all[..3] {
            let counts = self.counts.get_or_insert_with(|| LimitedCounts {
                active: family.active.with(tenant),
                max: family.max.with(tenant),
                added: family.added.with(tenant),
                removed: family.removed.with(tenant),
                limited: family.limited.with(tenant),
            });
            counts.added.inc_by(added - before_all[0]);
            counts.removed.inc_by(removed - before_all[1]);
            counts.limited.inc_by(limited - before_all[2]);
            counts.active.set(active as f64);
        }
        if let Some(counts) = &self.counts {
            counts.max.set(limit as f64);
        }
        if limited > before_all[2] {
            log_limit(&self.tenant, active, registry);
        }
        let sanitized = now.spans_sanitized - before.spans_sanitized;
        if sanitized > 0 {
            self.all.spans_sanitized.with(tenant).inc_by(sanitized);
        }
    }

    /// Tells how much there would be without limits.
    pub(super) fn show_demand(&mut self, registry: &Registry) {
        let tenant = [self.tenant.as_str()];
        match self.limiter {
            Limiter::Series => {
                self.all.series.demand.with(tenant).set(registry.series_demand() as f64);
            }
            Limiter::Entity => {
                self.all.entities.demand.with(tenant).set(registry.entity_demand() as f64);
            }
        }
        for (label, demand, limited) in registry.label_cardinality() {
            self.all.label_demand.with([&self.tenant, label]).set(demand as f64);
            if limited == 0 {
                continue;
            }
            let (all, tenant) = (&self.all.label_values_limited, &self.tenant);
            let (counter, reported) = self
                .values_limited
                .entry(label.to_owned())
                .or_insert_with(|| (all.with([tenant, label]), 0));
            counter.inc_by(limited - *reported);
            *reported = limited;
        }
    }

    /// To be called before the limit on the values of labels changes, from which the registry counts them anew: tells the rest.
    pub(super) fn end_label_values(&mut self, registry: &Registry) {
        self.show_demand(registry);
        self.values_limited.clear();
        self.all.label_demand.retain(|[known, _]| known != self.tenant);
    }
}

/// Says why label sets of a tenant overflow.
fn log_limit(tenant: &str, active: u64, registry: &Registry) {
    let registry::Settings { limiter, limit, .. } = *registry.settings();
    if limit == 0 || registry.is_memory_full() {
        let limit = "metrics_generator.registry.max_bytes";
        log_limited!(
            warn,
            tenant,
            active,
            limit,
            "no memory for more series, which count under metric_overflow"
        );
        return;
    }
    match limiter {
        Limiter::Series => log_limited!(warn, tenant, active, limit, "reached max active series"),
        Limiter::Entity => log_limited!(warn, tenant, active, limit, "reached max active entities"),
    }
}

fn add<'a, const N: usize>(counters: impl Iterator<Item = &'a Counter>, counts: [u64; N]) {
    for (counter, count) in counters.zip(counts) {
        if count > 0 {
            counter.inc_by(count);
        }
    }
}
