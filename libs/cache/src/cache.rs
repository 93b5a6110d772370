//! One cache, with the interface that its users see.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tactus_config::sections::cache::BackgroundCache;
use tactus_telemetry::error_text;
use tactus_telemetry::metrics::Registry;
use tokio::runtime::Handle;

use crate::background::{Background, Write};
use crate::frame::{self, Key};
use crate::metrics::{Kind, Method, Metrics};
use crate::store::{Error, MAX_VALUE_BYTES, Store, positive};

/// Keys that are asked for in one call.
const MAX_KEYS: usize = 100;

/// A cache on servers. Cheap to clone. Errors are counted, and look like a miss.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    background: Background,
    metrics: Arc<Metrics>,
    /// Longer frames are not stored.
    max_item_bytes: usize,
}

tactus_telemetry::debug_of!(it: Cache { name = it.inner.metrics.name() });

impl Cache {
    /// `max_item_bytes`: of a frame; 0 is as much as may be.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        background: &BackgroundCache,
        metrics: Arc<Metrics>,
        max_item_bytes: usize,
        runtime: &Handle,
    ) -> Self {
        let writers = positive(background.writeback_goroutines);
        let buffer = positive(background.writeback_buffer);
        let background = Background::start(writers, buffer, &store, &metrics, runtime);
        let max_item_bytes = match max_item_bytes {
            0 => MAX_VALUE_BYTES,
            asked => asked.min(MAX_VALUE_BYTES),
        };
        Self { inner: Arc::new(Inner { store, background, metrics, max_item_bytes }) }
    }

    /// A cache in the memory of this process, for tests.
    pub fn in_memory(registry: &Registry, runtime: &Handle) -> Self {
        let metrics = Arc::new(Metrics::new(registry, Kind::Memcached, "memory"));
        let store = Arc::new(memory::MemoryStore::default());
        Self::new(store, &BackgroundCache::default(), metrics, 0, runtime)
    }

    /// The value of a key. Takes about as long as the configured timeout at most.
    pub async fn get(&self, key: &Key) -> Option<Bytes> {
        self.get_many(std::slice::from_ref(key)).await.pop().flatten()
    }

    /// The values of several keys, in their order.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Option<Bytes>> {
        let calls = keys.chunks(MAX_KEYS).map(|keys| self.get_some(keys));
        futures_util::future::join_all(calls).await.concat()
    }

    async fn get_some(&self, keys: &[Key]) -> Vec<Option<Bytes>> {
        let inner = &*self.inner;
        let names: Vec<_> = keys.iter().map(Key::sent).collect();
        let method = if keys.len() == 1 { Method::Get } else { Method::GetMulti };
        let started = Instant::now();
        let fetched = inner.store.get(&names).await;
        let misses = fetched.values.iter().all(Option::is_none);
        let status = match &fetched.error {
            // Nobody was asked.
            Some(Error::Unavailable) => None,
            Some(_) => Some("500"),
            None if misses && keys.len() == 1 => Some("404"),
            None => Some("200"),
        };
        if let Some(status) = status {
            inner.metrics.called(method, status, started.elapsed());
        }
        if let Some(error) = &fetched.error {
            let error = error_text(error);
            tracing::debug!(cache = inner.metrics.name(), error, "cannot read from the cache");
        }
        let mut values = fetched.values;
        values.resize(keys.len(), None);
        let check = |(key, value): (&Key, Option<Bytes>)| {
            let value = value?;
            let content = frame::unwrap(key, &value);
            if content.is_none() {
                inner.metrics.invalid.inc();
            }
            content
        };
        keys.iter().zip(values).map(check).collect()
    }

    /// Stores a value later, or not at all. The value must depend on the key alone.
    pub fn put(&self, key: &Key, value: &[u8]) {
        let inner = &*self.inner;
        let bytes = frame::framed_bytes(value.len());
        if bytes > inner.max_item_bytes {
            inner.metrics.skipped.inc();
            return;
        }
        inner.background.put(Write { key: key.sent().to_owned(), value: frame::wrap(key, value) });
    }
}

mod memory {
    use std::collections::HashMap;

    use async_trait::async_trait;
    use bytes::Bytes;
    use parking_lot::Mutex;

    use crate::store::{Fetched, Result, Store};

    #[derive(Debug, Default)]
    pub(super) struct MemoryStore(Mutex<HashMap<String, Bytes>>);

    #[async_trait]
    impl Store for MemoryStore {
        async fn get(&self, keys: &[&str]) -> Fetched {
            let values = self.0.lock();
            let values = keys.iter().map(|key| values.get(*key).cloned()).collect();
            Fetched { values, error: None }
        }

        async fn set(&self, key: &str, value: Bytes) -> Result<()> {
            self.0.lock().insert(key.to_owned(), value);
            Ok(())
        }

        async fn check(&self) -> Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
