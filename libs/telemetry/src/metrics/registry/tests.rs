use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::super::{DEFAULT_BUCKETS, Kind, OVERFLOW, exponential_buckets};
use super::*;

#[test]
fn counter_name_is_used_as_it_is() {
    let registry = Registry::new();
    let spans = registry.counter_vec(
        "tempo_receiver_accepted_spans",
        "Spans accepted.",
        ["receiver", "transport"],
    );
    spans.with(["otlp/otlp_receiver", "grpc"]).inc_by(2);
    spans.with(["zipkin", "http"]).inc();
    assert_eq!(
        registry.encode(),
        "# HELP tempo_receiver_accepted_spans Spans accepted.\n\
         # TYPE tempo_receiver_accepted_spans counter\n\
         tempo_receiver_accepted_spans{receiver=\"otlp/otlp_receiver\",transport=\"grpc\"} 2\n\
         tempo_receiver_accepted_spans{receiver=\"zipkin\",transport=\"http\"} 1\n"
    );
}

#[test]
fn metrics_without_labels_are_shown_from_registration_by_name() {
    let registry = Registry::new();
    registry.gauge("b", "Second.").set(1.5e7);
    registry.counter("a_total", "First.");
    registry.counter_vec("c_total", "Without series.", ["tenant"]);
    assert_eq!(
        registry.encode(),
        "# HELP a_total First.\n# TYPE a_total counter\na_total 0\n\
         # HELP b Second.\n# TYPE b gauge\nb 15000000\n"
    );
}

#[test]
fn gauge_goes_up_and_down() {
    let gauge = Registry::new().gauge("g", "");
    gauge.inc();
    gauge.add(2.5);
    gauge.dec();
    assert_eq!(gauge.get(), 2.5);
    gauge.set(-1.0);
    assert_eq!(gauge.get(), -1.0);
}

#[test]
fn histogram_buckets_are_cumulative_with_inclusive_bounds() {
    let registry = Registry::new();
    let histogram = registry.histogram_vec("h", "H.", ["m"], &[2.0, 1.0, 2.0, f64::INFINITY]);
    for value in [0.5, 1.0, 1.5, 99.0, f64::NAN] {
        histogram.with(["x"]).observe(value);
    }
    assert_eq!(
        registry.encode(),
        "# HELP h H.\n# TYPE h histogram\n\
         h_sum{m=\"x\"} 102.0\nh_count{m=\"x\"} 4\n\
         h_bucket{le=\"1\",m=\"x\"} 2\nh_bucket{le=\"2\",m=\"x\"} 3\nh_bucket{le=\"+Inf\",m=\"x\"} 4\n"
    );
}

#[test]
fn histogram_without_labels_has_only_le() {
    let registry = Registry::new();
    let histogram = registry.histogram("h", "H.", &[0.25]);
    histogram.observe_duration(Duration::from_millis(250));
    let text = registry.encode();
    assert!(
        text.ends_with("h_sum 0.25\nh_count 1\nh_bucket{le=\"0.25\"} 1\nh_bucket{le=\"+Inf\"} 1\n")
    );
}

#[test]
fn bucket_lists_follow_their_rules() {
    assert_eq!(exponential_buckets(1.0, 2.0, 4), [1.0, 2.0, 4.0, 8.0]);
    assert!(DEFAULT_BUCKETS.is_sorted());
}

#[test]
fn series_over_the_limit_share_the_overflow() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c", "C.", ["tenant", "reason"]);
    counters.set_max_series(2);
    for tenant in ["a", "b", "c", "d", "a"] {
        counters.with([tenant, "late"]).inc();
    }
    let text = registry.encode();
    assert!(text.contains("c{tenant=\"a\",reason=\"late\"} 2\n"));
    assert!(text.contains("c{tenant=\"overflow\",reason=\"late\"} 2\n"), "{text}");
    assert!(!text.contains("\"c\"") && !text.contains("\"d\""));
    assert_eq!(counters.with([OVERFLOW, "late"]).get(), 2);
}

#[test]
fn gauge_of_a_tenant_without_room_is_not_shown_as_that_of_all_others() {
    let registry = Registry::new();
    let length = registry.gauge_vec("length", "L.", ["tenant"]);
    let inflight = registry.gauge_vec("inflight", "I.", ["route"]);
    length.set_max_series(2);
    inflight.set_max_series(2);
    for name in ["a", "b", "c", "d"] {
        length.with([name]).set(7.0);
        inflight.with([name]).add(1.0);
    }
    let text = registry.encode();
    assert!(!text.contains("length{tenant=\"overflow\"}"), "{text}");
    assert!(text.contains("length{tenant=\"b\"} 7\n"), "{text}");
    assert!(text.contains("inflight{route=\"overflow\"} 2\n"), "{text}");
    // Whoever knows the sum shows it.
    length.with([OVERFLOW]).set(14.0);
    assert!(registry.encode().contains("length{tenant=\"overflow\"} 14\n"));
}

#[test]
fn removed_series_are_gone_and_make_room() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c", "C.", ["tenant", "reason"]);
    counters.set_max_series(3);
    for [tenant, reason] in [["a", "x"], ["a", "y"], ["b", "x"]] {
        counters.with([tenant, reason]).inc();
    }
    counters.retain(|[tenant, _]| tenant != "a");
    assert!(counters.remove(["b", "x"]));
    assert!(!counters.remove(["b", "x"]));
    assert_eq!(registry.encode(), "");
    counters.with(["c", "x"]).inc();
    assert!(registry.encode().contains("c{tenant=\"c\",reason=\"x\"} 1\n"));
}

#[test]
fn handle_outlives_its_series_without_effect() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c", "C.", ["tenant"]);
    let handle = counters.with(["a"]);
    handle.inc();
    counters.remove(["a"]);
    handle.inc();
    assert_eq!(counters.with(["a"]).get(), 0);
}

#[test]
fn metric_registered_twice_is_the_same() {
    let registry = Registry::new();
    registry.counter_vec("c", "C.", ["tenant"]).with(["a"]).inc();
    registry.counter_vec("c", "C.", ["tenant"]).with(["a"]).inc();
    assert!(registry.encode().ends_with("c{tenant=\"a\"} 2\n"));
}

#[test]
fn conflicting_or_ill_named_metric_works_but_is_not_shown() {
    let registry = Registry::new();
    registry.counter_vec("c", "C.", ["tenant"]).with(["a"]).inc();
    let before = registry.encode();
    registry.gauge_vec("c", "C.", ["tenant"]).with(["a"]).inc();
    registry.counter_vec("c", "C.", ["user"]).with(["a"]).inc();
    registry.counter("c-d", "").inc();
    registry.counter("1c", "").inc();
    registry.counter("", "").inc();
    registry.counter_vec("d", "", ["a b"]).with([""]).inc();
    registry.counter_vec("e", "", ["__name__"]).with([""]).inc();
    assert_eq!(registry.encode(), before);
}

#[test]
fn collectors_run_at_every_scrape_before_gauges_are_read() {
    let registry = Registry::new();
    let gauge = registry.gauge("g", "G.");
    let scrapes = AtomicU64::new(0);
    registry.register_collector(move |encoder| {
        gauge.set(7.0);
        encoder.family("s_total", "S.", Kind::Counter);
        encoder.sample(&[("l", "v")], scrapes.fetch_add(1, Ordering::Relaxed) as f64);
    });
    let expected = |scrape: u32| {
        format!(
            "# HELP g G.\n# TYPE g gauge\ng 7\n\
             # HELP s_total S.\n# TYPE s_total counter\ns_total{{l=\"v\"}} {scrape}\n"
        )
    };
    assert_eq!(registry.encode(), expected(0));
    assert_eq!(registry.encode(), expected(1));
}

#[test]
fn concurrent_updates_are_all_counted() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c", "C.", ["l"]);
    let gauge = registry.gauge("g", "G.");
    let histogram = registry.histogram("h", "H.", &[1.0]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..1000 {
                    counters.with([["a", "b"][round % 2]]).inc();
                    gauge.inc();
                    histogram.observe(round as f64);
                }
            });
        }
    });
    assert_eq!((counters.with(["a"]).get(), counters.with(["b"]).get()), (2000, 2000));
    assert_eq!(gauge.get(), 4000.0);
    assert!(registry.encode().contains("h_sum 1998000.0\nh_count 4000\nh_bucket{le=\"1\"} 8\n"));
}

#[test]
fn global_registry_shows_the_process() {
    let text = Registry::global().encode();
    assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "));
}

#[test]
fn idle_series_of_tenants_are_forgotten() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c", "C.", ["tenant"]);
    let gauges = registry.gauge_vec("g", "G.", ["tenant"]);
    let reasons = registry.counter_vec("r", "R.", ["reason"]);
    let held = counters.with(["held"]);
    for tenant in ["idle", "busy"] {
        counters.with([tenant]).inc();
        gauges.with([tenant]).inc();
        reasons.with([tenant]).inc();
    }
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let shown = |text: &str, series: &str| text.contains(&format!("c{{tenant=\"{series}\"}}"));
    assert!(shown(&registry.encode_after(hours(0), Format::Classic), "idle"));
    assert!(shown(&registry.encode_after(hours(1), Format::Classic), "idle"));
    counters.with(["busy"]).inc();
    let text = registry.encode_after(hours(7), Format::Classic);
    assert!(!shown(&text, "idle") && shown(&text, "busy") && shown(&text, "held"), "{text}");
    assert!(text.contains("g{tenant=\"idle\"} 1") && text.contains("r{reason=\"idle\"} 1"));
    counters.with(["idle"]).inc();
    assert!(registry.encode_after(hours(8), Format::Classic).contains("c{tenant=\"idle\"} 1\n"));
    drop(held);
    registry.encode_after(hours(9), Format::Classic);
    assert!(!shown(&registry.encode_after(hours(16), Format::Classic), "held"));
}

#[test]
fn series_of_tenants_share_the_bytes_of_the_page() {
    let registry = Registry::new();
    registry.set_max_tenant_series_bytes(100_000);
    let spans = registry.counter_vec("spans_total", "S.", ["tenant"]);
    let discarded = registry.counter_vec("discarded_total", "D.", ["reason", "tenant"]);
    let seconds = registry.histogram_vec("seconds", "T.", ["tenant"], &DEFAULT_BUCKETS);
    let live = registry.gauge_vec("live", "L.", ["tenant"]);
    let routes = registry.counter_vec("routes_total", "R.", ["route"]);
    for number in 0..5_000 {
        let tenant = format!("{number:0>150}");
        spans.with([&tenant]).inc();
        discarded.with([["a", "b"][number % 2], &tenant]).inc();
        seconds.with([&tenant]).observe(1.0);
        if let Some(gauge) = live.try_with([&tenant]) {
            gauge.set(1.0);
        }
    }
    routes.with(["/late"]).inc();
    let text = registry.encode();
    assert!(text.len() < 120_000, "{}", text.len());
    for counted in
        ["discarded_total{reason=\"a\",tenant=\"overflow\"}", "routes_total{route=\"/late\"} 1"]
    {
        assert!(text.contains(counted), "{counted}");
    }
    assert!(!text.contains("live{tenant=\"overflow\"}"));
    let all: u64 = text
        .lines()
        .filter(|line| line.starts_with("spans_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(all, 5_000, "nothing is left uncounted");
}

#[test]
fn page_has_room_again_when_series_go() {
    let registry = Registry::new();
    registry.set_max_tenant_series_bytes(200);
    let gauges = registry.gauge_vec("g", "G.", ["tenant"]);
    let counters = registry.counter_vec("c", "C.", ["tenant"]);
    let fill = |prefix: &str| {
        (0..100).filter(|number| gauges.try_with([&format!("{prefix}{number}")]).is_some()).count()
    };
    let first = fill("a");
    assert!(first > 0 && first < 100);
    assert_eq!(fill("b"), 0);
    counters.with(["late"]).inc();
    assert!(registry.encode().contains("c{tenant=\"overflow\"} 1"));
    counters.remove([OVERFLOW]);
    gauges.retain(|_| false);
    assert_eq!(fill("c"), first, "neither less nor more than before");
    assert!(gauges.remove(["c0"]));
    assert_eq!(fill("d"), 1);
}

#[test]
fn idle_tenants_go_sooner_when_the_page_is_short_of_room() {
    let registry = Registry::new();
    registry.set_max_tenant_series_bytes(200);
    let counters = registry.counter_vec("c", "C.", ["tenant"]);
    (0..100).for_each(|number| counters.with([&number.to_string()]).inc());
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    registry.encode_after(minutes(0), Format::Classic);
    registry.encode_after(minutes(1), Format::Classic);
    let text = registry.encode_after(minutes(17), Format::Classic);
    assert!(!text.contains("tenant=\"0\""), "{text}");
}
