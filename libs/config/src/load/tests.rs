use super::*;
use crate::duration::GoDuration;
use proptest::prelude::*;
use std::io::Write;

mod hints;
mod targets;

/// A file that is gone with the value, and the arguments that name it.
struct File(tempfile::NamedTempFile);

impl File {
    fn new(text: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Self(file)
    }

    fn load(&self, flags: &str) -> Result<Loaded, Error> {
        let mut args = vec![format!("-config.file={}", self.0.path().display())];
        args.extend(flags.split_whitespace().map(str::to_owned));
        load(&args, |name| (name == "HOSTNAME").then(|| "host-1".to_owned()))
    }
}

fn loaded(text: &str, flags: &str) -> Loaded {
    File::new(text).load(flags).unwrap()
}

fn refused(text: &str, flags: &str) -> Error {
    File::new(text).load(flags).unwrap_err()
}

fn without_file(flags: &str) -> Loaded {
    let args: Vec<_> = flags.split_whitespace().map(str::to_owned).collect();
    load(&args, |_| None).unwrap()
}

/// What the conformance runs use; changed only in its paths.
const CONFORMANCE: &str = r#"
stream_over_http_enabled: true
server:
  http_listen_port: 3200
  grpc_listen_port: 9095
distributor:
  receivers:
    otlp:
      protocols:
        http: {endpoint: "127.0.0.1:4318"}
        grpc: {endpoint: "127.0.0.1:4317"}
ingester:
  trace_idle_period: 2s
  flush_check_period: 1s
query_frontend:
  search: {query_backend_after: 0s, query_ingesters_until: 24h}
  metrics: {query_backend_after: 1s, max_duration: 24h}
overrides:
  defaults:
    ingestion: {rate_limit_bytes: 1000000000, burst_size_bytes: 1000000000, max_traces_per_user: 0}
storage:
  trace:
    backend: local
    local: {path: ./data/blocks}
    wal: {path: ./data/wal, ingestion_time_range_slack: 2h}
    blocklist_poll: 5s
usage_report: {reporting_enabled: false}
"#;

#[test]
fn conformance_file_loads_and_names_keys_without_effect() {
    let loaded = loaded(CONFORMANCE, "");
    let keys = ["search.query_ingesters_until", "metrics.query_backend_after"];
    let expected = keys.map(|key| format!("query_frontend.{key} is set but has no effect"));
    assert_eq!(loaded.warnings, expected);
    let config = loaded.config;
    assert!(config.stream_over_http_enabled);
    let otlp = &config.distributor.receivers.otlp["otlp"].protocols;
    assert_eq!(otlp.http.as_ref().unwrap().server.endpoint, "127.0.0.1:4318");
    assert_eq!(config.ingester.trace_idle_period, GoDuration::seconds(2));
    assert_eq!(config.overrides.defaults.ingestion.max_traces_per_user, 0);
    assert_eq!(config.overrides.defaults.global.max_bytes_per_trace, 5_000_000);
    assert_eq!(config.storage.trace.wal.ingestion_time_range_slack, GoDuration::hours(2));
    assert!(!loaded.configless);
}

#[test]
fn empty_file_means_the_defaults() {
    let loaded = loaded("", "-config.verify");
    assert!(loaded.verify_only && loaded.warnings.is_empty());
    assert_eq!(loaded.verify_exit_code(), 0);
    let config = &loaded.config;
    assert_eq!((config.server.http_listen_port, config.server.grpc_listen_port), (3_200, 9_095));
    assert_eq!(config.target, "all");
    assert_eq!(config.storage.trace.block.version, "vParquet4");
    assert_eq!(config.compactor.compaction.block_retention, GoDuration::hours(336));
    assert_eq!(config.ingester.lifecycler.id, "host-1");
}

#[test]
fn file_without_receivers_gets_them_all_on_every_interface() {
    let receivers = loaded("", "").config.distributor.receivers;
    assert!(receivers.by_default);
    let otlp = &receivers.otlp["otlp"].protocols;
    assert_eq!(otlp.grpc.as_ref().unwrap().server.endpoint, ":4317");
    assert_eq!(otlp.http.as_ref().unwrap().server.endpoint, ":4318");
    let jaeger = &receivers.jaeger["jaeger"].protocols;
    assert_eq!(jaeger.grpc.as_ref().unwrap().server.endpoint, ":14250");
    assert_eq!(jaeger.thrift_http.as_ref().unwrap().server.endpoint, ":14268");
    assert_eq!(jaeger.thrift_compact.as_ref().unwrap().endpoint, ":6831");
    assert_eq!(jaeger.thrift_binary.as_ref().unwrap().endpoint, ":6832");
    assert_eq!(jaeger.thrift_compact_legacy.as_ref().unwrap().endpoint, ":5775");
    assert_eq!(receivers.zipkin["zipkin"].server.endpoint, ":9411");
}

#[test]
fn distributor_without_receivers_gets_what_existing_files_expect() {
    let receivers = loaded("target: distributor", "").config.distributor.receivers;
    assert!(receivers.by_default && receivers.zipkin.is_empty());
    let otlp = &receivers.otlp["otlp"].protocols;
    assert!(otlp.grpc.is_some() && otlp.http.is_none());
    let jaeger = &receivers.jaeger["jaeger"].protocols;
    assert!(jaeger.grpc.is_some() && jaeger.thrift_http.is_some());
    assert!(jaeger.thrift_compact.is_none() && jaeger.thrift_compact_legacy.is_none());
}

#[test]
fn named_receivers_replace_the_usual_ones() {
    let file = "distributor: {receivers: {jaeger: {protocols: {thrift_compact: }}}}";
    let receivers = loaded(file, "").config.distributor.receivers;
    assert!(!receivers.by_default && receivers.otlp.is_empty() && receivers.zipkin.is_empty());
    let jaeger = &receivers.jaeger["jaeger"].protocols;
    assert!(jaeger.grpc.is_none() && jaeger.thrift_compact.is_some());
}

#[test]
fn protocols_that_are_off_are_off_in_the_configuration_that_is_shown() {
    let file = "distributor: {receivers: {jaeger: {protocols: {grpc: }}, otlp/a: {protocols: {http: }}, zipkin: }}";
    let config = from_yaml(file).unwrap();
    for shown in [crate::to_yaml(&config), crate::to_yaml_diff(&config)] {
        let again = from_yaml(&shown).unwrap();
        assert_eq!(again.distributor.receivers, config.distributor.receivers, "{shown}");
    }
}

#[test]
fn zipkin_receiver_has_its_listener_in_the_old_form_and_the_new() {
    let endpoint = |zipkin: &str| {
        let file = format!("distributor: {{receivers: {{zipkin: {zipkin}}}}}");
        let loaded = loaded(&file, "");
        assert!(loaded.warnings.iter().all(|warning| !warning.contains("zipkin")));
        loaded.config.distributor.receivers.zipkin["zipkin"].listener().endpoint.clone()
    };
    assert_eq!(endpoint(""), ":9411");
    assert_eq!(endpoint("{endpoint: 'a:1', parse_string_tags: true}"), "a:1");
    assert_eq!(endpoint("{protocols: {http: }}"), ":9411");
    assert_eq!(endpoint("{protocols: {http: {endpoint: 'b:2'}}}"), "b:2");
}

#[test]
fn start_without_a_file_stays_on_loopback() {
    for flags in ["", "-target=all -log.level=debug -server.http-listen-port=3300"] {
        let loaded = without_file(flags);
        assert!(loaded.configless && loaded.warnings.is_empty(), "{flags}");
        let config = &loaded.config;
        assert_eq!(config.server.http_listen_address, "127.0.0.1");
        assert_eq!(config.server.grpc_listen_address, "127.0.0.1");
        let otlp = &config.distributor.receivers.otlp["otlp"].protocols;
        assert_eq!(otlp.grpc.as_ref().unwrap().server.endpoint, "127.0.0.1:4317");
        assert_eq!(otlp.http.as_ref().unwrap().server.endpoint, "127.0.0.1:4318");
        let jaeger = &config.distributor.receivers.jaeger["jaeger"].protocols;
        assert_eq!(jaeger.thrift_compact.as_ref().unwrap().endpoint, "127.0.0.1:6831");
        let zipkin = &config.distributor.receivers.zipkin["zipkin"];
        assert_eq!(zipkin.server.endpoint, "127.0.0.1:9411");
        let trace = &config.storage.trace;
        assert_eq!(trace.backend, "local");
        assert_eq!(trace.local.path, "./tactus-data/blocks");
        assert_eq!(trace.wal.path, "./tactus-data/wal");
    }
}

#[test]
fn start_without_a_file_listens_and_keeps_data_where_the_environment_says() {
    let start = |address: &str| {
        let variables = [("TACTUS_LISTEN_ADDRESS", address), ("TACTUS_DATA_DIRECTORY", "/data/")];
        load(&[], |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    for (address, endpoint) in [("0.0.0.0", "0.0.0.0:9411"), ("::", "[::]:9411")] {
        let config = start(address).unwrap().config;
        assert_eq!(config.server.http_listen_address, address);
        assert_eq!(config.server.grpc_listen_address, address);
        assert_eq!(config.distributor.receivers.zipkin["zipkin"].server.endpoint, endpoint);
        assert_eq!(config.storage.trace.local.path, "/data/blocks");
        assert_eq!(config.storage.trace.wal.path, "/data/wal");
    }
    assert_eq!(start("").unwrap().config.server.http_listen_address, "127.0.0.1");
    let error = start("all").unwrap_err().to_string();
    assert!(error.contains("TACTUS_LISTEN_ADDRESS=all"), "{error}");
}

#[test]
fn start_with_storage_flags_is_no_start_without_configuration() {
    let loaded = without_file("-storage.trace.backend=local -storage.trace.local.path=/x");
    assert!(!loaded.configless);
    assert_eq!(loaded.config.server.http_listen_address, "");
    assert_eq!(loaded.config.storage.trace.wal.path, "/var/tempo/wal");
}

#[test]
fn flags_are_stronger_than_the_file() {
    let config = loaded("server: {http_listen_port: 1}", "--server.http-listen-port 2").config;
    assert_eq!(config.server.http_listen_port, 2);
}

#[test]
fn unknown_key_stops_the_start_with_its_line() {
    let error = refused("foo: 1", "");
    let text = error.to_string();
    assert!(text.contains("failed parsing config: failed to parse configFile"), "{text}");
    assert!(text.contains("line 1: field foo not found"), "{text}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn unreadable_file_and_broken_yaml_are_refused() {
    let args = ["-config.file=/does/not/exist".to_owned()];
    let text = load(&args, |_| None).unwrap_err().to_string();
    assert!(text.contains("failed to read configFile /does/not/exist"), "{text}");
    let text = refused("a: [", "").to_string();
    assert!(text.contains("yaml: line "), "{text}");
}

#[test]
fn second_document_of_the_file_is_told() {
    let loaded = loaded("multitenancy_enabled: false\n---\nmultitenancy_enabled: true\n", "");
    assert!(!loaded.config.multitenancy_enabled);
    assert!(loaded.warnings.iter().any(|text| text == crate::yaml::SECOND_DOCUMENT));
}

#[test]
fn key_with_dashes_beside_the_one_without_stands_twice() {
    let redis = |keys: &str| {
        from_yaml(&format!("cache: {{caches: [{{roles: [bloom], redis: {{{keys}}}}}]}}"))
    };
    for keys in ["pool-size: 3, pool_size: 5", "pool_size: 5, pool-size: 3"] {
        let error = redis(keys).unwrap_err();
        let expected = "field pool_size already set in type cache.caches.0.redis";
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(redis("pool-size: 3").unwrap().cache.caches[0].redis.as_ref().unwrap().pool_size, 3);
}

#[test]
fn variables_expand_only_when_asked_for() {
    let text = "storage: {trace: {s3: {secret_key: '${K:-abc}'}}}";
    let config = loaded(text, "-config.expand-env").config;
    assert_eq!(config.storage.trace.s3.secret_key.reveal(), "abc");
    let yaml = crate::to_yaml(&config);
    assert!(yaml.contains("secret_key: \"********\"") && !yaml.contains("abc"));
    assert!(!format!("{config:?}").contains("abc"));
    let config = loaded(text, "-config.expand-env=false").config;
    assert_eq!(config.storage.trace.s3.secret_key.reveal(), "${K:-abc}");
    let text = refused("a: ${X-1}", "-config.expand-env=true").to_string();
    assert!(text.contains("failed to expand env vars") && text.contains("missing closing brace"));
}

#[test]
fn unknown_flag_exits_with_two_and_usage() {
    let error = refused("", "-nope");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.starts_with("flag provided but not defined: -nope\nUsage of tactus:"), "{text}");
}

#[test]
fn bad_value_of_a_flag_exits_with_two() {
    let error = refused("", "-log.level=foo");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    let expected =
        "invalid value \"foo\" for flag -log.level: unrecognized log level \"foo\"\nUsage";
    assert!(text.starts_with(expected), "{text}");
    // As a value of the file it is one of the configuration.
    assert_eq!(refused("server: {log_level: foo}", "").exit_code(), 1);
}

#[test]
fn ballast_flag_of_existing_charts_is_accepted() {
    loaded("", "-mem-ballast-size-mbs=1024");
}

#[test]
fn help_version_and_health_need_no_valid_configuration() {
    assert!(without_file("-help").print_help.unwrap().contains("-config.file"));
    assert!(refused("foo: 1", "-version").to_string().contains("field foo not found"));
    assert!(loaded("target: nope", "-version").print_version);
    assert_eq!(without_file("-health").health_probe.unwrap(), "http://localhost:3200/ready");
    assert_eq!(without_file("-health -health.url=http://x").health_probe.unwrap(), "http://x");
    assert_eq!(without_file("").health_probe, None);
}

#[test]
fn positional_after_verify_stops_parsing() {
    let loaded = loaded("", "-config.verify false -target=querier");
    assert!(loaded.verify_only);
    assert_eq!(loaded.config.target, "all");
    assert!(without_file("-verify-config").verify_only);
}

#[test]
fn suspect_values_fail_the_verification() {
    for (text, flags, message) in [
        (
            "storage: {trace: {backend: local, local: {path: /x}}}",
            "-target=querier -querier.frontend-address=f:9095",
            "Local backend",
        ),
        ("overrides: {max_traces_per_user: 5}", "", "unscoped overrides are deprecated"),
        ("ingester: {complete_block_timeout: 1m}", "", "ingester.complete_block_timeout <"),
        ("compactor: {compaction: {block_retention: 1m}}", "", "compaction.block_retention <"),
        ("compactor: {compaction: {retention_concurrency: 0}}", "", "retention_concurrency"),
        ("distributor: {log_received_spans: {enabled: true}}", "", "Span logging is enabled"),
        ("query_frontend: {mcp_server: {enabled: true}}", "", "mcp_server"),
        ("storage: {trace: {cache: memcached}}", "", "storage.trace.cache is deprecated"),
        ("query_frontend: {trace_by_id: {concurrent_shards: 51}}", "", "concurrent_shards"),
        ("compactor: {compaction: {v2_in_buffer_bytes: 1}}", "", "v2_in_buffer_bytes is set"),
        (
            "overrides: {defaults: {metrics_generator: {generate_native_histograms: x}}}",
            "",
            "overrides.defaults: metrics_generator.generate_native_histograms",
        ),
        (
            "storage: {trace: {backend: local, local: {path: /x}}}\n\
             overrides: {user_configurable_overrides: {enabled: true, client: {backend: local, local: {path: /x}}}}",
            "",
            "Trace storage conflicts",
        ),
    ] {
        let loaded = loaded(text, flags);
        let suspect = &loaded.warnings[..loaded.suspect];
        assert!(suspect.iter().any(|w| w.contains(message)), "{text}: {:?}", loaded.warnings);
        assert_eq!(loaded.verify_exit_code(), 1);
    }
}

#[test]
fn keys_without_effect_warn_but_pass_the_verification() {
    let loaded = loaded("memberlist: {gossip_nodes: 3}\nsearch_enabled: true\n", "");
    assert_eq!(loaded.verify_exit_code(), 0);
    assert_eq!(
        loaded.warnings,
        [
            "deprecated key search_enabled ignored",
            "memberlist.gossip_nodes is set but has no effect"
        ]
    );
}

#[test]
fn limits_of_tempo_2_0_are_ignored() {
    let loaded = loaded(
        "distributor: {search_tags_deny_list: [a]}\n\
         overrides: {ingestion_rate_limit_bytes: 7, max_search_bytes_per_trace: 5000, search_tags_allow_list: [b]}",
        "",
    );
    assert_eq!(loaded.config.overrides.defaults.ingestion.rate_limit_bytes, 7);
    for key in [
        "distributor.search_tags_deny_list",
        "overrides.max_search_bytes_per_trace",
        "overrides.search_tags_allow_list",
    ] {
        let warning = format!("deprecated key {key} ignored");
        assert!(loaded.warnings.contains(&warning), "{:?}", loaded.warnings);
    }
}

#[test]
fn bare_number_as_duration_warns() {
    let loaded = loaded("ingester: {flush_check_period: 10}", "");
    assert_eq!(
        loaded.warnings,
        ["ingester.flush_check_period: 10 without a unit is taken as nanoseconds (line 1)"]
    );
    assert_eq!(loaded.verify_exit_code(), 1);
}

#[test]
fn single_process_forces_one_copy_in_memory() {
    let config = loaded("ingester: {lifecycler: {ring: {replication_factor: 3}}}", "").config;
    let lifecycler = &config.ingester.lifecycler;
    assert_eq!(lifecycler.ring.replication_factor, 1);
    assert_eq!(lifecycler.ring.kvstore.store, "inmemory");
    assert_eq!(lifecycler.address, "127.0.0.1");
    assert_eq!(config.querier.frontend_worker.frontend_address, "127.0.0.1:9095");
}

#[test]
fn processes_of_all_services_are_a_cluster_where_the_file_asks_for_gossip() {
    let asks =
        "ingester: {lifecycler: {ring: {replication_factor: 3, kvstore: {store: memberlist}}}}";
    // Nobody is there to have the copies: pushes could never succeed.
    let alone = loaded(asks, "");
    assert_eq!(alone.config.ingester.lifecycler.ring.replication_factor, 1);
    assert_eq!(alone.config.ingester.lifecycler.ring.kvstore.store, "inmemory");
    assert_eq!(alone.verify_exit_code(), 0);
    assert!(alone.warnings.iter().any(|text| text.contains("memberlist.join_members names")));
    // One that wants no copies may be joined by others.
    let first = loaded("ingester: {lifecycler: {ring: {kvstore: {store: memberlist}}}}", "");
    assert_eq!(first.config.ingester.lifecycler.ring.kvstore.store, "memberlist");
    assert_eq!(first.warnings, [""; 0]);
    for text in [
        &format!("{asks}\nmemberlist: {{join_members: [a:7946]}}"),
        "target: scalable-single-binary\nmemberlist: {join_members: [a:7946]}\n\
         ingester: {lifecycler: {ring: {replication_factor: 3}}}",
    ] {
        let config = loaded(text, "").config;
        let ring = &config.ingester.lifecycler.ring;
        assert_eq!((ring.replication_factor, ring.kvstore.store.as_str()), (3, "memberlist"));
        assert_eq!(config.compactor.ring.ring.kvstore.store, "memberlist");
        assert_eq!(config.querier.frontend_worker.frontend_address, "");
    }
}

#[test]
fn advertised_port_of_gossip_is_the_one_that_it_listens_on_unless_it_is_set() {
    for (text, expected) in [
        ("{}", 7946),
        ("memberlist: {bind_port: 8000}", 8000),
        ("memberlist: {bind_port: 8000, advertise_port: }", 8000),
        ("memberlist: {bind_port: 8000, advertise_port: 7946}", 7946),
        ("memberlist: {advertise_port: 9000}", 9000),
    ] {
        assert_eq!(loaded(text, "").config.memberlist.advertise_port, expected, "{text}");
    }
    assert_eq!(loaded("{}", "-memberlist.bind-port=8000").config.memberlist.advertise_port, 8000);
}

#[test]
fn yaml_of_the_configuration_loads_again() {
    let original = loaded(CONFORMANCE, "").config;
    let again = from_yaml(&crate::to_yaml(&original)).unwrap();
    assert_eq!(again, original);
    let defaults = from_yaml(&crate::defaults_yaml()).unwrap();
    assert_eq!(defaults, Config::default());
    assert!(
        crate::defaults_yaml()
            .contains("  grpc_server_max_connection_age: 2562047h47m16.854775807s\n")
    );
}

#[test]
fn yaml_of_the_difference_has_only_changed_keys() {
    assert_eq!(crate::to_yaml_diff(&Config::default()), "{}\n");
    let config =
        from_yaml("server: {http_listen_port: 1}\ningester: {trace_idle_period: 2s}").unwrap();
    assert_eq!(
        crate::to_yaml_diff(&config),
        "server:\n  http_listen_port: 1\ningester:\n  trace_idle_period: 2s\n"
    );
}

#[test]
fn helm_rendered_file_loads() {
    let text = "
cache: {caches: [{memcached: {consistent_hash: true, host: 't-memcached', service: memcached-client, timeout: 500ms}, roles: [parquet-footer, bloom, frontend-search]}]}
compactor: {compaction: {block_retention: 48h, compacted_block_retention: 1h, compaction_cycle: 30s, compaction_window: 1h, max_block_bytes: 1.073741824e+11, max_compaction_objects: 6e+06, max_time_per_tenant: 5m, retention_concurrency: 10, v2_in_buffer_bytes: 5.24288e+06, v2_out_buffer_bytes: 2.097152e+07, v2_prefetch_traces_count: 1000}, ring: {kvstore: {store: memberlist}}}
distributor: {receivers: , ring: {kvstore: {store: memberlist}}}
ingester: {lifecycler: {ring: {kvstore: {store: memberlist}, replication_factor: 3}, tokens_file_path: /var/tempo/tokens.json}}
memberlist: {abort_if_cluster_join_fails: false, bind_addr: [], bind_port: 7946, cluster_label: t.ns, gossip_interval: 1s, gossip_nodes: 2, gossip_to_dead_nodes_time: 30s, join_members: ['dns+t-gossip-ring:7946'], leave_timeout: 5s, left_ingesters_timeout: 5m, max_join_backoff: 1m, max_join_retries: 10, min_join_backoff: 1s, node_name: '', packet_dial_timeout: 5s, packet_write_timeout: 5s, pull_push_interval: 30s, randomize_node_name: true, rejoin_interval: 0s, retransmit_factor: 2, stream_timeout: 10s}
metrics_generator: {metrics_ingestion_time_range_slack: 30s, processor: {service_graphs: {dimensions: [], histogram_buckets: [0.1, 0.2], max_items: 10000, wait: 10s, workers: 10}}, storage: {path: /var/tempo/wal, remote_write: [], remote_write_flush_deadline: 1m, wal: }, traces_storage: {path: /var/tempo/traces}}
multitenancy_enabled: false
overrides: {defaults: {}, per_tenant_override_config: /runtime-config/overrides.yaml}
querier: {frontend_worker: {frontend_address: 't-query-frontend-discovery:9095'}, max_concurrent_queries: 20, search: {query_timeout: 30s}, trace_by_id: {query_timeout: 10s}}
query_frontend: {max_outstanding_per_tenant: 2000, max_retries: 2, mcp_server: {enabled: false}, search: {concurrent_jobs: 1000, max_spans_per_span_set: 100, target_bytes_per_job: 1.048576e+08}, trace_by_id: {query_shards: 50}}
server: {grpc_server_max_recv_msg_size: 4.194304e+06, grpc_server_max_send_msg_size: 4.194304e+06, http_listen_port: 3200, http_server_read_timeout: 30s, http_server_write_timeout: 30s, log_format: logfmt, log_level: info}
storage: {trace: {backend: local, blocklist_poll: 5m, local: {path: /var/tempo/traces}, pool: {max_workers: 400, queue_depth: 20000}, search: {prefetch_trace_count: 1000}, wal: {path: /var/tempo/wal}}}
stream_over_http_enabled: false
usage_report: {reporting_enabled: true}
";
    let loaded = loaded(text, "-target=distributor");
    assert_eq!(loaded.config.server.grpc_server_max_recv_msg_size, 4_194_304);
    assert_eq!(loaded.config.compactor.compaction.max_compaction_objects, 6_000_000);
    assert_eq!(loaded.config.storage.trace.pool.max_workers, 0);
}

#[test]
fn file_of_another_system_loads() {
    let config = loaded("\u{feff}server:\r\n  http_listen_port: 7\r\n", "").config;
    assert_eq!(config.server.http_listen_port, 7);
}

proptest! {
    /// Any value in the place of any other is a value or a problem, never a panic.
    #[test]
    fn damaged_file_never_panics(line: prop::sample::Index, value in "[-a-z0-9:{}\\[\\], .~*&<]{0,12}") {
        let text = crate::defaults_yaml();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = &mut lines[line.index(text.lines().count())];
        let key = line.split(':').next().unwrap_or_default().to_owned();
        *line = format!("{key}: {value}");
        let _ = from_yaml(&lines.join("\n"));
    }
}
