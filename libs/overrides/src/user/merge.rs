//! The tenant's document over the operator's limits, and the other way round.

use tactus_config::sections::overrides::Limits;

use super::convert;
use super::document::{
    UserCostAttribution, UserGenerator, UserHostInfo, UserLimits, UserProcessor, UserServiceGraphs,
    UserSpanMetrics,
};

/// Copies each key that the document sets; the keys have the same names on both sides.
macro_rules! take {
    ($from:expr => $to:expr; $($key:ident)*) => { $(
        if let Some(value) = &$from.$key {
            $to.$key = value.clone().into();
        }
    )* };
}

/// The limits of a tenant: `base` with what `user` sets. `processors` are added to the operator's;
/// an empty list, which would add nothing, takes them away.
pub(crate) fn merge(base: &Limits, user: &UserLimits) -> Limits {
    let mut merged = base.clone();
    take!(user => merged; forwarders);
    take!(user.cost_attribution => merged.cost_attribution; dimensions);
    let (from, to) = (&user.metrics_generator, &mut merged.metrics_generator);
    match from.processors.as_deref() {
        None => {}
        Some([]) => to.processors.clear(),
        Some(more) => {
            for name in more {
                if !to.processors.contains(name) {
                    to.processors.push(name.clone());
                }
            }
        }
    }
    take!(from => to;
        disable_collection collection_interval trace_id_label_name ingestion_time_range_slack
        generate_native_histograms native_histogram_max_bucket_number
        native_histogram_bucket_factor native_histogram_min_reset_duration);
    take!(from.processor.service_graphs => to.processor.service_graphs;
        dimensions enable_client_server_prefix enable_messaging_system_latency_histogram
        enable_virtual_node_label peer_attributes histogram_buckets);
    let (from, to) = (&from.processor, &mut to.processor);
    take!(from.span_metrics => to.span_metrics;
        dimensions intrinsic_dimensions enable_target_info histogram_buckets
        target_info_excluded_dimensions enable_instance_label);
    if let Some(mappings) = &from.span_metrics.dimension_mappings {
        to.span_metrics.dimension_mappings = Some(mappings.iter().map(convert::mapping).collect());
    }
    if let Some(policies) = &from.span_metrics.filter_policies {
        to.span_metrics.filter_policies = Some(policies.iter().map(convert::policy).collect());
    }
    take!(from.host_info => to.host_info; host_identifiers metric_name);
    merged
}

impl UserLimits {
    /// The keys of the document as limits have them in effect.
    pub fn of(limits: &Limits) -> Self {
        let generator = &limits.metrics_generator;
        let processor = &generator.processor;
        let (graphs, spans) = (&processor.service_graphs, &processor.span_metrics);
        Self {
            forwarders: Some(limits.forwarders.clone()),
            cost_attribution: UserCostAttribution {
                dimensions: Some(limits.cost_attribution.dimensions.clone()),
                ..UserCostAttribution::default()
            },
            metrics_generator: UserGenerator {
                processors: Some(generator.processors.clone()),
                disable_collection: Some(generator.disable_collection),
                collection_interval: Some(generator.collection_interval),
                trace_id_label_name: Some(generator.trace_id_label_name.clone()),
                ingestion_time_range_slack: Some(generator.ingestion_time_range_slack),
                generate_native_histograms: Some(generator.generate_native_histograms.clone()),
                native_histogram_max_bucket_number: Some(
                    generator.native_histogram_max_bucket_number,
                ),
                native_histogram_bucket_factor: Some(generator.native_histogram_bucket_factor),
                native_histogram_min_reset_duration: Some(
                    generator.native_histogram_min_reset_duration,
                ),
                processor: UserProcessor {
                    service_graphs: UserServiceGraphs {
                        dimensions: graphs.dimensions.clone(),
                        enable_client_server_prefix: graphs.enable_client_server_prefix,
                        enable_messaging_system_latency_histogram: graphs
                            .enable_messaging_system_latency_histogram,
                        enable_virtual_node_label: graphs.enable_virtual_node_label,
                        peer_attributes: graphs.peer_attributes.clone(),
                        histogram_buckets: graphs.histogram_buckets.clone(),
                        ..UserServiceGraphs::default()
                    },
                    span_metrics: UserSpanMetrics {
                        dimensions: spans.dimensions.clone(),
                        intrinsic_dimensions: spans.intrinsic_dimensions.clone(),
                        dimension_mappings: spans
                            .dimension_mappings
                            .as_ref()
                            .map(|list| list.iter().map(convert::user_mapping).collect()),
                        enable_target_info: spans.enable_target_info,
                        filter_policies: spans
                            .filter_policies
                            .as_ref()
                            .map(|list| list.iter().map(convert::user_policy).collect()),
                        histogram_buckets: spans.histogram_buckets.clone(),
                        target_info_excluded_dimensions: spans
                            .target_info_excluded_dimensions
                            .clone(),
                        enable_instance_label: spans.enable_instance_label,
                        ..UserSpanMetrics::default()
                    },
                    host_info: UserHostInfo {
                        host_identifiers: processor.host_info.host_identifiers.clone(),
                        metric_name: Some(processor.host_info.metric_name.clone())
                            .filter(|name| !name.is_empty()),
                        ..UserHostInfo::default()
                    },
                    ..UserProcessor::default()
                },
                ..UserGenerator::default()
            },
            ..Self::default()
        }
    }
}

/// True if the operator's entry of a tenant sets any key that the tenant could set. What an entry
/// leaves out is zero, except for three keys that then have the value of `defaults`.
pub(crate) fn conflicts(entry: &Limits, defaults: &Limits) -> bool {
    let mut unset = Limits::default();
    let (theirs, ours) = (&defaults.metrics_generator, &entry.metrics_generator);
    let generator = &mut unset.metrics_generator;
    if ours.native_histogram_bucket_factor == theirs.native_histogram_bucket_factor {
        generator.native_histogram_bucket_factor = theirs.native_histogram_bucket_factor;
    }
    if ours.native_histogram_max_bucket_number == theirs.native_histogram_max_bucket_number {
        generator.native_histogram_max_bucket_number = theirs.native_histogram_max_bucket_number;
    }
    if ours.native_histogram_min_reset_duration == theirs.native_histogram_min_reset_duration {
        generator.native_histogram_min_reset_duration = theirs.native_histogram_min_reset_duration;
    }
    UserLimits::of(entry) != UserLimits::of(&unset)
}

#[cfg(test)]
mod tests;
