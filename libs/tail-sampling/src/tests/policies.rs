//! Each type of policy.

use std::time::Instant;

use tactus_work::{Over, Stop, Work};

use super::*;

#[test]
fn latency_is_the_time_of_the_whole_trace() {
    let spans = [
        Span { start: 1_000, millis: 10, ..of(1) },
        Span { start: 1_490, millis: 10, ..of(1) },
        Span { millis: 499, ..of(2) },
        Span { millis: 500, ..of(3) },
        Span { millis: 501, ..of(4) },
        Span { millis: 900, ..of(5) },
        Span { millis: 901, ..of(6) },
    ];
    let batch = batch(spans);
    let latency = |fields| kept_by("latency", fields, &batch);
    assert_eq!(latency("{threshold_ms: 500}"), [1, 3, 4, 5, 6]);
    assert_eq!(latency("{threshold_ms: 500, upper_threshold_ms: 900}"), [4, 5]);
    assert_eq!(latency("{upper_threshold_ms: 499}"), [2]);
}

#[test]
fn numbers_are_those_of_spans() {
    let with =
        |trace, value| Span { attributes: vec![("code", AnyValueRef::Int(value))], ..of(trace) };
    let text = Span { attributes: vec![("code", AnyValueRef::String(b"500"))], ..of(4) };
    let batch = batch([with(1, 499), with(2, 500), of(2), with(3, 599), text, of(5)]);
    let numeric = |fields| kept_by("numeric_attribute", fields, &batch);
    assert_eq!(numeric("{key: code, min_value: 500, max_value: 599}"), [2, 3]);
    assert_eq!(numeric("{key: code, max_value: 500}"), [1, 2]);
    assert_eq!(numeric("{key: code, min_value: 500, invert_match: true}"), [1, 4, 5]);
    assert_eq!(numeric("{key: other, min_value: 0}"), [0; 0]);
}

#[test]
fn texts_are_those_of_spans_and_resources() {
    let path = |trace, value: &'static str| Span {
        attributes: vec![("path", AnyValueRef::String(value.as_bytes()))],
        ..of(trace)
    };
    let batch =
        batch([path(1, "/health"), of(1), path(2, "/pay"), Span { service: "cart", ..of(3) }]);
    let text = |fields| kept_by("string_attribute", fields, &batch);
    assert_eq!(text("{key: path, values: [/health, /x]}"), [1]);
    assert_eq!(text("{key: service.name, values: [cart]}"), [3]);
    assert_eq!(text("{key: path, values: ['^/pa', h$], enabled_regex_matching: true}"), [1, 2]);
    assert_eq!(text("{key: path, values: [/health], invert_match: true}"), [2, 3]);
    assert_eq!(text("{key: path, values: [/heal]}"), [0; 0]);
}

#[test]
fn flags_status_counts_and_states_select_traces() {
    let flag =
        |trace, value| Span { attributes: vec![("vip", AnyValueRef::Bool(value))], ..of(trace) };
    let batch = batch([
        flag(1, true),
        flag(2, false),
        Span { status: 2, ..of(3) },
        Span { status: 1, ..of(4) },
        of(4),
        Span { state: "a=1,b=2", ..of(5) },
        of(5),
        of(5),
    ]);
    let by = |kind, fields| kept_by(kind, fields, &batch);
    assert_eq!(by("always_sample", ""), [1, 2, 3, 4, 5]);
    assert_eq!(by("boolean_attribute", "{key: vip, value: true}"), [1]);
    assert_eq!(by("boolean_attribute", "{key: vip, value: false}"), [2]);
    assert_eq!(
        by("boolean_attribute", "{key: vip, value: true, invert_match: true}"),
        [2, 3, 4, 5]
    );
    assert_eq!(by("status_code", "{status_codes: [ERROR]}"), [3]);
    assert_eq!(by("status_code", "{status_codes: [ERROR, OK]}"), [3, 4]);
    assert_eq!(by("span_count", "{min_spans: 2}"), [4, 5]);
    assert_eq!(by("span_count", "{min_spans: 2, max_spans: 2}"), [4]);
    assert_eq!(by("trace_state", "{key: b, values: ['1', '2']}"), [5]);
    assert_eq!(by("trace_state", "{key: b, values: ['3', '2', '1', '0']}"), [5]);
}

#[test]
fn many_values_of_large_trace_states_take_little_time() {
    let states: Vec<String> =
        (0..50).map(|number| format!("{}n={number}", "k=w,".repeat(2_500))).collect();
    let spans = (0..2_000).map(|number| Span { state: &states[number % 50], ..of(1) });
    let batch = batch(spans);
    let values: Vec<_> = (0..5_000).map(|number| format!("v{number}")).collect();
    let wanted = |more: &str| format!("{{key: k, values: [{}{more}]}}", values.join(", "));
    let began = Instant::now();
    assert_eq!(kept_by("trace_state", &wanted(""), &batch), [0; 0]);
    assert_eq!(kept_by("trace_state", &wanted(", w"), &batch), [1]);
    assert!(began.elapsed().as_secs() < 5);
}

#[test]
fn traceql_selects_traces_that_give_a_spanset() {
    let batch = batch([
        Span { status: 2, ..of(1) },
        of(1),
        Span { millis: 2_000, ..of(2) },
        Span { start: 1_000, millis: 600, ..of(3) },
        Span { start: 1_600, millis: 600, ..of(3) },
        Span { service: "cart", ..of(4) },
        of(4),
    ]);
    let query = |query| kept_by("traceql", &format!("{{query: '{query}'}}"), &batch);
    assert_eq!(query("{ status = error }"), [1]);
    assert_eq!(query("{ duration > 1s }"), [2]);
    assert_eq!(query("{ trace:duration > 1s }"), [2, 3]);
    assert_eq!(query("{ } | count() >= 2"), [1, 3, 4]);
    assert_eq!(
        query("{ resource.service.name = \"cart\" } && { resource.service.name = \"shop\" }"),
        [4]
    );
}

#[test]
fn trace_on_which_a_query_fails_is_left_to_the_other_policies() {
    let service = |trace, service| Span { service, ..of(trace) };
    // Two spansets as an operand: an error, of the traces that have them.
    let spans = (1..=40).flat_map(|trace| {
        let second = if trace % 10 == 0 { "cart" } else { "shop" };
        [service(trace, "shop"), service(trace, second)]
    });
    let batch = batch(spans);
    let query = "({ } | by(resource.service.name)) !>> ({ } | by(resource.service.name))";
    let yaml = format!(
        "policies: [{{name: split, type: traceql, traceql: {{query: '{query}'}}}}, \
         {{name: rest, type: span_count, span_count: {{min_spans: 3}}}}]"
    );
    let decisions = decider(&yaml).decide(&batch);
    assert_eq!(numbers(&batch, &decisions.policies[0].failed), [10, 20, 30, 40]);
    let whole: Vec<u64> = (1..=40).filter(|trace| trace % 10 != 0).collect();
    assert_eq!(numbers(&batch, &decisions.kept), whole);
}

#[test]
fn combinations_take_what_their_policies_say() {
    let batch = batch((1..=6).map(|trace| Span {
        millis: trace * 100,
        status: if trace % 2 == 0 { 2 } else { 0 },
        ..of(trace)
    }));
    let slow = "{name: slow, type: latency, latency: {threshold_ms: 300}}";
    let errors = "{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}";
    let not = format!("{{name: n, type: not, not: {{not_sub_policy: {errors}}}}}");
    assert_eq!(kept(&format!("policies: [{not}]"), &batch), [1, 3, 5]);
    let and = |subs: &str| kept_by("and", &format!("{{and_sub_policy: [{subs}]}}"), &batch);
    assert_eq!(and(&format!("{slow}, {errors}")), [4, 6]);
    assert_eq!(and(&format!("{slow}, {not}")), [3, 5]);
}

#[test]
fn rates_are_of_the_time_that_traces_took_to_arrive() {
    let batch = batch((1..=100).flat_map(|trace| [of(trace), of(trace)]));
    let yaml = "policies: [{name: r, type: rate_limiting, rate_limiting: {spans_per_second: 10}}]";
    let mut decider = decider(yaml);
    assert_eq!(decider.decide(&batch).kept.count(), 10, "a burst of twenty spans");
    assert_eq!(decider.decide(&batch).kept.count(), 0);
    decider.advance(Duration::from_secs(1));
    assert_eq!(decider.decide(&batch).kept.count(), 5);
    decider.advance(Duration::from_secs(8));
    assert_eq!(decider.decide(&batch).kept.count(), 40);
    let bytes = bytes_per_trace(&batch)[0];
    let yaml = format!(
        "policies: [{{name: b, type: bytes_limiting, bytes_limiting: {{bytes_per_second: 1, burst_capacity: {}}}}}]",
        7 * bytes
    );
    assert_eq!(kept(&yaml, &batch).len(), 7);
}

#[test]
fn composite_gives_each_policy_its_share() {
    // Ten traces of each service, two spans each.
    let services = ["a", "b", "c"];
    let batch =
        batch((0..60).map(|span| Span { service: services[span / 20], ..of(1 + span as u64 / 2) }));
    let yaml = "
policies:
  - name: all
    type: composite
    composite:
      max_total_spans_per_second: 20
      policy_order: [first, second, rest]
      composite_sub_policy:
        - {name: rest, type: always_sample}
        - {name: first, type: string_attribute, string_attribute: {key: service.name, values: [a]}}
        - {name: second, type: string_attribute, string_attribute: {key: service.name, values: [b]}}
      rate_allocation: [{policy: first, percent: 50}, {policy: second, percent: 20}]
";
    let kept = kept(yaml, &batch);
    let of = |range: std::ops::RangeInclusive<u64>| {
        kept.iter().filter(|trace| range.contains(trace)).count()
    };
    // Half, a fifth and a third of twenty spans, each of two a trace.
    assert_eq!((of(1..=10), of(11..=20), of(21..=30)), (5, 2, 3));
}

#[test]
fn impossible_policies_are_named() {
    let one = |policy: &str| refused(&format!("policies: [{{name: x, {policy}}}]"));
    assert_eq!(refused("policies: [{type: always_sample}]"), "policy name cannot be empty");
    let twice = "policies: [{name: x, type: always_sample}, {name: x, type: always_sample}]";
    assert_eq!(refused(twice), "duplicate policy name \"x\"");
    for (policy, reason) in [
        ("type: some", "policy \"x\": type: unknown policy type \"some\""),
        ("type: latency", "policy \"x\": latency: is not set"),
        ("type: traceql, traceql: {query: '{ status = }'}", "policy \"x\": traceql.query: "),
        (
            "type: traceql, traceql: {query: '{ } | rate()'}",
            "policy \"x\": traceql.query: a metrics query",
        ),
        (
            "type: latency, latency: {threshold_ms: 5, upper_threshold_ms: 5}",
            "policy \"x\": latency.upper_threshold_ms: ",
        ),
        (
            "type: numeric_attribute, numeric_attribute: {key: k}",
            "policy \"x\": numeric_attribute: ",
        ),
        (
            "type: numeric_attribute, numeric_attribute: {min_value: 1}",
            "policy \"x\": numeric_attribute.key: is not set",
        ),
        (
            "type: numeric_attribute, numeric_attribute: {key: k, min_value: 2, max_value: 1}",
            "policy \"x\": numeric_attribute.max_value: ",
        ),
        (
            "type: probabilistic, probabilistic: {sampling_percentage: 101}",
            "policy \"x\": probabilistic.sampling_percentage: must be from 0 to 100",
        ),
        (
            "type: status_code, status_code: {status_codes: [BAD]}",
            "policy \"x\": status_code.status_codes: unknown status code \"BAD\"",
        ),
        (
            "type: status_code, status_code: {}",
            "policy \"x\": status_code.status_codes: is not set",
        ),
        (
            "type: string_attribute, string_attribute: {key: k, values: ['('], enabled_regex_matching: true}",
            "policy \"x\": string_attribute.values: invalid regex",
        ),
        (
            "type: rate_limiting, rate_limiting: {}",
            "policy \"x\": rate_limiting.spans_per_second: ",
        ),
        (
            "type: bytes_limiting, bytes_limiting: {}",
            "policy \"x\": bytes_limiting.bytes_per_second: ",
        ),
        (
            "type: span_count, span_count: {min_spans: 2, max_spans: 1}",
            "policy \"x\": span_count.max_spans: ",
        ),
        (
            "type: trace_state, trace_state: {key: k}",
            "policy \"x\": trace_state.values: is not set",
        ),
        ("type: and, and: {and_sub_policy: []}", "policy \"x\": and.and_sub_policy: is not set"),
        (
            "type: and, and: {and_sub_policy: [{name: y, type: latency}]}",
            "policy \"x/y\": latency: is not set",
        ),
        (
            "type: and, and: {and_sub_policy: [{type: drop}]}",
            "policy \"x/0\": type: \"drop\" cannot be within a policy",
        ),
        ("type: not, not: {}", "policy \"x\": not.not_sub_policy: is not set"),
        (
            "type: ottl_condition, ottl_condition: {error_mode: ignore, span: ['name == \"a\"']}",
            "policy \"x\": type: \"ottl_condition\" is not supported, traceql takes its place",
        ),
        ("type: trace_flags", "policy \"x\": type: \"trace_flags\" is not supported"),
        ("type: composite, composite: {}", "policy \"x\": composite.max_total_spans_per_second: "),
        (
            "type: composite, composite: {max_total_spans_per_second: 1, policy_order: [y]}",
            "policy \"x\": composite.policy_order: there is no sub policy \"y\"",
        ),
        (
            "type: composite, composite: {max_total_spans_per_second: 1, policy_order: [y], composite_sub_policy: [{name: y, type: always_sample}, {name: z, type: nonsense}]}",
            "policy \"x/z\": type: unknown policy type \"nonsense\"",
        ),
    ] {
        let found = one(policy);
        assert!(found.starts_with(reason), "{policy}: {found}");
    }
    let mut deep = "{type: always_sample}".to_owned();
    for _ in 0..30 {
        deep = format!("{{type: not, not: {{not_sub_policy: {deep}}}}}");
    }
    assert!(one(&deep[1..deep.len() - 1]).contains("nested too deep"));
}

#[test]
fn what_policies_take_together_is_bounded() {
    let list = |count: usize, policy: &dyn Fn(usize) -> String| {
        let policies: String =
            (0..count).map(|it| format!("- {{name: p{it}, {}}}\n", policy(it))).collect();
        format!("policies:\n{policies}")
    };
    let always = list(1001, &|_| "type: always_sample".to_owned());
    assert_eq!(
        refused(&always),
        "policy \"p1000\": name: is one too many, there may be 1000 policies"
    );
    let pattern = |values: &str| {
        format!(
            "type: string_attribute, string_attribute: {{key: a, enabled_regex_matching: true, values: [{values}]}}"
        )
    };
    let large = list(100, &|it| pattern(&format!("'\\pL{{15}}{it}'")));
    assert!(refused(&large).contains("those of all policies need more than 16777216 bytes"));
    let query = list(40, &|it| {
        format!("type: traceql, traceql: {{query: '{{ .a =~ `\\pL{{40}}{it}` }}'}}")
    });
    assert!(refused(&query).contains("may have 16777216 bytes together"), "{}", refused(&query));
    let words: Vec<String> = (0..900).map(|it| format!("'^/health/{it}$'")).collect();
    policies(&format!("policies: [{{name: words, {}}}]", pattern(&words.join(", "))));
}

#[test]
fn bytes_of_a_trace_are_about_those_of_its_message() {
    let attributes = vec![
        (
            "text",
            AnyValueRef::String(
                b"some longer text, as statements are: select a, b from c where d = e",
            ),
        ),
        ("number", AnyValueRef::Int(70_000)),
        ("double", AnyValueRef::Double(0.5)),
        ("flag", AnyValueRef::Bool(true)),
    ];
    let batch = batch((0..20).map(|span| Span {
        status: span % 3,
        state: "a=b",
        attributes: attributes.clone(),
        ..of(1 + span / 5)
    }));
    for (&trace, bytes) in batch.traces.ids.iter().zip(bytes_per_trace(&batch)) {
        let exact = encode_traces_data(&gather_traces(&[&batch], |id| id == trace)).len() as u64;
        assert!(bytes.abs_diff(exact) * 20 < exact, "{bytes} {exact}");
    }
    assert_eq!(spans_per_trace(&batch), [5; 4]);
}

#[test]
fn policies_of_the_documentation_compile() {
    let page = include_str!("../../../../docs/operations/tail-sampling.md");
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        let text = block.split("```").next().unwrap();
        let config = tactus_config::from_yaml(text).unwrap();
        let policies = Policies::compile(&config.tail_sampling.policies).unwrap();
        assert!(policies.names().count() >= 4);
    }
}

#[test]
fn evaluation_ends_when_nobody_waits_for_it_any_more() {
    // Each text takes a step for nearly each of the states of the pattern and each byte.
    let yaml = "
policies:
  - {name: slow, type: traceql, traceql: {query: '{ .a =~ \"(?:[ab]*a[ab]{700})[cd]+\" }'}}
";
    let texts: Vec<Vec<u8>> = (0..3_000_u64)
        .map(|number| {
            let mut state = number + 1;
            let mut letter = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if state >> 63 == 0 { b'a' } else { b'b' }
            };
            (0..2_000).map(|_| letter()).collect()
        })
        .collect();
    let slow = batch((0..).zip(&texts).map(|(trace, text)| Span {
        attributes: vec![("a", AnyValueRef::String(text))],
        ..of(trace)
    }));
    let mut decider = decider(yaml);
    let (stop, guard) = Stop::new();
    let began = Instant::now();
    let client = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        drop(guard);
    });
    let decided = Work::default().stopped_by(stop).run(|| decider.decide(&slow));
    assert_eq!(decided.map(drop), Err(Over::Cancelled));
    // By its own limit the policy would end after ten seconds of processor time.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    client.join().unwrap();
}
