//! Caches on the network, and those of their kind in memory.

use std::sync::Arc;
use std::time::Duration;

use tactus_cache::memcached::{MemcachedSettings, ServerAddress};
use tactus_cache::redis::RedisSettings;
use tactus_cache::{
    BackgroundSettings, BreakerSettings, CacheSettings, Caches, Role, ServerSettings,
};
use tactus_config::sections::cache::{BackgroundCache, Memcached, Redis};
use tactus_config::sections::client::ClientTls as ClientSection;
use tactus_config::{Config, GoDuration};
use tactus_telemetry::metrics::Registry;
use tactus_tls::ClientTls;
use tokio::runtime::Handle;

use crate::Error;

/// Sets all caches up. Errors: settings that cannot work; not servers that are away.
pub(crate) fn open(config: &Config, registry: &Registry) -> Result<Caches, Error> {
    let mut settings = Vec::new();
    for (cache, background) in config.all_caches().map_err(Error::Setup)? {
        let names = cache.roles.join(" ");
        let named = |error: String| Error::Setup(format!("cache for role [{names}]: {error}"));
        let servers = match (&cache.memcached, &cache.redis) {
            (Some(servers), _) => memcached(servers).map(Box::new).map(ServerSettings::Memcached),
            (None, Some(servers)) => redis(servers).map(Box::new).map(ServerSettings::Redis),
            (None, None) => continue,
        };
        settings.push(CacheSettings {
            roles: cache.roles.iter().filter_map(|name| Role::from_name(name)).collect(),
            servers: servers.map_err(named)?,
            background: writes(&background),
        });
    }
    Caches::open(&settings, registry, &Handle::current())
        .map_err(|error| Error::Setup(format!("cache: {error}")))
}

fn writes(background: &BackgroundCache) -> BackgroundSettings {
    BackgroundSettings {
        writers: positive(background.writeback_goroutines),
        buffer: positive(background.writeback_buffer),
    }
}

fn memcached(servers: &Memcached) -> Result<MemcachedSettings, String> {
    let text = servers.addresses.iter().flat_map(|address| address.split(','));
    let text = text.filter(|address| !address.trim().is_empty());
    let mut addresses = Vec::new();
    for address in text {
        addresses.push(ServerAddress::parse(address).map_err(|error| error.to_string())?);
    }
    if addresses.is_empty() && !servers.host.is_empty() {
        addresses.push(ServerAddress::of_service(&servers.host, &servers.service));
    }
    let built_in = BreakerSettings::default();
    Ok(MemcachedSettings {
        addresses,
        timeout: timeout(servers.timeout),
        max_idle_connections: positive(servers.max_idle_conns),
        update_interval: servers.update_interval.non_zero().unwrap_or(Duration::from_secs(60)),
        max_item_bytes: positive(servers.max_item_size),
        ttl: servers.ttl.as_std(),
        breaker: BreakerSettings {
            consecutive_failures: match servers.circuit_breaker_consecutive_failures {
                failures if failures > 0 => u32::try_from(failures).unwrap_or(u32::MAX),
                _ => built_in.consecutive_failures,
            },
            timeout: servers.circuit_breaker_timeout.non_zero().unwrap_or(built_in.timeout),
            interval: servers.circuit_breaker_interval.non_zero().unwrap_or(built_in.interval),
        },
        tls: servers.tls_enabled.then(|| tls(&servers.tls)).transpose()?,
    })
}

fn redis(servers: &Redis) -> Result<RedisSettings, String> {
    let endpoints = servers.endpoint.split(',').map(str::trim).filter(|text| !text.is_empty());
    Ok(RedisSettings {
        endpoints: endpoints.map(str::to_owned).collect(),
        master_name: servers.master_name.clone(),
        username: servers.username.clone(),
        password: servers.password.reveal().to_owned(),
        sentinel_username: servers.sentinel_username.clone(),
        sentinel_password: servers.sentinel_password.reveal().to_owned(),
        db: servers.db,
        timeout: timeout(servers.timeout),
        ttl: servers.expiration.non_zero().unwrap_or(servers.ttl.as_std()),
        connections: positive(servers.pool_size),
        idle_timeout: servers.idle_timeout.as_std(),
        max_connection_age: servers.max_connection_age.as_std(),
        tls: servers.tls_enabled,
        tls_insecure_skip_verify: servers.tls_insecure_skip_verify,
        breaker: BreakerSettings::default(),
    })
}

/// Errors: certificates.
fn tls(tls: &ClientSection) -> Result<Arc<ClientTls>, String> {
    let settings = tactus_tls::from_config::client("memcached", tls);
    ClientTls::load(settings).map_err(|error| error.to_string())
}

/// A call without a limit would let a server that hangs stop queries.
fn timeout(setting: GoDuration) -> Duration {
    setting.non_zero().unwrap_or(Duration::from_millis(100))
}

fn positive(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cache: &str) -> Config {
        tactus_config::from_yaml(&format!("cache: {{caches: [{{roles: [bloom], {cache}}}]}}"))
            .unwrap()
    }

    #[test]
    fn servers_of_memcached_come_from_addresses_or_from_a_service() {
        let of = |text: &str| {
            let config = config(&format!("memcached: {{{text}}}"));
            memcached(config.cache.caches[0].memcached.as_ref().unwrap())
        };
        let listed =
            of("addresses: 'm-0:1, dns+m:2', timeout: 0s, ttl: 1h, max_item_size: 9").unwrap();
        let expected = ["m-0:1", "dns+m:2"].map(|address| ServerAddress::parse(address).unwrap());
        assert_eq!(listed.addresses, expected);
        assert_eq!((listed.timeout, listed.max_item_bytes), (Duration::from_millis(100), 9));
        assert_eq!(
            (listed.ttl, listed.breaker),
            (Duration::from_secs(3600), BreakerSettings::default())
        );
        let service = of("host: h, service: memcached-client, consistent_hash: true").unwrap();
        assert_eq!(service.addresses, [ServerAddress::of_service("h", "memcached-client")]);
        let breaker =
            of("addresses: [m], circuit_breaker_consecutive_failures: 10").unwrap().breaker;
        assert_eq!(breaker.consecutive_failures, 10);
        assert!(of("addresses: 'ftp+m:1'").unwrap_err().contains("ftp+m:1"));
        let tls = of("addresses: m, tls_enabled: true, tls_key_path: k");
        assert_eq!(tls.unwrap_err(), "memcached: key given but no certificate configured");
    }

    #[test]
    fn redis_keys_are_read_in_both_spellings() {
        let of = |text: &str| {
            let config = config(&format!("redis: {{{text}}}"));
            redis(config.cache.caches[0].redis.as_ref().unwrap()).unwrap()
        };
        let dashes =
            of("endpoint: 'a:1,b:2', master-name: m, pool-size: 3, idle-timeout: 1m, ttl: 5s");
        let underscores =
            of("endpoint: 'a:1,b:2', master_name: m, pool_size: 3, idle_timeout: 1m, ttl: 5s");
        for found in [dashes, underscores] {
            assert_eq!(found.endpoints, ["a:1", "b:2"]);
            assert_eq!((found.master_name.as_str(), found.connections), ("m", 3));
            assert_eq!(found.idle_timeout, Duration::from_secs(60));
            assert_eq!(found.ttl, Duration::from_secs(5));
        }
        let expiration = of("endpoint: 'a:1', expiration: 1s, ttl: 5s");
        assert_eq!(expiration.ttl, Duration::from_secs(1));
    }

    #[tokio::test]
    async fn caches_that_cannot_work_are_named() {
        let open = |text: &str| {
            super::open(&config(text), &Registry::new()).map(drop).unwrap_err().to_string()
        };
        assert!(open("memcached: {}").contains("no addresses are set"));
        assert!(open("redis: {}").contains("no endpoint is set"));
        let text = open("redis: {endpoint: nowhere}");
        assert!(text.contains("\"nowhere\" is not host:port"), "{text}");
        let bad = open("memcached: {addresses: 'a:b'}");
        assert!(bad.starts_with("cache for role [bloom]: "), "{bad}");
        let away = config("memcached: {addresses: '127.0.0.1:1'}");
        assert!(super::open(&away, &Registry::new()).is_ok(), "a server that is away is no error");
    }
}
