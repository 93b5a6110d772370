//! What the engine makes of spans, beyond the recorded scenarios: each test is one rule.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "checks/kept.rs"]
mod kept;
#[path = "scenarios/spans.rs"]
mod spans;

use std::time::Duration;

use kept::Kept;
use proptest::prelude::*;
use serde_json::{Value, json};
use tactus_config::Config;
use tactus_metrics_generator::engine::{EngineMetrics, Settings, Tenant};
use tactus_metrics_generator::series::STALE;
use tactus_telemetry::metrics::Registry;

/// 12:00:03.2, when spans come; the first collection is at 12:00:20.
const PUSH_MS: i64 = 1_767_268_803_200;
const COLLECT_MS: i64 = 1_767_268_820_000;
const ZERO_MS: i64 = 1_767_268_799_000;
/// Half an hour.
const LONG_MS: i64 = 30 * 60_000;

const TRACE: &str = "0102030405060708090a0b0c0d0e0f10";

/// A tenant that is configured in YAML, and what it counts of itself.
struct Bench {
    tenant: Tenant,
    own: Registry,
}

fn config(yaml: &str) -> Config {
    let mut config = tactus_config::from_yaml(yaml).unwrap();
    config.metrics_generator.ring.ring.instance_id = "gen-0".to_owned();
    config
}

fn settings(yaml: &str) -> Result<Settings, String> {
    let config = config(yaml);
    let limits = &config.overrides.defaults.metrics_generator;
    Settings::resolve(&config.metrics_generator, limits, "single-tenant")
}

/// Limits of the tenant, and processors of the configuration.
fn yaml(limits: &Value, processor: &Value) -> String {
    json!({
        "overrides": {"defaults": {"metrics_generator": limits}},
        "metrics_generator": {"processor": processor},
    })
    .to_string()
}

impl Bench {
    fn new(yaml: &str) -> Self {
        let own = Registry::new();
        let metrics = EngineMetrics::register(&own);
        let settings = settings(yaml).unwrap();
        let tenant = Tenant::new("single-tenant", settings, &metrics, PUSH_MS - 1000).unwrap();
        Self { tenant, own }
    }

    fn with(limits: Value, processor: Value) -> Self {
        Self::new(&yaml(&limits, &processor))
    }

    fn push(&mut self, resources: &Value, spans: &Value, now_ms: i64) {
        let batch = self.batch(resources, spans, now_ms);
        self.tenant.push(&batch, false, now_ms);
    }

    /// Times of spans are milliseconds after [`PUSH_MS`].
    fn batch(&self, resources: &Value, spans: &Value, now_ms: i64) -> tactus_model::SelectedBatch {
        let scenario = json!({ "resources": resources });
        let event = json!({ "spans": spans });
        let keys = self.tenant.selected_keys();
        spans::batch(&scenario, &event, PUSH_MS, now_ms, Duration::from_secs(3_600), keys)
    }

    fn collect(&mut self, now_ms: i64) -> Kept {
        let mut kept = Kept::default();
        self.tenant.collect(now_ms, &mut kept);
        self.tenant.committed();
        kept
    }

    /// A metric of the generator's own; 0 if it is not there.
    fn own(&self, series: &str) -> f64 {
        let text = self.own.encode();
        let name = format!("tempo_metrics_generator_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

fn span(resource: &str, name: &str, kind: u8, id: &str, parent: &str) -> Value {
    json!({"resource": resource, "trace": TRACE, "id": id.repeat(8), "parent": parent.repeat(8),
           "name": name, "kind": kind, "start": -200, "end": -100})
}

fn with(mut span: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    span.as_object_mut().unwrap().extend(more);
    span
}

fn services(names: &[&str]) -> Value {
    let resource = |name: &&str| (name.to_string(), json!({"service.name": name}));
    Value::Object(names.iter().map(resource).collect())
}

fn shop() -> (Value, Value) {
    // Milliseconds after 12:00:00.
    let at = |span: Value, start: i64, end: i64| {
        with(span, json!({"start": start - 3_200, "end": end - 3_200}))
    };
    let database = json!({"attributes": {"db.system": "postgresql", "db.name": "carts", "server.address": "pg-0"}});
    let spans = json!([
        at(span("shop", "GET /cart", 2, "a1", ""), 2000, 2150),
        at(span("shop", "cart.get", 3, "a2", "a1"), 2010, 2110),
        with(
            at(span("cart", "cart.get", 2, "b1", "a2"), 2020, 2100),
            json!({"status": 2, "message": "boom"})
        ),
        with(at(span("cart", "SELECT carts", 3, "b2", "b1"), 2030, 2050), database),
        at(span("shop", "orders publish", 4, "a3", "a1"), 2120, 2130),
        at(span("mail", "orders process", 5, "c1", "a3"), 2200, 2260),
        with(
            at(span("shop", "POST /charge", 3, "a4", "a1"), 2131, 2141),
            json!({"attributes": {"peer.service": "stripe"}})
        ),
    ]);
    (services(&["shop", "cart", "mail"]), spans)
}

#[test]
fn worked_example_collects_every_value_once_and_starts_series_at_zero() {
    let mut bench =
        Bench::with(json!({"processors": ["span-metrics", "service-graphs"]}), json!({}));
    let (resources, spans) = shop();
    bench.push(&resources, &spans, PUSH_MS);
    (0..8).for_each(|tick| bench.tenant.expire(PUSH_MS + 2000 * tick));
    let first = bench.collect(COLLECT_MS);
    assert_eq!((first.at(COLLECT_MS), first.at(ZERO_MS), first.exemplars.len()), (249, 232, 17));
    assert_eq!(bench.tenant.series(), 249);
    let calls = "traces_spanmetrics_calls_total{__metrics_gen_instance=gen-0,service=shop,\
                 span_kind=SPAN_KIND_SERVER,span_name=GET /cart,status_code=STATUS_CODE_UNSET}";
    assert_eq!(first.samples[calls], [(ZERO_MS, 0.0), (COLLECT_MS, 1.0)]);
    let size = calls.replace("calls_total", "size_total");
    assert_eq!(first.samples[&size], [(ZERO_MS, 0.0), (COLLECT_MS, 61.0)]);
    let sum = calls.replace("calls_total", "latency_sum");
    assert_eq!(first.samples[&sum], [(COLLECT_MS, 0.15)], "sums do not start at zero");
    let sizes: Vec<f64> = first
        .samples
        .iter()
        .filter(|(name, _)| name.starts_with("traces_spanmetrics_size_total"))
        .map(|(_, samples)| samples.last().unwrap().1)
        .collect();
    assert_eq!(sizes.iter().sum::<f64>(), 61.0 + 70.0 + 78.0 + 147.0 + 76.0 + 76.0 + 100.0);
    let second = bench.collect(COLLECT_MS + 45_000);
    let values = |kept: &Kept, at| -> Vec<_> {
        kept.samples
            .iter()
            .map(|(name, samples)| {
                (
                    name.clone(),
                    *samples.last().unwrap() == (at, samples.last().unwrap().1),
                    samples.last().unwrap().1,
                )
            })
            .collect()
    };
    assert_eq!(values(&first, COLLECT_MS), values(&second, COLLECT_MS + 45_000));
    assert_eq!((second.at(COLLECT_MS + 45_000), second.len()), (249, 249), "no zeros any more");
    assert!(second.exemplars.is_empty());
}

#[test]
fn collection_that_did_not_arrive_is_repeated_with_zeros_and_exemplars() {
    let mut bench = Bench::with(json!({"processors": ["span-metrics"]}), json!({}));
    bench.push(&services(&["a"]), &json!([span("a", "x", 2, "a1", "")]), PUSH_MS);
    let mut lost = Kept::default();
    bench.tenant.collect(COLLECT_MS, &mut lost);
    let again = bench.collect(COLLECT_MS + 15_000);
    assert_eq!(again.at(ZERO_MS), lost.at(ZERO_MS));
    assert_eq!((lost.exemplars.len(), again.exemplars.len()), (1, 1));
    assert_eq!(bench.collect(COLLECT_MS + 30_000).exemplars.len(), 0);
}

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
fn series_of_buckets_count_towards_the_active_ones() {
    let buckets = json!({"span_metrics": {"histogram_buckets": [1, 2]}, "service_graphs": {"histogram_buckets": [1, 2]}});
    let mut bench = Bench::with(json!({"processors": ["span-metrics", "service-graphs"]}), buckets);
    let spans = json!([span("a", "x", 3, "a1", ""), span("b", "x", 2, "b1", "a1")]);
    bench.push(&services(&["a", "b"]), &spans, PUSH_MS);
    assert_eq!(bench.tenant.series(), 25);
    assert_eq!(bench.own("registry_active_series{tenant=\"single-tenant\"}"), 25.0);
    assert_eq!(
        bench.own("active_processors{tenant=\"single-tenant\",processor=\"span-metrics\"}"),
        1.0
    );
}

#[test]
fn label_sets_above_the_limit_go_to_the_overflow_and_leave_room_when_stale() {
    let limits = json!({"processors": ["span-metrics-count"], "max_active_series": 1});
    let mut bench = Bench::with(limits, json!({}));
    let spans = json!([
        span("a", "x", 2, "a1", ""),
        span("a", "y", 2, "a2", ""),
        span("a", "y", 2, "a3", "")
    ]);
    bench.push(&services(&["a"]), &spans, PUSH_MS);
    let overflow =
        "traces_spanmetrics_calls_total{__metrics_gen_instance=gen-0,metric_overflow=true}";
    assert_eq!(bench.collect(COLLECT_MS).samples[overflow].last().unwrap().1, 2.0);
    assert_eq!(bench.own("registry_series_limited_total{tenant=\"single-tenant\"}"), 2.0);
    assert_eq!(bench.tenant.series(), 1);
    bench.tenant.expire(PUSH_MS + LONG_MS);
    assert_eq!((bench.tenant.series(), bench.collect(PUSH_MS + LONG_MS).len()), (0, 0));
    assert!(bench.tenant.is_empty());
    let later = PUSH_MS + LONG_MS + 1000;
    let batch = bench.batch(
        &services(&["a"]),
        &json!([with(span("a", "y", 2, "a1", ""), json!({"start": LONG_MS, "end": LONG_MS}))]),
        later,
    );
    bench.tenant.push(&batch, false, later);
    assert_eq!(bench.tenant.series(), 1, "there is room again");
    assert_eq!(bench.own("registry_series_limited_total{tenant=\"single-tenant\"}"), 2.0);
}

#[test]
fn stale_series_end_without_a_marker_and_begin_again_at_zero() {
    for markers in [false, true] {
        let yaml = json!({
            "overrides": {"defaults": {"metrics_generator": {"processors": ["span-metrics"]}}},
            "metrics_generator": {"registry": {"staleness_markers": markers}},
        });
        let mut bench = Bench::new(&yaml.to_string());
        let one = bench.batch(&services(&["a"]), &json!([span("a", "x", 2, "a1", "")]), PUSH_MS);
        bench.tenant.push(&one, false, PUSH_MS);
        bench.collect(COLLECT_MS);
        bench.tenant.expire(PUSH_MS + 10 * 60_000);
        assert_eq!(bench.tenant.series(), 19, "not stale yet");
        let later = PUSH_MS + 21 * 60_000;
        bench.tenant.expire(later);
        assert_eq!(bench.own("registry_series_removed_total{tenant=\"single-tenant\"}"), 19.0);
        let ended = bench.collect(later);
        let stale = ended.samples.values().flatten();
        let stale = stale.filter(|(_, value)| value.to_bits() == STALE.to_bits()).count();
        assert_eq!((stale, ended.len()), if markers { (19, 19) } else { (0, 0) });
        bench.tenant.push(&one, false, later + 60_000);
        let again = bench.collect(later + 120_000);
        let calls = again.samples.iter().find(|(name, _)| name.contains("calls_total")).unwrap();
        assert_eq!(calls.1.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [0.0, 1.0]);
    }
}

#[test]
fn change_of_options_resets_no_counter_and_a_removed_processor_ends() {
    let both = json!(["span-metrics", "service-graphs"]);
    let mut bench = Bench::with(json!({ "processors": both }), json!({}));
    let resources = services(&["a", "b"]);
    let spans = json!([span("a", "x", 3, "a1", ""), span("b", "x", 2, "b1", "a1")]);
    bench.push(&resources, &spans, PUSH_MS);
    let half = json!([with(span("a", "half", 3, "a7", ""), json!({"attributes": {"zone": "z"}}))]);
    bench.push(&resources, &half, PUSH_MS);
    let changed = settings(&yaml(
        &json!({"processors": both, "max_active_series": 1000, "trace_id_label_name": "trace_id",
                "processor": {"service_graphs": {"dimensions": ["zone"], "enable_virtual_node_label": true},
                              "span_metrics": {"dimensions": ["zone"], "aliases": ["otel_seconds"]}}}),
        &json!({}),
    ));
    bench.tenant.set(changed.unwrap(), PUSH_MS + 100).unwrap();
    bench.push(&resources, &spans, PUSH_MS + 200);
    bench.push(&resources, &json!([span("b", "half", 2, "b7", "a7")]), PUSH_MS + 200);
    let kept = bench.collect(COLLECT_MS);
    let value = |start: &str| {
        kept.samples.iter().find(|(name, _)| name.starts_with(start)).unwrap().1.last().unwrap().1
    };
    let labels = "{__metrics_gen_instance=gen-0,service=a,span_kind=SPAN_KIND_CLIENT,span_name=x";
    assert_eq!(value(&format!("traces_spanmetrics_calls_total{labels}")), 2.0);
    assert_eq!(value(&format!("traces_spanmetrics_latency_count{labels}")), 2.0);
    assert_eq!(
        value(
            "traces_span_metrics_duration_seconds_count{__metrics_gen_instance=gen-0,service_name=a,span_kind=SPAN_KIND_CLIENT,span_name=x"
        ),
        2.0
    );
    let edge = "traces_service_graph_request_total{__metrics_gen_instance=gen-0,client=a,server=b}";
    assert_eq!(value(edge), 3.0, "the call that waited was found by its other side");
    let alone =
        settings(&yaml(&json!({"processors": ["span-metrics-count"]}), &json!({}))).unwrap();
    bench.tenant.set(alone, PUSH_MS + 300).unwrap();
    let kept = bench.collect(COLLECT_MS + 15_000);
    assert!(kept.samples.keys().all(|name| name.starts_with("traces_spanmetrics_calls_total")));
    assert_eq!((kept.len(), bench.tenant.series()), (4, 4));
    assert_eq!(
        bench.own("active_processors{tenant=\"single-tenant\",processor=\"service-graphs\"}"),
        0.0
    );
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
fn calls_that_wait_expire_when_the_clock_goes_back() {
    let hour = 3_600_000;
    let mut bench = Bench::with(
        json!({"processors": ["service-graphs"]}),
        json!({"service_graphs": {"wait": "10s", "max_items": 2}}),
    );
    let lone = |id: &str| json!([span("a", "x", 3, id, "")]);
    for id in ["a1", "a2"] {
        bench.push(&services(&["a"]), &lone(id), PUSH_MS);
    }
    bench.tenant.expire(PUSH_MS - 3_000);
    assert_eq!(bench.own("processor_service_graphs_expired_edges{tenant=\"single-tenant\"}"), 0.0);
    bench.tenant.expire(PUSH_MS - hour);
    assert_eq!(bench.own("processor_service_graphs_expired_edges{tenant=\"single-tenant\"}"), 2.0);
    bench.push(&services(&["a"]), &lone("a3"), PUSH_MS);
    assert_eq!(bench.own("processor_service_graphs_dropped_spans{tenant=\"single-tenant\"}"), 0.0);
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
fn values_of_a_label_beyond_the_limit_become_one() {
    let limits = json!({"processors": ["span-metrics-count"], "max_cardinality_per_label": 5});
    let mut bench = Bench::with(limits, json!({}));
    let spans: Vec<Value> = (0..20).map(|n| span("a", &format!("name {n}"), 2, "a1", "")).collect();
    bench.push(&services(&["a"]), &json!(spans), PUSH_MS);
    assert_eq!(bench.tenant.series(), 20, "the limit is looked at every 15 s");
    bench.push(&services(&["a"]), &json!(spans), PUSH_MS + 20_000);
    assert_eq!(bench.tenant.series(), 21);
    let kept = bench.collect(COLLECT_MS + 20_000);
    assert_eq!(kept.value_with("span_name=__cardinality_overflow__,"), 20.0);
    let limited =
        "registry_label_values_limited_total{tenant=\"single-tenant\",label_name=\"span_name\"}";
    assert_eq!(bench.own(limited), 20.0);
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
    let cases = [
        (
            policy(json!({})),
            "invalid filter policy; policies must have at least an `include` or `exclude`",
        ),
        (condition("x", "kind", json!("a")), "invalid include policy: invalid match type: x"),
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
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However spans are split into pushes, and whatever was in the pushes before, the series are the same.
    #[test]
    fn series_do_not_depend_on_how_spans_are_split(
        picks in proptest::collection::vec((0..3_usize, 0..4_usize, 0..6_u8, 0..3_usize, 0..4_u8), 1..40),
        cuts in proptest::collection::vec(1..12_usize, 1..6),
        limit in 0..120_u64,
    ) {
        let resources = json!({
            "a": {"service.name": "a", "zone": "r"}, "b": {"service.name": "b"}, "n": {"host.name": "h"},
        });
        let spans: Vec<Value> = picks
            .iter()
            .map(|(resource, name, kind, zone, parent)| {
                let span = span(["a", "b", "n"][*resource], ["x", "y", "z", ""][*name], *kind, "a1", "");
                let zone = ["", "p", "q"][*zone];
                let ids = json!({"id": format!("{:016x}", 1 + kind), "parent": format!("{parent:016x}"),
                                 "attributes": {"zone": zone}});
                with(span, ids)
            })
            .collect();
        let limits = json!({"processors": ["span-metrics", "service-graphs"], "max_active_series": limit,
            "processor": {"span_metrics": {"dimensions": ["zone"], "enable_target_info": true}, "service_graphs": {"dimensions": ["zone"]}}});
        let run = |sizes: &[usize]| {
            let mut bench = Bench::with(limits.clone(), json!({}));
            let (mut rest, mut sizes) = (&spans[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                bench.push(&resources, &json!(now), PUSH_MS);
                rest = later;
            }
            bench.tenant.expire_all(PUSH_MS + 20_000);
            let calls: f64 = bench.collect(COLLECT_MS).samples.iter()
                .filter(|(name, _)| name.starts_with("traces_spanmetrics_calls_total"))
                .map(|(_, samples)| samples.last().unwrap().1)
                .sum();
            (bench.collect(COLLECT_MS + 1).samples, bench.tenant.series(), calls)
        };
        let one_by_one = run(&[1]);
        prop_assert_eq!(one_by_one.2, spans.len() as f64, "no span is lost at a limit");
        if limit == 0 {
            // With a limit the processors take turns otherwise, and others come first.
            prop_assert_eq!(&run(&cuts).0, &one_by_one.0);
        }
        prop_assert!(limit == 0 || one_by_one.1 as u64 <= limit);
    }
}
