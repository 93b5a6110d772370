//! Conditions that check a single property of a trace.

use tactus_config::sections::tail_sampling::{
    BooleanAttributePolicy, LatencyPolicy, NumericAttributePolicy, ProbabilisticPolicy,
    SpanCountPolicy, StringAttributePolicy, TraceStatePolicy,
};
use tactus_traceql::{
    InvalidRegex, UnanchoredRegex, eval::CompiledQuery, parse_and_validate_after,
};

use super::Scope;
use crate::{
    condition::{AttributeCondition, AttributeTest, Condition, Share},
    error::PolicyError,
};

/// The salt of probabilistic sampling if none is set, as in OpenTelemetry collectors.
const DEFAULT_SALT: &str = "default-hash-seed";
/// The most memory of one compiled expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// The least size that a regular expression counts, for what is kept besides its program.
const LEAST_REGEX_BYTES: usize = 1 << 13;
/// The most memory of the compiled expressions of all policies together, in bytes.
const MAX_REGEXES_BYTES: usize = 1 << 24;

impl Scope<'_> {
    pub(super) fn latency(&self, latency: &LatencyPolicy) -> Result<Condition, PolicyError> {
        let (threshold, upper) = (latency.threshold_ms, latency.upper_threshold_ms);
        if upper != 0 && upper <= threshold {
            let reason = "must be greater than threshold_ms";
            return Err(self.invalid("latency.upper_threshold_ms", reason));
        }
        Ok(Condition::Latency { threshold, upper })
    }

    pub(super) fn numeric_attribute(
        &self,
        numeric: &NumericAttributePolicy,
    ) -> Result<Condition, PolicyError> {
        let (least, most) = (numeric.min_value, numeric.max_value);
        if least.is_none() && most.is_none() {
            let reason = "one of min_value and max_value must be set";
            return Err(self.invalid("numeric_attribute", reason));
        }
        let (least, most) = (least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX));
        if least > most {
            let reason = "must not be less than min_value";
            return Err(self.invalid("numeric_attribute.max_value", reason));
        }
        let test = AttributeTest::Int { least, most };
        self.attribute("numeric_attribute", &numeric.key, test, numeric.invert_match)
    }

    pub(super) fn probabilistic(
        &self,
        share: &ProbabilisticPolicy,
    ) -> Result<Condition, PolicyError> {
        if !(0.0..=100.0).contains(&share.sampling_percentage) {
            let reason = "must be from 0 to 100";
            return Err(self.invalid("probabilistic.sampling_percentage", reason));
        }
        let salt = match share.hash_salt.as_str() {
            "" => DEFAULT_SALT,
            salt => salt,
        };
        Ok(Condition::Probabilistic(Share::new(share.sampling_percentage, salt)))
    }

    pub(super) fn string_attribute(
        &self,
        text: &StringAttributePolicy,
    ) -> Result<Condition, PolicyError> {
        let field = "string_attribute.values";
        let values = self.some(field, &text.values)?;
        let test = match text.enabled_regex_matching {
            false => AttributeTest::Equals(bytes(values)),
            true => AttributeTest::Matches(
                values.iter().map(|it| self.regex(field, it)).collect::<Result<_, _>>()?,
            ),
        };
        self.attribute("string_attribute", &text.key, test, text.invert_match)
    }

    pub(super) fn span_count(&self, count: &SpanCountPolicy) -> Result<Condition, PolicyError> {
        let (least, most) = (count.min_spans, count.max_spans);
        if most != 0 && most < least {
            let reason = "must not be less than min_spans";
            return Err(self.invalid("span_count.max_spans", reason));
        }
        Ok(Condition::SpanCount { least, most })
    }

    pub(super) fn boolean_attribute(
        &self,
        flag: &BooleanAttributePolicy,
    ) -> Result<Condition, PolicyError> {
        let test = AttributeTest::Bool(flag.value);
        self.attribute("boolean_attribute", &flag.key, test, flag.invert_match)
    }

    pub(super) fn trace_state(&self, state: &TraceStatePolicy) -> Result<Condition, PolicyError> {
        let mut values = bytes(self.some("trace_state.values", &state.values)?);
        values.sort_unstable();
        let key = self.key("trace_state.key", &state.key)?;
        Ok(Condition::TraceState { key, values })
    }

    pub(super) fn traceql(&self, query: &str) -> Result<Condition, PolicyError> {
        let invalid = |reason: String| self.invalid("traceql.query", reason);
        let mut programs = self.taken.programs.get();
        let root = parse_and_validate_after(query, &mut programs);
        self.taken.programs.set(programs);
        let root = root.map_err(|error| invalid(error.to_string()))?;
        if root.metrics().is_some() {
            return Err(invalid("a metrics query selects no traces".to_owned()));
        }
        let query = CompiledQuery::compile_with(&root, &self.taken.patterns)
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Condition::Traceql(Box::new(query)))
    }

    pub(super) fn status(&self, names: &[String]) -> Result<Condition, PolicyError> {
        let field = "status_code.status_codes";
        let mut statuses = [false; 3];
        for name in self.some(field, names)? {
            let code = match name.as_str() {
                "UNSET" => 0,
                "OK" => 1,
                "ERROR" => 2,
                _ => {
                    let reason =
                        format!("unknown status code {name:?}, supported: OK, ERROR, UNSET");
                    return Err(self.invalid(field, reason));
                }
            };
            statuses[code] = true;
        }
        Ok(Condition::Status(statuses))
    }

    fn attribute(
        &self,
        kind: &str,
        key: &str,
        test: AttributeTest,
        inverted: bool,
    ) -> Result<Condition, PolicyError> {
        let key = self.key(&format!("{kind}.key"), key)?;
        Ok(Condition::Attribute(AttributeCondition { key, test, inverted }))
    }

    fn key(&self, field: &str, key: &str) -> Result<Vec<u8>, PolicyError> {
        match key {
            "" => Err(self.invalid(field, "is not set")),
            key => Ok(key.as_bytes().to_vec()),
        }
    }

    pub(super) fn some<'c>(
        &self,
        field: &str,
        values: &'c [String],
    ) -> Result<&'c [String], PolicyError> {
        if values.is_empty() {
            return Err(self.invalid(field, "is not set"));
        }
        Ok(values)
    }

    fn regex(&self, field: &str, pattern: &str) -> Result<UnanchoredRegex, PolicyError> {
        let invalid =
            |reason: String| self.invalid(field, format!("invalid regex {pattern:?}: {reason}"));
        let regex = self.taken.patterns.compile_unanchored(pattern, MAX_REGEX_BYTES);
        let regex = regex.map_err(|error| {
            invalid(match error {
                InvalidRegex::Syntax(reason) => reason,
                InvalidRegex::TooLarge { limit } => {
                    format!("it needs more than {limit} bytes when it is compiled")
                }
                InvalidRegex::Classes => "its character classes have too many members".to_owned(),
                InvalidRegex::Over => "nobody waits for it any more".to_owned(),
                other => other.to_string(),
            })
        })?;
        let all = self.taken.regexes.get() + regex.bytes().max(LEAST_REGEX_BYTES);
        self.taken.regexes.set(all);
        match all <= MAX_REGEXES_BYTES {
            true => Ok(regex),
            false => Err(invalid(format!(
                "those of all policies need more than {MAX_REGEXES_BYTES} bytes when they are compiled"
            ))),
        }
    }
}

fn bytes(texts: &[String]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
