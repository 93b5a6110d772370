//! Checks the limits that a tenant sets through the API.

use std::collections::HashMap;

use serde_json::Value;
use tactus_config::sections::overrides::Limits;
use tactus_config::{GoDuration, PROCESSORS, is_trace_id_label, sanitized_label};

use super::document::{
    UserFilterPolicy, UserGenerator, UserLimits, UserMatchAttribute, UserPolicyMatch,
    UserSpanMetrics,
};
use super::merge;

const INTRINSICS: [&str; 5] =
    ["service", "span_name", "span_kind", "status_code", "status_message"];

const MIN_INTERVAL: GoDuration = GoDuration::seconds(15);
const MAX_INTERVAL: GoDuration = GoDuration::minutes(5);
const MAX_SLACK: GoDuration = GoDuration::hours(12);

/// Checks a client's document. `forwarders` are the names that exist.
///
/// Errors: the first rule that it breaks, with the key, worded for the client.
pub(crate) fn validate(user: &UserLimits, forwarders: &[&str]) -> Result<(), String> {
    for name in user.forwarders.iter().flatten() {
        if !forwarders.contains(&name.as_str()) {
            return Err(format!(
                "forwarder {name:?} is not a known forwarder, contact your system administrator"
            ));
        }
    }
    let generator = &user.metrics_generator;
    for name in generator.processors.iter().flatten() {
        if !PROCESSORS.contains(&name.as_str()) {
            return Err(format!(
                "metrics_generator.processor {name:?} is not a known processor, valid values: [{}]",
                PROCESSORS.join(" ")
            ));
        }
    }
    if let Some(interval) = generator.collection_interval
        && !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval)
    {
        return Err(format!(
            "metrics_generator.collection_interval \"{interval}\" is outside acceptable range of 15s to 5m"
        ));
    }
    if let Some(slack) = generator.ingestion_time_range_slack
        && !(GoDuration::ZERO..=MAX_SLACK).contains(&slack)
    {
        return Err(format!(
            "metrics_generator.ingestion_time_range_slack \"{slack}\" is outside acceptable range of 0s to 12h"
        ));
    }
    if let Some(duration) = generator.native_histogram_min_reset_duration
        && duration < GoDuration::ZERO
    {
        return Err(format!(
            "metrics_generator.native_histogram_min_reset_duration \"{duration}\" must not be negative"
        ));
    }
    if let Some(name) = &generator.trace_id_label_name
        && !name.is_empty()
        && !is_trace_id_label(name)
    {
        return Err(format!("trace_id_label_name {name:?} is not a valid Prometheus label name"));
    }
    if generator.native_histogram_bucket_factor.is_some_and(|factor| factor <= 1.0) {
        return Err(
            "metrics_generator.native_histogram_bucket_factor must be greater than 1".to_owned()
        );
    }
    processors(generator)?;
    // Histograms, buckets and cost attribution follow the rules for the operator's file.
    tactus_config::check_limits(&merge(&Limits::default(), user)).map_err(|error| error.to_string())
}

/// What a policy compares with: texts, numbers and booleans. The error has Go's names of types.
fn policy(name: &str, policy: Option<&UserPolicyMatch>) -> Result<(), String> {
    let unsupported = |attribute: &UserMatchAttribute| match &attribute.value {
        Value::Array(_) => Some("[]interface {}"),
        Value::Object(_) => Some("map[string]interface {}"),
        Value::Null => Some("<nil>"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    match policy.and_then(|policy| policy.attributes.iter().find_map(unsupported)) {
        Some(found) => Err(format!("invalid {name} policy: value type not supported: {found}")),
        None => Ok(()),
    }
}

/// The rules of the processors' own settings.
fn processors(generator: &UserGenerator) -> Result<(), String> {
    let spans = &generator.processor.span_metrics;
    for name in spans.intrinsic_dimensions.iter().flat_map(|map| map.keys()) {
        if !INTRINSICS.contains(&name.as_str()) {
            return Err(format!(
                "intrinsic dimension {name:?} is not supported, valid values: [{}]",
                INTRINSICS.join(" ")
            ));
        }
    }
    labels(spans)?;
    for UserFilterPolicy { include, include_any, exclude } in spans.filter_policies.iter().flatten()
    {
        policy("include", include.as_ref())?;
        policy("include_any", include_any.as_ref())?;
        policy("exclude", exclude.as_ref())?;
    }
    let hosts = &generator.processor.host_info;
    if hosts.host_identifiers.as_ref().is_some_and(Vec::is_empty) {
        return Err("at least one value must be provided in host_identifiers".to_owned());
    }
    if hosts.metric_name.as_deref() == Some("") {
        return Err("metric_name is invalid".to_owned());
    }
    Ok(())
}

/// Each label of span metrics must come from one place.
fn labels(spans: &UserSpanMetrics) -> Result<(), String> {
    let mut sources: HashMap<String, String> = HashMap::new();
    let mut claim = |source: String, label: String| match sources.get(&label) {
        Some(other) => {
            Err(format!("{source} produces label {label:?} which collides with {other}"))
        }
        None => {
            sources.insert(label, source);
            Ok(())
        }
    };
    for dimension in spans.dimensions.iter().flatten() {
        claim(format!("dimension {dimension:?}"), sanitized_label(dimension))?;
    }
    for mapping in spans.dimension_mappings.iter().flatten() {
        if mapping.name.is_empty() {
            return Err("dimension_mappings: name cannot be empty".to_owned());
        }
        if mapping.source_labels.is_empty() {
            return Err(format!(
                "dimension_mappings: source_labels cannot be empty for mapping with name {:?}",
                mapping.name
            ));
        }
        claim(format!("dimension_mapping {:?}", mapping.name), sanitized_label(&mapping.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(json: &str) -> String {
        let user = UserLimits::read_strict(json.as_bytes()).unwrap();
        validate(&user, &["known"]).err().unwrap_or_default()
    }

    #[test]
    fn rules_name_the_key() {
        let dimensions: Vec<String> = (0..65).map(|number| format!("\"d{number}\":\"\"")).collect();
        let generator = |text: &str| format!("{{\"metrics_generator\":{{{text}}}}}");
        let spans =
            |text: &str| generator(&format!("\"processor\":{{\"span_metrics\":{{{text}}}}}"));
        for (json, expected) in [
            (r#"{"forwarders":["known"]}"#.to_owned(), ""),
            (
                r#"{"forwarders":["x"]}"#.to_owned(),
                "forwarder \"x\" is not a known forwarder, contact your system administrator",
            ),
            (
                generator(r#""processors":["x"]"#),
                "metrics_generator.processor \"x\" is not a known processor, valid values: [service-graphs span-metrics local-blocks span-metrics-count span-metrics-latency span-metrics-size host-info]",
            ),
            (
                generator(r#""collection_interval":"1s""#),
                "metrics_generator.collection_interval \"1s\" is outside acceptable range of 15s to 5m",
            ),
            (generator(r#""collection_interval":"15s""#), ""),
            (
                generator(r#""ingestion_time_range_slack":"13h""#),
                "metrics_generator.ingestion_time_range_slack \"13h0m0s\" is outside acceptable range of 0s to 12h",
            ),
            (
                generator(r#""native_histogram_min_reset_duration":"-5m""#),
                "metrics_generator.native_histogram_min_reset_duration \"-5m0s\" must not be negative",
            ),
            (generator(r#""native_histogram_min_reset_duration":"0s""#), ""),
            (
                generator(r#""trace_id_label_name":"trace-id""#),
                "trace_id_label_name \"trace-id\" is not a valid Prometheus label name",
            ),
            (
                generator(r#""generate_native_histograms":"x""#),
                "metrics_generator.generate_native_histograms \"x\" is not a valid value, valid values: classic, native, both",
            ),
            (
                generator(r#""native_histogram_bucket_factor":0"#),
                "metrics_generator.native_histogram_bucket_factor must be greater than 1",
            ),
            (
                generator(r#""processor":{"service_graphs":{"histogram_buckets":[2,1]}}"#),
                "metrics_generator.processor.service_graphs.histogram_buckets must be strictly increasing: bucket[1]=1 is <= bucket[0]=2",
            ),
            (
                spans(
                    r#""filter_policies":[{"include":{"match_type":"strict","attributes":[{"key":"span.k","value":["a"]}]}}]"#,
                ),
                "invalid include policy: value type not supported: []interface {}",
            ),
            (
                spans(
                    r#""filter_policies":[{"exclude":{"match_type":"strict","attributes":[{"key":"span.k"}]}}]"#,
                ),
                "invalid exclude policy: value type not supported: <nil>",
            ),
            (
                generator(r#""processor":{"host_info":{"metric_name":""}}"#),
                "metric_name is invalid",
            ),
            (
                generator(r#""processor":{"host_info":{"host_identifiers":[]}}"#),
                "at least one value must be provided in host_identifiers",
            ),
            (
                spans(r#""intrinsic_dimensions":{"x":true}"#),
                "intrinsic dimension \"x\" is not supported, valid values: [service span_name span_kind status_code status_message]",
            ),
            (
                spans(r#""dimensions":["a_b","a.b"]"#),
                "dimension \"a.b\" produces label \"a_b\" which collides with dimension \"a_b\"",
            ),
            (
                spans(r#""dimension_mappings":[{"name":""}]"#),
                "dimension_mappings: name cannot be empty",
            ),
            (
                spans(r#""dimension_mappings":[{"name":"x"}]"#),
                "dimension_mappings: source_labels cannot be empty for mapping with name \"x\"",
            ),
            (
                r#"{"cost_attribution":{"dimensions":{"x":"l","y":"l"}}}"#.to_owned(),
                "cost_attribution.dimensions has duplicate label name: 'l', both 'x' and 'y' map to it",
            ),
            (
                format!("{{\"cost_attribution\":{{\"dimensions\":{{{}}}}}}}", dimensions.join(",")),
                "cost_attribution.dimensions has 65 entries, more than 64",
            ),
        ] {
            assert_eq!(reason(&json), expected, "{json}");
        }
    }
}
