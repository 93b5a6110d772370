//! Random metrics queries as text, from the grammar.

use proptest::prelude::*;
use proptest::sample::select;

use crate::slow::data::BASE;
use crate::slow::queries::search;

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

fn attribute() -> BoxedStrategy<String> {
    let scope = one_of(&[
        ".",
        ".",
        "span.",
        "span.",
        "resource.",
        "event.",
        "link.",
        "instrumentation.",
        "parent.",
        "parent.resource.",
    ]);
    let key = one_of(&["a", "a", "b", "c", "service.name", "http.status_code", "missing"]);
    (scope, key).prop_map(|(scope, key)| format!("{scope}{key}")).boxed()
}

fn measured() -> BoxedStrategy<String> {
    let intrinsic = one_of(&[
        "duration",
        "duration",
        "duration",
        "trace:duration",
        "event:timeSinceStart",
        "span:childCount",
        "name",
    ]);
    prop_oneof![3 => attribute(), 2 => intrinsic].boxed()
}

fn by(most: usize) -> BoxedStrategy<String> {
    let intrinsic = one_of(&[
        "name",
        "status",
        "kind",
        "duration",
        "rootName",
        "rootServiceName",
        "event:name",
        "span:id",
        "span:childCount",
        "instrumentation:name",
        "trace:id",
        "statusMessage",
    ]);
    let label = prop_oneof![
        3 => attribute(),
        3 => intrinsic,
        2 => Just("resource.service.name".to_owned()),
    ];
    let labels = prop::collection::vec(label, 1..=most)
        .prop_map(|labels| format!(" by({})", labels.join(", ")));
    prop_oneof![2 => Just(String::new()), 5 => labels].boxed()
}

/// Functions whose values do not depend on the order of addition.
fn exact() -> BoxedStrategy<String> {
    let plain = prop_oneof![
        2 => Just("rate()".to_owned()),
        3 => Just("count_over_time()".to_owned()),
        4 => (one_of(&["min", "max"]), measured())
            .prop_map(|(function, value)| format!("{function}_over_time({value})")),
    ];
    let quantiles = prop::collection::vec(one_of(&["0", ".1", ".5", ".9", ".99", "1"]), 1..3);
    let bucketed = prop_oneof![
        measured().prop_map(|value| format!("histogram_over_time({value})")),
        (measured(), quantiles).prop_map(|(value, mut quantiles)| {
            quantiles.sort();
            quantiles.dedup();
            format!("quantile_over_time({value}, {})", quantiles.join(", "))
        }),
    ];
    let plain = (plain, by(3)).prop_map(|(function, by)| function + &by);
    let bucketed = (bucketed, by(2)).prop_map(|(function, by)| function + &by);
    prop_oneof![2 => plain, 1 => bucketed].boxed()
}

fn rounded() -> BoxedStrategy<String> {
    (one_of(&["sum", "avg"]), measured(), by(2))
        .prop_map(|(function, value, by)| format!("{function}_over_time({value}){by}"))
        .boxed()
}

/// `compare`, of spans with one value a key.
pub(crate) fn compare() -> BoxedStrategy<String> {
    let selection = one_of(&[
        "{ status = error }",
        "{ span.a = 1 }",
        "{ duration > 2ms }",
        "{ .b = .a }",
        "{ name = \"x\" && kind != server }",
        "{}",
        "{ false }",
        "{ event:name = \"e\" }",
    ]);
    let times = prop_oneof![
        2 => Just(String::new()),
        1 => (0u64..30, 1u64..30).prop_map(|(start, length)| {
            let at = |tenths: u64| BASE + tenths * 100_000_000;
            format!(", {}, {}", at(start), at(start + length))
        }),
    ];
    (first(), selection, 1u32..5, times)
        .prop_map(|(first, selection, top, times)| {
            format!("{first} | compare({selection}, {top}{times})")
        })
        .boxed()
}

/// Queries that do not look at ids.
pub(crate) fn adjustable() -> BoxedStrategy<String> {
    let filter = one_of(&["{}", "{ status = error }", "{ span.a = 1 || kind = client }"]);
    let function = one_of(&[
        "rate()",
        "count_over_time()",
        "sum_over_time(span.a)",
        "sum_over_time(duration)",
        "avg_over_time(duration)",
        "avg_over_time(.b)",
        "min_over_time(duration)",
        "max_over_time(span.a)",
        "histogram_over_time(duration)",
        "quantile_over_time(duration, 0.5, 0.9)",
    ]);
    let by = one_of(&["", " by(name)", " by(resource.service.name, kind)", " by(.a)"]);
    let compared = filter.clone().prop_map(|it| format!("{it} | compare({{ span.a = 1 }}, 3)"));
    let series = (filter, function, by)
        .prop_map(|(filter, function, by)| format!("{filter} | {function}{by}"));
    prop_oneof![5 => series, 1 => compared].boxed()
}

/// `service_graph`.
pub(crate) fn graph() -> BoxedStrategy<String> {
    const MEASURES: &[&str] = &[
        "service_graph(calls)",
        "service_graph(rate)",
        "service_graph(errors)",
        "service_graph(client_latency)",
        "service_graph(server_latency)",
        "service_graph(client_latency, 0.5)",
        "service_graph(server_latency, 0.9, 0, 1)",
    ];
    let staged = (leaf(one_of(MEASURES)), second_stages());
    let operator = one_of(&["/", "+"]);
    let pair = (leaf(one_of(MEASURES)), operator, leaf(one_of(MEASURES)));
    prop_oneof![
        2 => first().prop_map(|first| format!("{first} | service_graph()")),
        2 => staged.prop_map(|(leaf, stages)| leaf + &stages),
        1 => pair.prop_map(|(one, operator, other)| format!("({one}) {operator} ({other})")),
    ]
    .boxed()
}

/// What finds the spans; often all of them, so that there is something to count.
fn first() -> BoxedStrategy<String> {
    prop_oneof![2 => Just("{}".to_owned()), 3 => search()].boxed()
}

fn second_stages() -> BoxedStrategy<String> {
    let comparison = one_of(&["=", "!=", "<", "<=", ">", ">="]);
    let threshold = one_of(&["0", "1", "2", "0.5", "-1", "1ms", "1s"]);
    let stage = prop_oneof![
        1 => (1u32..4).prop_map(|limit| format!(" | topk({limit})")),
        1 => (1u32..4).prop_map(|limit| format!(" | bottomk({limit})")),
        1 => (comparison, threshold)
            .prop_map(|(comparison, threshold)| format!(" {comparison} {threshold}")),
    ];
    prop::collection::vec(stage, 0..3).prop_map(|stages| stages.concat()).boxed()
}

fn leaf(function: BoxedStrategy<String>) -> BoxedStrategy<String> {
    (first(), function).prop_map(|(first, function)| format!("{first} | {function}")).boxed()
}

fn arithmetic() -> BoxedStrategy<String> {
    let operator = one_of(&["+", "-", "*", "/"]);
    let shared = one_of(&[
        "count_over_time() by(name)",
        "count_over_time() by(resource.service.name, name)",
        "count_over_time() by(name, resource.service.name)",
        "rate()",
        "rate() by(.a)",
        "max_over_time(duration)",
        "max_over_time(duration) by(name)",
        "histogram_over_time(duration)",
    ]);
    let operand = (leaf(shared), second_stages())
        .prop_map(|(leaf, stages)| format!("({leaf}{stages})"))
        .boxed();
    let constant = one_of(&["0", "2", "0.5", "-3"]);
    let three =
        |(left, operator, right): (String, String, String)| format!("{left} {operator} {right}");
    prop_oneof![
        3 => (operand.clone(), operator.clone(), operand.clone()).prop_map(three),
        1 => (operand.clone(), operator.clone(), constant.clone()).prop_map(three),
        1 => (constant.clone(), operator.clone(), operand.clone()).prop_map(three),
        1 => (operand.clone(), operator.clone(), operand, operator, constant)
            .prop_map(|(a, first, b, second, c)| format!("({a} {first} {b}) {second} {c}")),
    ]
    .boxed()
}

/// A metrics query other than `compare`, mostly valid.
pub(crate) fn metrics() -> BoxedStrategy<String> {
    let staged = (leaf(exact()), second_stages()).prop_map(|(leaf, stages)| leaf + &stages);
    prop_oneof![4 => leaf(exact()), 3 => staged, 2 => leaf(rounded()), 3 => arithmetic()].boxed()
}

/// A query of one function, without second stages.
pub(crate) fn one_function() -> BoxedStrategy<String> {
    prop_oneof![leaf(exact()), leaf(rounded())].boxed()
}
