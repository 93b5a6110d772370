//! Applies the tenant's document to the operator's limits, and extracts a document from limits.

use tactus_config::sections::overrides::Limits;

use super::convert;
use super::document::UserLimits;

/// The keys that have the same name in the document and in limits: `$each!(document, limits; keys)` for each section.
macro_rules! same_keys {
    ($each:ident, $user:ident, $limits:ident) => {
        $each!($user, $limits; forwarders);
        $each!($user.cost_attribution, $limits.cost_attribution; dimensions);
        $each!($user.metrics_generator, $limits.metrics_generator;
            disable_collection collection_interval trace_id_label_name ingestion_time_range_slack
            generate_native_histograms native_histogram_max_bucket_number
            native_histogram_bucket_factor native_histogram_min_reset_duration);
        $each!($user.metrics_generator.processor.service_graphs,
            $limits.metrics_generator.processor.service_graphs;
            dimensions enable_client_server_prefix enable_messaging_system_latency_histogram
            enable_virtual_node_label peer_attributes histogram_buckets);
        $each!($user.metrics_generator.processor.span_metrics,
            $limits.metrics_generator.processor.span_metrics;
            dimensions intrinsic_dimensions enable_target_info histogram_buckets
            target_info_excluded_dimensions enable_instance_label);
        $each!($user.metrics_generator.processor.host_info,
            $limits.metrics_generator.processor.host_info;
            host_identifiers metric_name);
    };
}

/// Takes what the document sets.
macro_rules! take {
    ($user:expr, $limits:expr; $($key:ident)*) => { $(
        if let Some(value) = &$user.$key {
            $limits.$key = value.clone().into();
        }
    )* };
}

/// Sets what the limits are in the document.
macro_rules! show {
    ($user:expr, $limits:expr; $($key:ident)*) => { $(
        $user.$key = $limits.$key.clone().into();
    )* };
}

/// The limits of a tenant: `base` with what `user` sets. `processors` are added to the operator's. An empty list, which
/// would add nothing, removes them.
pub(crate) fn merge(base: &Limits, user: &UserLimits) -> Limits {
    let mut merged = base.clone();
    same_keys!(take, user, merged);
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
    let (from, to) = (&from.processor.span_metrics, &mut to.processor.span_metrics);
    if let Some(mappings) = &from.dimension_mappings {
        to.dimension_mappings = Some(mappings.iter().map(convert::mapping).collect());
    }
    if let Some(policies) = &from.filter_policies {
        to.filter_policies = Some(policies.iter().map(convert::policy).collect());
    }
    merged
}

impl UserLimits {
    /// The document's keys with the values that are in effect in these limits.
    pub(crate) fn of(limits: &Limits) -> Self {
        let mut user = Self::default();
        same_keys!(show, user, limits);
        let (from, to) = (&limits.metrics_generator, &mut user.metrics_generator);
        to.processors = Some(from.processors.clone());
        let metric_name = &mut to.processor.host_info.metric_name;
        *metric_name = metric_name.take().filter(|name| !name.is_empty());
        let (from, to) = (&from.processor.span_metrics, &mut to.processor.span_metrics);
        let (mappings, policies) = (&from.dimension_mappings, &from.filter_policies);
        to.dimension_mappings =
            mappings.as_ref().map(|list| list.iter().map(convert::user_mapping).collect());
        to.filter_policies =
            policies.as_ref().map(|list| list.iter().map(convert::user_policy).collect());
        user
    }
}

/// True if the operator's entry for a tenant sets a key that the tenant may set. What an entry leaves out is zero,
/// except for three keys, which then have the value in `defaults`.
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
