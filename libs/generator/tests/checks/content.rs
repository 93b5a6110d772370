//! What is made of a span: its weight, names, labels, and whether it counts at all.

use serde_json::{Value, json};

use crate::bench::{Bench, COLLECT_MS, PUSH_MS, services, settings, shop, span, with, yaml};

#[test]
fn exemplar_has_the_trace_id_without_leading_zeros() {
    let mut bench = Bench::with(
        json!({"processors": ["span-metrics"], "trace_id_label_name": "__bad"}),
        json!({}),
    );
    let id = json!({"trace": "00000000000000000000000000abc123"});
    bench.push(&services(&["a"]), &json!([with(span("a", "x", 2, "a1", ""), id)]), PUSH_MS);
    assert_eq!(bench.collect(COLLECT_MS).exemplars[0].1, "traceID=abc123 0.1");
}

#[test]
fn trace_state_tells_the_weight_before_the_attribute() {
    let metrics = json!({"span_metrics": {"span_multiplier_key": "r", "enable_tracestate_span_multiplier": true}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics-count"]}), metrics);
    let states = ["foo=1,ot=th:c;rv:00000000000001", "ot=th:zz", "ot=th:000000000000000"];
    let spans: Vec<Value> = states
        .iter()
        .map(|state| {
            with(span("a", state, 2, "a1", ""), json!({"state": state, "attributes": {"r": 0.5}}))
        })
        .collect();
    bench.push(&services(&["a"]), &json!(spans), PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    let weights = states.map(|state| kept.value_with(&format!("span_name={state},")));
    assert_eq!(weights, [4.0, 2.0, 2.0]);
}

#[test]
fn share_that_is_next_to_nothing_is_none() {
    let metrics = json!({"span_metrics": {"span_multiplier_key": "r"}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics"]}), metrics);
    let shares = [0.25, 5e-324, 1e-310, 1e-300, -0.5];
    let sampled =
        |share: &f64| with(span("a", "x", 2, "a1", ""), json!({"attributes": {"r": share}}));
    let spans: Vec<Value> = shares.iter().map(sampled).collect();
    bench.push(&services(&["a"]), &json!(spans), PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    assert_eq!(kept.value_with("traces_spanmetrics_calls_total{"), 8.0);
    assert_eq!(kept.value_with("traces_spanmetrics_latency_count{"), 8.0);
    assert!((kept.value_with("traces_spanmetrics_latency_sum{") - 0.8).abs() < 1e-9);
}

#[test]
fn attributes_called_like_labels_of_every_series_get_a_prefix() {
    let metrics = json!({
        "span_metrics": {"enable_target_info": true, "dimensions": ["le"]},
        "service_graphs": {"dimensions": ["__name__", "le"]},
    });
    let mut bench = Bench::with(json!({"processors": ["span-metrics", "service-graphs"]}), metrics);
    let resources = json!({"a": [["service.name", "a"], ["__name__", "x"], ["..name..", "x"]]});
    let odd =
        with(span("a", "x", 3, "a1", ""), json!({"attributes": {"le": "7", "peer.service": "b"}}));
    bench.push(&resources, &json!([odd]), PUSH_MS);
    bench.tenant.expire_all(PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    for part in ["traces_target_info{____name__=x,", "server_seconds_sum{____name__=x,__le=7,"] {
        assert_eq!(kept.samples.keys().filter(|name| name.contains(part)).count(), 1, "{part}");
    }
    for name in kept.samples.keys() {
        let labels = name.split(['{', ',', '}']);
        let own = labels.filter(|label| label.starts_with("__name__=") || label.starts_with("le="));
        assert_eq!(own.count(), usize::from(name.contains("_bucket{")), "{name}");
    }
}

#[test]
fn target_info_shows_what_a_resource_tells_beside_its_identity() {
    let metrics = json!({"span_metrics": {"enable_target_info": true}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics-size"]}), metrics);
    let resources = json!({
        "all": [["service.name", "api"], ["service.namespace", "ns"], ["service.instance.id", "i-1"],
                ["host.name", "h"], ["job", "x"], ["1bad", "y"], ["k8s.pod.name", ""],
                ["a.b", "first"], ["a-b", "last"]],
        "bare": [["service.name", "bare"]],
        "nameless": [["host.name", "h"]],
    });
    let spans = json!([
        span("all", "x", 2, "a1", ""),
        span("all", "y", 2, "a2", ""),
        span("bare", "x", 2, "a3", ""),
        span("nameless", "x", 2, "a4", "")
    ]);
    bench.push(&resources, &spans, PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    let infos: Vec<_> =
        kept.samples.iter().filter(|(name, _)| name.starts_with("traces_target_info")).collect();
    let expected = "traces_target_info{__job=x,__metrics_gen_instance=gen-0,a_b=last,host_name=h,\
                    instance=i-1,job=ns/api}";
    assert_eq!(infos, [(&expected.to_owned(), &vec![(COLLECT_MS, 1.0)])]);
    assert_eq!(
        kept.value_with(
            "instance=i-1,job=ns/api,service=api,span_kind=SPAN_KIND_SERVER,span_name=x,"
        ),
        kept.value_with("job=ns/api,service=api,span_kind=SPAN_KIND_SERVER,span_name=y,")
    );
    assert!(kept.samples.keys().any(|name| name.contains("job=bare,service=bare,")));
}

#[test]
fn span_that_is_no_utf8_counts_once_and_tells_nothing_of_its_resource() {
    let metrics = json!({"span_metrics": {"enable_target_info": true}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics"]}), metrics);
    // The byte 0xff.
    let invalid = json!({"$text": "/w=="});
    let resources = json!({
        "service": [["service.name", invalid], ["host.name", "h"]],
        "host": [["service.name", "kept"], ["host.name", invalid]],
        "whole": [["service.name", "whole"], ["host.name", "h"]],
    });
    let named = with(span("whole", "", 2, "a3", ""), json!({"name": invalid}));
    let dropped = "spans_discarded_total{tenant=\"single-tenant\",reason=\"invalid_utf8\",processor=\"span-metrics\"}";
    for (span, expected) in [
        (span("service", "x", 2, "a1", ""), 1.0),
        (span("host", "x", 2, "a2", ""), 1.0),
        (named, 2.0),
    ] {
        bench.push(&resources, &json!([span]), PUSH_MS);
        assert_eq!(bench.own(dropped), expected, "{span}");
    }
    let kept = bench.collect(COLLECT_MS);
    let calls = "traces_spanmetrics_calls_total{";
    assert_eq!(kept.samples.keys().filter(|name| name.starts_with(calls)).count(), 1);
    assert!(kept.samples.keys().any(|name| name.contains("service=kept,")));
    assert!(!kept.samples.keys().any(|name| name.starts_with("traces_target_info")));
}

#[test]
fn long_names_are_cut_between_characters() {
    let mut bench = Bench::with(json!({"processors": ["span-metrics-count"]}), json!({}));
    let names = ["a".repeat(3000), format!("b{}", "é".repeat(1500))];
    let spans: Vec<Value> = names.iter().map(|name| span("a", name, 2, "a1", "")).collect();
    bench.push(&services(&["a"]), &json!(spans), PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    assert_eq!(kept.value_with(&format!("span_name={},", "a".repeat(2048))), 1.0);
    assert_eq!(kept.value_with(&format!("span_name=b{},", "é".repeat(1023))), 1.0);
}

#[test]
fn variable_parts_of_span_names_are_replaced_or_only_counted() {
    for (mode, replaced) in [("enabled", 1), ("dry_run", 0)] {
        let limits = json!({"processors": ["span-metrics-count"], "span_name_sanitization": mode});
        let mut bench = Bench::with(limits, json!({}));
        let names = ["123", "456", "789"].map(|id| format!("GET /api/users/{id}"));
        for name in &names {
            bench.push(&services(&["a"]), &json!([span("a", name, 2, "a1", "")]), PUSH_MS);
        }
        let kept = bench.collect(COLLECT_MS);
        assert_eq!(kept.len() / 2, if replaced == 1 { 2 } else { 3 });
        assert_eq!(kept.samples.keys().filter(|name| name.contains("<_>")).count(), replaced);
        assert_eq!(bench.own("registry_spans_sanitized_total{tenant=\"single-tenant\"}"), 2.0);
    }
}

#[test]
fn policies_exclude_first_then_any_then_all_must_match() {
    let attribute = |name: &str| json!({"match_type": "strict", "attributes": [{"key": format!("span.{name}"), "value": true}]});
    let policies = json!([{"exclude": attribute("a")}, {"include_any": attribute("b")}, {"include": attribute("c")}]);
    let metrics = json!({"span_metrics": {"filter_policies": policies}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics-count"]}), metrics);
    let spans = ["ab", "b", "c", "none"].map(|name| {
        let set: serde_json::Map<String, Value> = name
            .chars()
            .filter(|c| "abc".contains(*c) && name != "none")
            .map(|c| (c.to_string(), json!(true)))
            .collect();
        with(span("s", name, 2, "a1", ""), json!({ "attributes": set }))
    });
    bench.push(&services(&["s"]), &json!(spans), PUSH_MS);
    let kept = bench.collect(COLLECT_MS);
    let mut names: Vec<&str> = kept
        .samples
        .keys()
        .map(|name| name.split("span_name=").nth(1).unwrap().split(',').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "c"]);
    let filtered = "spans_discarded_total{tenant=\"single-tenant\",reason=\"span_metrics_filtered\",processor=\"span-metrics\"}";
    assert_eq!(bench.own(filtered), 2.0);
}

#[test]
fn policy_on_one_side_of_a_call_suppresses_the_whole_call() {
    let policy = json!([{"exclude": {"match_type": "strict", "attributes": [{"key": "resource.service.name", "value": "hidden"}]}}]);
    let graphs = json!({"service_graphs": {"filter_policies": policy}});
    let mut bench = Bench::with(json!({"processors": ["service-graphs"]}), graphs);
    let resources = services(&["a", "hidden", "b"]);
    // A server that is hidden before and after its client; the peer would make a virtual node of it.
    let peer = json!({"attributes": {"peer.service": "hidden"}});
    let spans = json!([
        with(span("a", "x", 3, "a1", ""), peer.clone()),
        span("hidden", "x", 2, "b1", "a1"),
        span("hidden", "x", 2, "b2", "a2"),
        with(span("a", "x", 3, "a2", ""), peer),
        span("a", "x", 3, "a3", ""),
        span("b", "x", 2, "b3", "a3"),
    ]);
    bench.push(&resources, &spans, PUSH_MS);
    bench.tenant.expire_all(PUSH_MS + 20_000);
    let kept = bench.collect(COLLECT_MS);
    assert_eq!(kept.samples.keys().filter(|name| name.contains("request_total")).count(), 1);
    assert_eq!(
        bench.own("processor_service_graphs_dropped_edges_total{tenant=\"single-tenant\"}"),
        2.0
    );
    let filtered = "spans_discarded_total{tenant=\"single-tenant\",reason=\"service_graphs_filtered\",processor=\"service-graphs\"}";
    assert_eq!(bench.own(filtered), 2.0);
}

#[test]
fn pattern_is_asked_again_about_the_strings_of_another_batch() {
    let policy = json!([{"exclude": {"match_type": "regex", "attributes": [{"key": "resource.service.name", "value": "hid.*n"}]}}]);
    let metrics = json!({"span_metrics": {"filter_policies": policy}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics-count"]}), metrics);
    for service in ["hidden", "shown", "hidden"] {
        let spans = json!([span(service, "x", 2, "a1", ""), span(service, "y", 2, "a2", "")]);
        bench.push(&services(&[service]), &spans, PUSH_MS);
    }
    let kept = bench.collect(COLLECT_MS);
    assert_eq!(kept.samples.len(), 2);
    assert!(kept.samples.keys().all(|name| name.contains("service=shown,")));
    let filtered = "spans_discarded_total{tenant=\"single-tenant\",reason=\"span_metrics_filtered\",processor=\"span-metrics\"}";
    assert_eq!(bench.own(filtered), 4.0);
}

#[test]
fn long_values_and_lists_of_a_resource_are_read_once_for_all_its_spans() {
    let mut bench = Bench::with(json!({"processors": ["service-graphs"]}), json!({}));
    let others = (0..20_000).map(|number| json!([format!("k{number}"), "v"]));
    let name = json!(["service.name", "a"]);
    let database = json!(["db.name", vec![1; 20_000]]);
    let attributes: Vec<Value> = [name].into_iter().chain(others).chain([database]).collect();
    let resources = json!({ "a": attributes });
    let spans = json!([with(span("a", "x", 3, "a1", ""), json!({"times": 20_000}))]);
    let batch = bench.batch(&resources, &spans, PUSH_MS);
    let started = std::time::Instant::now();
    bench.tenant.push(&batch, false, PUSH_MS);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    let kept = bench.collect(COLLECT_MS);
    assert_eq!(kept.value_with("traces_service_graph_request_total{"), 20_000.0);
    let server = format!("server=[{}", "1".repeat(2_047));
    assert!(kept.samples.keys().all(|name| name.contains(&server)));
}

#[test]
fn push_that_asks_for_no_metrics_is_counted_for_each_processor() {
    let processors = json!({"processors": ["span-metrics", "service-graphs", "host-info"]});
    let mut bench = Bench::with(processors, json!({}));
    let (resources, spans) = shop();
    let batch = bench.batch(&resources, &spans, PUSH_MS);
    bench.tenant.push(&batch, true, PUSH_MS);
    assert!(bench.tenant.is_empty());
    let skipped = "metrics_generation_skipped_processor_pushes_total{tenant=\"single-tenant\"}";
    assert_eq!(bench.own(skipped), 3.0);
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let policy = |policy: Value| json!({"processors": ["span-metrics"], "processor": {"span_metrics": {"filter_policies": [policy]}}});
    let condition = |kind: &str, key: &str, value: Value| {
        policy(
            json!({"include": {"match_type": kind, "attributes": [{"key": key, "value": value}]}}),
        )
    };
    let names = |count: usize| (0..count).map(|number| format!("n{number}")).collect::<Vec<_>>();
    let spans = |key: &str, value: Value| json!({"processors": ["span-metrics"], "processor": {"span_metrics": {key: value}}});
    let buckets = |count: u32| json!((1..=count).collect::<Vec<_>>());
    let name = json!({"match_type": "strict", "attributes": [{"key": "name", "value": "x"}]});
    let cases = [
        (
            spans("dimensions", json!(names(257))),
            "metrics_generator.processor.span_metrics.dimensions has 257 entries, more than 256",
        ),
        (
            spans("dimension_mappings", json!([{"name": "m", "source_labels": names(257)}])),
            "metrics_generator.processor.span_metrics.dimension_mappings has 257 entries, more than 256",
        ),
        (
            spans("histogram_buckets", buckets(257)),
            "metrics_generator.processor.span_metrics.histogram_buckets has 257 entries, more than 256",
        ),
        (
            json!({"processors": ["service-graphs"], "processor": {"service_graphs": {"histogram_buckets": buckets(257)}}}),
            "metrics_generator.processor.service_graphs.histogram_buckets has 257 entries, more than 256",
        ),
        (
            spans("filter_policies", json!(vec![json!({"exclude": name}); 513])),
            "all filter_policies together have more than 512 conditions",
        ),
        (
            json!({"processors": ["service-graphs"], "processor": {"service_graphs": {"dimensions": names(257)}}}),
            "metrics_generator.processor.service_graphs.dimensions has 257 entries, more than 256",
        ),
        (
            policy(json!({})),
            "invalid filter policy; policies must have at least an `include` or `exclude`",
        ),
        (condition("x", "kind", json!("a")), "invalid include policy: invalid match type: x"),
        (condition("strict", "span.a", json!(null)), "value type not supported: <nil>"),
        (condition("regex", "span.a", json!(null)), "value type not supported: <nil>"),
        (condition("strict", "kind", json!("x")), "unsupported kind intrinsic string value: x"),
        (condition("strict", "status", json!("x")), "unsupported status intrinsic string value: x"),
        (
            condition("strict", "duration", json!(1)),
            "invalid include policy: unsupported intrinsic: duration; supported intrinsics: [\"kind\" \"name\" \"status\"]",
        ),
        (
            condition("strict", "foo.bar", json!("x")),
            "invalid include policy: failed to parse identifier foo.bar: parse error at line 1, col 2: unknown identifier: foo",
        ),
        (condition("regex", "span.a", json!("(")), "invalid attribute filter regexp: "),
        (condition("regex", "name", json!("(")), "invalid intrinsic filter regex: "),
        (condition("regex", "span.a", json!(5)), "value type not supported: int"),
        (
            json!({"processors": ["span-metrics"], "processor": {"span_metrics": {"intrinsic_dimensions": {"x": true}}}}),
            "x is not a valid intrinsic dimension",
        ),
        (
            json!({"processors": ["span-metrics"], "processor": {"span_metrics": {"dimensions": ["a.b"], "dimension_mappings": [{"name": "a-b", "source_labels": ["c"]}]}}}),
            "dimension_mapping \"a-b\" produces label \"a_b\" which collides with dimension \"a.b\"",
        ),
        (
            json!({"processors": ["span-metrics"], "processor": {"span_metrics": {"aliases": ["otel"]}}}),
            "otel_seconds, otel_milliseconds",
        ),
        (
            json!({"processors": ["host-info"], "processor": {"host_info": {"host_identifiers": []}}}),
            "at least one value must be provided in host_identifiers",
        ),
    ];
    for (limits, expected) in cases {
        let error = settings(&yaml(&limits, &json!({}))).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for (key, most) in [("histogram_buckets", buckets(256)), ("dimensions", json!(names(256)))] {
        assert!(settings(&yaml(&spans(key, most), &json!({}))).is_ok(), "{key}");
    }
}
