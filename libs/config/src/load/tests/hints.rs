//! What a start tells besides its errors: what was probably meant, and what does nothing.

use super::*;

#[test]
fn negative_duration_warns() {
    let loaded = loaded("ingester: {trace_idle_period: -5s}", "");
    assert_eq!(loaded.verify_exit_code(), 0);
    assert_eq!(
        loaded.warnings,
        ["ingester.trace_idle_period: a duration below zero counts as 0 (line 1)"]
    );
}

#[test]
fn interval_below_zero_that_means_never_warns_of_nothing() {
    for interval in ["-1s", "-1"] {
        let text = format!("storage: {{trace: {{wal: {{fsync_interval: {interval}}}}}}}");
        let loaded = loaded(&text, "");
        assert!(loaded.config.storage.trace.wal.fsync_interval < GoDuration::ZERO);
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }
}

#[test]
fn fraction_of_an_integer_is_cut_off_with_a_warning() {
    let loaded = loaded("ingester: {concurrent_flushes: 4.7}", "");
    assert_eq!(loaded.config.ingester.concurrent_flushes, 4);
    assert_eq!(loaded.verify_exit_code(), 0);
    let expected = "ingester.concurrent_flushes: 4.7 is taken as 4 (line 1)";
    assert_eq!(loaded.warnings, [expected]);
}

#[test]
fn refused_file_tells_its_warnings_too() {
    let text = "storage: {trace: {backend: local, local: {path: /x}, wal: {path: /y}}}";
    let Error::Invalid { reason, warnings } = refused(text, "-target=querier") else { panic!() };
    let key = "querier.frontend_worker.frontend_address";
    assert_eq!(reason, format!("frontend worker address not specified ({key})"));
    assert!(warnings.iter().any(|warning| warning.starts_with("Local backend")), "{warnings:?}");
}

#[test]
fn settings_that_do_nothing_by_themselves_warn() {
    let members = "memberlist: {join_members: ['a:7946']}\n";
    let gossip = "ingester: {lifecycler: {ring: {kvstore: {store: memberlist}}}}\n";
    let generates = "overrides: {defaults: {metrics_generator: {processors: [span-metrics]}}}\n";
    let path = "metrics_generator: {storage: {path: ./g}}\n";
    let warnings = |text: &str, flags: &str| loaded(text, flags).warnings.len();
    assert_eq!(warnings(members, ""), 1);
    assert_eq!(warnings(&(members.to_owned() + gossip), ""), 0);
    assert_eq!(warnings(members, "-target=querier"), 0);
    assert_eq!(warnings(generates, ""), 1);
    assert_eq!(warnings(generates, "-target=distributor"), 0);
    assert_eq!(warnings(&(generates.to_owned() + path), ""), 0);
    assert_eq!((warnings(path, ""), warnings(path, "-target=distributor")), (1, 0));
    let idle = path.to_owned() + &generates.replace("span-metrics", "local-blocks");
    let loaded = loaded(&idle, "");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    let expected = "overrides.defaults.metrics_generator.processors: local-blocks does nothing";
    assert!(warning.starts_with(expected) && loaded.verify_exit_code() == 0, "{warning}");
}

#[test]
fn ring_in_memory_warns_where_there_is_a_cluster() {
    let told = |target: &str, store: &str| {
        let ring = format!("ring: {{kvstore: {{store: {store}}}}}");
        let text = format!("distributor: {{{ring}}}\nmetrics_generator: {{{ring}}}");
        let told = loaded(&text, &format!("-target={target}"));
        told.warnings.iter().filter(|it| it.contains("inmemory has no effect")).count()
    };
    assert_eq!((told("distributor", "inmemory"), told("distributor", "memberlist")), (2, 0));
    assert_eq!(told("all", "inmemory"), 0);
}

#[test]
fn address_to_advertise_that_nobody_can_reach_warns() {
    let text = "distributor: {ring: {instance_addr: 0.0.0.0}}\nmemberlist: {advertise_addr: 10.0.0.1}\n\
                ingester: {lifecycler: {address: '::', ring: {kvstore: {store: memberlist}}}}\n";
    let told = loaded(text, "-target=distributor");
    let warnings: Vec<&str> =
        told.warnings.iter().map(|it| &**it).filter(|it| it.contains("no address")).collect();
    let told_of =
        |key: &str| format!("{key} is no address that others can reach, and counts as not set");
    let expected = [
        told_of("ingester.lifecycler.address: ::"),
        told_of("distributor.ring.instance_addr: 0.0.0.0"),
    ];
    assert_eq!(warnings, expected);
    let said = |text: &str| loaded(text, "").warnings.iter().any(|it| it.contains("no address"));
    assert!(said(text));
    // A process alone advertises nothing.
    assert!(!said("ingester: {lifecycler: {address: 0.0.0.0}}"));
}

#[test]
fn key_of_another_section_is_shown_its_place() {
    for (text, hint) in [
        (
            "block_retention: 48h",
            "compactor.compaction.block_retention or overrides.defaults.compaction.block_retention?",
        ),
        ("receivers: {otlp: }", "did you mean distributor.receivers?"),
        (
            "server: {max_traces_per_user: 5}",
            "did you mean overrides.defaults.ingestion.max_traces_per_user?",
        ),
    ] {
        let error = refused(text, "").to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
    let error = refused("server: {endpoint: x}", "").to_string();
    assert!(error.ends_with("field endpoint not found in type server"), "{error}");
}

#[test]
fn program_of_one_service_is_that_whatever_the_arguments_say() {
    for flags in ["", "-target=ingester", "x", "-config.verify false -target=all"] {
        let args: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let loaded = load_as(Some("query-frontend"), &args, |_| None).unwrap();
        assert_eq!(loaded.config.target, "query-frontend", "{flags}");
        assert!(!loaded.configless);
    }
}
