//! `tail_sampling`: which whole traces are kept, decided when their spans are together.

use super::seconds;
use crate::duration::GoDuration;
use crate::field::{Field, Opaque, Reader, section};
use crate::yaml::{Node, Value, parse};

section! {
    /// Tail sampling. Off without policies.
    TailSampling {
        decision_wait: GoDuration = seconds(30), "time from the arrival of a trace's spans to its decision";
        num_traces: usize = 50_000, "undecided traces of a tenant at an ingester; beyond it the oldest are decided early";
        expected_new_traces_per_sec: u64, "no effect here";
        decision_cache: DecisionCache, "decisions that late spans follow";
        policies: Vec<Policy>, "policies that say what is kept; a trace that no policy samples is dropped; without policies all is kept";
    }

    /// Decisions that late spans follow.
    DecisionCache {
        sampled_cache_size: usize = 100_000, "kept traces that are remembered, num_traces at least";
        non_sampled_cache_size: usize = 100_000, "dropped traces that are remembered, num_traces at least";
    }

    /// One policy: a name, a type, and the key of that type.
    Policy {
        name: String, "unique name";
        kind as "type": String, "always_sample, traceql, latency, numeric_attribute, probabilistic, status_code, string_attribute, boolean_attribute, rate_limiting, bytes_limiting, span_count, trace_state, and, not, drop, composite";
        traceql: Option<TraceqlPolicy>, "traces that a query finds";
        latency: Option<LatencyPolicy>, "traces by their duration";
        numeric_attribute: Option<NumericAttributePolicy>, "traces with a whole number in a range";
        probabilistic: Option<ProbabilisticPolicy>, "a share of all traces, the same wherever it is asked";
        status_code: Option<StatusCodePolicy>, "traces with a status";
        string_attribute: Option<StringAttributePolicy>, "traces with a text";
        boolean_attribute: Option<BooleanAttributePolicy>, "traces with true or false";
        rate_limiting: Option<RateLimitingPolicy>, "traces as long as spans are left";
        bytes_limiting: Option<BytesLimitingPolicy>, "traces as long as bytes are left";
        span_count: Option<SpanCountPolicy>, "traces by their number of spans";
        trace_state: Option<TraceStatePolicy>, "traces by their trace state";
        and: Option<AndPolicy>, "traces that all policies sample";
        not: Option<NotPolicy>, "traces that a policy does not sample";
        drop: Option<DropPolicy>, "drops the traces that all policies sample, whatever others say";
        composite: Option<CompositePolicy>, "policies that share a rate of spans";
        ottl_condition: Opaque, "refused with the type ottl_condition: traceql takes its place";
    }

    /// Traces that a query finds.
    TraceqlPolicy {
        query: String, "TraceQL without metrics; a trace is sampled if it gives a spanset";
    }

    /// Traces by their duration.
    LatencyPolicy {
        threshold_ms: u64, "least milliseconds from the first start to the last end";
        upper_threshold_ms: u64, "most milliseconds; 0 is no bound; with it, threshold_ms itself is out";
    }

    /// Traces with a whole number in a range.
    NumericAttributePolicy {
        key: String, "attribute of a span or resource";
        min_value: Option<i64>, "least value; unset is no bound";
        max_value: Option<i64>, "most; unset is no bound";
        invert_match: bool, "drop traces that match";
    }

    /// A share of all traces.
    ProbabilisticPolicy {
        sampling_percentage: f64, "percent of the traces";
        hash_salt: String, "another salt draws other traces; empty is default-hash-seed";
    }

    /// Traces with a status.
    StatusCodePolicy {
        status_codes: Vec<String>, "OK, ERROR, UNSET";
    }

    /// Traces with a text.
    StringAttributePolicy {
        key: String, "attribute of a span or resource";
        values: Vec<String>, "one of these, or a match of one of these";
        enabled_regex_matching: bool, "values are regular expressions";
        cache_max_size: usize, "no effect here";
        invert_match: bool, "drop traces that match";
    }

    /// Traces with true or false.
    BooleanAttributePolicy {
        key: String, "attribute of a span or resource";
        value: bool, "the value";
        invert_match: bool, "drop traces that match";
    }

    /// Traces as long as spans are left.
    RateLimitingPolicy {
        spans_per_second: u64, "spans a second, of an ingester";
        burst_capacity: u64, "spans at once; 0 is twice spans_per_second";
    }

    /// Traces as long as bytes are left.
    BytesLimitingPolicy {
        bytes_per_second: u64, "bytes a second, of an ingester";
        burst_capacity: u64, "bytes at once; 0 is twice bytes_per_second";
    }

    /// Traces by their number of spans.
    SpanCountPolicy {
        min_spans: u64, "least spans";
        max_spans: u64, "most; 0 is no bound";
    }

    /// Traces by their trace state.
    TraceStatePolicy {
        key: String, "key in the trace state of any span";
        values: Vec<String>, "its value, one of these";
    }

    /// Traces that all policies sample.
    AndPolicy {
        and_sub_policy: SubPolicies, "the policies in their order";
    }

    /// Traces that a policy does not sample.
    NotPolicy {
        not_sub_policy: SubPolicy, "the policy";
    }

    /// Traces to drop.
    DropPolicy {
        drop_sub_policy: SubPolicies, "the policies in their order";
    }

    /// Policies that share a rate of spans.
    CompositePolicy {
        max_total_spans_per_second: u64, "spans a second, of an ingester";
        policy_order: Vec<String>, "names of the policies in order; the first that samples a trace decides";
        composite_sub_policy: SubPolicies, "the policies";
        rate_allocation: Vec<RateAllocation>, "share of each";
    }

    /// The share of a policy.
    RateAllocation {
        policy: String, "name of the policy";
        percent: i64, "percent of max_total_spans_per_second; 0 is an equal share";
    }
}

/// Policies within a policy: as those above.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubPolicies(pub Vec<Policy>);

/// The tail sampling of a tenant, if it has its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnTailSampling(pub Option<Box<TailSampling>>);

/// A policy within a policy, if it is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubPolicy(pub Option<Box<Policy>>);

/// Fields that are what they hold, and are described by a word: what they hold is described once, elsewhere.
macro_rules! described_elsewhere {
    ($( $field:ident, $kind:literal; )*) => { $(
        impl Field for $field {
            fn read(&mut self, node: &Node, reader: &mut Reader) {
                self.0.read(node, reader);
            }

            fn show(&self) -> Value {
                self.0.show()
            }

            fn kind() -> String {
                $kind.to_owned()
            }
        }
    )* };
}

described_elsewhere! {
    SubPolicies, "list of policies";
    SubPolicy, "policy";
    OwnTailSampling, "optional section";
}

impl TailSampling {
    /// Reads a section by itself, as YAML or JSON; an empty text is the default.
    ///
    /// Errors: not YAML; unknown keys and values of another type, with their lines.
    pub fn parse(text: &str) -> Result<Self, String> {
        let node = parse(text).map_err(|error| error.to_string())?;
        let mut section = Self::default();
        if node.is_null() {
            return Ok(section);
        }
        let mut reader = Reader::default();
        reader.entry("tail_sampling", &node, &mut section);
        reader.report().map_or(Ok(section), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
decision_wait: 10s
policies:
  - {name: errors, type: traceql, traceql: {query: '{ status = error }'}}
  - name: both
    type: and
    and:
      and_sub_policy:
        - {name: slow, type: latency, latency: {threshold_ms: 500}}
        - name: no checks
          type: not
          not: {not_sub_policy: {name: checks, type: string_attribute, string_attribute: {key: path, values: [/health]}}}
";

    #[test]
    fn very_many_unknown_keys_are_told_in_no_time() {
        let keys: String = (0..20_000).map(|key| format!("{key}: 1\n")).collect();
        let started = std::time::Instant::now();
        let text = TailSampling::parse(&keys).unwrap_err();
        assert_eq!(text.lines().count(), 20_001);
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn policies_nest() {
        let section = TailSampling::parse(YAML).unwrap();
        assert_eq!(section.decision_wait, seconds(10));
        assert_eq!((section.num_traces, section.policies.len()), (50_000, 2));
        let subs = &section.policies[1].and.as_ref().unwrap().and_sub_policy.0;
        let not = subs[1].not.as_ref().unwrap().not_sub_policy.0.as_deref().unwrap();
        assert_eq!(not.string_attribute.as_ref().unwrap().values, ["/health"]);
    }

    #[test]
    fn policy_of_a_collector_in_another_language_is_read() {
        let text = "policies: [{name: a, type: ottl_condition, ottl_condition: {error_mode: ignore, span: ['x == 1']}}]";
        assert_eq!(TailSampling::parse(text).unwrap().policies[0].kind, "ottl_condition");
    }

    #[test]
    fn section_of_a_request_is_yaml_or_json_and_names_what_is_wrong() {
        let json = r#"{"policies":[{"name":"all","type":"always_sample"}]}"#;
        assert_eq!(TailSampling::parse(json).unwrap().policies[0].kind, "always_sample");
        assert_eq!(TailSampling::parse("").unwrap(), TailSampling::default());
        let error = TailSampling::parse("policies:\n  - {name: a, typ: b}").unwrap_err();
        assert!(
            error.contains("line 2: field typ not found in type tail_sampling.policies.0"),
            "{error}"
        );
        assert!(TailSampling::parse("[1]").is_err());
        assert!(TailSampling::parse("{").is_err());
    }
}
