use super::Field;
use crate::duration::GoDuration;
use crate::from_yaml;
use crate::yaml::Value;

fn problem(text: &str) -> String {
    from_yaml(text).unwrap_err()
}

#[test]
fn booleans_accept_yaml_1_1_words() {
    assert!(from_yaml("multitenancy_enabled: yes").unwrap().multitenancy_enabled);
    assert!(from_yaml("multitenancy_enabled: On").unwrap().multitenancy_enabled);
    assert!(!from_yaml("multitenancy_enabled: n").unwrap().multitenancy_enabled);
    assert!(
        problem("multitenancy_enabled: \"yes\"")
            .contains("line 1: cannot unmarshal !!str `yes` into bool (multitenancy_enabled)")
    );
    assert!(problem("multitenancy_enabled: 1").contains("!!int `1` into bool"));
}

#[test]
fn integers_accept_base_prefixes_separators_and_whole_floats() {
    let port = |text: &str| {
        from_yaml(&format!("server: {{http_listen_port: {text}}}")).unwrap().server.http_listen_port
    };
    assert_eq!(port("0x0C80"), 3_200);
    assert_eq!(port("017"), 15);
    assert_eq!(port("1_000"), 1_000);
    assert_eq!(port("1.5e+03"), 1_500);
    let config = from_yaml("compactor: {compaction: {max_block_bytes: 1.073741824e+11}}").unwrap();
    assert_eq!(config.compactor.compaction.max_block_bytes, 107_374_182_400);
}

#[test]
fn integers_refuse_fractions_units_and_overflow() {
    let text = problem("compactor:\n  compaction:\n    max_block_bytes: 10MB\n");
    assert!(
        text.contains(
            "line 3: cannot unmarshal !!str `10MB` into int (compactor.compaction.max_block_bytes)"
        ),
        "{text}"
    );
    assert!(problem("ingester: {max_block_bytes: -1}").contains("out of range"));
    assert!(problem("server: {http_listen_port: 65536}").contains("out of range"));
    assert!(problem("server: {http_listen_port: \"80\"}").contains("!!str `80` into int"));
    assert!(problem("server: {http_listen_port: [80]}").contains("!!seq into int"));
    assert!(problem("server: {http_listen_port: {a: 1}}").contains("!!map into int"));
    assert!(problem("server: 5").contains("cannot unmarshal !!int `5` into server"));
    assert!(problem("- a").contains("cannot unmarshal !!seq into config"));
}

#[test]
fn strings_keep_scalars_as_written() {
    let config =
        from_yaml("storage: {trace: {s3: {bucket: 0123, prefix: yes, region: 1.50}}}").unwrap();
    let s3 = &config.storage.trace.s3;
    assert_eq!(
        (s3.bucket.as_str(), s3.prefix.as_str(), s3.region.as_str()),
        ("0123", "yes", "1.50")
    );
}

#[test]
fn durations_accept_go_and_days() {
    let idle = |text: &str| {
        from_yaml(&format!("ingester: {{trace_idle_period: {text}}}"))
            .unwrap()
            .ingester
            .trace_idle_period
    };
    assert_eq!(idle("1m30s"), GoDuration::seconds(90));
    assert_eq!(idle("1.5s"), GoDuration::millis(1_500));
    assert_eq!(idle("0"), GoDuration::ZERO);
    assert_eq!(idle("10"), GoDuration(10));
    assert_eq!(idle("14d"), GoDuration::hours(336));
    let text = problem("ingester:\n  trace_idle_period: soon\n");
    assert!(
        text.contains("line 2: cannot unmarshal !!str `soon` into duration (ingester.trace_idle_period): time: invalid duration \"soon\""),
        "{text}"
    );
    assert!(problem("ingester: {trace_idle_period: true}").contains("!!bool `true` into duration"));
}

#[test]
fn prometheus_durations_refuse_what_prometheus_refuses() {
    let period =
        |text: &str| from_yaml(&format!("overrides: {{per_tenant_override_period: {text}}}"));
    assert!(period("30").unwrap_err().contains("not a valid duration string: \"30\""));
    assert!(period("30s1m").is_err());
    assert_eq!(period("1m30s").unwrap().overrides.per_tenant_override_period.0, 90_000_000_000);
}

#[test]
fn lists_accept_both_forms() {
    for text in ["[a, b]", "\"a,b\"", "a, b,"] {
        let config = from_yaml(&format!("query_frontend:\n  log_query_request_headers: {text}\n"));
        assert_eq!(config.unwrap().query_frontend.log_query_request_headers, ["a", "b"], "{text}");
    }
    let config = from_yaml(
        "metrics_generator: {processor: {service_graphs: {histogram_buckets: [1, 2.5]}}}",
    );
    assert_eq!(
        config.unwrap().metrics_generator.processor.service_graphs.histogram_buckets,
        [1.0, 2.5]
    );
    assert!(problem("cache: {caches: 5}").contains("into list of section"));
}

#[test]
fn all_problems_are_reported_in_order_of_lines() {
    let text = problem(
        "server:\n  http_listen_port: x\n  nope: 1\ningester:\n  trace_idle_period: w\n  foo: 1\nbar: 2\n",
    );
    assert_eq!(
        text,
        "yaml: unmarshal errors:\
         \n  line 2: cannot unmarshal !!str `x` into int (server.http_listen_port)\
         \n  line 3: field nope not found in type server\
         \n  line 5: cannot unmarshal !!str `w` into duration (ingester.trace_idle_period): time: invalid duration \"w\"\
         \n  line 6: field foo not found in type ingester\
         \n  line 7: field bar not found in type config"
    );
}

#[test]
fn duplicate_keys_are_refused_but_merged_ones_are_not() {
    assert!(
        problem("server: {http_listen_port: 1, http_listen_port: 2}")
            .contains("line 1: field http_listen_port already set in type server")
    );
    assert!(
        problem("ingester: {}\ningester: {}\n")
            .contains("line 2: field ingester already set in type config")
    );
    assert!(
        problem("storage: {trace: {s3: {tags: {a: b, a: c}}}}")
            .contains("key \"a\" already set in map")
    );
    let config =
        from_yaml("server: {<<: {http_listen_port: 1, log_level: debug}, http_listen_port: 2}")
            .unwrap();
    assert_eq!((config.server.http_listen_port, config.server.log_level.as_str()), (2, "debug"));
}

#[test]
fn null_keeps_the_default() {
    let config =
        from_yaml("compactor:\nserver:\n  http_listen_port: ~\nstorage: {trace: {memcached: }}\n");
    assert_eq!(config.unwrap(), crate::Config::default());
}

#[test]
fn inlined_sections_share_the_keys_of_their_parent() {
    let config = from_yaml(
        "memberlist: {tls_ca_path: /ca}\ncompactor: {ring: {instance_port: 7, wait_stability_min_duration: 2m}}\n\
         internal_server: {enable: true, http_listen_port: 9}\n",
    )
    .unwrap();
    assert_eq!(config.memberlist.tls.tls_ca_path, "/ca");
    assert_eq!(config.compactor.ring.ring.instance_port, 7);
    assert_eq!(config.compactor.ring.wait_stability_min_duration, GoDuration::minutes(2));
    assert_eq!(config.internal_server.server.http_listen_port, 9);
}

#[test]
fn dashes_are_accepted_where_examples_use_them() {
    let config = from_yaml(
        "cache: {caches: [{roles: [bloom], redis: {endpoint: 'r:1', master-name: m, pool-size: 3}}]}\n\
         overrides: {defaults: {metrics_generator: {processor: {local-blocks: {max_live_traces: 4}}}}}\n",
    )
    .unwrap();
    let redis = config.cache.caches[0].redis.as_ref().unwrap();
    assert_eq!((redis.master_name.as_str(), redis.pool_size), ("m", 3));
    assert_eq!(
        config.overrides.defaults.metrics_generator.processor.local_blocks.max_live_traces,
        4
    );
    assert!(problem("server: {http-listen-port: 1}").contains("field http-listen-port not found"));
}

#[test]
fn keys_that_are_named_like_secrets_are_masked() {
    // Names of files, of users, and of what is no secret in spite of its name.
    let harmless = [
        "access_key",
        "tokens_file_path",
        "num_tokens",
        "override_ring_key",
        "use_federated_token",
        "tls_key_path",
        "key_file",
        "bearer_token_file",
        "password_file",
        "credentials_file",
        "client_secret_file",
        "internal_token_file",
        "add_org_id_header",
        "token_url",
        "kms_key_id",
        "tls_reload_interval",
    ];
    let words = ["password", "secret", "token", "credential", "headers"];
    let mut masked = 0;
    for row in crate::show::rows() {
        let name = row.path.rsplit('.').next().unwrap_or_default();
        if row.kind.contains("secret") {
            masked += 1;
            continue;
        }
        let text = row.kind.contains("string") && !row.kind.contains("list");
        let suspicious = text && words.iter().any(|word| name.contains(word));
        assert!(!suspicious || harmless.contains(&name), "{} is a {}", row.path, row.kind);
    }
    assert!(masked > 10, "{masked}");
}

#[test]
fn password_in_a_url_is_masked_where_it_is_shown() {
    for (text, shown) in [
        ("https://user:pass@host/x?y=a@b", "https://user:********@host/x?y=a@b"),
        ("redis://:p@ss@host:1,redis://u@h", "redis://:********@host:1,redis://u@h"),
        ("https://host/p:a@b", "https://host/p:a@b"),
        ("http://u:a#b@host:1/o.yaml", "http://u:********@host:1/o.yaml"),
        ("http://u:a/b?c@host/x", "http://u:********@host/x"),
        ("redis://:a?b@h:1,redis://:c,d@h:2", "redis://:********@h:1,redis://:********@h:2"),
        ("https://host:3000/p:a@b", "https://host:3000/p:a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("http://[::1]/a@b", "http://[::1]/a@b"),
        ("user:pass@host", "user:********@host"),
        (":p@ss@host:1/x", ":********@host:1/x"),
        ("//u:pa/ss@host", "//u:********@host"),
        ("u:p,ss@host,redis://:p@h", "u:********@host,redis://:********@h"),
        ("host:3000/p:a@b", "host:3000/p:a@b"),
        ("/var/a:b@c", "/var/a:b@c"),
        ("{span.a=\"x:y@z\"}", "{span.a=\"x:y@z\"}"),
        ("name:x = \"a@b\"", "name:x = \"a@b\""),
        ("[a-z]+:b@c", "[a-z]+:b@c"),
        ("[::1]:80", "[::1]:80"),
        ("user@host", "user@host"),
        ("plain", "plain"),
    ] {
        assert_eq!(text.to_owned().show(), Value::Text(shown.to_owned()));
    }
}

#[test]
fn value_of_the_wrong_kind_is_not_quoted_where_secrets_stand() {
    for text in [
        "storage: {trace: {s3: {secret_key: [hunter2]}}}",
        "server: {http_tls_config: hunter2}",
        "auth: hunter2",
        "distributor: {receivers: {otlp: {protocols: {http: {response_headers: hunter2}}}}}",
        "metrics_generator: {storage: {remote_write: [{url: u, basic_auth: hunter2}]}}",
        "metrics_generator: {storage: {remote_write: [{url: u, headers: hunter2}]}}",
    ] {
        let error = crate::from_yaml(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn url_where_another_kind_is_wanted_is_quoted_without_its_password() {
    let long = "x".repeat(70);
    for text in [
        "metrics_generator: {storage: {remote_write: 'http://u:hunter2@h/'}}",
        "metrics_generator: {storage: {remote_write: ['http://u:hunter2@h/']}}",
        "cache: {caches: [{roles: [bloom], redis: 'redis://:hunter2@h'}]}",
        "ingester: {trace_idle_period: 'u:hunter2@h'}",
        &format!("ingester: {{max_block_bytes: 'http://u:hunter2{long}@h'}}"),
    ] {
        let error = crate::from_yaml(text).unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("********@h"), "{error}");
    }
}
