//! Caches on the network.

use tactus_cache::Caches;
use tactus_config::Config;
use tactus_telemetry::metrics::Registry;
use tokio::runtime::Handle;

use crate::Error;

/// Sets all caches up. Errors: settings that cannot work; not servers that are away.
pub(crate) fn open(config: &Config, registry: &Registry) -> Result<Caches, Error> {
    let caches = config.all_caches().map_err(Error::Setup)?;
    Caches::open(&caches, registry, &Handle::current())
        .map_err(|error| Error::Setup(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(cache: &str) -> Config {
        tactus_config::from_yaml(&format!("cache: {{caches: [{{roles: [bloom], {cache}}}]}}"))
            .unwrap()
    }

    #[test]
    fn redis_keys_are_read_in_both_spellings() {
        let of = |text: &str| config(&format!("redis: {{{text}}}")).cache.caches[0].redis.clone();
        let dashes =
            of("endpoint: 'a:1,b:2', master-name: m, pool-size: 3, idle-timeout: 1m, ttl: 5s");
        let underscores =
            of("endpoint: 'a:1,b:2', master_name: m, pool_size: 3, idle_timeout: 1m, ttl: 5s");
        assert_eq!(dashes, underscores);
        assert_eq!(dashes.unwrap().pool_size, 3);
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
        let tls = open("memcached: {addresses: m, tls_enabled: true, tls_key_path: k}");
        assert!(tls.ends_with("memcached: key given but no certificate configured"), "{tls}");
        let away = config("memcached: {addresses: '127.0.0.1:1'}");
        assert!(super::open(&away, &Registry::new()).is_ok(), "a server that is away is no error");
    }
}
