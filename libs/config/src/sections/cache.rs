//! `cache`: memcached and redis, shared by role.

use super::client::ClientTls;
use super::{millis, minutes};
use crate::duration::GoDuration;
use crate::field::{Secret, section};

section! {
    /// Caches.
    CacheSection {
        background: BackgroundCache, "writes behind the caller's back";
        caches: Vec<Cache>, "the caches; a role belongs to one of them";
    }

    /// Writes behind the caller's back.
    BackgroundCache {
        writeback_goroutines: i64 = 10, "writers";
        writeback_buffer: i64 = 10_000, "writes that wait; more are dropped";
    }

    /// One cache: exactly one of memcached and redis.
    Cache {
        roles: Vec<String>, "bloom, trace-id-index, parquet-footer, parquet-column-idx, parquet-offset-idx, parquet-page, frontend-search";
        memcached: Option<Memcached>, "memcached servers";
        redis: Option<Redis>, "redis servers";
    }

    /// Memcached servers.
    Memcached {
        addresses: Vec<String>, "servers: host:port, dns+host:port, dnssrv+name or dnssrvnoa+name, comma separated";
        host: String, "host of the SRV lookup";
        service: String, "service of the SRV lookup";
        timeout: GoDuration = millis(100), "time for a call";
        max_idle_conns: i64 = 16, "idle connections kept to a server";
        update_interval: GoDuration = minutes(1), "interval at which the servers are looked up";
        consistent_hash: bool, "no effect here: keys always stay when servers come and go";
        max_item_size: i64, "larger values are not stored, in bytes; 0 leaves it to the servers";
        ttl: GoDuration, "life of an entry; 0 is for ever";
        circuit_breaker_consecutive_failures: i64, "failures in a row after which a server is left alone; 0 takes 3, since a server that hangs would slow every query";
        circuit_breaker_timeout: GoDuration, "how long it is left alone; 0 takes 10s";
        circuit_breaker_interval: GoDuration, "age at which failures are forgotten; 0 takes 10s";
        tls_enabled: bool, "connect by TLS";
        @inline {
            tls: ClientTls, "certificates";
        }
    }

    /// Redis servers.
    Redis {
        endpoint: String, "host:port; several, comma separated, for a cluster or sentinels";
        master_name: String, "name of the primary, with sentinels";
        username: String, "user name";
        password: Secret, "password";
        sentinel_username: String, "user name for sentinels";
        sentinel_password: Secret, "password for sentinels";
        db: i64, "database number";
        timeout: GoDuration = millis(100), "time for a call";
        expiration: GoDuration, "life of an entry; 0 takes ttl";
        ttl: GoDuration, "life of an entry; 0 is for ever";
        pool_size: i64, "connections, which calls share; 0 is the client's choice";
        idle_timeout: GoDuration, "a connection that is idle for longer is closed";
        max_connection_age: GoDuration, "age at which connections are closed";
        tls_enabled: bool, "connect by TLS";
        tls_insecure_skip_verify: bool, "do not check the server's certificate";
    }
}
