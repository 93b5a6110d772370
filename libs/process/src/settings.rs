//! Derives the settings that every process has from the configuration.

use std::{sync::Arc, time::Duration};

use tactus_cache::Caches;
use tactus_config::{
    Config, GoDuration, Loaded,
    sections::{client::GrpcClient, overrides::Limits, server::Server, storage::TraceStorage},
    target::services_of,
};
use tactus_model::OfTenant;
use tactus_overrides::{LimitsCheck, Overrides};
use tactus_rpc::{ChannelSettings, Compression};
use tactus_server::{
    auth::{AuthSettings, Authenticator, InternalToken},
    http::HttpSettings,
    listener::{Backlog, Http2Settings, ListenerSettings},
    request_log::{RequestLog, RequestLogSettings, SourceIps},
    tenancy::Tenancy,
};
use tactus_storage::PollerSettings;
use tactus_telemetry::metrics::Registry;
use tactus_tls::ServerTls;
use tokio::runtime::Handle;
use tonic::metadata::MetadataValue;

use crate::memory::block_list_bytes;
use crate::{Error, bucket};

/// Refuses limits of a tenant for a reason that the configuration itself cannot know, in words for the operator.
pub type CheckLimits = fn(&Config, &Limits) -> Result<(), String>;

/// How long a tenant has no blocks before it is deleted, where no age is given.
const EMPTY_TENANT_AGE: Duration = Duration::from_secs(12 * 3600);

/// How the block list is refreshed. Zeros are the built-in numbers.
pub(crate) fn poller(config: &Config) -> PollerSettings {
    let trace = &config.storage.trace;
    let (stale, built_in) = (trace.blocklist_poll_stale_tenant_index, PollerSettings::default());
    // Compactors write the indexes. Where they are away for long, blocks would be missed by whoever starts meanwhile.
    let forgotten = || index_is_forgotten_after(poll_interval(trace));
    let or = |count: usize, built_in| if count == 0 { built_in } else { count };
    PollerSettings {
        meta_concurrency: or(trace.blocklist_poll_concurrency, built_in.meta_concurrency),
        tenant_concurrency: trace.blocklist_poll_tenant_concurrency.max(1),
        fallback: trace.blocklist_poll_fallback,
        index_builders: usize::try_from(trace.blocklist_poll_tenant_index_builders)
            .map_or(built_in.index_builders, |builders| or(builders, built_in.index_builders)),
        // An older index is not read where the bucket can be listed: until the next poll, the list could become too old.
        stale_index_after: match trace.blocklist_poll_fallback {
            true => Some(stale.non_zero().unwrap_or_else(forgotten).min(usable_index_age(config))),
            false => stale.non_zero(),
        },
        tolerate_consecutive_errors: trace.blocklist_poll_tolerate_consecutive_errors,
        tolerate_tenant_failures: trace.blocklist_poll_tolerate_tenant_failures,
        jitter: Duration::from_millis(trace.blocklist_poll_jitter_ms),
        empty_tenant_deletion: trace
            .empty_tenant_deletion_enabled
            .then(|| trace.empty_tenant_deletion_age.non_zero().unwrap_or(EMPTY_TENANT_AGE)),
        max_bytes: block_list_bytes(trace.blocklist_max_bytes),
    }
}

/// A tenant index is written at each poll of those who write it. When it is older than this, nobody does any more. Ingesters
/// answer for the spans of a block that is not in the index for longer (`complete_block_timeout`).
pub(crate) fn index_is_forgotten_after(interval: Duration) -> Duration {
    interval.saturating_mul(2).max(Duration::from_secs(10 * 60))
}

/// How old a block list may become: then it still has all blocks whose spans no ingester answers for any more. A tenant
/// index may be as old as an interval and a poll when it is read, and is read again after another interval. Where ingesters
/// hold spans for less than three intervals it is these, which a list reaches only if a poll fails or takes long: else all
/// answers would be partial.
pub(crate) fn list_max_age(config: &Config) -> Duration {
    let interval = poll_interval(&config.storage.trace);
    config.ingester.complete_block_timeout.as_std().max(interval.saturating_mul(3))
}

/// How old an index may be when it is read: the list is of use until the next poll, and a quarter is for polls that take
/// long.
fn usable_index_age(config: &Config) -> Duration {
    (list_max_age(config) - poll_interval(&config.storage.trace)) / 4 * 3
}

/// Time between the begins of two polls of the block list.
pub fn poll_interval(trace: &TraceStorage) -> Duration {
    trace.blocklist_poll.non_zero().unwrap_or(Duration::from_secs(5 * 60))
}

/// How tenants are found.
pub fn tenancy(config: &Config, lists_allowed: bool) -> Tenancy {
    if config.multitenant() { Tenancy::by_header(lists_allowed) } else { Tenancy::single() }
}

/// Bound of what connections hold besides requests, in bytes: those of services of the cluster, and those of all other ports.
pub(crate) fn connection_bytes(config: &Config) -> u64 {
    match config.server.max_connection_bytes {
        0 => u64::MAX,
        bytes => bytes,
    }
}

/// An HTTP port of a section of the configuration. Errors: certificates.
pub(crate) fn http(section: &str, server: &Server) -> Result<HttpSettings, Error> {
    let tls = tactus_tls::from_config::http_server(section, server)?;
    Ok(HttpSettings {
        listener: ListenerSettings {
            proxy_protocol: server.proxy_protocol_enabled,
            tls: tls.map(ServerTls::load).transpose()?,
            ..http_listener(server)
        },
        body_timeout: server.http_server_read_timeout.non_zero(),
        request_timeout: server.http_server_write_timeout.non_zero(),
        ..HttpSettings::default()
    })
}

/// What lines about requests at the ports of a section of the configuration have.
///
/// Errors: a name that no header can have, or an expression that is none.
pub(crate) fn request_log(section: &str, server: &Server) -> Result<RequestLog, Error> {
    let has_source_ips = server.log_source_ips_enabled;
    Ok(RequestLog::new(RequestLogSettings {
        at_info: server.log_request_at_info_level_enabled,
        with_headers: server.log_request_headers,
        excluded_headers: server.log_request_exclude_headers_list.clone(),
        source_ips: has_source_ips.then(|| source_ips(section, server)).transpose()?,
    }))
}

fn source_ips(section: &str, server: &Server) -> Result<SourceIps, Error> {
    let (header, pattern) = (&server.log_source_ips_header, &server.log_source_ips_regex);
    let full = server.log_source_ips_full;
    if header.is_empty() && pattern.is_empty() {
        return Ok(SourceIps { full, custom: None });
    }
    let invalid = |key: &str, why: String| Error::Setup(format!("{section}.{key}: {why}"));
    if header.is_empty() || pattern.is_empty() {
        let why = "goes together with log_source_ips_regex".to_owned();
        return Err(invalid("log_source_ips_header", why));
    }
    let name = http::HeaderName::try_from(header)
        .map_err(|error| invalid("log_source_ips_header", error.to_string()))?;
    let pattern = expression(pattern).map_err(|why| invalid("log_source_ips_regex", why))?;
    Ok(SourceIps { full, custom: Some((name, pattern)) })
}

/// A regular expression of the configuration, which is RE2's as in Tempo. Errors: what is wrong with it.
pub fn expression(pattern: &str) -> Result<regex::Regex, String> {
    let translated = tactus_traceql::from_re2(pattern)?;
    regex::Regex::new(&translated).map_err(|error| error.to_string())
}

/// Largest frame that the services of a cluster send each other, in bytes: pushes are some hundred kilobytes.
const INTERNAL_FRAME_BYTES: u32 = 256 << 10;

/// Calls that a connection may open and reset before they are looked at, however many it may have at a time.
const MOST_PENDING_RESETS: usize = 1_000;

/// A port of `tempopb` and of the services of the cluster, or of one of them. Errors: certificates.
pub(crate) fn grpc(config: &Config, backlog: Arc<Backlog>) -> Result<ListenerSettings, Error> {
    let server = &config.server;
    let tls = tactus_tls::from_config::grpc_server("server", server)?;
    let listener = grpc_listener(server, server.grpc_server_max_concurrent_streams);
    let http2 = Http2Settings {
        max_frame_bytes: INTERNAL_FRAME_BYTES,
        // The calls of all tenants share the connection of a querier or of a gateway. One that gives up as many as it may have makes
        // the others fail if that ends the connection.
        max_pending_resets: (server.grpc_server_max_concurrent_streams as usize)
            .clamp(listener.http2.max_pending_resets, MOST_PENDING_RESETS),
        ..listener.http2
    };
    Ok(ListenerSettings {
        proxy_protocol: server.proxy_protocol_enabled,
        tls: tls.map(ServerTls::load).transpose()?,
        http2,
        backlog,
        ..listener
    })
}

/// The connections of an HTTP port: what the section `server` says of all of them, without TLS.
pub fn http_listener(server: &Server) -> ListenerSettings {
    ListenerSettings {
        max_connections: server.http_listen_conn_limit.max(0) as usize,
        idle_timeout: server.http_server_idle_timeout.non_zero(),
        write_timeout: server.http_server_write_timeout.non_zero(),
        ..listener(server)
    }
}

/// The connections of a gRPC port, each with this many calls at a time; 0: any number.
pub fn grpc_listener(server: &Server, max_concurrent_streams: u32) -> ListenerSettings {
    ListenerSettings {
        max_connections: server.grpc_listen_conn_limit.max(0) as usize,
        idle_timeout: finite(server.grpc_server_max_connection_idle),
        max_connection_age: finite(server.grpc_server_max_connection_age),
        max_connection_age_grace: finite(server.grpc_server_max_connection_age_grace),
        http2: Http2Settings {
            max_concurrent_streams: Some(max_concurrent_streams).filter(|&streams| streams > 0),
            keepalive_interval: server.grpc_server_keepalive_time.non_zero(),
            keepalive_timeout: server.grpc_server_keepalive_timeout.as_std(),
            ..Http2Settings::default()
        },
        ..listener(server)
    }
}

/// What holds for the connections of every port.
fn listener(server: &Server) -> ListenerSettings {
    let read_timeout = server.http_server_read_timeout.non_zero();
    ListenerSettings {
        header_timeout: server.http_server_read_header_timeout.non_zero().or(read_timeout),
        drain_timeout: server.graceful_shutdown_timeout.as_std(),
        max_head_bytes: server.http_server_max_header_bytes,
        handshake_timeout: server.tls_handshake_timeout.as_std(),
        ..ListenerSettings::default()
    }
}

/// Zero and "infinity" are no limit.
fn finite(duration: GoDuration) -> Option<Duration> {
    duration.non_zero().filter(|_| duration != GoDuration::INFINITE)
}

/// What the limits of tenants are made of. `check`: what the configuration itself cannot know.
pub(crate) fn overrides(
    loaded: &Loaded,
    check: CheckLimits,
) -> Result<tactus_overrides::Settings, Error> {
    let config = Arc::new(loaded.config.clone());
    let bucket = bucket::user_overrides(&config.overrides)?;
    let alone = Config::default();
    Ok(tactus_overrides::Settings {
        expand_env: loaded.expand_env,
        bucket,
        check: Arc::new(move |limits| check(&alone, limits)),
        fits: fits_of(Arc::clone(&config), check),
        ..tactus_overrides::Settings::new(config)
    })
}

/// Alternatives of a tag filter at most, where nothing is set.
const MAX_CONDITION_GROUPS: usize = 100;

/// Alternatives of a tag filter at most, of each tenant: as query-frontends have it, whose jobs others run.
pub fn max_condition_groups(config: &Config, overrides: &Arc<Overrides>) -> OfTenant<usize> {
    let of_all = config.overrides.defaults.read.max_condition_groups_per_tag_query;
    let overrides = Arc::clone(overrides);
    OfTenant::new(move |tenant| {
        let own = overrides.of(tenant).read.max_condition_groups_per_tag_query;
        let count = |groups| usize::try_from(groups).unwrap_or(usize::MAX);
        own.or(of_all).map_or(MAX_CONDITION_GROUPS, count)
    })
}

/// What does not go together with the configuration: what `check` refuses, and forwarders that the distributor of this process
/// does not have.
fn fits_of(config: Arc<Config>, check: CheckLimits) -> LimitsCheck {
    Arc::new(move |limits| {
        check(&config, limits)?;
        let forwarders = &config.distributor.forwarders;
        let is_known = |name: &&String| forwarders.iter().any(|known| known.name == **name);
        match limits.forwarders.iter().find(|name| !is_known(name)) {
            Some(name) if services_of(&config.target).contains(&"distributor") => Err(format!(
                "forwarders: forwarder {name:?} is not a known forwarder, contact your system administrator"
            )),
            _ => Ok(()),
        }
    })
}

/// Who may do what, if the configuration asks for that. Errors: a file that is missing or wrong.
pub(crate) fn authenticator(
    config: &Config,
    internal_token: Option<Arc<InternalToken>>,
) -> Result<Option<Arc<Authenticator>>, Error> {
    let auth = &config.auth;
    if !auth.enabled {
        return Ok(None);
    }
    if auth.users_file.is_empty() {
        return Err(Error::Setup("auth.users_file is not set".to_owned()));
    }
    Ok(Some(Authenticator::load(AuthSettings {
        internal_token,
        public_paths: auth.public_paths.clone(),
        reload_interval: auth.reload_interval.as_std(),
        ..AuthSettings::new(&auth.users_file, tenancy(config, true))
    })?))
}

/// The token that services of the cluster know, if there is one. Errors: a file that is missing or wrong.
pub(crate) fn internal_token(config: &Config) -> Result<Option<Arc<InternalToken>>, Error> {
    let auth = &config.auth;
    if auth.internal_token_file.is_empty() {
        return Ok(None);
    }
    let path = auth.internal_token_file.as_str().into();
    Ok(Some(Arc::new(InternalToken::load(path, auth.reload_interval.as_std())?)))
}

/// Gives the token as it is now.
pub(crate) fn shown(token: &Arc<InternalToken>) -> Arc<dyn Fn() -> String + Send + Sync> {
    let token = Arc::clone(token);
    Arc::new(move || (*token.get()).clone())
}

/// How other services are called. `section`: where `client` is in the configuration. `cluster_label`: that of their cluster.
/// Errors: certificates.
pub(crate) fn channels(
    section: &str,
    client: &GrpcClient,
    token: Option<&Arc<InternalToken>>,
    cluster_label: &str,
) -> Result<ChannelSettings, Error> {
    let compression = match client.grpc_compression.as_str() {
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        // Also snappy, which is what files made for Tempo say: see ADR 7.
        _ => Compression::None,
    };
    let tls =
        client.tls_enabled.then(|| tactus_tls::from_config::grpc_client(section, &client.tls));
    let tls = tls.map(tactus_tls::ClientTls::load).transpose()?;
    let connect_timeout = client.connect_timeout.non_zero();
    Ok(ChannelSettings {
        connect_timeout: connect_timeout.unwrap_or(ChannelSettings::default().connect_timeout),
        max_receive_bytes: client.max_recv_msg_size,
        max_send_bytes: client.max_send_msg_size,
        compression,
        tls,
        internal_token: token.map(shown),
        // What cannot be sent is not compared.
        cluster_label: MetadataValue::try_from(cluster_label.as_bytes()).ok(),
    })
}

/// Sets all caches on the network up. Errors: settings that cannot work; not servers that are away.
pub(crate) fn open_caches(config: &Config, registry: &Registry) -> Result<Caches, Error> {
    let caches = config.all_caches().map_err(Error::Setup)?;
    Caches::open(&caches, registry, &Handle::current())
        .map_err(|error| Error::Setup(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_too_old_before_ingesters_release_and_never_while_polls_are_in_time() {
        let of = |held: &str, poll: &str| {
            let text = format!(
                "ingester: {{complete_block_timeout: {held}}}\nstorage: {{trace: {{blocklist_poll: {poll}}}}}"
            );
            list_max_age(&tactus_config::from_yaml(&text).unwrap()).as_secs()
        };
        assert_eq!(list_max_age(&Config::default()).as_secs(), 900);
        assert_eq!(of("1h", "5m"), 3_600);
        assert_eq!(of("4s", "1s"), 4);
        assert_eq!((of("1m", "5m"), of("0s", "0s")), (900, 900));
    }

    #[test]
    fn forwarder_that_the_distributor_does_not_have_is_refused_where_there_is_one() {
        let check = |target: &str| {
            let text = "distributor: {forwarders: [{name: f, backend: otlpgrpc, otlpgrpc: {tls: {insecure: true}}}]}";
            let mut config = tactus_config::from_yaml(text).unwrap();
            config.target = target.to_owned();
            fits_of(Arc::new(config), |_, _| Ok(()))
        };
        let limits = |name: &str| Limits { forwarders: vec![name.to_owned()], ..Limits::default() };
        assert_eq!(check("all")(&limits("f")), Ok(()));
        let refused = check("distributor")(&limits("x")).unwrap_err();
        assert_eq!(
            refused,
            "forwarders: forwarder \"x\" is not a known forwarder, contact your system administrator"
        );
        assert_eq!(check("querier")(&limits("x")), Ok(()));
        let refuses = fits_of(Arc::default(), |_, _| Err("no".to_owned()));
        assert_eq!(refuses(&Limits::default()), Err("no".to_owned()));
    }

    #[test]
    fn tenant_index_has_builders_whatever_is_set() {
        for (set, expected) in [(-1, 2), (0, 2), (1, 1), (5, 5)] {
            let mut config = Config::default();
            config.storage.trace.blocklist_poll_tenant_index_builders = set;
            assert_eq!(poller(&config).index_builders, expected);
        }
    }

    #[test]
    fn index_is_not_read_if_the_list_would_be_too_old_before_the_next_poll() {
        let of = |text: &str| {
            let text = format!("storage: {{trace: {{{text}}}}}");
            let age = poller(&tactus_config::from_yaml(&text).unwrap()).stale_index_after;
            age.map(|age| age.as_secs())
        };
        assert_eq!(of(""), Some(450));
        assert_eq!(of("blocklist_poll: 10s"), Some(600));
        assert_eq!(of("blocklist_poll: 1h"), Some(5_400));
        assert_eq!(of("blocklist_poll_stale_tenant_index: 7m"), Some(420));
        assert_eq!(of("blocklist_poll_stale_tenant_index: 45m"), Some(450));
        assert_eq!(of("blocklist_poll_fallback: false"), None);
        let listing_is_off =
            "blocklist_poll_fallback: false, blocklist_poll_stale_tenant_index: 45m";
        assert_eq!(of(listing_is_off), Some(2_700));
    }

    #[test]
    fn connection_of_a_service_may_give_up_as_many_calls_as_it_may_have() {
        for (streams, expected) in [(100, 100), (0, 20), (5, 20), (100_000, 1_000)] {
            let mut config = Config::default();
            config.server.grpc_server_max_concurrent_streams = streams;
            let settings = grpc(&config, Backlog::of_services()).unwrap();
            assert_eq!(settings.http2.max_pending_resets, expected, "{streams}");
        }
    }

    #[test]
    fn addresses_of_clients_need_a_header_with_its_pattern() {
        let of = |header: &str, pattern: &str| {
            let server = Server {
                log_source_ips_enabled: true,
                log_source_ips_header: header.to_owned(),
                log_source_ips_regex: pattern.to_owned(),
                ..Server::default()
            };
            request_log("server", &server).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(of("", ""), Ok(()));
        assert_eq!(of("X-Client", "ip=(.*)"), Ok(()));
        for (header, pattern, key) in [
            ("X-Client", "", "server.log_source_ips_header: "),
            ("", "ip=(.*)", "server.log_source_ips_header: "),
            ("X Client", "a", "server.log_source_ips_header: "),
            ("X-Client", "(", "server.log_source_ips_regex: "),
        ] {
            let error = of(header, pattern).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        let off = Server { log_source_ips_regex: "(".to_owned(), ..Server::default() };
        assert!(request_log("server", &off).is_ok());
    }

    #[test]
    fn connections_follow_their_own_section() {
        let client = GrpcClient {
            grpc_compression: "zstd".to_owned(),
            max_send_msg_size: 7,
            ..GrpcClient::querier_worker()
        };
        let settings =
            channels("querier.frontend_worker.grpc_client_config", &client, None, "").unwrap();
        assert_eq!((settings.compression, settings.max_send_bytes), (Compression::Zstd, 7));
        assert_eq!(settings.connect_timeout, Duration::from_secs(5));
        let mut by_tls = GrpcClient { tls_enabled: true, ..client };
        by_tls.tls.tls_ca_path = "/nonexistent".to_owned();
        let error = channels("some.section", &by_tls, None, "").unwrap_err().to_string();
        assert!(error.contains("some.section.tls_ca_path: /nonexistent"), "{error}");
    }

    fn with_cache(cache: &str) -> Config {
        tactus_config::from_yaml(&format!("cache: {{caches: [{{roles: [bloom], {cache}}}]}}"))
            .unwrap()
    }

    #[test]
    fn redis_keys_are_read_in_both_spellings() {
        let of =
            |text: &str| with_cache(&format!("redis: {{{text}}}")).cache.caches[0].redis.clone();
        let dashes =
            of("endpoint: 'a:1,b:2', master-name: m, pool-size: 3, idle-timeout: 1m, ttl: 5s");
        let underscores =
            of("endpoint: 'a:1,b:2', master_name: m, pool_size: 3, idle_timeout: 1m, ttl: 5s");
        assert_eq!(dashes, underscores);
        assert_eq!(dashes.unwrap().pool_size, 3);
    }

    #[tokio::test]
    async fn caches_that_cannot_work_are_named() {
        let refused = |text: &str| {
            open_caches(&with_cache(text), &Registry::new()).map(drop).unwrap_err().to_string()
        };
        assert!(refused("memcached: {}").contains("no addresses are set"));
        assert!(refused("redis: {}").contains("no endpoint is set"));
        let text = refused("redis: {endpoint: nowhere}");
        assert!(text.contains("\"nowhere\" is not host:port"), "{text}");
        let bad = refused("memcached: {addresses: 'a:b'}");
        assert!(bad.starts_with("cache for role [bloom]: "), "{bad}");
        let tls = refused("memcached: {addresses: m, tls_enabled: true, tls_key_path: k}");
        assert!(tls.ends_with("memcached: key given but no certificate configured"), "{tls}");
        let away = with_cache("memcached: {addresses: '127.0.0.1:1'}");
        assert!(open_caches(&away, &Registry::new()).is_ok(), "a server that is away is no error");
    }
}
