//! Warns of combinations that are legal but look like a mistake. Each makes `-config.verify` fail.

mod generator;
mod receivers;

use crate::address;
use crate::duration::GoDuration;
use crate::field::without_passwords;
use crate::sections::cache::Memcached;
use crate::sections::object_store::{Azure, Gcs, LocalStore, S3};
use crate::sections::root::Config;
use crate::sections::server::ServerTls;
use crate::show::leaves;
use crate::target::{joins, single_binary};
use crate::validate;

pub(crate) use generator::series_beyond_memory;

/// A value that looks like a mistake.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Suspect {
    /// The keys that it is about.
    pub(crate) keys: Vec<String>,
    pub(crate) text: String,
    pub(crate) remedy: Remedy,
}

/// What makes a value unsuspicious without changing what the process does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Remedy {
    /// Somebody must decide.
    Decide,
    /// The keys are left out.
    LeaveOut,
    /// The first key gets this value.
    Set(String),
}

/// The findings on a configuration as it was written, before the adjustments for its target.
pub(crate) fn suspects(config: &Config) -> Vec<Suspect> {
    let mut found = Vec::new();
    let mut check = |condition: bool, keys: &[&str], remedy: Remedy, text: &str| {
        if condition {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            found.push(Suspect { keys, text: text.to_owned(), remedy });
        }
    };
    let trace = &config.storage.trace;
    let compaction = &config.compactor.compaction;
    let poll = trace.blocklist_poll;
    check(
        config.ingester.complete_block_timeout < poll,
        &["ingester.complete_block_timeout"],
        Remedy::Set(two_polls(config).to_string()),
        "ingester.complete_block_timeout < storage.trace.blocklist_poll: \
         you may receive 404s between the time the ingesters have flushed a trace and the querier is aware of the new block",
    );
    check(
        !compaction.block_retention.is_zero() && compaction.block_retention < poll,
        &["compactor.compaction.block_retention"],
        Remedy::Set(poll.to_string()),
        "compactor.compaction.block_retention < storage.trace.blocklist_poll: \
         queriers may look for blocks that are deleted already",
    );
    check(
        compaction.compacted_block_retention < poll,
        &["compactor.compaction.compacted_block_retention"],
        Remedy::Set(poll.to_string()),
        "compactor.compaction.compacted_block_retention < storage.trace.blocklist_poll: \
         queriers may look for blocks that are deleted already",
    );
    check(
        compaction.retention_concurrency == 0,
        &["compactor.compaction.retention_concurrency"],
        Remedy::LeaveOut,
        "compactor.compaction.retention_concurrency must be greater than zero. Using default. (default 10)",
    );
    check(
        trace.blocklist_poll_concurrency == 0,
        &["storage.trace.blocklist_poll_concurrency"],
        Remedy::LeaveOut,
        "storage.trace.blocklist_poll_concurrency must be greater than zero. Using default. (default 50)",
    );
    check(
        config.distributor.log_received_spans.enabled
            || config.distributor.log_discarded_spans.enabled,
        &["distributor.log_received_spans.enabled", "distributor.log_discarded_spans.enabled"],
        Remedy::Decide,
        "Span logging is enabled. This is for debugging only and not recommended for production deployments",
    );
    check(
        trace.backend == "local" && !matches!(config.target.as_str(), "all" | "all-3.0"),
        &["storage.trace.backend"],
        Remedy::Decide,
        "Local backend will not correctly retrieve traces with a distributed deployment \
         unless all components have access to the same disk",
    );
    for (section, tls) in tls_sections(config) {
        let text = format!(
            "{section}: client_ca_file and client_auth_type have no effect without cert_file and key_file: \
             the port has no TLS and asks nobody for a certificate"
        );
        let is_without_tls = tls.wants_certificates() && !tls.enabled();
        check(is_without_tls, &[section], Remedy::Decide, &text);
    }
    check(
        config.query_frontend.mcp_server.enabled,
        &["query_frontend.mcp_server.enabled"],
        Remedy::Decide,
        "query_frontend.mcp_server.enabled: trace data may be passed to a language model",
    );
    if trace.block.version != "v2" {
        for key in v2_keys_set(config) {
            let name = key.rsplit('.').next().unwrap_or(key);
            let text = format!("c.StorageConfig.Trace.Block.Version != \"v2\" but {name} is set");
            check(true, &[key], Remedy::LeaveOut, &text);
        }
    }
    check(
        same_store_for_overrides(config),
        &["overrides.user_configurable_overrides.client"],
        Remedy::Decide,
        "Trace storage conflicts with user-configurable overrides storage",
    );
    check(
        trace.s3.native_aws_auth_enabled,
        &["storage.trace.s3.native_aws_auth_enabled"],
        Remedy::LeaveOut,
        "storage.trace.s3.native_aws_auth_enabled is deprecated and ignored",
    );
    check(
        config.has_old_cache(),
        &["storage.trace.cache"],
        Remedy::Decide,
        "storage.trace.cache is deprecated: use the cache section",
    );
    for (section, host) in hosts_without_service(config) {
        let host = without_passwords(host);
        let text = format!(
            "{section}.host is looked up as the SRV record _._tcp.{host}, which cannot exist without {section}.service: \
             set {section}.addresses to dns+{host} instead"
        );
        let key = format!("{section}.host");
        check(true, &[key.as_str()], Remedy::Decide, &text);
    }
    let by_id = &config.query_frontend.trace_by_id;
    check(
        by_id.concurrent_shards > by_id.query_shards,
        &["query_frontend.trace_by_id.concurrent_shards"],
        Remedy::LeaveOut,
        "query_frontend.trace_by_id.concurrent_shards greater than query_shards is invalid. concurrent_shards will be set to query_shards",
    );
    for (key, text) in validate::ignored_by_generator(&config.overrides.defaults.metrics_generator)
    {
        check(true, &[key], Remedy::Decide, &format!("{key}: {text}"));
    }
    let block = &trace.block;
    if let Err(text) = validate::dedicated_columns(&block.version, &block.parquet_dedicated_columns)
    {
        check(true, &["storage.trace.block.parquet_dedicated_columns"], Remedy::Decide, &text);
    }
    if let Err(text) = validate::limits(&config.overrides.defaults) {
        let text = format!("overrides.defaults: {text}");
        check(true, &["overrides.defaults"], Remedy::Decide, &text);
    }
    found
}

/// What a newcomer may not know: settings that do nothing by themselves. `asks_for_gossip`: the file itself has the ring of
/// ingesters in gossip.
pub(crate) fn advice(config: &Config, asks_for_gossip: bool) -> Vec<String> {
    let mut advice = Vec::new();
    let target = config.target.as_str();
    let names_members = !config.memberlist.join_members.is_empty();
    if single_binary(target) && !joins(config, asks_for_gossip) {
        if names_members {
            advice.push(
                "memberlist.join_members is set, but target all joins no cluster unless \
                 ingester.lifecycler.ring.kvstore.store is memberlist"
                    .to_owned(),
            );
        } else if asks_for_gossip {
            advice.push(
                "ingester.lifecycler.ring.replication_factor wants copies, but memberlist.join_members names nobody who \
                 could have them: target all stays a process alone, with one copy of each span"
                    .to_owned(),
            );
        }
        // As in Tempo, it starts all the same: its rings are in memory whatever is set.
        let rings = [
            ("ingester.lifecycler.ring", &config.ingester.lifecycler.ring.kvstore.store),
            ("metrics_generator.ring", &config.metrics_generator.ring.ring.kvstore.store),
        ];
        advice.extend(rings.into_iter().filter_map(|(ring, store)| {
            let replaced = validate::foreign_store(&format!("{ring}.kvstore.store"), store)?;
            Some(format!("{replaced}, which target all is here"))
        }));
    }
    let is_cluster = !single_binary(target) || joins(config, asks_for_gossip);
    // Shorter than one poll is a finding of its own.
    let polls = config.storage.trace.blocklist_poll..two_polls(config);
    if is_cluster && polls.contains(&config.ingester.complete_block_timeout) {
        advice.push(
            "ingester.complete_block_timeout is less than 2 * storage.trace.blocklist_poll: a querier that reads the \
             index may learn of a block after the ingester has let go of it"
                .to_owned(),
        );
    }
    if polls.contains(&config.compactor.compaction.compacted_block_retention) {
        advice.push(
            "compactor.compaction.compacted_block_retention is less than 2 * storage.trace.blocklist_poll: a querier \
             that reads the index may look for blocks that are deleted already"
                .to_owned(),
        );
    }
    if is_cluster {
        advice.extend(address::advice(config));
        advice.extend(rings_in_memory(config));
    }
    advice.extend(generator::advice(config));
    advice.extend(receivers::advice(config));
    advice
}

/// Rings that are to be in memory, but which members of a cluster keep by gossip as they do that of ingesters.
fn rings_in_memory(config: &Config) -> impl Iterator<Item = String> {
    let rings = [
        ("distributor.ring", &config.distributor.ring.kvstore.store),
        ("metrics_generator.ring", &config.metrics_generator.ring.ring.kvstore.store),
    ];
    rings.into_iter().filter(|(_, store)| *store == "inmemory").map(|(ring, _)| {
        format!(
            "{ring}.kvstore.store: inmemory has no effect in a cluster, where memberlist keeps this ring"
        )
    })
}

/// A reader may learn of a block two polls later: the one that writes the index, and its own.
fn two_polls(config: &Config) -> GoDuration {
    GoDuration::from(config.storage.trace.blocklist_poll.as_std().saturating_mul(2))
}

/// The same as lines of the log. `flat_overrides` tells that the file used the older layout of limits.
pub(crate) fn findings(config: &Config, flat_overrides: bool) -> Vec<String> {
    let mut found: Vec<String> = suspects(config).into_iter().map(|suspect| suspect.text).collect();
    if flat_overrides {
        found.push(
            "Inline, unscoped overrides are deprecated. Please use the new overrides config format"
                .to_owned(),
        );
    }
    found
}

/// Keys for blocks of version v2 only.
const V2_KEYS: [&str; 5] = [
    "storage.trace.block.v2_index_downsample_bytes",
    "storage.trace.block.v2_index_page_size_bytes",
    "compactor.compaction.v2_in_buffer_bytes",
    "compactor.compaction.v2_out_buffer_bytes",
    "compactor.compaction.v2_prefetch_traces_count",
];

fn v2_keys_set(config: &Config) -> impl Iterator<Item = &'static str> {
    let (ours, defaults) = (leaves(config), leaves(&Config::default()));
    V2_KEYS.into_iter().filter(move |key| ours.get(*key) != defaults.get(*key))
}

/// The TLS of ports that are open.
fn tls_sections(config: &Config) -> Vec<(&'static str, &ServerTls)> {
    let (server, internal) = (&config.server, &config.internal_server);
    let mut sections = vec![
        ("server.http_tls_config", &server.http_tls_config),
        ("server.grpc_tls_config", &server.grpc_tls_config),
    ];
    if internal.enable {
        sections.push(("internal_server.http_tls_config", &internal.server.http_tls_config));
    }
    sections
}

/// Sections of memcached servers that are found by the name of a service, and have none; with the host.
fn hosts_without_service(config: &Config) -> Vec<(String, &str)> {
    let trace = &config.storage.trace;
    let caches = config.cache.caches.iter().enumerate();
    let mut sections: Vec<(String, Option<&Memcached>)> = caches
        .map(|(index, cache)| (format!("cache.caches.{index}.memcached"), cache.memcached.as_ref()))
        .collect();
    if trace.cache == "memcached" {
        sections.push(("storage.trace.memcached".to_owned(), trace.memcached.as_ref()));
    }
    let sections = sections.into_iter().filter_map(|(section, servers)| Some((section, servers?)));
    sections
        .filter(|(_, servers)| {
            let is_listed = servers.addresses.iter().any(|address| !address.trim().is_empty());
            !is_listed && !servers.host.is_empty() && servers.service.is_empty()
        })
        .map(|(section, servers)| (section, servers.host.as_str()))
        .collect()
}

/// Tenants' own limits in the place of the blocks would be taken for a tenant's blocks.
fn same_store_for_overrides(config: &Config) -> bool {
    let overrides = &config.overrides.user_configurable_overrides;
    let (trace, client) = (&config.storage.trace, &overrides.client);
    if !overrides.enabled || trace.backend != client.backend {
        return false;
    }
    let local = |store: &LocalStore| store.path.clone();
    let s3 = |store: &S3| (store.endpoint.clone(), store.bucket.clone(), store.prefix.clone());
    let gcs = |store: &Gcs| (store.bucket_name.clone(), store.prefix.clone());
    let azure = |store: &Azure| {
        (store.storage_account_name.clone(), store.container_name.clone(), store.prefix.clone())
    };
    match trace.backend.as_str() {
        "local" => local(&trace.local) == local(&client.local),
        "s3" => s3(&trace.s3) == s3(&client.s3),
        "gcs" => gcs(&trace.gcs) == gcs(&client.gcs),
        "azure" => azure(&trace.azure) == azure(&client.azure),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    #[test]
    fn certificates_that_are_wanted_of_clients_without_tls_are_suspect() {
        let keys = |tls: &str| -> Vec<String> {
            let text = format!("server: {{grpc_tls_config: {{{tls}}}}}");
            let found = suspects(&from_yaml(&text).unwrap()).into_iter();
            found
                .filter(|it| it.text.contains("the port has no TLS"))
                .flat_map(|it| it.keys)
                .collect()
        };
        for half in ["client_ca_file: a", "client_auth_type: RequireAndVerifyClientCert"] {
            assert_eq!(keys(half), ["server.grpc_tls_config"], "{half}");
            assert!(keys(&format!("{half}, cert_file: c, key_file: k")).is_empty(), "{half}");
        }
        assert!(keys("client_auth_type: NoClientCert").is_empty());
    }

    #[test]
    fn process_alone_is_not_warned_of_how_long_it_keeps_uploaded_blocks() {
        let is_warned = |text: &str, asks_for_gossip| {
            let text = format!("{text}\ningester: {{complete_block_timeout: 7m}}");
            let advice = advice(&from_yaml(&text).unwrap(), asks_for_gossip);
            advice.iter().any(|it| it.starts_with("ingester.complete_block_timeout"))
        };
        assert!(!is_warned("target: all", false));
        assert!(is_warned("memberlist: {join_members: [a]}", true));
        assert!(is_warned("target: ingester", false));
    }

    #[test]
    fn memcached_host_without_a_service_is_suspect() {
        let keys = |text: &str| -> Vec<String> {
            let found = suspects(&from_yaml(text).unwrap()).into_iter();
            found.filter(|it| it.text.contains("dns+m:11211")).flat_map(|it| it.keys).collect()
        };
        let cache = |servers: &str| {
            format!("cache: {{caches: [{{roles: [bloom], memcached: {{{servers}}}}}]}}")
        };
        assert_eq!(keys(&cache("host: 'm:11211'")), ["cache.caches.0.memcached.host"]);
        assert_eq!(
            keys(&cache("host: 'm:11211', addresses: ''")),
            ["cache.caches.0.memcached.host"]
        );
        let old = "storage: {trace: {cache: memcached, memcached: {host: 'm:11211'}}}";
        assert_eq!(keys(old), ["storage.trace.memcached.host"]);
        for fine in ["host: m, service: s", "host: 'm:11211', addresses: 'dns+m:11211'"] {
            assert!(keys(&cache(fine)).is_empty(), "{fine}");
        }
    }
}
