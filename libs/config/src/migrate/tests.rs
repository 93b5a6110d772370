use super::*;
use proptest::prelude::*;

fn of(text: &str) -> Migration {
    migrate_config(text, None, None).unwrap()
}

/// The first of these variables of that name.
fn variable(env: &[(&str, &str)], name: &str) -> Option<String> {
    env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn of_env(text: &str, env: &[(&str, &str)]) -> Migration {
    migrate_config(text, None, Some(&|name| variable(env, name))).unwrap()
}

fn finding<'a>(migration: &'a Migration, key: &str) -> &'a Finding {
    let found: Vec<_> = migration.findings.iter().filter(|finding| finding.key == key).collect();
    assert_eq!(found.len(), 1, "{key} in {:#?}", migration.findings);
    found[0]
}

fn verdict(migration: &Migration, key: &str) -> Verdict {
    finding(migration, key).verdict
}

/// What is written, without its comments.
fn document(migration: &Migration) -> String {
    let document = migration.document.clone().unwrap();
    document.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn texts_that_read_as_booleans_stay_what_they_are() {
    let text = "storage:\n  trace:\n    backend: s3\n    s3:\n      bucket: y\n      region: On\n\
         metrics_generator:\n  registry:\n    external_labels:\n      region: no\n\
         usage_report:\n  reporting_enabled: false\n";
    let written = document(&of(text));
    for line in ["bucket: y\n", "region: On\n", "region: no\n"] {
        assert!(written.contains(line), "{line}{written}");
    }
}

#[test]
fn every_key_has_one_finding_with_its_line() {
    let found = of("server:\n  http_listen_port: 3200\nsearch_enabled: true\nauth_enabled: true\n\
         query_frontend:\n  query_shards: 20\n  nonsense: 1\n  max_retries: many\n\
         enable_go_runtime_metrics: true\n");
    for (key, line, verdict) in [
        ("server.http_listen_port", 2, Verdict::Honoured),
        ("search_enabled", 3, Verdict::Ignored),
        ("auth_enabled", 4, Verdict::Renamed),
        ("query_frontend.query_shards", 6, Verdict::Renamed),
        ("query_frontend.nonsense", 7, Verdict::Unknown),
        ("query_frontend.max_retries", 8, Verdict::Refused),
        ("enable_go_runtime_metrics", 9, Verdict::Ignored),
    ] {
        let found = finding(&found, key);
        assert_eq!((found.line, found.verdict), (Some(line), verdict), "{key}");
    }
    assert_eq!(
        document(&found),
        "server:\n  http_listen_port: 3200\nmultitenancy_enabled: true\nquery_frontend:\n  \
         trace_by_id:\n    query_shards: 20\n"
    );
    assert_eq!(found.left, NOTHING);
}

#[test]
fn names_of_today_are_told() {
    let found = of(
        "storage: {trace: {cache: memcached, memcached: {host: h, service: s}, search: {cache_control: {footer: true}}}}\n\
         cache: {caches: [{roles: [parquet-page], redis: {endpoint: 'r:1', pool-size: 3}}]}\n",
    );
    let now = |key: &str| finding(&found, key).now.clone().unwrap_or_default();
    assert_eq!(now("storage.trace.memcached.host"), "cache.caches.1.memcached.host");
    assert_eq!(now("cache.caches.0.redis.pool-size"), "cache.caches.0.redis.pool_size");
    let written = load::parse(&document(&found)).unwrap().config;
    let caches = written.all_caches().unwrap();
    assert_eq!(caches[1].0.roles, ["bloom", "trace-id-index", "parquet-footer"]);
    assert_eq!(caches[1].0.memcached.as_ref().unwrap().host, "h");
    assert_eq!(caches[0].0.redis.as_ref().unwrap().pool_size, 3);
    assert_eq!(found.left, NOTHING);
}

#[test]
fn memcached_host_without_a_service_is_to_be_looked_at() {
    let found = of("cache: {caches: [{roles: [bloom], memcached: {host: 'm:11211'}}]}\n");
    assert_eq!(verdict(&found, "cache.caches.0.memcached.host"), Verdict::Changed);
    let old = of("storage: {trace: {cache: memcached, memcached: {host: m}}}\n");
    let host = finding(&old, "storage.trace.memcached.host");
    assert!(host.verdict == Verdict::Changed && host.why.contains("dns+m instead"), "{host:?}");
}

#[test]
fn flat_limits_become_scoped() {
    let found = of(
        "overrides:\n  max_traces_per_user: 5\n  metrics_generator_processors: [local-blocks]\n  \
         per_tenant_override_config: /x\n",
    );
    let now = finding(&found, "overrides.max_traces_per_user").now.as_deref();
    assert_eq!(now, Some("overrides.defaults.ingestion.max_traces_per_user"));
    assert_eq!(verdict(&found, "overrides.per_tenant_override_config"), Verdict::Honoured);
    let document = document(&found);
    assert!(document.contains("ingestion:\n      max_traces_per_user: 5\n"), "{document}");
    assert_eq!(found.left, NOTHING);
}

#[test]
fn unknown_limit_is_named_by_itself_in_either_layout() {
    let scoped = of(
        "overrides:\n  defaults:\n    ingestion:\n      rate_limit_bytes: 1\n      limit_bytes: 2\n",
    );
    let unknown = finding(&scoped, "overrides.defaults.ingestion.limit_bytes");
    assert_eq!((unknown.line, unknown.verdict), (Some(5), Verdict::Unknown));
    let known = verdict(&scoped, "overrides.defaults.ingestion.rate_limit_bytes");
    assert_eq!(known, Verdict::Honoured);
    let flat = of("overrides:\n  max_traces_per_user: 5\n  block_retention: 1h\n  nothing: 2\n");
    let unknown = finding(&flat, "overrides.nothing");
    assert_eq!((unknown.line, unknown.verdict), (Some(4), Verdict::Unknown));
    assert_eq!(verdict(&flat, "overrides.max_traces_per_user"), Verdict::Renamed);
    assert_eq!((scoped.left, flat.left), (vec![], vec![]));
}

#[test]
fn suspect_values_get_their_remedy() {
    let found = of("ingester: {complete_block_timeout: 1m}\n\
         distributor: {log_received_spans: {enabled: true}, receivers: {otlp: {protocols: {grpc: {endpoint: 'a:1'}}}}}\n\
         compactor: {compaction: {v2_in_buffer_bytes: 1, compaction_cycle: 30, compacted_block_retention: 1m}}\n\
         query_frontend: {trace_by_id: {concurrent_shards: 60}}\n\
         storage: {trace: {block: {version: vParquet2}, s3: {native_aws_auth_enabled: true}, blocklist_poll: 10m}}\n");
    for (key, expected) in [
        ("ingester.complete_block_timeout", Verdict::Changed),
        ("distributor.log_received_spans.enabled", Verdict::Changed),
        ("compactor.compaction.v2_in_buffer_bytes", Verdict::Ignored),
        ("compactor.compaction.compaction_cycle", Verdict::Changed),
        ("compactor.compaction.compacted_block_retention", Verdict::Changed),
        ("query_frontend.trace_by_id.concurrent_shards", Verdict::Changed),
        ("storage.trace.block.version", Verdict::Refused),
        ("storage.trace.s3.native_aws_auth_enabled", Verdict::Ignored),
        ("distributor.receivers.otlp.protocols.grpc.endpoint", Verdict::Honoured),
    ] {
        assert_eq!(verdict(&found, key), expected, "{key}");
    }
    let why =
        |key: &str| found.findings.iter().find(|finding| finding.key == key).unwrap().why.clone();
    assert!(why("ingester.complete_block_timeout").ends_with("; written as 20m0s"));
    let document = document(&found);
    assert!(document.contains("complete_block_timeout: 20m0s"), "{document}");
    assert!(document.contains("compaction_cycle: 30ns"), "{document}");
    assert!(!document.contains("vParquet2\n"), "{document}");
    // What somebody has switched on stays on.
    assert!(document.contains("log_received_spans"), "{document}");
    let [logged] = &found.left[..] else { panic!("{:?}", found.left) };
    assert!(logged.starts_with("Span logging is enabled"), "{logged}");
}

#[test]
fn cache_that_is_none_is_no_cache() {
    let found =
        of("storage: {trace: {cache: none, backend: local, local: {path: a}, wal: {path: b}}}\n");
    assert_eq!(verdict(&found, "storage.trace.cache"), Verdict::Honoured);
    assert_eq!(found.left, NOTHING);
}

#[test]
fn what_stops_a_start_is_refused_and_left_to_a_person() {
    let found = of("target: live-store\ndistributor: {receivers: {kafka: {topic: a}}}\n");
    assert_eq!(verdict(&found, "target"), Verdict::Refused);
    assert_eq!(verdict(&found, "distributor.receivers.kafka"), Verdict::Refused);
    assert_eq!(found.left.len(), 2, "{:?}", found.left);
    let found = of("distributor: {receivers: {zipkin: {auth: {authenticator: basic}}}}\n");
    assert_eq!(verdict(&found, "distributor.receivers.zipkin.auth"), Verdict::Refused);
    let found = of(
        "distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}, \
                    filter: {traces: {span: ['IsMatch(name, \"x\")']}}}]}\n",
    );
    let key = "distributor.forwarders.0.filter.traces.span";
    assert_eq!(verdict(&found, key), Verdict::Refused);
}

#[test]
fn keys_of_missing_parts_go_as_a_whole() {
    let found = of(
        "distributor: {receivers: {opencensus: , otlp: {protocols: {grpc: , http: {endpoint: 'a:1'}}}}}\n\
         metrics_generator: {processor: {local_blocks: {concurrency: 2}}, storage: {wal: }}\n",
    );
    assert_eq!(verdict(&found, "distributor.receivers.opencensus"), Verdict::Ignored);
    assert_eq!(verdict(&found, "distributor.receivers.otlp.protocols.grpc"), Verdict::Changed);
    let document = document(&found);
    assert!(!document.contains("opencensus") && !document.contains("local_blocks"), "{document}");
    // A protocol without keys is on.
    let written = load::parse(&document).unwrap().config.distributor.receivers;
    assert!(written.otlp["otlp"].protocols.grpc.is_some());
    assert_eq!(found.left, NOTHING);
}

#[test]
fn variables_stay_variables_in_what_is_written() {
    let text = "storage: {trace: {backend: s3, s3: {bucket: 'a$$b', secret_key: ${K:-abc}, prefix: \"x${P}y\"}}}\n\
                server: {http_listen_port: ${PORT}} # ${NONE}\n\
                query_frontend: {url_deny_list: [\"a\\\\\\\\d\"]}\n";
    let env = [("PORT", "3100"), ("P", "-p-")];
    let found = of_env(text, &env);
    let document = document(&found);
    for part in ["secret_key: ${K:-abc}", "\"x${P}y\"", "http_listen_port: ${PORT}", "a$$b"] {
        assert!(document.contains(part), "{part} in {document}");
    }
    let read = |text: &str| {
        let expanded = expand::expand(text, |name| variable(&env, name)).unwrap();
        load::parse(&expanded).unwrap().config
    };
    assert_eq!(read(text), read(&document));
    assert_eq!(found.left, NOTHING);
}

#[test]
fn variable_of_several_values_is_not_written() {
    let found = of_env("memberlist: {join_members: [${LIST}]}\n", &[("LIST", "a, b")]);
    assert_eq!(found.document, None);
    assert_eq!(found.left, [MORE_THAN_ONE_VALUE]);
}

#[test]
fn secrets_are_not_shown() {
    let found = of("storage: {trace: {s3: {secret_key: [hidden], access_keys: hidden}}}\n");
    assert!(found.findings.iter().all(|finding| !finding.why.contains("hidden")));
    assert!(!document(&found).contains("hidden"));
}

#[test]
fn limits_by_tenant_become_scoped_and_complete() {
    let text = "overrides:\n  a.b:\n    max_traces_per_user: 5\n    nothing: 1\n  '*':\n    \
                ingestion_rate_limit_bytes: 1\n    ingestion_burst_size_bytes: 2\n";
    let found = migrate_overrides(text, &Config::default(), None).unwrap();
    assert_eq!(verdict(&found, "overrides.a.b.max_traces_per_user"), Verdict::Renamed);
    assert_eq!(verdict(&found, "overrides.a.b.nothing"), Verdict::Unknown);
    assert_eq!(verdict(&found, "overrides.a.b.ingestion.rate_limit_bytes"), Verdict::Changed);
    let document = document(&found);
    let tenants = crate::PerTenantOverrides::parse(&document, &Config::default()).unwrap();
    let ingestion = &tenants.overrides.get("a.b").unwrap().ingestion;
    assert_eq!((ingestion.max_traces_per_user, ingestion.rate_limit_bytes), (5, 15_000_000));
    assert_eq!(found.left, NOTHING);
}

#[test]
fn what_a_tenant_sets_without_effect_is_told() {
    let text = "overrides:\n  a:\n    ingestion: {rate_strategy: global, rate_limit_bytes: 1, burst_size_bytes: 1}\n    \
                metrics_generator: {processors: [spam-metrics]}\n";
    let found = migrate_overrides(text, &Config::default(), None).unwrap();
    assert_eq!(verdict(&found, "overrides.a.ingestion.rate_strategy"), Verdict::Ignored);
    assert_eq!(verdict(&found, "overrides.a.ingestion.rate_limit_bytes"), Verdict::Honoured);
    let processors = finding(&found, "overrides.a.metrics_generator.processors");
    assert_eq!(processors.verdict, Verdict::Changed);
    assert!(processors.why.contains("is not a processor"), "{processors:?}");
    assert!(!document(&found).contains("rate_strategy"), "{}", document(&found));
}

#[test]
fn second_document_is_left_out_and_that_is_told() {
    let found = of("server: {log_level: info}\n---\nmultitenancy_enabled: true\n");
    assert_eq!(found.left, [yaml::SECOND_DOCUMENT]);
}

#[test]
fn section_of_tempo_3_beside_one_for_the_compactor_is_left_out() {
    // The key of the compactor has no effect and goes: what it overruled must not take its place.
    let found = of("compactor:\n  compaction:\n    v2_in_buffer_bytes: 5242880\n\
                    backend_worker:\n  compaction:\n    block_retention: 1h\n");
    assert_eq!(verdict(&found, "backend_worker.compaction.block_retention"), Verdict::Ignored);
    assert!(!document(&found).contains("block_retention"), "{}", document(&found));
    let alone = of("backend_worker:\n  compaction:\n    block_retention: 1h\n");
    assert_eq!(document(&alone), "compactor:\n  compaction:\n    block_retention: 1h\n");
}

#[test]
fn every_key_without_effect_has_a_reason() {
    for row in crate::show::rows() {
        if row.meaning.starts_with("no effect here") {
            let (_, reason) = unsupported::no_effect(&row.path, row.meaning).unwrap();
            assert!(!reason.is_empty(), "{}", row.path);
        }
    }
}

proptest! {
    // Each case looks at every key that there is, several times.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn defaults_of_any_keys_are_written_without_warnings(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let rows = crate::show::rows();
        let mut root = Node::map(1, Vec::new());
        for pick in picks {
            let row = pick.get(&rows);
            let scalars = ["string", "boolean", "integer", "float", "duration", "duration (Prometheus)"];
            let has_one_place = !["[]", "<name>", "distributor.receivers", "sampling.adaptive"].iter().any(|part| row.path.contains(part));
            if scalars.contains(&row.kind.as_str()) && has_one_place {
                let path: Vec<&str> = row.path.split('.').collect();
                rewrite::put(&mut root, &path, yaml::parse(&row.default).unwrap(), 1);
            }
        }
        let text = yaml::emit(&root.to_value());
        let found = of(&text);
        prop_assert_eq!(&found.left, &NOTHING, "{}", text);
        let again = of(&document(&found));
        prop_assert_eq!(document(&again), document(&found));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_never_panics(
        text in "[a-c:{}\\[\\]\\-? \n&*!|>'\"$.0-9]{0,60}|(overrides|server|cache): .{0,40}",
    ) {
        let _ = migrate_config(&text, None, None);
        let _ = migrate_config(&text, None, Some(&|_| None));
        let _ = migrate_overrides(&text, &Config::default(), None);
    }
}
