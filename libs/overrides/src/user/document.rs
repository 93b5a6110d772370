//! The JSON document `overrides/<tenant>/overrides.json`.
//!
//! Absent keys are not set. Keys that we do not know are kept, because another program may have written the document;
//! the API rejects them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tactus_config::GoDuration;

use super::duration;

/// The path of the document itself.
const TOP: &str = ".";

/// Declares sections of the document. `key: Type` may be absent; `@part` sections are always written, as `{}` if empty.
macro_rules! document {
    ($(
        $(#[$attr:meta])*
        $name:ident {
            $( $(#[$field_attr:meta])* $field:ident: $ty:ty, $meaning:literal; )*
            $( @part $part:ident: $part_ty:ty, $part_meaning:literal; )*
        }
    )*) => { $(
        $(#[$attr])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, expecting = "an object")]
        pub(crate) struct $name {
            $(
                #[doc = $meaning]
                #[serde(skip_serializing_if = "Option::is_none")]
                $(#[$field_attr])*
                pub(crate) $field: Option<$ty>,
            )*
            $(
                #[doc = $part_meaning]
                #[serde(deserialize_with = "null_as_default")]
                pub(crate) $part: $part_ty,
            )*
            /// Keys that this program does not know.
            #[serde(flatten)]
            pub(crate) unknown: Map<String, Value>,
        }

        impl $name {
            /// Adds the paths of all unknown keys.
            fn collect_unknown(&self, path: &str, found: &mut Vec<String>) {
                found.extend(self.unknown.keys().map(|key| format!("{path}{key}")));
                $( self.$part.collect_unknown(&format!("{path}{}.", stringify!($part)), found); )*
            }
        }
    )* };
}

document! {
    /// What a tenant has set. `None`: the operator's limit applies.
    UserLimits {
        forwarders: Vec<String>, "Names of forwarders to send to.";
        @part cost_attribution: UserCostAttribution, "Usage by attribute.";
        @part metrics_generator: UserGenerator, "Metrics out of spans.";
    }

    /// Usage by attribute.
    UserCostAttribution {
        dimensions: BTreeMap<String, String>, "Attribute to label.";
    }

    /// Metrics out of spans.
    UserGenerator {
        processors: Vec<String>, "Added to the operator's; an empty list takes those away.";
        disable_collection: bool, "Collect, but send nothing.";
        #[serde(with = "duration")]
        collection_interval: GoDuration, "Collect so often.";
        trace_id_label_name: String, "Label of exemplars.";
        #[serde(with = "duration")]
        ingestion_time_range_slack: GoDuration, "Spans further from now are left out.";
        generate_native_histograms: String, "`classic`, `native` or `both`.";
        native_histogram_max_bucket_number: u32, "Most buckets.";
        native_histogram_bucket_factor: f64, "Growth of buckets, above 1.";
        #[serde(with = "duration")]
        native_histogram_min_reset_duration: GoDuration, "Reset at the earliest after.";
        @part processor: UserProcessor, "Settings of processors.";
    }

    /// Settings of processors.
    UserProcessor {
        @part service_graphs: UserServiceGraphs, "Calls between services.";
        @part span_metrics: UserSpanMetrics, "Rates, errors, durations.";
        @part host_info: UserHostInfo, "Hosts seen.";
    }

    /// Calls between services.
    UserServiceGraphs {
        dimensions: Vec<String>, "Attributes that become labels.";
        enable_client_server_prefix: bool, "Labels of both sides.";
        enable_messaging_system_latency_histogram: bool, "Time in queues.";
        enable_virtual_node_label: bool, "Mark services that sent no spans.";
        peer_attributes: Vec<String>, "Name a service that sent no spans.";
        histogram_buckets: Vec<f64>, "Upper bounds, in seconds.";
    }

    /// Rates, errors, durations.
    UserSpanMetrics {
        dimensions: Vec<String>, "Attributes that become labels.";
        intrinsic_dimensions: BTreeMap<String, bool>, "Labels from the span itself.";
        #[serde(alias = "dimension_mapings")]
        dimension_mappings: Vec<UserDimensionMapping>, "Labels made of several attributes.";
        enable_target_info: bool, "A series a resource.";
        filter_policies: Vec<UserFilterPolicy>, "Spans to use.";
        histogram_buckets: Vec<f64>, "Upper bounds, in seconds.";
        target_info_excluded_dimensions: Vec<String>, "Resource attributes to leave out.";
        enable_instance_label: bool, "Label instance.";
    }

    /// Hosts seen.
    UserHostInfo {
        #[serde(alias = "host_identifies")]
        host_identifiers: Vec<String>, "Attributes that name a host.";
        metric_name: String, "Name of the series.";
    }
}

/// A label made of several attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct UserDimensionMapping {
    /// The label.
    pub(crate) name: String,
    /// The attributes.
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) source_labels: Vec<String>,
    /// Put between their values.
    pub(crate) join: String,
}

/// Spans to count: those that `include` matches and `exclude` does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct UserFilterPolicy {
    /// All must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include: Option<UserPolicyMatch>,
    /// One must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) include_any: Option<UserPolicyMatch>,
    /// None may match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exclude: Option<UserPolicyMatch>,
}

/// Attributes to match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct UserPolicyMatch {
    /// `strict` or `regex`.
    pub(crate) match_type: String,
    /// All that are looked at.
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) attributes: Vec<UserMatchAttribute>,
}

/// One attribute to match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(crate) struct UserMatchAttribute {
    /// Name with its scope.
    pub(crate) key: String,
    /// Text, number or boolean.
    pub(crate) value: Value,
}

impl UserLimits {
    /// Reads a stored document, and keeps unknown keys. Errors: not JSON, or values of the wrong type, with their
    /// paths.
    pub(crate) fn read(json: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let limits = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (path, error) = (error.path().to_string(), error.into_inner());
            // The line and column of an error of syntax say more than the preceding field.
            if !error.is_data() || path == TOP {
                error.to_string()
            } else {
                format!("{path}: {error}")
            }
        })?;
        json.end().map_err(|error| error.to_string())?;
        Ok(limits)
    }

    /// Reads a client's document. Errors: as [`Self::read`], and unknown keys, with their paths.
    pub(crate) fn read_strict(json: &[u8]) -> Result<Self, String> {
        let limits = Self::read(json)?;
        match limits.unknown_keys().first() {
            Some(path) => Err(format!("json: unknown field \"{path}\"")),
            None => Ok(limits),
        }
    }

    /// The paths of all keys that this program does not know.
    pub(crate) fn unknown_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_unknown("", &mut found);
        found
    }

    /// The document as it is stored and answered.
    pub(crate) fn to_json(&self) -> String {
        // Maps with text keys and finite or null numbers only: there is nothing JSON cannot say.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_with_one_forwarder_prints_empty_parts() {
        let limits = UserLimits::read_strict(b"{\"forwarders\":[\"x\"]}").unwrap();
        assert_eq!(
            limits.to_json(),
            "{\"forwarders\":[\"x\"],\"cost_attribution\":{},\"metrics_generator\":{\"processor\":\
             {\"service_graphs\":{},\"span_metrics\":{},\"host_info\":{}}}}"
        );
    }

    #[test]
    fn unknown_key_is_refused_of_clients_and_kept_in_the_bucket() {
        let json = b"{\"metrics_generator\":{\"processor\":{\"span_metrics\":{\"new\":[1]}}}}";
        let error = UserLimits::read_strict(json).unwrap_err();
        assert_eq!(error, "json: unknown field \"metrics_generator.processor.span_metrics.new\"");
        assert!(UserLimits::read(json).unwrap().to_json().contains("\"new\":[1]"));
    }

    #[test]
    fn value_of_another_type_is_refused_by_its_path() {
        for (json, expected) in [
            (
                r#"{"metrics_generator":{"processor":{"service_graphs":{"histogram_buckets":[0.1,"invalid"]}}}}"#,
                "metrics_generator.processor.service_graphs.histogram_buckets[1]: invalid type: string \"invalid\", expected f64",
            ),
            (
                r#"{"forwarders":[],"metrics_generator":{"collection_interval":"15"}}"#,
                "metrics_generator.collection_interval: time: missing unit in duration \"15\"",
            ),
            (
                r#"{"metrics_generator":{"collection_interval":true}}"#,
                "metrics_generator.collection_interval: invalid type: boolean `true`, expected a duration such as",
            ),
            (
                r#"{"metrics_generator":{"native_histogram_max_bucket_number":-1}, "x": 1}"#,
                "metrics_generator.native_histogram_max_bucket_number: invalid value: integer `-1`, expected u32",
            ),
            (
                r#"{"metrics_generator":{"processor":{"span_metrics":{"filter_policies":[{"include":{"match_kind":"a"}}]}}}}"#,
                "metrics_generator.processor.span_metrics.filter_policies[0].include.match_kind: unknown field `match_kind`",
            ),
            (
                r#"{"cost_attribution":[]}"#,
                "cost_attribution: invalid type: sequence, expected an object",
            ),
            ("[]", "invalid type: sequence, expected an object"),
            ("null", "invalid type: null, expected an object"),
            ("{\"forwarders\":[", "EOF while parsing a list at line 1 column 15"),
        ] {
            let error = UserLimits::read(json.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{json}: {error}");
        }
        assert!(UserLimits::read(b"{} x").is_err());
    }

    #[test]
    fn nulls_are_absent() {
        let json = b"{\"forwarders\":null,\"cost_attribution\":null,\"metrics_generator\":{\"collection_interval\":null}}";
        assert_eq!(UserLimits::read_strict(json).unwrap(), UserLimits::default());
    }

    #[test]
    fn durations_are_text_or_nanoseconds() {
        let json = br#"{"metrics_generator":{"collection_interval":"30s","ingestion_time_range_slack":60000000000}}"#;
        let limits = UserLimits::read_strict(json).unwrap();
        assert_eq!(limits.metrics_generator.collection_interval, Some(GoDuration::seconds(30)));
        assert!(limits.to_json().contains("\"ingestion_time_range_slack\":\"1m0s\""));
    }
}
