//! The configured caches and their roles.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tactus_config::sections::cache as section;
use tactus_config::sections::cache::BackgroundCache;
use tactus_telemetry::error_text;
use tactus_telemetry::metrics::Registry;
use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::memcached::Memcached;
use crate::metrics::{Kind, Metrics};
use crate::redis::Redis;
use crate::store::{Error, Result, Store, positive};

/// The caches by role. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    by_role: [Option<Cache>; Role::ALL.len()],
}

impl Caches {
    /// Sets up the caches with their writers. If two claim a role, the first one has it. Does not wait for servers:
    /// those that cannot be reached are logged.
    ///
    /// Errors: an invalid setting.
    pub fn open(
        caches: &[(section::Cache, BackgroundCache)],
        registry: &Registry,
        runtime: &Handle,
    ) -> Result<Self> {
        let mut by_role = Self::default();
        for (cache, background) in caches {
            let named = |error: Error| {
                let roles = cache.roles.join(" ");
                Error::Invalid(format!("cache for role [{roles}]: {}", error_text(&error)))
            };
            let roles = cache.roles.iter().filter_map(|name| Role::from_text(name));
            let roles: Vec<Role> = roles.collect();
            let name = roles.iter().map(|role| role.name()).collect::<Vec<_>>().join("|");
            let metrics_of = |kind| Arc::new(Metrics::new(registry, kind, &name));
            let (store, servers, metrics, max_item_bytes): (Arc<dyn Store>, _, _, _) =
                match (&cache.memcached, &cache.redis) {
                    (Some(settings), _) => {
                        let metrics = metrics_of(Kind::Memcached);
                        let store =
                            Memcached::new(settings, Arc::clone(&metrics)).map_err(named)?;
                        let servers = store.addresses();
                        (Arc::new(store), servers, metrics, positive(settings.max_item_size))
                    }
                    (None, Some(settings)) => {
                        let store = Redis::new(settings).map_err(named)?;
                        (Arc::new(store), settings.endpoint.clone(), metrics_of(Kind::Redis), 0)
                    }
                    (None, None) => continue,
                };
            runtime.spawn(warn_if_away(Arc::clone(&store), name, servers));
            let opened = Cache::new(store, background, metrics, max_item_bytes, runtime);
            for role in roles {
                by_role.by_role[role as usize].get_or_insert_with(|| opened.clone());
            }
        }
        Ok(by_role)
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

/// Logs a warning at start if a cache does not answer, which only makes queries slower.
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

tactus_model::words! {
    /// What a cache is for. The names are used in the configuration, in keys and in metrics.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Role: name {
        /// Bloom filters of blocks.
        Bloom = "bloom",
        /// Indexes of trace ids, which only blocks of older formats have.
        TraceIdIndex = "trace-id-index",
        /// Footers of blocks.
        ParquetFooter = "parquet-footer",
        /// Statistics of pages.
        ParquetColumnIndex = "parquet-column-idx",
        /// Places of pages.
        ParquetOffsetIndex = "parquet-offset-idx",
        /// Pages: the data itself.
        ParquetPage = "parquet-page",
        /// Answers of jobs.
        FrontendSearch = "frontend-search",
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
