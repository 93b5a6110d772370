//! Limits of tenants, and attributes with a column of their own, which tenants and the blocks have.

use crate::sections::overrides::{GeneratorLimits, Limits};
use crate::sections::root::Config;
use crate::sections::storage::DedicatedColumn;
use crate::suggest::any_of;
use std::collections::BTreeMap;

/// Checks the limits of one tenant.
pub(crate) fn limits(limits: &Limits) -> Result<(), String> {
    let generator = &limits.metrics_generator;
    let histograms = generator.generate_native_histograms.as_str();
    if !matches!(histograms, "" | "classic" | "native" | "both") {
        return Err(format!(
            "metrics_generator.generate_native_histograms {histograms:?} is not a valid value, \
             valid values: classic, native, both"
        ));
    }
    let factor = generator.native_histogram_bucket_factor;
    if factor != 0.0 && (factor.is_nan() || factor <= 1.0) {
        return Err(
            "metrics_generator.native_histogram_bucket_factor must be greater than 1".to_owned()
        );
    }
    let processor = &generator.processor;
    for (name, buckets) in [
        ("service_graphs", &processor.service_graphs.histogram_buckets),
        ("span_metrics", &processor.span_metrics.histogram_buckets),
    ] {
        increasing_buckets(name, buckets.as_deref().unwrap_or_default())?;
    }
    dimensions(&limits.cost_attribution.dimensions)
}

/// Checks that a tenant has as many ingesters as its spans have copies. Every push would be refused.
pub(crate) fn shard_size(limits: &Limits, config: &Config) -> Result<(), String> {
    let size = limits.ingestion.tenant_shard_size;
    let copies = config.ingester.lifecycler.ring.replication_factor;
    if size == 0 || size >= copies {
        return Ok(());
    }
    Err(format!("ingester.tenant.shard_size is lower than replication factor ({size} < {copies})"))
}

/// Checks how the rate limit of a tenant is meant. Any other text would silently count as local.
pub(crate) fn rate_strategy(limits: &Limits) -> Result<(), String> {
    let strategy = limits.ingestion.rate_strategy.as_str();
    if strategy.is_empty() || RATE_STRATEGIES.contains(&strategy) {
        return Ok(());
    }
    let known = any_of(&RATE_STRATEGIES);
    Err(format!("ingestion.rate_strategy {strategy:?} is not known: expecting {known}"))
}

const RATE_STRATEGIES: [&str; 2] = ["local", "global"];

/// Checks that bounds of buckets of a processor of the metrics generator become larger. Errors: in words for the operator.
pub fn increasing_buckets(processor: &str, buckets: &[f64]) -> Result<(), String> {
    for (index, pair) in buckets.windows(2).enumerate() {
        if pair[1].is_nan() || pair[1] <= pair[0] {
            return Err(format!(
                "metrics_generator.processor.{processor}.histogram_buckets must be strictly \
                 increasing: bucket[{}]={} is <= bucket[{index}]={}",
                index + 1,
                pair[1],
                pair[0]
            ));
        }
    }
    Ok(())
}

/// Dimensions of usage. Each is looked for in all attributes of each span, and takes room in each series.
const MAX_USAGE_DIMENSIONS: usize = 64;

/// Attribute to label: labels must be valid for Prometheus and stand once.
fn dimensions(dimensions: &BTreeMap<String, String>) -> Result<(), String> {
    if dimensions.len() > MAX_USAGE_DIMENSIONS {
        return Err(format!(
            "cost_attribution.dimensions has {} entries, more than {MAX_USAGE_DIMENSIONS}",
            dimensions.len()
        ));
    }
    let mut labels: BTreeMap<String, &str> = BTreeMap::new();
    for (attribute, configured) in dimensions {
        let label =
            if configured.is_empty() { label_of_attribute(attribute) } else { configured.clone() };
        if !is_label(&label) {
            return Err(format!(
                "cost_attribution.dimensions config has invalid label name: '{label}'"
            ));
        }
        if let Some(other) = labels.insert(label.clone(), attribute) {
            return Err(format!(
                "cost_attribution.dimensions has duplicate label name: '{label}', \
                 both '{other}' and '{attribute}' map to it"
            ));
        }
    }
    Ok(())
}

/// What a tenant may have made of its spans.
pub const PROCESSORS: [&str; 7] = [
    "service-graphs",
    "span-metrics",
    "local-blocks",
    "span-metrics-count",
    "span-metrics-latency",
    "span-metrics-size",
    "host-info",
];

/// Characters that the trace id leaves of those that the labels of an exemplar may have together.
const MAX_TRACE_ID_LABEL: usize = 128 - 32;

/// True if exemplars may have their trace id in a label of this name.
pub fn is_trace_id_label(name: &str) -> bool {
    is_label(name) && !name.starts_with("__") && name.len() <= MAX_TRACE_ID_LABEL
}

/// What the metrics-generator ignores of the limits, each with its key in the defaults.
pub(crate) fn ignored_by_generator(
    limits: &GeneratorLimits,
) -> impl Iterator<Item = (&'static str, String)> {
    let unknown = limits.processors.iter().filter(|name| !PROCESSORS.contains(&name.as_str()));
    let unknown = unknown.map(|name| {
        let known = any_of(&PROCESSORS);
        let text = format!("{name:?} is not a processor and is ignored: expecting {known}");
        ("overrides.defaults.metrics_generator.processors", text)
    });
    let label = &limits.trace_id_label_name;
    let is_wrong = !label.is_empty() && !is_trace_id_label(label);
    let wrong = is_wrong.then(|| {
        let text = format!(
            "{label:?} is not a valid Prometheus label name and is ignored: exemplars have traceID"
        );
        ("overrides.defaults.metrics_generator.trace_id_label_name", text)
    });
    unknown.chain(wrong)
}

/// The label of usage that an attribute gives by itself, its scope left out: every other character becomes `_`.
pub fn label_of_attribute(attribute: &str) -> String {
    let name = attribute
        .strip_prefix("resource.")
        .or_else(|| attribute.strip_prefix("span."))
        .unwrap_or(attribute);
    let mut label = sanitized_label(name);
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

/// Label names that come from attributes: every character but `[a-zA-Z0-9_]` becomes one `_`.
pub fn sanitized_label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with(|c: char| c.is_ascii_digit())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Columns of one type that a block of a version has for a scope: string, then int. Tempo 2.10 does not read a
/// vParquet5 block with more than 10 string columns in a scope, 3.0 does.
fn most_columns(block_version: &str) -> [(&'static str, usize); 2] {
    [("string", if block_version == "vParquet5" { 20 } else { 10 }), ("int", 5)]
}

/// Checks names, scopes, types and numbers of columns of blocks of this version.
pub(crate) fn dedicated_columns(
    block_version: &str,
    columns: &[DedicatedColumn],
) -> Result<(), String> {
    let limits = most_columns(block_version);
    let invalid = |cause: String| Err(format!("invalid dedicated attribute columns: {cause}"));
    for (index, column) in columns.iter().enumerate() {
        let DedicatedColumn { scope, name, type_, options } = column;
        if name.is_empty() {
            return invalid("empty name".to_owned());
        }
        if !matches!(scope.as_str(), "resource" | "span" | "event") {
            return invalid(format!("{name:?} has unknown scope {scope:?}"));
        }
        if !limits.iter().any(|(known, _)| known == type_) {
            return invalid(format!("{name:?} has unknown type {type_:?}"));
        }
        if let Some(option) = options.iter().find(|o| !matches!(o.as_str(), "array" | "blob")) {
            return invalid(format!("{name:?} has unknown option {option:?}"));
        }
        if columns[..index].iter().any(|other| other.scope == *scope && other.name == *name) {
            return invalid(format!("{name:?} stands twice in scope {scope:?}"));
        }
    }
    for scope in ["resource", "span", "event"] {
        for (type_, limit) in limits {
            let count = columns.iter().filter(|c| c.scope == scope && c.type_ == type_).count();
            if count > limit {
                return invalid(format!(
                    "number of {type_} columns in scope {scope:?} is {count}, at most {limit} fit"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_has_a_bounded_number_of_dimensions() {
        let of = |count: usize| {
            let mut limits = Limits::default();
            let pair = |number| (format!("d{number}"), String::new());
            limits.cost_attribution.dimensions = (0..count).map(pair).collect();
            super::limits(&limits)
        };
        assert_eq!(of(64), Ok(()));
        let expected = "cost_attribution.dimensions has 65 entries, more than 64";
        assert_eq!(of(65), Err(expected.to_owned()));
    }
}
