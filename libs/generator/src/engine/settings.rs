//! The settings of a tenant's generator: the configuration, overridden by the tenant's limits.

use std::collections::BTreeSet;
use std::time::Duration;

use tactus_config::increasing_buckets;
use tactus_config::sections::generator::{
    DimensionMapping, HostInfo, MetricsGenerator, ServiceGraphs,
};
use tactus_config::sections::overrides::GeneratorLimits;
use tactus_telemetry::log_limited;

use super::policies::{Policies, PolicyRoom};
use super::service_graphs::{METRICS as EDGE_METRICS, dimension_labels};
use super::span_metrics::{Aliases, METRICS as SPAN_METRICS, SpanMetricsSettings, dimension_label};
use super::view::Names;
use crate::registry::{self, HistogramMode, Limiter, NativeSettings, SpanNames};

/// Label with the name of the generator: two of them must never write one series.
const INSTANCE_LABEL: &str = "__metrics_gen_instance";

/// Entries of a list of settings. A name is looked for in all attributes, and takes room for each resource of a push and for
/// each series. A bucket is a series.
const MAX_ENTRIES: usize = 256;

/// The least time between two collections, whatever is configured.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// What a tenant's generator does. Equal settings change nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub(crate) registry: registry::Settings,
    pub(crate) processors: BTreeSet<Processor>,
    pub(crate) span_metrics: Option<SpanMetricsSettings>,
    pub(crate) service_graphs: Option<ServiceGraphs>,
    pub(crate) host_info: Option<HostInfo>,
}

impl Settings {
    /// The settings of a tenant. Names of processors and dimensions that mean nothing are left out and logged. Without a
    /// tenant's name the settings are only checked, which logs no dimensions.
    ///
    /// The label `__metrics_gen_instance` of each series has the value of `metrics_generator.ring.instance_id`, which
    /// is the name of the host unless it is configured.
    ///
    /// Errors: what is wrong with the configuration or the limits.
    pub fn resolve(
        config: &MetricsGenerator,
        limits: &GeneratorLimits,
        tenant: &str,
    ) -> Result<Self, String> {
        let processors = named(tenant, &limits.processors);
        let has = |processor| processors.contains(&processor);
        let settings = Self {
            registry: registry_settings(config, limits, tenant)?,
            span_metrics: span_metrics(config, limits, &processors)?,
            service_graphs: match has(Processor::ServiceGraphs) {
                true => Some(service_graphs(config, limits, tenant)?),
                false => None,
            },
            host_info: match has(Processor::HostInfo) {
                true => Some(host_info(config, limits)?),
                false => None,
            },
            processors,
        };
        let (mut names, mut room) = (Names::default(), PolicyRoom::default());
        let of_spans =
            settings.span_metrics.as_ref().map(|settings| &settings.section.filter_policies);
        let of_edges = settings.service_graphs.as_ref().map(|settings| &settings.filter_policies);
        for policies in of_spans.into_iter().chain(of_edges) {
            Policies::new(policies, &mut names, &mut room)?;
        }
        Ok(settings)
    }

    /// The processors of the tenant.
    pub fn processors(&self) -> &BTreeSet<Processor> {
        &self.processors
    }
}

fn registry_settings(
    config: &MetricsGenerator,
    limits: &GeneratorLimits,
    tenant: &str,
) -> Result<registry::Settings, String> {
    let own = &config.registry;
    let mut external: Vec<(String, String)> =
        own.external_labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    external.push((INSTANCE_LABEL.to_owned(), config.ring.ring.instance_id.clone()));
    if !own.inject_tenant_id_as.is_empty() {
        external.push((own.inject_tenant_id_as.clone(), tenant.to_owned()));
    }
    let (limiter, limit) = match config.limiter_type.as_str() {
        "series" => (Limiter::Series, limits.max_active_series),
        "entity" => (Limiter::Entity, limits.max_active_entities),
        other => {
            return Err(format!(
                "invalid limiter type: {other}, valid values are series and entity"
            ));
        }
    };
    let histograms = match limits.generate_native_histograms.as_str() {
        "" | "classic" => HistogramMode::Classic,
        "native" => HistogramMode::Native,
        "both" => HistogramMode::Both,
        other => {
            return Err(format!(
                "metrics_generator.generate_native_histograms {other:?} is not a valid value, \
                 valid values: classic, native, both"
            ));
        }
    };
    let span_names = match limits.span_name_sanitization.as_str() {
        "" | "disabled" => SpanNames::AsTheyAre,
        "dry_run" => SpanNames::DryRun,
        "enabled" => SpanNames::Sanitized,
        other => {
            return Err(format!(
                "metrics_generator.span_name_sanitization {other:?} is not a valid value, \
                 valid values: dry_run, enabled"
            ));
        }
    };
    Ok(registry::Settings {
        external_labels: external,
        stale_after_ms: stale_after_ms(config, limits),
        max_label_name_bytes: usize::try_from(own.max_label_name_length).unwrap_or(0),
        max_label_value_bytes: usize::try_from(own.max_label_value_length).unwrap_or(0),
        limiter,
        limit,
        histograms,
        native: native(limits)?,
        trace_id_label: limits.trace_id_label_name.clone(),
        staleness_markers: own.staleness_markers,
        max_cardinality_per_label: limits.max_cardinality_per_label,
        span_names,
    })
}

fn milliseconds(duration: tactus_config::GoDuration) -> i64 {
    duration.0.max(0) / 1_000_000
}

/// The time between two collections.
pub(crate) fn collection_interval(config: &MetricsGenerator, limits: &GeneratorLimits) -> Duration {
    let own = limits.collection_interval.non_zero();
    own.unwrap_or(config.registry.collection_interval.as_std()).max(MIN_INTERVAL)
}

/// Two intervals at least: a series that ended sooner could miss the collection of its last value, or of all of them.
fn stale_after_ms(config: &MetricsGenerator, limits: &GeneratorLimits) -> i64 {
    let interval_ms = collection_interval(config, limits).as_millis();
    let least_ms = i64::try_from(2 * interval_ms).unwrap_or(i64::MAX);
    milliseconds(config.registry.stale_duration).max(least_ms)
}

fn native(limits: &GeneratorLimits) -> Result<NativeSettings, String> {
    let default = NativeSettings::default();
    let factor = limits.native_histogram_bucket_factor;
    if factor != 0.0 && (factor.is_nan() || factor <= 1.0) {
        return Err(
            "metrics_generator.native_histogram_bucket_factor must be greater than 1".to_owned()
        );
    }
    let reset = limits.native_histogram_min_reset_duration;
    Ok(NativeSettings {
        bucket_factor: if factor == 0.0 { default.bucket_factor } else { factor },
        max_buckets: match limits.native_histogram_max_bucket_number {
            0 => default.max_buckets,
            most => most,
        },
        min_reset_ms: if reset.0 == 0 { default.min_reset_ms } else { milliseconds(reset) },
    })
}

/// Puts the tenant's value in the place of that of the configuration, if there is one.
fn put<T: Clone>(config: &mut T, own: &Option<T>) {
    if let Some(own) = own {
        config.clone_from(own);
    }
}

/// [`put`] for fields of the same name.
macro_rules! put_fields {
    ($section:ident, $own:ident: $($field:ident)*) => {
        $( put(&mut $section.$field, &$own.$field); )*
    };
}

/// Bounds of buckets without the last one, which is always there.
fn buckets(processor: &str, bounds: &mut Vec<f64>) -> Result<(), String> {
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
    }
    check_count(&format!("{processor}.histogram_buckets"), bounds.len())?;
    increasing_buckets(processor, bounds)?;
    match bounds.iter().find(|bound| !bound.is_finite()) {
        Some(bound) => Err(format!(
            "metrics_generator.processor.{processor}.histogram_buckets has the bound {bound}"
        )),
        None => Ok(()),
    }
}

/// Where weights are found: what the tenant says of the processor comes before what it says of all.
fn weight(
    (key, from_trace_state): (&mut String, &mut bool),
    own: (&String, Option<bool>),
    limits: &GeneratorLimits,
) {
    let keys = [own.0, &limits.span_multiplier_key];
    if let Some(own) = keys.into_iter().find(|key| !key.is_empty()) {
        key.clone_from(own);
    }
    put(from_trace_state, &own.1.or(limits.enable_tracestate_span_multiplier));
}

fn span_metrics(
    config: &MetricsGenerator,
    limits: &GeneratorLimits,
    processors: &BTreeSet<Processor>,
) -> Result<Option<SpanMetricsSettings>, String> {
    let has = |part| processors.contains(&Processor::SpanMetrics) || processors.contains(&part);
    let count = has(Processor::SpanMetricsCount);
    let latency = has(Processor::SpanMetricsLatency);
    let size = has(Processor::SpanMetricsSize);
    if !count && !latency && !size {
        return Ok(None);
    }
    let own = &limits.processor.span_metrics;
    let mut section = config.processor.span_metrics.clone();
    let intrinsics = &mut section.intrinsic_dimensions;
    for (label, on) in own.intrinsic_dimensions.iter().flatten() {
        let intrinsic = match label.as_str() {
            "service" => &mut intrinsics.service,
            "span_name" => &mut intrinsics.span_name,
            "span_kind" => &mut intrinsics.span_kind,
            "status_code" => &mut intrinsics.status_code,
            "status_message" => &mut intrinsics.status_message,
            other => return Err(format!("{other} is not a valid intrinsic dimension")),
        };
        *intrinsic = *on;
    }
    put_fields!(section, own: histogram_buckets dimensions dimension_mappings enable_target_info
        target_info_excluded_dimensions enable_instance_label filter_policies aliases);
    buckets("span_metrics", &mut section.histogram_buckets)?;
    weight(
        (&mut section.span_multiplier_key, &mut section.enable_tracestate_span_multiplier),
        (&own.span_multiplier_key, own.enable_tracestate_span_multiplier),
        limits,
    );
    let aliases = aliases(&section.aliases)?;
    let mappings = &section.dimension_mappings;
    check_count("span_metrics.dimensions", section.dimensions.len())?;
    let names = mappings.iter().map(|mapping| mapping.source_labels.len().max(1)).sum();
    check_count("span_metrics.dimension_mappings", names)?;
    check_mappings(&section.dimensions, mappings)?;
    Ok(Some(SpanMetricsSettings { count, latency, size, section, aliases }))
}

/// Errors: a list of settings, below `metrics_generator.processor`, has too many entries.
fn check_count(list: &str, entries: usize) -> Result<(), String> {
    if entries <= MAX_ENTRIES {
        return Ok(());
    }
    Err(format!(
        "metrics_generator.processor.{list} has {entries} entries, more than {MAX_ENTRIES}"
    ))
}

fn aliases(names: &[String]) -> Result<Aliases, String> {
    let mut aliases = Aliases::default();
    for name in names {
        match name.as_str() {
            "otel_seconds" => aliases.seconds = true,
            "otel_milliseconds" => aliases.milliseconds = true,
            other => {
                return Err(format!(
                    "metrics_generator.processor.span_metrics.aliases {other:?} is not a valid \
                     value, valid values: otel_seconds, otel_milliseconds"
                ));
            }
        }
    }
    Ok(aliases)
}

/// A mapping must not make the label of a dimension, or of another mapping.
fn check_mappings(dimensions: &[String], mappings: &[DimensionMapping]) -> Result<(), String> {
    let dimensions = dimensions.iter().map(|name| (dimension_label(name), "dimension", name));
    let mut labels: Vec<(String, &str, &String)> = dimensions.collect();
    for mapping in mappings {
        if mapping.name.is_empty() {
            return Err("dimension_mappings: name cannot be empty".to_owned());
        }
        let label = dimension_label(&mapping.name);
        if let Some((_, kind, other)) = labels.iter().find(|(known, ..)| *known == label) {
            return Err(format!(
                "dimension_mapping {:?} produces label {label:?} which collides with {kind} \
                 {other:?}",
                mapping.name
            ));
        }
        labels.push((label, "dimension_mapping", &mapping.name));
    }
    Ok(())
}

fn service_graphs(
    config: &MetricsGenerator,
    limits: &GeneratorLimits,
    tenant: &str,
) -> Result<ServiceGraphs, String> {
    let own = &limits.processor.service_graphs;
    let mut section = config.processor.service_graphs.clone();
    put_fields!(section, own: histogram_buckets dimensions enable_client_server_prefix
        enable_messaging_system_latency_histogram enable_virtual_node_label peer_attributes
        filter_policies);
    buckets("service_graphs", &mut section.histogram_buckets)?;
    weight(
        (&mut section.span_multiplier_key, &mut section.enable_tracestate_span_multiplier),
        (&own.span_multiplier_key, own.enable_tracestate_span_multiplier),
        limits,
    );
    check_count("service_graphs.dimensions", section.dimensions.len())?;
    check_count("service_graphs.peer_attributes", section.peer_attributes.len())?;
    check_count("service_graphs.database_name_attributes", section.database_name_attributes.len())?;
    for (label, dimension) in dimension_labels(&section).iter().zip(&section.dimensions) {
        if label.is_none() && !tenant.is_empty() {
            log_limited!(
                warn,
                tenant,
                dimension = dimension.as_str(),
                "ignoring a dimension of service-graphs that has the name of a label of each edge"
            );
        }
    }
    Ok(section)
}

fn host_info(config: &MetricsGenerator, limits: &GeneratorLimits) -> Result<HostInfo, String> {
    let own = &limits.processor.host_info;
    let mut section = config.processor.host_info.clone();
    put(&mut section.host_identifiers, &own.host_identifiers);
    check_count("host_info.host_identifiers", section.host_identifiers.len())?;
    if section.host_identifiers.is_empty() {
        return Err("at least one value must be provided in host_identifiers".to_owned());
    }
    if !own.metric_name.is_empty() {
        section.metric_name.clone_from(&own.metric_name);
    }
    if section.metric_name.is_empty() {
        return Err("metric_name is invalid".to_owned());
    }
    let name = &*section.metric_name;
    if SPAN_METRICS.contains(&name) || EDGE_METRICS.contains(&name) {
        return Err(format!(
            "metrics_generator.processor.host_info.metric_name {name:?} is a metric of another \
             processor"
        ));
    }
    Ok(section)
}

tactus_model::words! {
    /// A name in a tenant's list of processors.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Processor: as_str {
        /// Edges between services.
        ServiceGraphs = "service-graphs",
        /// All three metrics of spans.
        SpanMetrics = "span-metrics",
        /// Calls alone.
        SpanMetricsCount = "span-metrics-count",
        /// Durations alone.
        SpanMetricsLatency = "span-metrics-latency",
        /// Bytes alone.
        SpanMetricsSize = "span-metrics-size",
        /// Hosts.
        HostInfo = "host-info",
    }
}

/// The processors of a list. Names that mean nothing are left out and logged.
pub(crate) fn named(tenant: &str, list: &[String]) -> BTreeSet<Processor> {
    let mut found = BTreeSet::new();
    for name in list {
        match Processor::from_text(name) {
            Some(known) => {
                found.insert(known);
            }
            None if name == "local-blocks" => log_limited!(
                warn,
                tenant,
                "ignoring processor local-blocks: ingesters answer queries about recent spans"
            ),
            None => {
                let name = name.as_str();
                log_limited!(warn, tenant, name, "ignoring unknown metrics-generator processor");
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_and_local_blocks_are_left_out() {
        let list = ["span-metrics", "no-such", "local-blocks", "host-info", "span-metrics"];
        let found = named("t", &list.map(str::to_owned));
        let expected = [Processor::SpanMetrics, Processor::HostInfo];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
