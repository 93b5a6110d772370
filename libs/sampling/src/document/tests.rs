use proptest::prelude::{Strategy as Generator, *};

use super::*;
use crate::{EnumForm, to_json};

fn parsed(text: &str) -> (StrategySet, Vec<String>) {
    parse_document(text.as_bytes(), 0.001).unwrap()
}

fn answer(text: &str, service: &str) -> String {
    to_json(&parsed(text).0.of(service), EnumForm::Text)
}

fn refused(text: &str) -> String {
    parse_document(text.as_bytes(), 0.001).unwrap_err().to_string()
}

const SHARED: &str = r#"{
    "default_strategy": {"type": "probabilistic", "param": 0.2,
        "operation_strategies": [{"operation": "/health", "type": "probabilistic", "param": 0.1}]},
    "service_strategies": [{"service": "ServiceA", "type": "probabilistic", "param": 1},
                           {"service": "ServiceB", "type": "ratelimiting", "param": 3.9}]}"#;

#[test]
fn service_without_operations_gets_those_of_the_default() {
    assert_eq!(
        answer(SHARED, "ServiceA"),
        r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1},"operationSampling":{"defaultSamplingProbability":1,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}],"defaultUpperBoundTracesPerSecond":0}}"#
    );
    assert_eq!(
        answer(SHARED, "ServiceB"),
        r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":3},"operationSampling":{"defaultSamplingProbability":0.2,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}],"defaultUpperBoundTracesPerSecond":0}}"#
    );
    assert_eq!(
        answer(SHARED, "other"),
        r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.2},"operationSampling":{"defaultSamplingProbability":0.2,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}],"defaultUpperBoundTracesPerSecond":0}}"#
    );
}

#[test]
fn operations_of_a_service_come_before_those_of_the_default() {
    let text = r#"{
        "default_strategy": {"type": "probabilistic", "param": 0.5, "operation_strategies": [
            {"operation": "op0", "type": "probabilistic", "param": 0.2},
            {"operation": "op6", "type": "probabilistic", "param": 0},
            {"operation": "spam", "type": "ratelimiting", "param": 1},
            {"operation": "op7", "type": "probabilistic", "param": 1}]},
        "service_strategies": [{"service": "foo", "type": "probabilistic", "param": 0.8,
            "operation_strategies": [
                {"operation": "op6", "type": "probabilistic", "param": 0.5},
                {"operation": "op1", "type": "probabilistic", "param": 0.2},
                {"operation": "op2", "type": "ratelimiting", "param": 10}]},
            {"service": "slow", "type": "ratelimiting", "param": 5, "operation_strategies": [
                {"operation": "op6", "type": "probabilistic", "param": 0.5}]}]}"#;
    let (set, warnings) = parsed(text);
    let operations = |service: &str| {
        let sampling = set.of(service).operation_sampling.clone().unwrap();
        let listed = sampling.per_operation_strategies.into_iter();
        let pairs = listed
            .map(|entry| (entry.operation, entry.probabilistic_sampling.unwrap().sampling_rate));
        (sampling.default_sampling_probability, pairs.collect::<Vec<_>>())
    };
    let expected = [("op6", 0.5), ("op1", 0.2), ("op0", 0.2), ("op7", 1.0)];
    let owned = |pairs: &[(&str, f64)]| -> Vec<(String, f64)> {
        pairs.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect()
    };
    assert_eq!(operations("foo"), (0.8, owned(&expected)));
    let expected = [("op6", 0.5), ("op0", 0.2), ("op7", 1.0)];
    assert_eq!(operations("slow"), (0.001, owned(&expected)));
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].starts_with("default_strategy.operation_strategies[2] is skipped"));
    assert!(warnings[1].starts_with("service_strategies[0].operation_strategies[2] is skipped"));
}

#[test]
fn file_without_content_gives_the_default_probability() {
    for text in ["", " \n", "null", "{}", r#"{"service_strategies": null}"#] {
        assert_eq!(
            answer(text, "any"),
            r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.001}}"#
        );
    }
}

#[test]
fn unknown_and_missing_types_are_the_default_probability_with_a_warning() {
    let text = r#"{"service_strategies": [{"service": "a", "param": 0.9},
                   {"service": "b", "type": "always", "param": 7}, {"param": 1, "type": "ratelimiting"},
                   {"service": "a", "type": "ratelimiting"}]}"#;
    let (set, warnings) = parsed(text);
    assert_eq!(
        warnings,
        [
            "service_strategies[0] has no type and is sampled with the probability 0.001",
            "service_strategies[1] has the unknown type \"always\" and is sampled with the probability 0.001",
            "service_strategies[2] names no service and is skipped",
            "service_strategies[3]: a is there twice, the last entry counts",
        ]
    );
    assert_eq!(
        to_json(&set.of("b"), EnumForm::Text),
        r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.001}}"#
    );
    assert_eq!(
        to_json(&set.of("a"), EnumForm::Text),
        r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":0}}"#
    );
}

#[test]
fn refusals_name_the_field() {
    for (text, expected) in [
        ("[]", "the file: a list where an object belongs"),
        (
            r#"{"default_strategy": {"type": "probabilistic", "param": 1.5}}"#,
            "default_strategy.param: 1.5 is not between 0 and 1",
        ),
        (
            r#"{"service_strategies": [{"service": "a", "type": "probabilistic", "param": 1,
                "operation_strategies": [{"operation": "x", "type": "probabilistic", "param": -1}]}]}"#,
            "service_strategies[0].operation_strategies[0].param: -1 is not between 0 and 1",
        ),
        (
            r#"{"default_strategy": {"type": "ratelimiting", "param": 3e9}}"#,
            "default_strategy.param: 3000000000 is not between 0 and 2147483647",
        ),
        (
            r#"{"default_strategy": {"type": "probabilistic", "param": "0.5"}}"#,
            "default_strategy.param: a text where a number belongs",
        ),
        (r#"{"service_strategies": {}}"#, "service_strategies: an object where a list belongs"),
        (
            r#"{"service_strategies": [7]}"#,
            "service_strategies[0]: a number where an object belongs",
        ),
        (
            r#"{"default_strategy": {"type": 1}}"#,
            "default_strategy.type: a number where a text belongs",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    assert!(refused("{").starts_with("not JSON: EOF"));
    assert!(refused("# yaml: no").starts_with("not JSON: "));
}

fn json() -> impl Generator<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just("probabilistic"), Just("ratelimiting"), Just("x")].prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("default_strategy"),
        Just("service_strategies"),
        Just("operation_strategies"),
        Just("service"),
        Just("operation"),
        Just("type"),
        Just("param"),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_and_rates_are_probabilities(value in json()) {
        if let Ok((set, _)) = parse_document(value.to_string().as_bytes(), 0.001) {
            for service in ["x", "probabilistic", "other"] {
                let strategy = set.of(service);
                if let Some(rate) = &strategy.probabilistic_sampling {
                    prop_assert!((0.0..=1.0).contains(&rate.sampling_rate));
                }
                let text = to_json(&strategy, EnumForm::Text);
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_document(&bytes, 0.001);
    }
}
