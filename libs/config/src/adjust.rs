//! What the target, the host and the lack of a file change in a configuration.

use crate::sections::receivers::{
    JaegerGrpc, JaegerReceiver, JaegerThriftHttp, OtlpGrpc, OtlpHttp, OtlpReceiver,
};
use crate::sections::ring::Ring;
use crate::sections::root::Config;

/// Directory of the start without a configuration, below the working directory.
const DATA_DIRECTORY: &str = "./tactus-data";

/// The start without a configuration: one process on loopback, data below the working directory.
pub(crate) fn embedded(config: &mut Config) {
    let server = &mut config.server;
    "127.0.0.1".clone_into(&mut server.http_listen_address);
    "127.0.0.1".clone_into(&mut server.grpc_listen_address);
    let mut otlp = OtlpReceiver::default();
    "127.0.0.1:4317"
        .clone_into(&mut otlp.protocols.grpc.get_or_insert_with(OtlpGrpc::default).server.endpoint);
    "127.0.0.1:4318"
        .clone_into(&mut otlp.protocols.http.get_or_insert_with(OtlpHttp::default).server.endpoint);
    config.distributor.receivers.otlp.insert("otlp".to_owned(), otlp);
    let trace = &mut config.storage.trace;
    "local".clone_into(&mut trace.backend);
    trace.local.path = format!("{DATA_DIRECTORY}/blocks");
    trace.wal.path = format!("{DATA_DIRECTORY}/wal");
}

/// True for targets that run every component in one process.
pub(crate) fn single_binary(target: &str) -> bool {
    matches!(target, "all" | "all-3.0")
}

/// Fills in what depends on the target and the host name. `clustered`: the file asks for gossip between processes.
pub(crate) fn for_target(config: &mut Config, hostname: &str, clustered: bool) {
    if config.distributor.receivers.is_empty() {
        default_receivers(config);
    }
    let all = single_binary(&config.target);
    if config.target == "scalable-single-binary" || (all && clustered) {
        // Processes that are all alike, each with every component.
        "memberlist".clone_into(&mut config.ingester.lifecycler.ring.kvstore.store);
        let store = &mut config.compactor.ring.ring.kvstore.store;
        if store.is_empty() {
            "memberlist".clone_into(store);
        }
    } else if all {
        let lifecycler = &mut config.ingester.lifecycler;
        in_memory(&mut lifecycler.ring.kvstore.store, &mut lifecycler.address);
        // A single process has one ingester: more copies could never be written.
        lifecycler.ring.replication_factor = 1;
        let rings: [&mut Ring; 2] =
            [&mut config.metrics_generator.ring.ring, &mut config.live_store.ring.ring];
        for ring in rings {
            in_memory(&mut ring.kvstore.store, &mut ring.instance_addr);
        }
        let worker = &mut config.querier.frontend_worker;
        if worker.frontend_address.is_empty() {
            worker.frontend_address = format!("127.0.0.1:{}", config.server.grpc_listen_port);
        }
    } else if config.target != "querier" {
        // Only queries read in parallel.
        config.storage.trace.pool.max_workers = 0;
    }
    if config.querier.trace_by_id.external.enabled {
        config.query_frontend.trace_by_id.external_enabled = true;
    }
    let by_id = &mut config.query_frontend.trace_by_id;
    by_id.concurrent_shards = by_id.concurrent_shards.min(by_id.query_shards);
    name_instances(config, hostname);
}

fn in_memory(store: &mut String, address: &mut String) {
    "inmemory".clone_into(store);
    "127.0.0.1".clone_into(address);
}

/// A file that names no receiver gets OTLP and Jaeger, as existing files expect.
fn default_receivers(config: &mut Config) {
    let receivers = &mut config.distributor.receivers;
    let mut otlp = OtlpReceiver::default();
    otlp.protocols.grpc = Some(OtlpGrpc::default());
    receivers.otlp.insert("otlp".to_owned(), otlp);
    let mut jaeger = JaegerReceiver::default();
    jaeger.protocols.grpc = Some(JaegerGrpc::default());
    jaeger.protocols.thrift_http = Some(JaegerThriftHttp::default());
    receivers.jaeger.insert("jaeger".to_owned(), jaeger);
}

fn name_instances(config: &mut Config, hostname: &str) {
    for name in [
        &mut config.ingester.lifecycler.id,
        &mut config.distributor.ring.instance_id,
        &mut config.compactor.ring.ring.instance_id,
        &mut config.metrics_generator.ring.ring.instance_id,
        &mut config.metrics_generator.instance_id,
        &mut config.live_store.ring.ring.instance_id,
        &mut config.backend_worker.ring.ring.instance_id,
        &mut config.block_builder.instance_id,
        &mut config.querier.frontend_worker.id,
    ] {
        if name.is_empty() {
            hostname.clone_into(name);
        }
    }
}
