//! What a tenant counts in the memory of the series of all tenants.

use serde_json::{Value, json};

use crate::bench::{Bench, COLLECT_MS, PUSH_MS, services, settings, span, yaml};

#[test]
fn texts_do_not_go_far_beyond_full_memory() {
    for (length, overflowing) in [(10, 2_000), (1_000, 1_000)] {
        names_within_memory(length, overflowing);
    }
}

fn names_within_memory(length: usize, overflowing: usize) {
    let max_bytes = 4 << 20;
    let limits = json!({"processors": ["span-metrics-count"]});
    let mut bench = Bench::within(max_bytes, &yaml(&limits, &json!({})));
    let push = |bench: &mut Bench, numbers: std::ops::Range<usize>, length: usize| {
        let named = |number| span("a", &format!("{number:0length$}"), 2, "a1", "");
        let spans: Vec<Value> = numbers.map(named).collect();
        bench.push(&services(&["a"]), &json!(spans), PUSH_MS);
        assert!(bench.memory.used() < max_bytes * 9 / 10, "{} {length}", bench.memory.used());
    };
    // It leaves about a fifth for others.
    for first in (0..12_000).step_by(100) {
        push(&mut bench, first..first + 100, length);
    }
    let entities = bench.tenant.statistics().active_entities;
    assert!((1_000..12_000).contains(&entities), "{entities}");
    assert!(bench.tenant.statistics().series_limited > 0);
    assert!(bench.memory.used() > max_bytes * 3 / 4);
    for first in (0..5_000).step_by(50) {
        push(&mut bench, first..first + 50, overflowing);
    }
    // Texts that were forgotten made no room for more: they are needed again.
    assert_eq!(bench.tenant.statistics().active_entities, entities);
    let kept = bench.collect(COLLECT_MS);
    let calls = kept.samples.iter().filter(|it| it.0.starts_with("traces_spanmetrics_calls_total"));
    let counted: f64 = calls.map(|(_, samples)| samples.last().unwrap().1).sum();
    assert_eq!(counted, 17_000.0);
}

#[test]
fn waiting_calls_count_as_the_settings_in_force_have_them() {
    let limits = json!({"processors": ["service-graphs"]});
    let mut bench = Bench::within(0, &yaml(&limits, &json!({})));
    let calls: Vec<Value> =
        (10..90).map(|number| span("a", "x", 3, &number.to_string(), "")).collect();
    bench.push(&services(&["a"]), &json!(calls), PUSH_MS);
    let dimensions: Vec<String> = (0..20).map(|number| format!("dimension-{number}")).collect();
    let more = json!({"service_graphs": {"dimensions": dimensions}});
    bench.tenant.set(settings(&yaml(&limits, &more)).unwrap(), PUSH_MS).unwrap();
    let changed = bench.memory.used();
    bench.tenant.expire(PUSH_MS);
    assert_eq!(changed, bench.memory.used());
}

#[test]
fn some_calls_wait_though_memory_is_full() {
    let limits = json!({"processors": ["service-graphs"]});
    let mut bench = Bench::within(1, &yaml(&limits, &json!({})));
    let resources = services(&["a", "b"]);
    let number = |number: u32| number.to_string();
    let calls: Vec<Value> = (10..90).map(|n| span("a", "x", 3, &number(n), "")).collect();
    bench.push(&resources, &json!(calls), PUSH_MS);
    let answers: Vec<Value> = (10..90).map(|n| span("b", "x", 2, "b1", &number(n))).collect();
    bench.push(&resources, &json!(answers), PUSH_MS);
    assert!(bench.tenant.statistics().active_series == 0, "they count in what overflows");
    let kept = bench.collect(COLLECT_MS);
    let total =
        kept.samples.iter().find(|it| it.0.starts_with("traces_service_graph_request_total"));
    assert_eq!(total.unwrap().1.last().unwrap().1, 80.0);
    assert_eq!(bench.own("processor_service_graphs_dropped_spans{tenant=\"single-tenant\"}"), 0.0);
}

#[test]
fn names_of_resource_attributes_count_until_they_are_forgotten() {
    let span_metrics = json!({"enable_target_info": true});
    let limits =
        json!({"processors": ["span-metrics-count"], "processor": {"span_metrics": span_metrics}});
    let mut bench = Bench::within(1, &yaml(&limits, &json!({})));
    let before = bench.memory.used();
    let mut bytes_after = |request: usize| {
        let mut resource = json!({"service.name": "a"});
        for name in 0..100 {
            resource[format!("n{request}.{name}.{}", "n".repeat(1_000))] = json!("v");
        }
        bench.push(&json!({"a": resource}), &json!([span("a", "x", 2, "a1", "")]), PUSH_MS);
        bench.memory.used() - before
    };
    assert!(bytes_after(0) > 200_000);
    (1..20).map(&mut bytes_after).for_each(|bytes| assert!(bytes < 300 << 10, "{bytes}"));
}
