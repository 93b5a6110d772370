//! Strategies in the JSON that HTTP clients expect: members in schema order, absent messages left out, zero values of
//! scalars included.

use std::fmt::Write;

use tactus_proto::jaeger::api_v2::{PerOperationSamplingStrategies, SamplingStrategyType};

use crate::Strategy;

/// How an answer names the type of its strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnumForm {
    /// `"PROBABILISTIC"`.
    Text,
    /// `0`, for the oldest clients.
    Number,
}

/// The strategy without a final newline.
pub fn to_json(strategy: &Strategy, form: EnumForm) -> String {
    let mut out = String::from("{\"strategyType\":");
    let kind = strategy.strategy_type();
    match form {
        EnumForm::Number => push(&mut out, format_args!("{}", kind as i32)),
        EnumForm::Text if kind == SamplingStrategyType::RateLimiting => {
            out.push_str("\"RATE_LIMITING\"");
        }
        EnumForm::Text => out.push_str("\"PROBABILISTIC\""),
    }
    if let Some(probabilistic) = &strategy.probabilistic_sampling {
        let rate = number(probabilistic.sampling_rate);
        push(&mut out, format_args!(",\"probabilisticSampling\":{{\"samplingRate\":{rate}}}"));
    }
    if let Some(limit) = &strategy.rate_limiting_sampling {
        let rate = limit.max_traces_per_second;
        push(&mut out, format_args!(",\"rateLimitingSampling\":{{\"maxTracesPerSecond\":{rate}}}"));
    }
    if let Some(operations) = &strategy.operation_sampling {
        out.push_str(",\"operationSampling\":");
        push_operations(&mut out, operations);
    }
    out.push('}');
    out
}

fn push_operations(out: &mut String, operations: &PerOperationSamplingStrategies) {
    let default = number(operations.default_sampling_probability);
    let lower = number(operations.default_lower_bound_traces_per_second);
    let upper = number(operations.default_upper_bound_traces_per_second);
    push(
        out,
        format_args!(
            "{{\"defaultSamplingProbability\":{default},\"defaultLowerBoundTracesPerSecond\":{lower},\
             \"perOperationStrategies\":["
        ),
    );
    for (number_of, entry) in operations.per_operation_strategies.iter().enumerate() {
        let comma = if number_of == 0 { "" } else { "," };
        let name = serde_json::Value::from(entry.operation.as_str());
        push(out, format_args!("{comma}{{\"operation\":{name}"));
        if let Some(probabilistic) = &entry.probabilistic_sampling {
            let rate = number(probabilistic.sampling_rate);
            push(out, format_args!(",\"probabilisticSampling\":{{\"samplingRate\":{rate}}}"));
        }
        out.push('}');
    }
    push(out, format_args!("],\"defaultUpperBoundTracesPerSecond\":{upper}}}"));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// A number as Go's JSON encoder writes it: the shortest digits, no fraction if there is none, an exponent only below a
/// millionth. NaN and infinity cannot come from a file or a calculation, and would be written as 0.
fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "0".to_owned(),
        value if value != 0.0 && value.abs() < 1e-6 => format!("{value:e}"),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::jaeger::api_v2::{
        OperationSamplingStrategy, ProbabilisticSamplingStrategy, RateLimitingSamplingStrategy,
    };

    fn rate(sampling_rate: f64) -> Option<ProbabilisticSamplingStrategy> {
        Some(ProbabilisticSamplingStrategy { sampling_rate })
    }

    #[test]
    fn forms_are_those_that_clients_know() {
        let mut strategy = Strategy { probabilistic_sampling: rate(0.5), ..Strategy::default() };
        assert_eq!(
            to_json(&strategy, EnumForm::Text),
            r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}"#
        );
        assert_eq!(
            to_json(&strategy, EnumForm::Number),
            r#"{"strategyType":0,"probabilisticSampling":{"samplingRate":0.5}}"#
        );
        strategy = Strategy {
            strategy_type: 1,
            rate_limiting_sampling: Some(RateLimitingSamplingStrategy {
                max_traces_per_second: 42,
            }),
            ..Strategy::default()
        };
        assert_eq!(
            to_json(&strategy, EnumForm::Text),
            r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":42}}"#
        );
        let operations = PerOperationSamplingStrategies {
            default_sampling_probability: 0.8,
            per_operation_strategies: vec![
                OperationSamplingStrategy {
                    operation: "op1".to_owned(),
                    probabilistic_sampling: rate(0.2),
                },
                OperationSamplingStrategy {
                    operation: "a\"b".to_owned(),
                    probabilistic_sampling: rate(1.0),
                },
            ],
            ..PerOperationSamplingStrategies::default()
        };
        strategy = Strategy {
            probabilistic_sampling: rate(0.8),
            operation_sampling: Some(operations),
            ..Strategy::default()
        };
        assert_eq!(
            to_json(&strategy, EnumForm::Text),
            concat!(
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.8},"#,
                r#""operationSampling":{"defaultSamplingProbability":0.8,"#,
                r#""defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":["#,
                r#"{"operation":"op1","probabilisticSampling":{"samplingRate":0.2}},"#,
                r#"{"operation":"a\"b","probabilisticSampling":{"samplingRate":1}}],"#,
                r#""defaultUpperBoundTracesPerSecond":0}}"#
            )
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (1.0, "1"),
            (0.0, "0"),
            (0.00001, "0.00001"),
            (1.0 / 60.0, "0.016666666666666666"),
            (2.5e-7, "2.5e-7"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
