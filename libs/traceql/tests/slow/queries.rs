//! Random searches as text, from the grammar.

use proptest::prelude::*;
use proptest::sample::select;

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    select(texts).prop_map(str::to_owned).boxed()
}

/// An attribute that sums may be taken of.
fn small_attribute() -> BoxedStrategy<String> {
    let scope = one_of(&[
        ".",
        ".",
        "span.",
        "span.",
        "span.",
        "resource.",
        "event.",
        "link.",
        "instrumentation.",
        "parent.",
        "parent.span.",
        "parent.resource.",
    ]);
    let key = one_of(&[
        "a",
        "a",
        "b",
        "b",
        "c",
        "service.name",
        "http.method",
        "http.status_code",
        "missing",
    ]);
    (scope, key).prop_map(|(scope, key)| format!("{scope}{key}")).boxed()
}

fn attribute() -> BoxedStrategy<String> {
    prop_oneof![20 => small_attribute(), 1 => Just(".large".to_owned())].boxed()
}

fn literal() -> BoxedStrategy<String> {
    one_of(&[
        "\"x\"",
        "\"y\"",
        "\"\"",
        "\"GET\"",
        "0",
        "1",
        "2",
        "-1",
        "200",
        "maxInt",
        "2.0",
        "0.5",
        "true",
        "false",
        "2ns",
        "1ms",
        "9007199254740993",
        "9007199254740992.0",
    ])
}

fn comparison() -> BoxedStrategy<String> {
    one_of(&["=", "=", "!=", "!=", "<", "<=", ">", ">="])
}

/// Something that may yield a number.
fn number() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => small_attribute(),
        2 => one_of(&["duration", "traceDuration", "span:childCount", "event:timeSinceStart"]),
        3 => one_of(&["1", "2", "0.5", "0", "1ms", "200"]),
    ]
    .boxed();
    let arithmetic = (leaf.clone(), one_of(&["+", "-", "*", "/", "%", "^"]), leaf.clone()).boxed();
    prop_oneof![
        3 => arithmetic.prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => leaf.prop_map(|leaf| format!("(-({leaf}))")),
    ]
    .boxed()
}

fn intrinsic_condition() -> BoxedStrategy<String> {
    one_of(&[
        "name = \"x\"",
        "name != \"x\"",
        "name >= \"x\"",
        "name =~ \"x.*\"",
        "name !~ \"x|y\"",
        "\"x\" = name",
        "name = .a",
        "status = error",
        "status != ok",
        "kind = server",
        "kind != client",
        "(status = error) = (kind = server)",
        "duration > 2ms",
        "duration <= 1000000",
        "2.5ms > duration",
        "duration = 2000000.0",
        "duration = event:timeSinceStart",
        "traceDuration > 2s",
        "rootName = \"x\"",
        "rootName = name",
        "rootServiceName != \"shop\"",
        "resource.service.name = rootServiceName",
        "statusMessage = \"\"",
        "trace:id = \"1\"",
        "trace:id = \"0003\"",
        "trace:id != \"3\"",
        "trace:id < \"4\"",
        "trace:id =~ \"[0-3].*\"",
        "span:id = \"3\"",
        "span:id != \"0000000000000003\"",
        "span:id > \"0000000000000002\"",
        "span:id = span:parentID",
        "span:parentID = \"\"",
        "span:parentID = \"1\"",
        "span:childCount > 0",
        "span:childCount = 2",
        "nestedSetParent = -1",
        "nestedSetParent < 0",
        "nestedSetLeft = 0",
        "nestedSetRight = 0",
        "parent = nil",
        "parent != nil",
        "event:name = \"e\"",
        "event:name != \"e\"",
        "event:name =~ \"e.*\"",
        "event:timeSinceStart >= 2ms",
        "link:traceID = \"2\"",
        "link:traceID != \"AB0000000000000000\"",
        "link:spanID = \"A000000000000000\"",
        "link:spanID =~ \".*1\"",
        "instrumentation:name = \"lib\"",
        "instrumentation:version != \"1\"",
        "true",
        "false",
    ])
}

/// Holds for many spans, so that whole queries find something.
fn likely_condition() -> BoxedStrategy<String> {
    one_of(&[
        "name != \"q\"",
        "duration >= 1ms",
        "kind != consumer",
        "status != error",
        "resource.service.name =~ \"shop|cart\"",
        "span.a != nil || .b != nil",
        "span.missing = nil",
        ".a != \"y\" || .a = nil",
        "parent.a = nil",
        "event:name != nil || true",
        "!(span.b > 2)",
    ])
}

fn condition() -> BoxedStrategy<String> {
    let pattern = one_of(&["x", ".*", "x|y", "", "(?i)get", "[0-9]+"]);
    let nil = one_of(&["= nil", "!= nil"]);
    let three =
        |(left, operator, right): (String, String, String)| format!("{left} {operator} {right}");
    prop_oneof![
        14 => likely_condition(),
        6 => intrinsic_condition(),
        8 => (attribute(), comparison(), literal()).prop_map(three),
        2 => (literal(), comparison(), attribute()).prop_map(three),
        2 => (attribute(), one_of(&["=~", "!~"]), pattern)
            .prop_map(|(left, operator, pattern)| format!("{left} {operator} \"{pattern}\"")),
        1 => (attribute(), one_of(&["=~", "!~"]), attribute()).prop_map(three),
        2 => (attribute(), nil.clone()).prop_map(|(left, test)| format!("{left} {test}")),
        2 => (attribute(), comparison(), attribute()).prop_map(three),
        2 => (number(), comparison(), prop_oneof![literal(), number()]).prop_map(three),
        1 => (number(), nil).prop_map(|(left, test)| format!("{left} {test}")),
        1 => (attribute(), comparison(), literal())
            .prop_map(|(left, operator, right)| format!("-{left} {operator} {right}")),
        2 => attribute(),
    ]
    .boxed()
}

fn expression() -> BoxedStrategy<String> {
    condition()
        .prop_recursive(3, 10, 3, |inner| {
            let chain = prop::collection::vec(inner.clone(), 2..4).boxed();
            prop_oneof![
                3 => chain.clone().prop_map(|operands| format!("({})", operands.join(" && "))),
                3 => chain.clone().prop_map(|operands| format!("({})", operands.join(" || "))),
                1 => (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(a, b, c)| format!("{a} || {b} && {c}")),
                2 => inner.clone().prop_map(|operand| format!("!({operand})")),
                1 => (inner.clone(), inner)
                    .prop_map(|(left, right)| format!("(({left}) = ({right}))")),
            ]
        })
        .boxed()
}

fn filter() -> BoxedStrategy<String> {
    prop_oneof![
        2 => Just("{}".to_owned()),
        8 => expression().prop_map(|expression| format!("{{ {expression} }}")),
    ]
    .boxed()
}

fn spanset_operator() -> BoxedStrategy<String> {
    one_of(&[
        "&&", "||", "&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>",
        "&>>", "&<", "&<<", "&~",
    ])
}

fn spanset() -> BoxedStrategy<String> {
    let combined = filter().prop_recursive(2, 3, 2, |inner| {
        (inner.clone(), spanset_operator(), inner)
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
    });
    prop_oneof![2 => filter(), 2 => combined].boxed()
}

fn group() -> BoxedStrategy<String> {
    let intrinsic = one_of(&[
        "name",
        "kind",
        "status",
        "duration",
        "rootName",
        "event:name",
        "link:traceID",
        "span:childCount",
        "span:parentID",
        "trace:id",
        "instrumentation:name",
    ]);
    let expression = prop_oneof![4 => attribute(), 3 => intrinsic, 1 => number(), 1 => condition()];
    expression.prop_map(|expression| format!("by({expression})")).boxed()
}

fn selection() -> BoxedStrategy<String> {
    let intrinsic =
        one_of(&["name", "status", "kind", "event:name", "event.a", "event.b", "parent.a"]);
    prop::collection::vec(prop_oneof![attribute(), intrinsic], 1..4)
        .prop_map(|attributes| format!("select({})", attributes.join(", ")))
        .boxed()
}

fn aggregate() -> BoxedStrategy<String> {
    let argument = prop_oneof![
        3 => small_attribute(),
        2 => one_of(&["duration", "traceDuration", "span:childCount", "event:timeSinceStart"]),
        2 => number(),
    ];
    prop_oneof![
        2 => Just("count()".to_owned()),
        5 => (one_of(&["min", "max", "sum", "avg"]), argument)
            .prop_map(|(function, argument)| format!("{function}({argument})")),
    ]
    .boxed()
}

fn scalar_filter() -> BoxedStrategy<String> {
    let constant = one_of(&["0", "1", "2", "-1", "1.5", "2ms", "1ns", "200"]);
    let arithmetic = one_of(&["+", "-", "*", "/", "%"]);
    let computed = prop_oneof![
        (aggregate(), arithmetic.clone(), aggregate()),
        (aggregate(), arithmetic.clone(), one_of(&["2", "0.5", "1ms"])),
        (one_of(&["2", "0.5", "1ms"]), arithmetic, aggregate()),
    ]
    .prop_map(|(left, operator, right)| format!("{left} {operator} {right}"))
    .boxed();
    let three =
        |(left, operator, right): (String, String, String)| format!("{left} {operator} {right}");
    prop_oneof![
        5 => (aggregate(), comparison(), constant.clone()).prop_map(three),
        1 => (constant.clone(), comparison(), aggregate()).prop_map(three),
        1 => (aggregate(), comparison(), aggregate()).prop_map(three),
        2 => (computed, comparison(), constant).prop_map(three),
    ]
    .boxed()
}

fn later_stages(most: usize) -> BoxedStrategy<String> {
    let stage = prop_oneof![
        3 => spanset(),
        3 => group(),
        3 => scalar_filter(),
        1 => Just("coalesce()".to_owned()),
        1 => selection(),
    ];
    prop::collection::vec(stage, 0..=most)
        .prop_map(|stages| stages.iter().map(|stage| format!(" | {stage}")).collect())
        .boxed()
}

fn pipeline(most: usize) -> BoxedStrategy<String> {
    let first = prop_oneof![12 => spanset(), 1 => group(), 1 => scalar_filter(), 1 => selection()];
    (first, later_stages(most)).prop_map(|(first, rest)| format!("{first}{rest}")).boxed()
}

/// Parenthesised pipelines and an operator between them.
fn operands() -> BoxedStrategy<String> {
    let operand = pipeline(2).prop_map(|pipeline| format!("({pipeline} | coalesce())"));
    let may_be_split = (filter(), later_stages(2), filter())
        .prop_map(|(filter, stages, last)| format!("({filter}{stages} | {last})"));
    prop_oneof![
        3 => (operand.clone(), spanset_operator(), operand)
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        1 => (may_be_split.clone(), spanset_operator(), may_be_split)
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
    ]
    .boxed()
}

/// One attribute both compared with a constant and used as a value.
fn used_twice() -> BoxedStrategy<String> {
    let use_of = |attribute: &str, place: usize| match place {
        0 => format!("select({attribute})"),
        1 => format!("by({attribute})"),
        2 => format!("max({attribute}) > 0"),
        _ => format!("{{ {attribute} != nil }}"),
    };
    (attribute(), comparison(), literal(), one_of(&["", " || true"]), 0usize..4)
        .prop_map(move |(attribute, operator, literal, or, place)| {
            format!("{{ {attribute} {operator} {literal}{or} }} | {}", use_of(&attribute, place))
        })
        .boxed()
}

/// A search: a pipeline or pipelines combined, mostly valid.
pub(crate) fn search() -> BoxedStrategy<String> {
    prop_oneof![3 => spanset(), 5 => pipeline(3), 2 => operands(), 1 => used_twice()].boxed()
}
