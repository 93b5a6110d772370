use super::*;
use crate::from_yaml;
use crate::idle::IDLE;

fn warned(text: &str) -> Vec<String> {
    warnings(&from_yaml(text).unwrap())
}

#[test]
fn default_configuration_warns_about_nothing() {
    assert_eq!(warned(""), Vec::<String>::new());
}

#[test]
fn keys_of_a_missing_part_warn_once_by_name() {
    assert_eq!(
        warned(
            "metrics_generator: {processor: {local_blocks: {flush_to_storage: true, concurrency: 1}}, storage: {path: x}}"
        ),
        [
            "the keys of metrics_generator.processor.local_blocks are set but without effect: this release has no local blocks, ingesters answer queries about recent spans"
        ]
    );
    assert_eq!(
        warned("storage: {trace: {s3: {tls_server_name: x}}}"),
        [
            "storage.trace.s3.tls_server_name is set but without effect: this release has no check of another server name"
        ]
    );
}

#[test]
fn metrics_generator_warns_only_of_what_it_does_not_have() {
    let file = "metrics_generator: {storage: {path: x, remote_write: [{url: 'http://p:9090/api/v1/write'}]},
      registry: {external_labels: {a: b}}, processor: {span_metrics: {dimensions: [c]}}, query_timeout: 3s}
metrics_generator_client: {remote_timeout: 3s}
overrides: {defaults: {metrics_generator: {processors: [span-metrics], max_active_series: 5}}}
";
    assert_eq!(warned(file), ["metrics_generator.query_timeout is set but has no effect"]);
    assert_eq!(
        warned("metrics_generator: {processor: {service_graphs: {workers: 3, wait: 2s}}}"),
        ["metrics_generator.processor.service_graphs.workers is set but has no effect"]
    );
}

#[test]
fn receiver_that_is_missing_warns_once_as_a_whole() {
    assert_eq!(
        warned("distributor: {receivers: {opencensus/x: {endpoint: 'a:1', cors: {}}}}"),
        [
            "the keys of distributor.receivers.opencensus/x are set but without effect: this release has no OpenCensus receiver"
        ]
    );
}

#[test]
fn key_without_effect_warns_only_when_changed() {
    assert_eq!(
        warned("distributor: {receivers: {otlp: {protocols: {grpc: }}}}"),
        Vec::<String>::new()
    );
    assert_eq!(
        warned("distributor: {receivers: {otlp: {protocols: {grpc: {middlewares: [{id: x}]}}}}}"),
        ["distributor.receivers.otlp.protocols.grpc.middlewares is set but has no effect"]
    );
    assert_eq!(warned("ingest: {enabled: true}"), ["ingest.enabled is set but has no effect"]);
}

#[test]
fn keys_that_have_an_effect_only_elsewhere_warn() {
    for (text, key) in [
        (
            "internal_server: {enable: true, grpc_listen_port: 9}",
            "internal_server.grpc_listen_port",
        ),
        (
            "internal_server: {grpc_tls_config: {cert_file: c}}",
            "internal_server.grpc_tls_config.cert_file",
        ),
        ("internal_server: {log_level: debug}", "internal_server.log_level"),
        ("live_store: {wal: {path: /x}}", "live_store.wal.path"),
        ("live_store: {block_config: {version: vParquet5}}", "live_store.block_config.version"),
        ("live_store_client: {remote_timeout: 9s}", "live_store_client.remote_timeout"),
        ("block_builder: {wal: {path: /y}}", "block_builder.wal.path"),
        (
            "backend_scheduler_client: {grpc_client_config: {tls_enabled: true}}",
            "backend_scheduler_client.grpc_client_config.tls_enabled",
        ),
        ("backend_worker: {ring: {instance_port: 5}}", "backend_worker.ring.instance_port"),
        (
            "ingester: {partition_ring: {kvstore: {prefix: x/}}}",
            "ingester.partition_ring.kvstore.prefix",
        ),
    ] {
        assert_eq!(warned(text), [format!("{key} is set but has no effect")]);
    }
    let used = "internal_server: {enable: true, http_listen_port: 9, proxy_protocol_enabled: true}";
    assert_eq!(warned(used), Vec::<String>::new());
}

#[test]
fn usage_report_and_in_memory_rings_warn_about_nothing() {
    assert_eq!(
        warned(
            "usage_report: {reporting_enabled: false}\n\
             ingester: {lifecycler: {ring: {kvstore: {store: inmemory}}}}\n"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn table_names_only_keys_that_exist() {
    let rows = rows();
    for part in MISSING.iter().filter(|part| !part.key.ends_with("opencensus")) {
        assert!(rows.iter().any(|row| belongs(&row.path, part.key)), "{}", part.key);
    }
    for (key, meaning) in IDLE {
        let found: Vec<_> = rows.iter().filter(|row| belongs(&row.path, key)).collect();
        assert!(!found.is_empty(), "{key}");
        assert!(meaning.starts_with(NO_EFFECT), "{meaning}");
        assert!(found.iter().all(|row| row.meaning == *meaning), "{key}");
    }
}
