//! Limits of tenants.

use crate::sections::overrides::Limits;
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

/// Attribute to label: labels must be valid for Prometheus and stand once.
fn dimensions(dimensions: &BTreeMap<String, String>) -> Result<(), String> {
    let mut labels: BTreeMap<String, &str> = BTreeMap::new();
    for (attribute, configured) in dimensions {
        let label = if configured.is_empty() { sanitised(attribute) } else { configured.clone() };
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

/// The label that an attribute gives by itself: every other character becomes `_`.
fn sanitised(attribute: &str) -> String {
    let name = attribute
        .strip_prefix("resource.")
        .or_else(|| attribute.strip_prefix("span."))
        .unwrap_or(attribute);
    let mut label: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with(|c: char| c.is_ascii_digit())
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
