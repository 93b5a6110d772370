//! Keys that have no effect in one section, and one in others.

/// How the manual marks keys that never have an effect.
pub(crate) const NO_EFFECT: &str = "no effect here";
const HTTP_ONLY: &str = "no effect here: this port serves HTTP alone";
const OF_PROCESS: &str =
    "no effect here: the key of the section server counts for the whole process";

/// Keys that have an effect elsewhere, but not in the sections named here, with what the manual says of them. A section
/// that stands in several places has one text for all of them.
pub(crate) const IDLE: &[(&str, &str)] = &[
    ("internal_server.grpc_listen_address", HTTP_ONLY),
    ("internal_server.grpc_listen_port", HTTP_ONLY),
    ("internal_server.internal_grpc_listen_address", HTTP_ONLY),
    ("internal_server.internal_grpc_listen_port", HTTP_ONLY),
    ("internal_server.grpc_listen_conn_limit", HTTP_ONLY),
    ("internal_server.grpc_tls_config", HTTP_ONLY),
    ("internal_server.grpc_server_max_recv_msg_size", HTTP_ONLY),
    ("internal_server.grpc_server_max_send_msg_size", HTTP_ONLY),
    ("internal_server.grpc_server_max_concurrent_streams", HTTP_ONLY),
    ("internal_server.grpc_server_max_connection_idle", HTTP_ONLY),
    ("internal_server.grpc_server_max_connection_age", HTTP_ONLY),
    ("internal_server.grpc_server_max_connection_age_grace", HTTP_ONLY),
    ("internal_server.grpc_server_keepalive_time", HTTP_ONLY),
    ("internal_server.grpc_server_keepalive_timeout", HTTP_ONLY),
    ("internal_server.max_inflight_bytes", OF_PROCESS),
    ("internal_server.max_connection_bytes", OF_PROCESS),
    ("internal_server.log_level", OF_PROCESS),
    ("internal_server.log_format", OF_PROCESS),
    ("internal_server.compatible_version", OF_PROCESS),
    ("block_builder", NO_EFFECT),
    ("live_store", NO_EFFECT),
    ("live_store_client", NO_EFFECT),
    ("ingester.partition_ring", NO_EFFECT),
    ("backend_scheduler_client", NO_EFFECT),
    ("backend_worker.ring", NO_EFFECT),
    ("ingester.lifecycler.ring.kvstore.etcd", NO_EFFECT),
    ("distributor.ring.kvstore.etcd", NO_EFFECT),
    ("metrics_generator.ring.kvstore.etcd", NO_EFFECT),
    ("compactor.ring.kvstore.etcd", NO_EFFECT),
];

/// What the manual says of a key that has no effect in this place, but may have one in others.
pub(crate) fn idle_meaning(path: &str) -> Option<&'static str> {
    IDLE.iter().find(|(key, _)| belongs(path, key)).map(|(_, meaning)| *meaning)
}

/// True when `path` is `key` or below it; `key/name` is a second instance of `key`.
pub(crate) fn belongs(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}
