//! Series over time: collections, limits, staleness, changed settings.

use proptest::prelude::*;
use serde_json::{Value, json};
use tactus_remote_write::series::STALE;

use crate::bench::{
    Bench, COLLECT_MS, LONG_MS, PUSH_MS, ZERO_MS, services, settings, shop, span, with, yaml,
};
use crate::kept::Kept;

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
fn series_live_until_their_last_value_is_collected() {
    for (interval, left) in [("15s", 0), ("5m", 1)] {
        let limits = json!({"processors": ["span-metrics-count"], "collection_interval": interval});
        let yaml = json!({
            "overrides": {"defaults": {"metrics_generator": limits}},
            "metrics_generator": {"registry": {"stale_duration": "1m"}},
        });
        let mut bench = Bench::new(&yaml.to_string());
        bench.push(&services(&["a"]), &json!([span("a", "x", 2, "a1", "")]), PUSH_MS);
        bench.tenant.expire(PUSH_MS + 6 * 60_000);
        assert_eq!(bench.tenant.series(), left, "{interval}");
        bench.tenant.expire(PUSH_MS + 12 * 60_000);
        assert_eq!(bench.tenant.series(), 0, "{interval}");
    }
}

#[test]
fn dimension_with_the_name_of_the_overflow_is_another_label() {
    let intrinsics =
        json!({"service": false, "span_name": false, "span_kind": false, "status_code": false});
    let span_metrics =
        json!({"intrinsic_dimensions": intrinsics, "dimensions": ["metric_overflow"]});
    let limits = json!({"processors": ["span-metrics-count"]});
    let mut bench = Bench::with(limits, json!({ "span_metrics": span_metrics }));
    let attributes = json!({"attributes": {"metric_overflow": "true"}});
    let spans = json!([with(span("a", "x", 2, "a1", ""), attributes)]);
    bench.push(&services(&["a"]), &spans, PUSH_MS);
    assert_eq!(bench.collect(COLLECT_MS).value_with("__metric_overflow=true"), 1.0);
    bench.tenant.expire(PUSH_MS + LONG_MS);
    assert_eq!(bench.tenant.series(), 0);
}

#[test]
fn changed_processor_begins_anew_and_a_removed_one_ends() {
    let both = json!(["span-metrics", "service-graphs"]);
    let mut bench = Bench::with(json!({ "processors": both }), json!({}));
    let resources = services(&["a", "b"]);
    let spans = json!([span("a", "x", 3, "a1", ""), span("b", "x", 2, "b1", "a1")]);
    bench.push(&resources, &spans, PUSH_MS);
    let labels = "{__metrics_gen_instance=gen-0,service=a,span_kind=SPAN_KIND_CLIENT,span_name=x";
    let last = |kept: &Kept, start: &str| {
        kept.samples.iter().find(|(name, _)| name.starts_with(start)).unwrap().1.last().unwrap().1
    };
    let of_tenant = settings(&yaml(
        &json!({"processors": both, "max_active_series": 1000, "trace_id_label_name": "trace_id"}),
        &json!({}),
    ));
    bench.tenant.set(of_tenant.unwrap(), PUSH_MS + 50).unwrap();
    bench.push(&resources, &spans, PUSH_MS + 60);
    let half = json!([with(span("a", "half", 3, "a7", ""), json!({"attributes": {"zone": "z"}}))]);
    bench.push(&resources, &half, PUSH_MS + 60);
    let kept = bench.collect(COLLECT_MS);
    let calls = format!("traces_spanmetrics_calls_total{labels}");
    assert_eq!(last(&kept, &calls), 2.0, "no processor has other settings");
    let changed = settings(&yaml(
        &json!({"processors": both, "max_active_series": 1000, "trace_id_label_name": "trace_id",
                "processor": {"service_graphs": {"dimensions": ["zone"], "enable_virtual_node_label": true},
                              "span_metrics": {"dimensions": ["zone"], "aliases": ["otel_seconds"]}}}),
        &json!({}),
    ));
    bench.tenant.set(changed.unwrap(), PUSH_MS + 100).unwrap();
    bench.push(&resources, &spans, PUSH_MS + 200);
    bench.push(&resources, &json!([span("b", "half", 2, "b7", "a7")]), PUSH_MS + 200);
    let kept = bench.collect(COLLECT_MS + 15_000);
    assert_eq!(last(&kept, &calls), 1.0);
    assert_eq!(last(&kept, &format!("traces_spanmetrics_latency_count{labels}")), 1.0);
    assert_eq!(
        last(
            &kept,
            "traces_span_metrics_duration_seconds_count{__metrics_gen_instance=gen-0,service_name=a,span_kind=SPAN_KIND_CLIENT,span_name=x"
        ),
        1.0
    );
    let edge = "traces_service_graph_request_total{__metrics_gen_instance=gen-0,client=a,server=b}";
    assert_eq!(last(&kept, edge), 2.0, "the call that waited was found by its other side");
    let alone =
        settings(&yaml(&json!({"processors": ["span-metrics-count"]}), &json!({}))).unwrap();
    bench.tenant.set(alone, PUSH_MS + 300).unwrap();
    bench.push(&resources, &spans, PUSH_MS + 400);
    let kept = bench.collect(COLLECT_MS + 30_000);
    assert!(kept.samples.keys().all(|name| name.starts_with("traces_spanmetrics_calls_total")));
    assert_eq!((kept.len(), bench.tenant.series()), (2, 2));
    assert_eq!(
        bench.own("active_processors{tenant=\"single-tenant\",processor=\"service-graphs\"}"),
        0.0
    );
}

#[test]
fn calls_that_wait_when_their_processor_is_removed_still_count() {
    let resources = services(&["a", "b"]);
    let pair = |id: &str| json!([span("a", "x", 3, id, ""), span("b", "x", 2, "b1", id)]);
    let root = |id: &str| json!([span("b", "root", 2, id, "")]);
    let limits = |processors: Value| settings(&yaml(&processors, &json!({}))).unwrap();
    let both = json!({"processors": ["span-metrics", "service-graphs"]});
    let edges = |kept: &Kept| -> Vec<(String, f64)> {
        let of_edges = |name: &&String| name.starts_with("traces_service_graph_request_total");
        let names: Vec<_> = kept.samples.keys().filter(of_edges).collect();
        let last = |name: &String| kept.samples[name].last().unwrap().1;
        names.iter().map(|&name| (name.clone(), last(name))).collect()
    };
    let mut bench = Bench::with(both.clone(), json!({}));
    bench.push(&resources, &pair("a1"), PUSH_MS);
    bench.push(&resources, &root("b2"), PUSH_MS);
    bench.push(&resources, &json!([span("a", "x", 3, "a6", "")]), PUSH_MS);
    bench.tenant.set(limits(json!({"processors": ["span-metrics"]})), PUSH_MS + 1_000).unwrap();
    bench.push(&resources, &root("b3"), PUSH_MS + 2_000);
    bench.push(&resources, &pair("a4"), PUSH_MS + 2_000);
    assert_eq!(edges(&bench.collect(COLLECT_MS - 15_000)), []);
    bench.tenant.expire(PUSH_MS + 11_000);
    bench.tenant.expire(PUSH_MS + 30_000);
    let kept = edges(&bench.collect(COLLECT_MS + 15_000));
    assert!(kept.len() == 1 && kept[0].0.contains("client=user") && kept[0].1 == 1.0, "{kept:?}");
    assert_eq!(bench.own("processor_service_graphs_expired_edges{tenant=\"single-tenant\"}"), 1.0);
    // Other settings leave it; the processor itself begins anew.
    let other = json!({"processors": ["span-metrics"], "max_active_series": 1_000});
    bench.tenant.set(limits(other), PUSH_MS + 40_000).unwrap();
    assert_eq!(edges(&bench.collect(COLLECT_MS + 30_000)).len(), 1);
    bench.tenant.set(limits(both), PUSH_MS + 50_000).unwrap();
    assert_eq!(edges(&bench.collect(COLLECT_MS + 45_000)), []);
}

#[test]
fn nothing_has_to_expire_without_calls_that_wait_before_series_may_be_stale() {
    let mut bench = Bench::with(json!({"processors": ["service-graphs"]}), json!({}));
    let pushed = |bench: &mut Bench, kind: u8| {
        bench.push(&services(&["a"]), &json!([span("a", "x", kind, "a1", "")]), PUSH_MS);
        bench.tenant.has_to_expire(PUSH_MS)
    };
    assert!(!pushed(&mut bench, 1) && pushed(&mut bench, 3));
    bench.tenant.expire(PUSH_MS + 60_000);
    assert!(!bench.tenant.has_to_expire(PUSH_MS + 60_000));
    assert!(bench.tenant.has_to_expire(PUSH_MS + 6 * 60_000));
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
fn metrics_of_limits_follow_their_changes() {
    let limits = |series: u64, values: u64| {
        json!({"processors": ["span-metrics-count"], "max_active_series": series,
               "max_cardinality_per_label": values})
    };
    let set = |bench: &mut Bench, limits: &Value, now_ms: i64| {
        let settings = settings(&yaml(limits, &json!({}))).unwrap();
        bench.tenant.set(settings, now_ms).unwrap();
    };
    let max = "registry_max_active_series{tenant=\"single-tenant\"}";
    let limited =
        "registry_label_values_limited_total{tenant=\"single-tenant\",label_name=\"span_name\"}";
    let demand = "registry_label_cardinality_demand_estimate{tenant=\"single-tenant\",label_name=\"span_name\"}";
    let spans: Vec<Value> = (0..20).map(|n| span("a", &format!("name {n}"), 2, "a1", "")).collect();
    let spans = json!(spans);
    let mut bench = Bench::with(limits(1_000, 5), json!({}));
    bench.push(&services(&["a"]), &spans, PUSH_MS);
    bench.push(&services(&["a"]), &spans, PUSH_MS + 20_000);
    bench.collect(PUSH_MS + 20_500);
    assert_eq!((bench.own(max), bench.own(limited)), (1_000.0, 20.0));
    assert!(bench.own(demand) > 0.0);
    bench.push(&services(&["a"]), &spans, PUSH_MS + 21_000);
    set(&mut bench, &limits(2_000, 6), PUSH_MS + 22_000);
    assert_eq!((bench.own(max), bench.own(limited)), (2_000.0, 40.0), "the rest is told");
    bench.push(&services(&["a"]), &spans, PUSH_MS + 22_100);
    bench.push(&services(&["a"]), &spans, PUSH_MS + 40_000);
    bench.collect(PUSH_MS + 40_500);
    assert_eq!(bench.own(limited), 60.0);
    assert!(bench.own(demand) > 0.0);
    set(&mut bench, &limits(0, 0), PUSH_MS + 41_000);
    bench.push(&services(&["a"]), &spans, PUSH_MS + 41_100);
    bench.collect(PUSH_MS + 41_500);
    assert_eq!((bench.own(max), bench.own(limited)), (0.0, 60.0));
    assert_eq!(bench.own(demand), 0.0, "it is not shown without a limit");
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
