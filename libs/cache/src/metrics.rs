//! Metrics of caches.

use std::time::Duration;

use tactus_telemetry::metrics::{
    Counter, CounterVec, Gauge, GaugeVec, HistogramVec, Registry, exponential_buckets,
};

/// Which kind of servers a cache asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memcached,
    Redis,
}

tactus_telemetry::metrics! {
    struct Families {
        servers: GaugeVec<1> = "tempo_memcache_client_servers", "Memcached servers found, by roles.", ["name"];
        skipped: CounterVec<1> = "tempo_memcache_client_set_skip_total",
            "Values not stored because they are too large, by roles.", ["name"];
        queued: GaugeVec<1> = "tempo_cache_background_queue_length", "Writes that wait, by roles.", ["name"];
        dropped: CounterVec<1> = "tempo_cache_dropped_background_writes_total",
            "Writes left out because too many waited, by roles.", ["name"];
        invalid: CounterVec<1> = "tactus_cache_invalid_values_total",
            "Values found in a cache that are damaged or not ours, by roles.", ["name"];
    }
}

/// The metrics of one cache.
#[derive(Debug)]
pub(crate) struct Metrics {
    name: String,
    methods: [&'static str; 3],
    seconds: HistogramVec<3>,
    /// Values over the size limit.
    pub(crate) skipped: Counter,
    /// Writes that wait.
    pub(crate) queued: Gauge,
    /// Writes that found no place.
    pub(crate) dropped: Counter,
    /// Values that are not what was written under their key.
    pub(crate) invalid: Counter,
    servers: GaugeVec<1>,
}

/// What a caller wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Get,
    GetMulti,
    Put,
}

impl Metrics {
    /// `name`: the roles, joined by `|`.
    pub(crate) fn new(registry: &Registry, kind: Kind, name: &str) -> Self {
        let (family, help, methods) = match kind {
            Kind::Memcached => (
                "tempo_memcache_request_duration_seconds",
                "Time of a call to memcached, by method, outcome (200, 404 for a miss, 500) and roles.",
                ["Memcache.Get", "Memcache.GetMulti", "Memcache.Put"],
            ),
            Kind::Redis => (
                "tempo_rediscache_request_duration_seconds",
                "Time of a call to redis, by method, outcome (200, 404 for a miss, 500) and roles.",
                ["RedisCache.Get", "RedisCache.GetMulti", "RedisCache.Put"],
            ),
        };
        let labels = ["method", "status_code", "name"];
        let buckets = exponential_buckets(0.000_016, 4.0, 8);
        let families = Families::register(registry);
        Self {
            methods,
            seconds: registry.histogram_vec(family, help, labels, &buckets),
            skipped: families.skipped.with([name]),
            queued: families.queued.with([name]),
            dropped: families.dropped.with([name]),
            invalid: families.invalid.with([name]),
            servers: families.servers,
            name: name.to_owned(),
        }
    }

    /// Counts a call.
    pub(crate) fn called(&self, method: Method, status: &str, time: Duration) {
        let method = self.methods[method as usize];
        self.seconds.with([method, status, &self.name]).observe_duration(time);
    }

    /// Shows how many memcached servers there are.
    pub(crate) fn servers(&self, servers: usize) {
        self.servers.with([&self.name]).set(servers as f64);
    }

    /// The roles, joined by `|`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
