//! Which cache is for what.

use std::sync::Arc;
use std::time::Duration;

use tactus_telemetry::error_text;
use tactus_telemetry::metrics::Registry;
use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::error::Result;
use crate::memcached::{Memcached, MemcachedSettings, ServerAddress};
use crate::metrics::{Kind, Metrics};
use crate::redis::{Redis, RedisSettings};
use crate::role::Role;
use crate::store::Store;

/// One cache.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// What it is for.
    pub roles: Vec<Role>,
    /// Where it is.
    pub servers: ServerSettings,
    /// Writes to it.
    pub background: BackgroundSettings,
}

/// The servers of a cache.
#[derive(Debug, Clone)]
pub enum ServerSettings {
    /// Memcached.
    Memcached(Box<MemcachedSettings>),
    /// Redis.
    Redis(Box<RedisSettings>),
}

impl ServerSettings {
    /// The servers as configured, for a log line.
    fn addresses(&self) -> String {
        match self {
            Self::Memcached(settings) => {
                let addresses: Vec<_> =
                    settings.addresses.iter().map(ServerAddress::name).collect();
                addresses.join(",")
            }
            Self::Redis(settings) => settings.endpoints.join(","),
        }
    }
}

/// Writes behind the caller's back.
#[derive(Debug, Clone, Copy)]
pub struct BackgroundSettings {
    /// Writes at a time.
    pub writers: usize,
    /// Writes that wait; more are dropped, and so is what makes them more than 64 MiB together.
    pub buffer: usize,
}

impl Default for BackgroundSettings {
    fn default() -> Self {
        Self { writers: 10, buffer: 10_000 }
    }
}

/// The caches by role. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    by_role: [Option<Cache>; Role::ALL.len()],
}

impl Caches {
    /// Sets the caches up; of two that claim a role the first has it. Nothing is waited for: servers that cannot be
    /// reached are logged.
    ///
    /// Errors: a setting that cannot work.
    pub fn open(settings: &[CacheSettings], registry: &Registry, runtime: &Handle) -> Result<Self> {
        let mut caches = Self::default();
        for cache in settings {
            let names: Vec<_> = cache.roles.iter().map(|role| role.name()).collect();
            let name = names.join("|");
            let (store, metrics, max_item_bytes): (Arc<dyn Store>, _, _) = match &cache.servers {
                ServerSettings::Memcached(settings) => {
                    let metrics = Arc::new(Metrics::new(registry, Kind::Memcached, &name));
                    let store = Memcached::new(settings, Arc::clone(&metrics))?;
                    (Arc::new(store), metrics, settings.max_item_bytes)
                }
                ServerSettings::Redis(settings) => {
                    let metrics = Arc::new(Metrics::new(registry, Kind::Redis, &name));
                    (Arc::new(Redis::new(settings)?), metrics, 0)
                }
            };
            runtime.spawn(warn_if_away(Arc::clone(&store), name, cache.servers.addresses()));
            let background = &cache.background;
            let opened = Cache::new(store, background, metrics, max_item_bytes, runtime);
            for &role in &cache.roles {
                caches.by_role[role as usize].get_or_insert_with(|| opened.clone());
            }
        }
        Ok(caches)
    }

    /// The cache of a role, if there is one.
    pub fn of(&self, role: Role) -> Option<&Cache> {
        self.by_role[role as usize].as_ref()
    }

    /// The same with another cache for a role.
    pub fn with(mut self, role: Role, cache: Cache) -> Self {
        self.by_role[role as usize] = Some(cache);
        self
    }
}

/// Says at start that a cache is not there, which costs time and nothing else.
async fn warn_if_away(store: Arc<dyn Store>, name: String, servers: String) {
    const PATIENCE: Duration = Duration::from_secs(10);
    match tokio::time::timeout(PATIENCE, store.check()).await {
        Ok(Ok(())) => tracing::debug!(cache = name, "cache is there"),
        Ok(Err(error)) => {
            let error = error_text(&error);
            tracing::warn!(
                cache = name,
                servers,
                error,
                "cannot reach a cache, going on without it"
            );
        }
        Err(_) => {
            tracing::warn!(cache = name, servers, "a cache does not answer, going on without it");
        }
    }
}
