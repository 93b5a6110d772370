use super::*;
use crate::from_yaml;

fn parse_file(text: &str) -> Result<PerTenantFile, String> {
    PerTenantOverrides::parse(text, &Config::default()).map_err(|error| error.to_string())
}

#[test]
fn entry_replaces_the_defaults_but_for_the_rate_limit() {
    let text = "overrides: {a: {ingestion: {max_traces_per_user: 7}}, \"*\": {global: {max_bytes_per_trace: 9}}}";
    let file = parse_file(text).unwrap();
    let a = file.overrides.get("a").unwrap();
    assert_eq!(a.ingestion.max_traces_per_user, 7);
    assert_eq!(a.global.max_bytes_per_trace, 0);
    assert_eq!(a.ingestion.rate_limit_bytes, 15_000_000);
    assert_eq!(a.ingestion.burst_size_bytes, 20_000_000);
    assert!(!a.ingestion.retry_info_enabled);
    assert_eq!(a.metrics_generator.native_histogram_max_bucket_number, 100);
    let b = file.overrides.get("b").unwrap();
    assert_eq!((b.global.max_bytes_per_trace, b.ingestion.max_traces_per_user), (9, 0));
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    assert_eq!(file.overrides.entries().map(|(tenant, _)| tenant).collect::<Vec<_>>(), ["*", "a"]);
}

#[test]
fn written_zero_stays_zero() {
    let text = "overrides: {a: {ingestion: {rate_limit_bytes: 0, burst_size_bytes: 0}}}";
    let file = parse_file(text).unwrap();
    let ingestion = &file.overrides.get("a").unwrap().ingestion;
    assert_eq!((ingestion.rate_limit_bytes, ingestion.burst_size_bytes), (0, 0));
    assert!(file.warnings.is_empty() && file.advice.is_empty());
}

#[test]
fn rate_limits_that_many_tenants_leave_out_are_told_once() {
    let file =
        parse_file("overrides: {a: {}, b: {ingestion: {rate_limit_bytes: 1}}, c: {}}").unwrap();
    let told = |tenants, key, default| {
        format!(
            "overrides of tenant a leave out ingestion.{key}: {default} of the defaults holds, \
             not 0, which would refuse every push (and {tenants} more)"
        )
    };
    let expected =
        [told(2, "burst_size_bytes", 20_000_000), told(1, "rate_limit_bytes", 15_000_000)];
    assert_eq!(file.advice, expected);
}

#[test]
fn empty_files_and_entries_are_fine() {
    for text in ["", "overrides:", "overrides: {}", "overrides: {a: }", "# nothing"] {
        let file = parse_file(text).unwrap();
        assert_eq!(file.overrides.get("a"), None, "{text}");
    }
}

#[test]
fn flat_file_means_the_same_as_the_scoped_one() {
    let scoped = parse_file(
        "overrides:\n  a:\n    ingestion: {rate_limit_bytes: 1, burst_size_bytes: 2}\n    read: {max_search_duration: 7d}\n",
    );
    let flat = parse_file(
        "overrides:\n  a:\n    ingestion_rate_limit_bytes: 1\n    ingestion_burst_size_bytes: 2\n    max_search_duration: 7d\n",
    );
    assert_eq!(scoped, flat);
    assert!(scoped.unwrap().warnings.is_empty());
}

#[test]
fn tenant_that_no_request_can_name_is_left_out_with_a_warning() {
    for (tenant, reason) in [
        ("a/b", "contains unsupported character '/'"),
        ("team-a|team-b", "contains unsupported character '|'"),
        ("\"team a\"", "contains unsupported character ' '"),
        ("overrides", "cannot be stored"),
        (".hidden", "cannot be stored"),
        ("\"\"", "no org id"),
    ] {
        // In either layout.
        for limits in ["{ingestion: {max_traces_per_user: 7}}", "{max_traces_per_user: 7}"] {
            let text = format!("overrides: {{{tenant}: {limits}, other: {limits}}}");
            let file = parse_file(&text).unwrap();
            let named = format!("overrides of tenant {} are ignored: ", tenant.trim_matches('"'));
            let warned = |text: &String| text.starts_with(&named) && text.contains(reason);
            assert!(file.warnings.iter().any(warned), "{:?}", file.warnings);
            let names: Vec<_> = file.overrides.entries().map(|(name, _)| name).collect();
            assert_eq!(names, ["other"]);
        }
    }
    let long = "a".repeat(151);
    let file = parse_file(&format!("overrides: {{{long}: {{}}}}")).unwrap();
    assert!(file.warnings.iter().any(|text| text.contains("too long")), "{:?}", file.warnings);
    let file =
        parse_file("overrides: {\"*\": {}, a-b_c.d: {}, 12: {}, single-tenant: {}}").unwrap();
    assert_eq!(file.overrides.entries().count(), 4);
}

#[test]
fn bad_files_are_refused_as_a_whole() {
    for (text, message) in [
        ("a: 1", "field a not found"),
        ("overrides: {a: {nope: 1}}", "also failed in legacy format"),
        ("overrides: {a: {}, a: {}}", "key \"a\" already set in map"),
        ("overrides: [", "yaml: line"),
        (
            "overrides: {a: {metrics_generator: {processor: {span_metrics: {histogram_buckets: [2, 1]}}}}}",
            "validating overrides for a failed: metrics_generator.processor.span_metrics.histogram_buckets must be strictly increasing: bucket[1]=1 is <= bucket[0]=2",
        ),
        (
            "overrides: {a: {metrics_generator: {native_histogram_bucket_factor: 1}}}",
            "native_histogram_bucket_factor must be greater than 1",
        ),
        (
            "overrides: {a: {metrics_generator: {generate_native_histograms: x}}}",
            "\"x\" is not a valid value, valid values: classic, native, both",
        ),
        (
            "overrides: {a: {cost_attribution: {dimensions: {x: l, y: l}}}}",
            "cost_attribution.dimensions has duplicate label name: 'l', both 'x' and 'y' map to it",
        ),
        (
            "overrides: {a: {cost_attribution: {dimensions: {x: a-b}}}}",
            "cost_attribution.dimensions config has invalid label name: 'a-b'",
        ),
    ] {
        let error = parse_file(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn processors_that_do_not_exist_warn() {
    let text = "overrides: {a: {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}, \
                metrics_generator: {processors: [span_metrics, span-metrics]}}}";
    let warnings = parse_file(text).unwrap().warnings;
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with(
        "overrides of tenant a: metrics_generator.processors: \"span_metrics\" is not a processor"
    ));
}

#[test]
fn strategy_of_a_tenant_has_no_effect_and_that_is_told_once() {
    let limits = "{ingestion: {rate_strategy: globl, rate_limit_bytes: 1, burst_size_bytes: 1}}";
    let file = parse_file(&format!("overrides: {{a: {limits}, b: {limits}}}")).unwrap();
    assert_eq!(file.overrides.get("a").unwrap().ingestion.rate_strategy, "local");
    let expected = "overrides.a.ingestion.rate_strategy (and 1 more): has no effect for a tenant: \
                    that of overrides.defaults counts for all";
    assert_eq!((file.advice, file.warnings), (vec![expected.to_owned()], vec![]));
}

#[test]
fn second_document_is_told() {
    let file = parse_file("overrides: {}\n---\noverrides: {a: {}}\n").unwrap();
    assert_eq!(file.overrides, PerTenantOverrides::default());
    assert_eq!(file.warnings, [SECOND_DOCUMENT]);
}

#[test]
fn processor_without_effect_warns_once_for_all_tenants() {
    let limits = "{ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}, metrics_generator: {processors: [local-blocks]}}";
    let text = format!("overrides: {{a: {limits}, b: {limits}}}");
    let file = parse_file(&text).unwrap();
    let ([warning], []) = (&file.advice[..], &file.warnings[..]) else { panic!("{file:?}") };
    let expected =
        "overrides.a.metrics_generator.processors (and 1 more): local-blocks does nothing";
    assert!(warning.starts_with(expected), "{warning}");
}

#[test]
fn limit_on_series_that_memory_ends_before_warns_once_for_all_tenants() {
    let limits = |processors: &str| {
        format!(
            "{{ingestion: {{rate_limit_bytes: 1, burst_size_bytes: 1}}, \
               metrics_generator: {{processors: [{processors}], max_active_series: 1000000}}}}"
        )
    };
    let (some, none) = (limits("span-metrics"), limits(""));
    let text = format!("overrides: {{a: {some}, b: {some}, without: {none}}}");
    let config = from_yaml("metrics_generator: {storage: {path: ./g}}").unwrap();
    let file = PerTenantOverrides::parse(&text, &config).unwrap();
    let ([warning], []) = (&file.advice[..], &file.warnings[..]) else { panic!("{file:?}") };
    let expected = "overrides.a.metrics_generator.max_active_series is 1000000, but metrics_generator.registry.max_bytes";
    assert!(warning.starts_with(expected) && warning.ends_with(" (and 1 more)"), "{warning}");
    assert!(parse_file(&text).unwrap().advice.is_empty(), "there is no generator");
}

#[test]
fn shard_size_below_the_replication_factor_is_refused() {
    let config = from_yaml("ingester: {lifecycler: {ring: {replication_factor: 3}}}").unwrap();
    let text = "overrides: {a: {ingestion: {tenant_shard_size: 2}}}";
    let error = PerTenantOverrides::parse(text, &config).unwrap_err().to_string();
    assert!(error.contains("ingester.tenant.shard_size is lower than replication factor (2 < 3)"));
}

#[test]
fn yaml_of_the_entries_masks_secrets() {
    let text =
        "overrides: {a: {metrics_generator: {remote_write_headers: {Authorization: hunter2}}}}";
    let yaml = parse_file(text).unwrap().overrides.to_yaml();
    assert!(yaml.contains("Authorization: \"********\"") && !yaml.contains("hunter2"), "{yaml}");
}
