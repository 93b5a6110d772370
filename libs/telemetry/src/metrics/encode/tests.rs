use super::*;
use crate::metrics::Registry;

#[test]
fn bounds_are_spelled_as_go_does() {
    let cases = [
        (0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.005, "0.005"),
        (0.0001, "0.0001"),
        (0.000_016, "1.6e-05"),
        (999_999.0, "999999"),
        (1e6, "1e+06"),
        (1_048_576.0, "1.048576e+06"),
        (1e100, "1e+100"),
        (f64::INFINITY, "+Inf"),
    ];
    for (value, expected) in cases {
        assert_eq!(spell(value), expected);
    }
}

#[test]
fn help_and_label_values_are_escaped() {
    let registry = Registry::new();
    registry.register_collector(|out| {
        out.family("a", "one\ntwo \\ three", Kind::Gauge);
        out.sample(&[("l", "one\ntwo \\ \"three\""), ("m", "ü")], 1.0);
    });
    assert_eq!(
        registry.encode(),
        "# HELP a one\\ntwo \\\\ three\n# TYPE a gauge\n\
         a{l=\"one\\ntwo \\\\ \\\"three\\\"\",m=\"ü\"} 1\n"
    );
}

#[test]
fn help_and_labels_that_look_like_buckets_stay_in_the_text_format() {
    let registry = Registry::new();
    let help = "As h_bucket{le=\"1.0\"} 1 # {trace_id=\"0\"} 1.0.";
    registry.gauge_vec("h_bucket", help, ["x"]).with(["{le=\"1.0\"} 1 # {"]).inc();
    assert_eq!(
        registry.encode(),
        "# HELP h_bucket As h_bucket{le=\"1.0\"} 1 # {trace_id=\"0\"} 1.0.\n# TYPE h_bucket gauge\n\
         h_bucket{x=\"{le=\\\"1.0\\\"} 1 # {\"} 1\n"
    );
}

#[test]
fn format_follows_what_is_accepted() {
    const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,\
         application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, expected) in [
        ("", Format::Classic),
        ("*/*", Format::Classic),
        ("text/html, */*;q=0.8", Format::Classic),
        ("application/json", Format::Classic),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
        (PROMETHEUS, Format::OpenMetrics),
        ("application/openmetrics-text;version=2.0.0", Format::Classic),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.5", Format::Classic),
        ("application/openmetrics-text;q=0", Format::Classic),
        ("application/openmetrics-text;q=x", Format::Classic),
    ] {
        assert_eq!(Format::accepted(accept), expected, "{accept:?}");
    }
}

#[test]
fn counter_without_suffix_has_no_type_in_openmetrics() {
    let registry = Registry::new();
    registry.counter("accepted_spans", "A.").inc();
    registry.counter("spans_total", "S.").inc();
    registry.gauge("tokens_total", "T.").set(0.5);
    assert_eq!(
        registry.encode_as(Format::OpenMetrics),
        "# HELP accepted_spans A.\n# TYPE accepted_spans unknown\naccepted_spans 1\n\
         # HELP spans S.\n# TYPE spans counter\nspans_total 1\n\
         # HELP tokens_total T.\n# TYPE tokens_total gauge\ntokens_total 0.5\n# EOF\n"
    );
}

#[test]
fn names_that_would_clash_in_openmetrics_keep_their_samples_there() {
    let registry = Registry::new();
    registry.gauge("blocks", "B.").inc();
    registry.counter("blocks_total", "All.").inc();
    assert_eq!(
        registry.encode_as(Format::OpenMetrics),
        "# HELP blocks B.\n# TYPE blocks gauge\nblocks 1\n\
         # HELP blocks_total All.\n# TYPE blocks_total unknown\nblocks_total 1\n# EOF\n"
    );
}

#[test]
fn metric_of_a_collector_with_a_name_that_is_taken_is_left_out() {
    let registry = Registry::new();
    registry.gauge("blocks", "B.").inc();
    registry.register_collector(|out| {
        out.family("blocks", "Others.", Kind::Gauge);
        out.sample(&[], 7.0);
    });
    assert_eq!(registry.encode(), "# HELP blocks B.\n# TYPE blocks gauge\nblocks 1\n");
}

/// The rules of OpenMetrics that a page can break: one head a metric, its samples behind it and of its names only, no
/// sample twice, one end.
fn check_open_metrics(page: &str) {
    let lines = page.strip_suffix("# EOF\n").expect("the end").lines();
    let (mut metrics, mut samples) = (HashSet::new(), HashSet::new());
    let mut current = ("", Vec::new());
    for line in lines {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and type");
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" | "unknown" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("type {other}"),
            };
            let names = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect::<Vec<_>>();
            assert!(metrics.insert(name.to_owned()), "{name} has two heads");
            for sample in &names {
                assert!(sample == name || metrics.insert(sample.clone()), "{sample} clashes");
            }
            assert_eq!(current.0, name, "its help stands before its type");
            current.1 = names;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            current = (rest.split_once(' ').expect("name and help").0, Vec::new());
        } else {
            let end = line.find(['{', ' ']).expect("a value");
            assert!(current.1.iter().any(|name| *name == line[..end]), "{line} after {current:?}");
            let series = line.split(" # ").next().and_then(|sample| sample.rsplit_once(' '));
            assert!(samples.insert(series.expect("a value").0.to_owned()), "{line} twice");
        }
    }
}

#[test]
fn page_of_clashing_names_keeps_the_rules_of_openmetrics() {
    let registry = Registry::new();
    for (name, kind) in [
        ("a", 'g'),
        ("a_total", 'c'),
        ("a_count", 'g'),
        ("a_sum", 'c'),
        ("b", 'h'),
        ("b_count", 'g'),
        ("b_total", 'c'),
        ("c_total", 'c'),
        ("c_total_total", 'c'),
        ("d_total", 'g'),
        ("e_bucket", 'c'),
        ("e", 'h'),
    ] {
        match kind {
            'g' => registry.gauge_vec(name, "G.", ["x"]).with(["y"]).inc(),
            'c' => registry.counter_vec(name, "C.", ["x"]).with(["y"]).inc(),
            _ => registry.histogram_vec(name, "H.", ["x"], &[1.0]).with(["y"]).observe(2.0),
        }
    }
    let page = registry.encode_as(Format::OpenMetrics);
    check_open_metrics(&page);
    // Every sample that no other has the name of is there under its own.
    for sample in ["a{", "a_total{", "a_count{", "b_count{", "c_total{", "d_total{", "e_bucket{"] {
        assert!(page.lines().any(|line| line.starts_with(sample)), "{sample}\n{page}");
    }
}

proptest::proptest! {
    #[test]
    fn bound_reads_back_the_same(value: f64) {
        let read: f64 = spell(value).parse().unwrap();
        proptest::prop_assert!(read == value || (read.is_nan() && value.is_nan()));
    }

    #[test]
    fn any_accept_header_is_read(header: String) {
        Format::accepted(&header);
    }
}
