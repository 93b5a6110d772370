use super::*;
use crate::from_yaml;

fn error(text: &str) -> String {
    validate(&from_yaml(text).unwrap()).unwrap_err()
}

#[test]
fn default_configuration_is_valid() {
    assert_eq!(validate(&Config::default()), Ok(()));
}

#[test]
fn rules_of_components_have_their_texts() {
    for (text, message) in [
        ("target: nope", "unrecognised module name: nope"),
        ("target: live-store", "target ingester answers"),
        (
            "target: querier\ningester: {lifecycler: {ring: {kvstore: {store: inmemory}}}}",
            "frontend worker address not specified",
        ),
        // It would be ready, and nobody would send it a query.
        ("target: querier", "frontend worker address not specified"),
        (
            "target: querier\nmemberlist: {join_members: [a:7946]}\n\
             ingester: {lifecycler: {ring: {kvstore: {store: inmemory}}}}",
            "frontend worker address not specified",
        ),
        ("target: scalable-single-binary", "frontend worker address not specified"),
        (
            "ingester: {flush_op_timeout: -5s}",
            "must be greater than 0: no block would be written (ingester.flush_op_timeout)",
        ),
        (
            "ingester_client: {remote_timeout: 0s}",
            "must be greater than 0: every push would be refused (ingester_client.remote_timeout)",
        ),
        (
            "ingester: {lifecycler: {num_tokens: 0}}",
            "must be greater than 0: every push would be refused (ingester.lifecycler.num_tokens)",
        ),
        (
            "querier: {max_job_memory_bytes: 0}",
            "must be greater than 0: no block could be read (querier.max_job_memory_bytes)",
        ),
        (
            "querier: {search: {query_timeout: 0s}}",
            "must be greater than 0: every search would fail (querier.search.query_timeout)",
        ),
        (
            "querier: {trace_by_id: {query_timeout: 0s}}",
            "must be greater than 0: no trace would be found by its id (querier.trace_by_id.query_timeout)",
        ),
        (
            "query_frontend: {max_outstanding_per_tenant: 0}",
            "must be greater than 0: every query would be refused (query_frontend.max_outstanding_per_tenant)",
        ),
        (
            "server: {tls_handshake_timeout: 0s}",
            "must be greater than 0: every connection by TLS would be refused (server.tls_handshake_timeout)",
        ),
        (
            "internal_server: {enable: true, tls_handshake_timeout: 0s}",
            "every connection by TLS would be refused (internal_server.tls_handshake_timeout)",
        ),
        (
            "memberlist: {packet_dial_timeout: 0s}",
            "members could not reach each other (memberlist.packet_dial_timeout)",
        ),
        (
            "memberlist: {packet_write_timeout: 0s}",
            "members could not reach each other (memberlist.packet_write_timeout)",
        ),
        (
            "memberlist: {stream_timeout: 0s}",
            "members could not reach each other (memberlist.stream_timeout)",
        ),
        ("server: {log_level: loud}", "unrecognized log level \"loud\""),
        (
            "http_api_prefix: /{x}",
            "http_api_prefix: \"/{x}\" may only have letters, digits, and / - . _ ~",
        ),
        ("http_api_prefix: /ready", "http_api_prefix: /ready is a path of the process itself"),
        (
            "query_frontend: {jaeger: {http: {base_path: '/:x'}}}",
            "query_frontend.jaeger.http.base_path: \"/:x\" may only have letters, digits",
        ),
        (
            "ingester: {lifecycler: {ring: {replication_factor: 3}}}\n\
             overrides: {defaults: {ingestion: {tenant_shard_size: 1}}}",
            "ingester.tenant.shard_size is lower than replication factor (1 < 3) \
             (overrides.defaults.ingestion.tenant_shard_size)",
        ),
        ("server: {tls_min_version: VersionTLS9}", "TLS version \"VersionTLS9\" not recognized"),
        ("server: {http_tls_config: {client_auth_type: X}}", "invalid ClientAuth: X"),
        (
            "ingester_client: {grpc_client_config: {grpc_compression: lz4}}",
            "unsupported compression type: \"lz4\"",
        ),
        (
            "querier: {frontend_worker: {grpc_client_config: {grpc_compression: x}}}",
            "unsupported compression type: \"x\"",
        ),
        (
            "server: {http_tls_config: {cert_file: c, key_file: k, client_ca_file: a}}",
            "client CA's have been configured without a Client Auth Policy",
        ),
        (
            "server: {http_tls_config: {cert_file: c, client_auth_type: RequireAndVerifyClientCert}}",
            "server.http_tls_config.key_file is not set: TLS needs both",
        ),
        ("server: {grpc_tls_config: {cert: c}}", "server.grpc_tls_config.key is not set"),
        ("server: {grpc_tls_config: {key: k}}", "server.grpc_tls_config.cert is not set"),
        (
            "internal_server: {enable: true, http_tls_config: {key_file: k}}",
            "internal_server.http_tls_config.cert_file is not set",
        ),
        (
            "compactor: {ring: {kvstore: {store: consul}}}",
            "compactor.ring.kvstore.store: consul is not supported: rings are kept by memberlist",
        ),
        (
            "distributor: {ring: {kvstore: {store: foo}}}",
            "distributor.ring.kvstore.store: invalid KV store type: foo: rings are kept by memberlist",
        ),
        (
            "metrics_generator: {storage: {remote_write: [{url: a}, {url: b, sigv4: {region: x}}]}}",
            "metrics_generator.storage.remote_write.1.sigv4 is not supported; use basic_auth",
        ),
        (
            "distributor: {receivers: {otlp: }}",
            "must specify at least one protocol when using the OTLP receiver",
        ),
        (
            "distributor: {receivers: {kafka/x: {topic: spans}}}",
            "distributor.receivers.kafka/x: this version does not read from Kafka",
        ),
        (
            "distributor: {receivers: {jaeger/x: {remote_sampling: {}}}}",
            "jaeger/x: must specify at least one protocol when using the Jaeger receiver",
        ),
        (
            "distributor: {receivers: {jaeger: {protocols: {thrift_compact: {workers: 0}}}}}",
            "jaeger.protocols.thrift_compact: workers must be 1 to 10000",
        ),
        (
            "distributor: {receivers: {jaeger: {protocols: {thrift_binary: {max_packet_size: 65536}}}}}",
            "jaeger.protocols.thrift_binary: max_packet_size must be 1 to 65535",
        ),
        (
            "distributor: {receivers: {jaeger: {protocols: {thrift_compact_legacy: {queue_size: 0}}}}}",
            "jaeger.protocols.thrift_compact_legacy: queue_size must be positive",
        ),
        (
            "distributor: {receivers: {otlp: {protocols: {grpc: {auth: {authenticator: basic}}}}}}",
            "distributor.receivers.otlp.protocols.grpc.auth: there are no authenticators",
        ),
        (
            "distributor: {receivers: {jaeger/x: {protocols: {thrift_http: {auth: {authenticator: oidc}}}}}}",
            "distributor.receivers.jaeger/x.protocols.thrift_http.auth: there are no authenticators",
        ),
        (
            "distributor: {receivers: {zipkin: {auth: {authenticator: basic}}}}",
            "distributor.receivers.zipkin.auth: there are no authenticators",
        ),
        (
            "distributor: {receivers: {zipkin: {protocols: {http: {transport: unix}}}}}",
            "distributor.receivers.zipkin.protocols.http.transport: unix is not supported",
        ),
        ("distributor: {forwarders: [{}]}", "failed to validate config at index=0: name is empty"),
        (
            "distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}, filter: {traces: {span: ['{ }', 'kind == SPAN_KIND_SERVER']}}}]}",
            "distributor.forwarders.0.filter.traces.span.1: \"kind == SPAN_KIND_SERVER\" is no TraceQL filter (OTTL is not \
             known here): write { kind = server } instead",
        ),
        (
            "distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}, filter: {traces: {span: ['IsMatch(name, \"x\")']}}}]}",
            "write as { span.http.target = \"/healthz\" }",
        ),
        (
            "distributor: {forwarders: [{name: a, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}, filter: {traces: {spanevent: ['name == \"x\"']}}}]}",
            "distributor.forwarders.0.filter.traces.spanevent: ",
        ),
        ("query_frontend: {max_batch_size: 0}", "max_batch_size must be positive"),
        (
            "query_frontend: {search: {query_backend_after: 1h}}",
            "query backend after should be less than or equal to query ingester until",
        ),
        (
            "query_frontend: {trace_by_id: {query_shards: 1}}",
            "frontend query shards should be between 2 and 100000",
        ),
        (
            "query_frontend: {query_end_cutoff: 15m}",
            "QueryBackendAfter (15m0s) must be greater than query end cutoff (15m0s)",
        ),
        (
            "metrics_generator: {storage: {path: /x}, ingest_concurrency: 0}",
            "ingest concurrency must be greater than zero",
        ),
        (
            "metrics_generator: {storage: {path: /x}, processor: {local_blocks: {concurrency: 0}}}",
            "local blocks concurrency must be greater than zero",
        ),
        ("metrics_generator: {codec: x}", "invalid codec: x, valid choices are [push-bytes otlp]"),
        (
            "metrics_generator: {limiter_type: x}",
            "invalid limiter type: x, valid values are series and entity",
        ),
        ("storage: {trace: {backend: ftp}}", "unknown backend ftp"),
        ("storage: {trace: {wal: {path: ''}}}", "please provide a path for the WAL"),
        ("storage: {trace: {block: {version: v9}}}", "v9 is not a valid block version"),
        (
            "storage: {trace: {block: {version: v2}}}",
            "v2 is not a valid block version for creating blocks",
        ),
        (
            "storage: {trace: {block: {version: vParquet3}}}",
            "vParquet3 is not a valid block version for creating blocks",
        ),
        (
            "storage: {trace: {block: {parquet_row_group_size_bytes: 0}}}",
            "positive value required for the size of a row group",
        ),
        (
            "storage: {trace: {block: {bloom_filter_false_positive: 1}}}",
            "invalid bloom filter fp rate 1",
        ),
        ("storage: {trace: {s3: {sse: {type: X}}}}", "unsupported S3 SSE type"),
        (
            "storage: {trace: {s3: {bucket_lookup_type: 3}}}",
            "must be 0 (automatic), 1 (host name) or 2 (path) (storage.trace.s3.bucket_lookup_type)",
        ),
        ("compactor: {compaction: {compaction_window: 0}}", "compaction window can't be 0"),
        (
            "cache: {caches: [{roles: [bloom], memcached: {addresses: 'dns+m:11211'}}, {roles: [bloom], redis: {endpoint: 'r:6379'}}]}",
            "role bloom is claimed by more than one cache",
        ),
        (
            "cache: {caches: [{roles: [bloom]}]}",
            "cache config for role [bloom] has neither memcached nor redis configs",
        ),
        (
            "cache: {caches: [{roles: [bloom, parquet-page], redis: {}, memcached: {}}]}",
            "cache config for role [bloom parquet-page] has both memcached and redis configs",
        ),
        (
            "{storage: {trace: {cache: redis}}, cache: {caches: [{roles: [bloom], redis: {}}]}}",
            "role bloom is claimed by more than one cache",
        ),
        ("cache: {caches: [{roles: [none], redis: {}}]}", "role none is not a valid role"),
        ("cache: {caches: [{roles: [x], redis: {}}]}", "role x is not a valid role"),
        ("cache: {caches: [{redis: {endpoint: a}}]}", "configured caches require a valid role"),
    ] {
        let found = error(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}

#[test]
fn text_names_its_key() {
    for (text, expected) in [
        (
            "storage: {trace: {backend: s4}}",
            "unknown backend s4: expecting local, s3, gcs or azure (storage.trace.backend)",
        ),
        (
            "compactor: {compaction: {compaction_window: 0}}",
            "compaction window can't be 0 (compactor.compaction.compaction_window)",
        ),
        (
            "overrides: {defaults: {ingestion: {rate_strategy: Global}}}",
            "ingestion.rate_strategy \"Global\" is not known: expecting local or global \
             (overrides.defaults.ingestion.rate_strategy)",
        ),
        // Once is enough.
        (
            "http_api_prefix: '?'",
            "http_api_prefix: \"?\" may only have letters, digits, and / - . _ ~",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn rate_strategy_may_be_left_empty() {
    for strategy in ["''", "local", "global"] {
        let text = format!("overrides: {{defaults: {{ingestion: {{rate_strategy: {strategy}}}}}}}");
        assert_eq!(validate(&from_yaml(&text).unwrap()), Ok(()), "{strategy}");
    }
}

#[test]
fn dedicated_columns_have_limits() {
    let columns_of = |version: &str, text: &str| {
        let text =
            format!("storage: {{trace: {{block: {{parquet_dedicated_columns: [{text}]}}}}}}");
        let config = from_yaml(&text).unwrap();
        dedicated_columns(version, &config.storage.trace.block.parquet_dedicated_columns)
    };
    let columns = |text: &str| columns_of("vParquet4", text);
    assert_eq!(columns("{scope: span, name: a, type: string}"), Ok(()));
    let many = |count| {
        let many = (0..count).map(|i| format!("{{scope: span, name: a{i}, type: string}}"));
        many.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(columns_of("vParquet5", &many(20)), Ok(()));
    assert!(columns_of("vParquet5", &many(21)).is_err());
    for text in [
        "{scope: x, name: a, type: string}",
        "{scope: span, name: a, type: float}",
        "{scope: span, name: '', type: string}",
        "{scope: span, name: a, type: int}, {scope: span, name: a, type: string}",
        &many(11),
    ] {
        let error = columns(text).unwrap_err();
        assert!(error.starts_with("invalid dedicated attribute columns: "), "{error}");
    }
}

#[test]
fn both_block_versions_that_are_written_are_accepted() {
    for version in ["vParquet4", "vParquet5"] {
        let text = format!("storage: {{trace: {{block: {{version: {version}}}}}}}");
        assert_eq!(validate(&from_yaml(&text).unwrap()), Ok(()), "{version}");
    }
}

#[test]
fn label_of_an_attribute_keeps_letters_digits_and_underscores() {
    assert_eq!(sanitized_label("http.method"), "http_method");
    assert_eq!(sanitized_label("é"), "_");
    assert_eq!(sanitized_label("1a--b"), "1a__b");
}
