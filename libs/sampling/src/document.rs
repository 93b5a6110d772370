//! The file of strategies: JSON, as Jaeger reads it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use tactus_proto::jaeger::api_v2::{
    OperationSamplingStrategy, PerOperationSamplingStrategies, ProbabilisticSamplingStrategy,
    RateLimitingSamplingStrategy, SamplingStrategyType,
};

use crate::{Strategy, StrategySet};

/// Why a file of strategies is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// An invalid value.
    #[error("{field}: {reason}")]
    Field {
        /// As `service_strategies[1].param`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Parses a file of strategies. An empty file or `null` gives every service the default probability. Also returns
/// warnings for the operator: entries that are ignored or interpreted differently.
///
/// Errors: invalid JSON, a value of the wrong type, a probability outside of 0 to 1.
pub(crate) fn parse_document(
    bytes: &[u8],
    default_probability: f64,
) -> Result<(StrategySet, Vec<String>), DocumentError> {
    let mut reader = Reader { default_probability, warnings: Vec::new() };
    let root = match bytes.trim_ascii() {
        [] => Value::Null,
        text => {
            let wrong = |error: serde_json::Error| DocumentError::Json(error.to_string());
            serde_json::from_slice(text).map_err(wrong)?
        }
    };
    let set = reader.set(&root)?;
    Ok((set, reader.warnings))
}

/// The strategy for a service, or for all other services.
struct Entry {
    rule: Rule,
    /// `None`: the file has none.
    operations: Option<Vec<OperationSamplingStrategy>>,
}

#[derive(Clone, Copy)]
enum Rule {
    Probabilistic(f64),
    RateLimiting(i32),
}

struct Reader {
    default_probability: f64,
    warnings: Vec<String>,
}

impl Reader {
    fn set(&mut self, root: &Value) -> Result<StrategySet, DocumentError> {
        let Some(root) = object(root, "the file")? else {
            return Ok(StrategySet::uniform(self.default_probability));
        };
        let default =
            match object(root.get("default_strategy").unwrap_or(&Value::Null), "default_strategy")?
            {
                Some(entry) => self.entry(entry, "default_strategy")?,
                None => {
                    Entry { rule: Rule::Probabilistic(self.default_probability), operations: None }
                }
            };
        let shared = self.operation_sampling(&default);
        let mut services = HashMap::new();
        for (number, entry) in list(root, "service_strategies", "")?.iter().enumerate() {
            let at = format!("service_strategies[{number}]");
            let Some(entry) = object(entry, &at)? else { continue };
            let service = text(entry, "service", &at)?;
            let of_service = self.entry(entry, &at)?;
            if service.is_empty() {
                self.warnings.push(format!("{at} names no service and is skipped"));
                continue;
            }
            let operations = self.with_shared(&of_service, shared.as_ref());
            let strategy = of_service.rule.strategy(operations);
            if services.insert(service.to_owned(), strategy.into()).is_some() {
                self.warnings
                    .push(format!("{at}: {service} is there twice, the last entry counts"));
            }
        }
        Ok(StrategySet::new(default.rule.strategy(shared), services))
    }

    fn entry(&mut self, entry: &Map<String, Value>, at: &str) -> Result<Entry, DocumentError> {
        let rule = self.rule(entry, at)?;
        let listed = list(entry, "operation_strategies", at)?;
        if listed.is_empty() {
            return Ok(Entry { rule, operations: None });
        }
        let mut operations = Vec::with_capacity(listed.len());
        for (number, entry) in listed.iter().enumerate() {
            let at = format!("{at}.operation_strategies[{number}]");
            let Some(entry) = object(entry, &at)? else { continue };
            let operation = text(entry, "operation", &at)?;
            match self.rule(entry, &at)? {
                _ if operation.is_empty() => {
                    self.warnings.push(format!("{at} names no operation and is skipped"));
                }
                Rule::RateLimiting(_) => self.warnings.push(format!(
                    "{at} is skipped: operations can only be sampled by probability"
                )),
                Rule::Probabilistic(sampling_rate) => {
                    let rate = ProbabilisticSamplingStrategy { sampling_rate };
                    operations.push(OperationSamplingStrategy {
                        operation: operation.to_owned(),
                        probabilistic_sampling: Some(rate),
                    });
                }
            }
        }
        Ok(Entry { rule, operations: Some(operations) })
    }

    fn rule(&mut self, entry: &Map<String, Value>, at: &str) -> Result<Rule, DocumentError> {
        let kind = text(entry, "type", at)?;
        let param = match entry.get("param") {
            None | Some(Value::Null) => 0.0,
            Some(Value::Number(number)) => number.as_f64().unwrap_or(f64::NAN),
            Some(other) => return Err(mismatch(&join(at, "param"), "a number", other)),
        };
        let between = |most: f64| {
            let reason = || format!("{param} is not between 0 and {most}");
            let field = || join(at, "param");
            if (0.0..=most).contains(&param) {
                Ok(param)
            } else {
                Err(DocumentError::Field { field: field(), reason: reason() })
            }
        };
        match kind {
            "probabilistic" => between(1.0).map(Rule::Probabilistic),
            "ratelimiting" => {
                // Checked to fit; a fraction is cut off.
                between(f64::from(i32::MAX)).map(|param| Rule::RateLimiting(param as i32))
            }
            other => {
                let default = self.default_probability;
                let found = if other.is_empty() {
                    "no type".to_owned()
                } else {
                    format!("the unknown type {other:?}")
                };
                self.warnings.push(format!(
                    "{at} has {found} and is sampled with the probability {default}"
                ));
                Ok(Rule::Probabilistic(default))
            }
        }
    }

    /// What an entry itself says about operations.
    fn operation_sampling(&self, entry: &Entry) -> Option<PerOperationSamplingStrategies> {
        let operations = entry.operations.as_ref()?;
        let default_sampling_probability = match entry.rule {
            Rule::Probabilistic(rate) => rate,
            Rule::RateLimiting(_) => self.default_probability,
        };
        Some(PerOperationSamplingStrategies {
            default_sampling_probability,
            per_operation_strategies: operations.clone(),
            ..PerOperationSamplingStrategies::default()
        })
    }

    /// The strategies for the operations of a service: its own entries first, then those of the default strategy.
    fn with_shared(
        &self,
        entry: &Entry,
        shared: Option<&PerOperationSamplingStrategies>,
    ) -> Option<PerOperationSamplingStrategies> {
        let Some(shared) = shared else { return self.operation_sampling(entry) };
        let Some(mut own) = self.operation_sampling(entry) else {
            let mut copied = shared.clone();
            if let Rule::Probabilistic(rate) = entry.rule {
                copied.default_sampling_probability = rate;
            }
            return Some(copied);
        };
        let listed = &mut own.per_operation_strategies;
        let known: HashSet<String> = listed.iter().map(|entry| entry.operation.clone()).collect();
        let missing = |entry: &&OperationSamplingStrategy| !known.contains(&entry.operation);
        listed.extend(shared.per_operation_strategies.iter().filter(missing).cloned());
        Some(own)
    }
}

impl Rule {
    fn strategy(self, operations: Option<PerOperationSamplingStrategies>) -> Strategy {
        let mut strategy = Strategy { operation_sampling: operations, ..Strategy::default() };
        match self {
            Self::Probabilistic(sampling_rate) => {
                strategy.set_strategy_type(SamplingStrategyType::Probabilistic);
                strategy.probabilistic_sampling =
                    Some(ProbabilisticSamplingStrategy { sampling_rate });
            }
            Self::RateLimiting(max_traces_per_second) => {
                strategy.set_strategy_type(SamplingStrategyType::RateLimiting);
                strategy.rate_limiting_sampling =
                    Some(RateLimitingSamplingStrategy { max_traces_per_second });
            }
        }
        strategy
    }
}

/// `None` for null.
fn object<'a>(value: &'a Value, at: &str) -> Result<Option<&'a Map<String, Value>>, DocumentError> {
    match value {
        Value::Object(object) => Ok(Some(object)),
        Value::Null => Ok(None),
        other => Err(mismatch(at, "an object", other)),
    }
}

fn list<'a>(
    parent: &'a Map<String, Value>,
    key: &str,
    at: &str,
) -> Result<&'a [Value], DocumentError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(mismatch(&join(at, key), "a list", other)),
    }
}

fn text<'a>(parent: &'a Map<String, Value>, key: &str, at: &str) -> Result<&'a str, DocumentError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(mismatch(&join(at, key), "a text", other)),
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn mismatch(field: &str, wanted: &str, found: &Value) -> DocumentError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    DocumentError::Field {
        field: field.to_owned(),
        reason: format!("{found} where {wanted} belongs"),
    }
}

#[cfg(test)]
mod tests;
