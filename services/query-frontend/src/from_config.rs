//! The settings of a query-frontend, from the configuration.

use tactus_cache::{Caches, Role};
use tactus_config::{Config, target::is_all};
use tactus_process::{
    Error, memory,
    settings::{expression, poll_interval},
};
use tactus_query::Settings;

/// The query-frontend.
pub(crate) fn settings(config: &Config, caches: &Caches) -> Result<Settings, Error> {
    let frontend = &config.query_frontend;
    let mut url_deny_list = Vec::new();
    for pattern in &frontend.url_deny_list {
        let invalid =
            |why| Error::Setup(format!("query_frontend.url_deny_list: {pattern:?}: {why}"));
        url_deny_list.push(expression(pattern).map_err(invalid)?);
    }
    let mut settings = Settings {
        url_deny_list,
        path_prefix: config.http_api_prefix.clone(),
        blocklist_poll: poll_interval(&config.storage.trace),
        replicated: config.ingester.lifecycler.ring.replication_factor > 1,
        shared_results: caches.of(Role::FrontendSearch).cloned(),
        querier_parallelism: config.querier.max_concurrent_queries.max(1),
        max_request_bytes: config.server.grpc_server_max_recv_msg_size,
        max_message_bytes: config.server.grpc_server_max_send_msg_size,
        max_part_bytes: max_part_bytes(config),
        ..Settings::new(frontend)
    };
    if let Some(groups) = config.overrides.defaults.read.max_condition_groups_per_tag_query {
        settings.max_condition_groups_per_tag_query = groups as usize;
    }
    let of_results = &mut settings.section.result_cache_bytes;
    *of_results = memory::result_bytes(*of_results).cast_signed();
    let of_files = &mut settings.section.trace_files.max_inflight_bytes;
    *of_files = memory::request_bytes(*of_files);
    Ok(settings)
}

/// Half of the largest message between services, because an answer has more than the part. 0 without a cluster, where there
/// are no messages.
fn max_part_bytes(config: &Config) -> u64 {
    let server = &config.server;
    if is_all(&config.target) && config.memberlist.join_members.is_empty() {
        return 0;
    }
    let bytes = server.grpc_server_max_recv_msg_size.min(server.grpc_server_max_send_msg_size);
    (bytes as u64 / 2).max(1)
}
