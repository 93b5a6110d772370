//! The target of a process. It sets some defaults, as do the host and a missing configuration file.

use crate::sections::receivers::{
    JaegerGrpc, JaegerReceiver, JaegerThriftBinary, JaegerThriftCompact, JaegerThriftCompactLegacy,
    JaegerThriftHttp, OtlpGrpc, OtlpHttp, OtlpReceiver, Receivers, ZipkinReceiver,
};
use crate::sections::ring::Ring;
use crate::sections::root::Config;
use std::net::IpAddr;

/// The services, each of which can be a process of its own.
pub const SERVICES: [&str; 6] =
    ["distributor", "ingester", "querier", "query-frontend", "compactor", "metrics-generator"];

/// Tempo's name for a generator without the processor that is not there in any: the same as without the suffix.
const GENERATOR: &str = "metrics-generator-no-local-blocks";

/// Tempo 3's scheduler of the work that compactors share out among themselves here: a process of it is ready and idle, so
/// that a deployment that has one still starts.
pub const BACKEND_SCHEDULER: &str = "backend-scheduler";

/// True for the targets that are all services in one process.
pub fn is_all(target: &str) -> bool {
    matches!(target, "all" | "all-3.0" | "scalable-single-binary")
}

/// The services of a target; empty if it is not known.
pub fn services_of(target: &str) -> Vec<&'static str> {
    match target {
        target if is_all(target) => SERVICES.to_vec(),
        GENERATOR => vec!["metrics-generator"],
        target => SERVICES.into_iter().filter(|service| *service == target).collect(),
    }
}

/// More tasks or threads at a time than any machine has use for. Multiples of larger numbers could not be counted.
const MOST_AT_A_TIME: usize = 1 << 20;

/// Where the start without a configuration listens. An image sets it to every interface: in a container loopback is
/// reached by nobody, and what is published decides who may.
const LISTEN_ADDRESS: &str = "TACTUS_LISTEN_ADDRESS";
/// Where it keeps its data. An image sets it to its volume.
const DATA_DIRECTORY: &str = "TACTUS_DATA_DIRECTORY";

/// The start without a configuration: one process, on loopback and with data below the working directory unless the
/// environment says otherwise. Errors: name the variable.
pub(crate) fn embedded(
    config: &mut Config,
    env: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let given = |name: &str| env(name).filter(|value| !value.is_empty());
    let address = match given(LISTEN_ADDRESS) {
        Some(text) => {
            text.parse().map_err(|_| format!("{LISTEN_ADDRESS}={text}: expecting an IP address"))?
        }
        None => IpAddr::from([127, 0, 0, 1]),
    };
    let server = &mut config.server;
    server.http_listen_address = address.to_string();
    server.grpc_listen_address = address.to_string();
    config.distributor.receivers = receivers_at(address);
    let data = given(DATA_DIRECTORY).unwrap_or_else(|| "./tactus-data".to_owned());
    let data = data.trim_end_matches('/');
    let trace = &mut config.storage.trace;
    "local".clone_into(&mut trace.backend);
    trace.local.path = format!("{data}/blocks");
    trace.wal.path = format!("{data}/wal");
    Ok(())
}

/// True for targets that run every component in one process.
pub(crate) fn single_binary(target: &str) -> bool {
    matches!(target, "all" | "all-3.0")
}

/// Fills in what depends on the target and the host name. `asks_for_gossip`: the file itself has the ring of ingesters in gossip.
pub(crate) fn for_target(config: &mut Config, hostname: &str, asks_for_gossip: bool) {
    if config.distributor.receivers.is_empty() {
        default_receivers(config);
    }
    if config.target == "backend-worker" {
        // The name that Tempo 3 gives it.
        "compactor".clone_into(&mut config.target);
    }
    let all = single_binary(&config.target);
    if config.target == "scalable-single-binary" || (all && joins(config, asks_for_gossip)) {
        // Processes that are all alike, each with every component.
        let store = &mut config.ingester.lifecycler.ring.kvstore.store;
        // Another one, which there is not here, is refused and not replaced: the cluster would be a different one.
        if matches!(store.as_str(), "inmemory" | "") {
            "memberlist".clone_into(store);
        }
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
            worker.frontend_address = format!("127.0.0.1:{}", config.server.cluster_port());
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
    for number in [
        &mut config.ingester.concurrent_flushes,
        &mut config.querier.max_concurrent_queries,
        &mut config.querier.max_threads,
    ] {
        *number = (*number).min(MOST_AT_A_TIME);
    }
    name_instances(config, hostname);
}

/// True if processes with every service are a cluster. A file that wants copies and names nobody who could have them is one
/// that Tempo runs as a process alone, with one copy of each span.
pub(crate) fn joins(config: &Config, asks_for_gossip: bool) -> bool {
    let copies = config.ingester.lifecycler.ring.replication_factor;
    asks_for_gossip && (copies <= 1 || !config.memberlist.join_members.is_empty())
}

fn in_memory(store: &mut String, address: &mut String) {
    "inmemory".clone_into(store);
    "127.0.0.1".clone_into(address);
}

/// A file that names no receiver gets OTLP and Jaeger, as existing files expect; in one process with
/// everything all that clients may send.
fn default_receivers(config: &mut Config) {
    config.distributor.receivers = if single_binary(&config.target) {
        all_receivers()
    } else {
        let mut receivers = Receivers { by_default: true, ..Receivers::default() };
        let otlp = receivers.otlp.entry("otlp".to_owned()).or_default();
        otlp.protocols.grpc = Some(OtlpGrpc::default());
        let jaeger = receivers.jaeger.entry("jaeger".to_owned()).or_default();
        jaeger.protocols.grpc = Some(JaegerGrpc::default());
        jaeger.protocols.thrift_http = Some(JaegerThriftHttp::default());
        receivers
    };
}

/// Every receiver with all of its protocols, but those that need to be told where to read.
fn all_receivers() -> Receivers {
    let mut otlp = OtlpReceiver::default();
    otlp.protocols.grpc = Some(OtlpGrpc::default());
    otlp.protocols.http = Some(OtlpHttp::default());
    let mut jaeger = JaegerReceiver::default();
    jaeger.protocols.grpc = Some(JaegerGrpc::default());
    jaeger.protocols.thrift_http = Some(JaegerThriftHttp::default());
    jaeger.protocols.thrift_binary = Some(JaegerThriftBinary::default());
    jaeger.protocols.thrift_compact = Some(JaegerThriftCompact::default());
    jaeger.protocols.thrift_compact_legacy = Some(JaegerThriftCompactLegacy::default());
    Receivers {
        otlp: [("otlp".to_owned(), otlp)].into(),
        jaeger: [("jaeger".to_owned(), jaeger)].into(),
        zipkin: [("zipkin".to_owned(), ZipkinReceiver::default())].into(),
        by_default: true,
        ..Receivers::default()
    }
}

fn receivers_at(address: IpAddr) -> Receivers {
    // An address of version 6 stands in brackets.
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut receivers = all_receivers();
    let Receivers { otlp, jaeger, zipkin, .. } = &mut receivers;
    let mut endpoints: Vec<&mut String> = Vec::new();
    for otlp in otlp.values_mut() {
        let protocols = &mut otlp.protocols;
        endpoints.extend(protocols.grpc.as_mut().map(|port| &mut port.server.endpoint));
        endpoints.extend(protocols.http.as_mut().map(|port| &mut port.server.endpoint));
    }
    for jaeger in jaeger.values_mut() {
        let protocols = &mut jaeger.protocols;
        endpoints.extend(protocols.grpc.as_mut().map(|port| &mut port.server.endpoint));
        endpoints.extend(protocols.thrift_http.as_mut().map(|port| &mut port.server.endpoint));
        endpoints.extend(protocols.thrift_binary.as_mut().map(|port| &mut port.endpoint));
        endpoints.extend(protocols.thrift_compact.as_mut().map(|port| &mut port.endpoint));
        endpoints.extend(protocols.thrift_compact_legacy.as_mut().map(|port| &mut port.endpoint));
    }
    endpoints.extend(zipkin.values_mut().map(|zipkin| &mut zipkin.server.endpoint));
    for endpoint in endpoints {
        // By default they have a port alone.
        endpoint.insert_str(0, &host);
    }
    receivers
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_has_its_own_service_all_or_none() {
        assert_eq!(services_of("querier"), ["querier"]);
        assert_eq!(services_of("scalable-single-binary"), SERVICES);
        assert_eq!(services_of(GENERATOR), ["metrics-generator"]);
        assert!(services_of("quer").is_empty());
    }
}
