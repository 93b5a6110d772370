use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::store::{Fetched, Result};

/// A store that does what a test wants.
#[derive(Debug, Default)]
struct Double {
    /// What every key has.
    value: Mutex<Option<Bytes>>,
    fails: AtomicBool,
    /// Writes go on when they get a permit.
    permits: Option<Semaphore>,
    written: AtomicUsize,
    wrote: Notify,
}

#[async_trait]
impl Store for Double {
    async fn get(&self, keys: &[&str]) -> Fetched {
        if self.fails.load(Ordering::Relaxed) {
            return Fetched::nothing(keys.len(), Error::TimedOut);
        }
        Fetched { values: vec![self.value.lock().clone(); keys.len()], error: None }
    }

    async fn set(&self, _key: &str, value: Bytes) -> Result<()> {
        if let Some(permits) = &self.permits {
            permits.acquire().await.unwrap().forget();
        }
        *self.value.lock() = Some(value);
        self.written.fetch_add(1, Ordering::Relaxed);
        self.wrote.notify_one();
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct Bench {
    registry: Registry,
    store: Arc<Double>,
    cache: Cache,
}

fn bench(store: Double, background: BackgroundCache, max_item_bytes: usize) -> Bench {
    let (registry, store) = (Registry::new(), Arc::new(store));
    let metrics = Arc::new(Metrics::new(&registry, Kind::Memcached, "bloom|parquet-page"));
    let as_store: Arc<dyn Store> = Arc::clone(&store) as _;
    let cache = Cache::new(as_store, &background, metrics, max_item_bytes, &Handle::current());
    Bench { registry, store, cache }
}

impl Bench {
    fn sample(&self, name: &str) -> f64 {
        let text = self.registry.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    fn calls(&self, method: &str, status: &str) -> f64 {
        self.sample(&format!(
            "tempo_memcache_request_duration_seconds_count{{method=\"{method}\",status_code=\"{status}\",name=\"bloom|parquet-page\"}}"
        ))
    }
}

const NAME: &str = "{name=\"bloom|parquet-page\"}";

fn key(number: usize) -> Key {
    Key::new(&[&"k", &number])
}

#[tokio::test]
async fn value_comes_back_and_calls_are_counted() {
    let bench = bench(Double::default(), BackgroundCache::default(), 0);
    assert_eq!(bench.cache.get(&key(1)).await, None);
    bench.cache.put(&key(1), b"value");
    bench.store.wrote.notified().await;
    assert_eq!(bench.cache.get(&key(1)).await.unwrap(), "value");
    assert_eq!(bench.calls("Memcache.Get", "404"), 1.0);
    assert_eq!(bench.calls("Memcache.Get", "200"), 1.0);
    bench.store.fails.store(true, Ordering::Relaxed);
    assert_eq!(bench.cache.get_many(&[key(1), key(2)]).await, [None, None]);
    assert_eq!(bench.calls("Memcache.GetMulti", "500"), 1.0);
    assert_eq!(bench.cache.get_many(&[]).await, [None; 0]);
}

#[tokio::test]
async fn value_of_another_key_or_of_nobody_is_a_miss() {
    let bench = bench(Double::default(), BackgroundCache::default(), 0);
    let invalid = format!("tactus_cache_invalid_values_total{NAME}");
    for value in [Bytes::new(), Bytes::from_static(b"garbage"), frame::wrap(&key(2), b"value")] {
        *bench.store.value.lock() = Some(value);
        assert_eq!(bench.cache.get(&key(1)).await, None);
    }
    assert_eq!(bench.sample(&invalid), 3.0);
    let keys: Vec<_> = (0..250).map(key).collect();
    let found = bench.cache.get_many(&keys).await;
    assert_eq!(found.iter().flatten().count(), 1, "the value is that of one key");
    assert_eq!(found[2].as_ref().unwrap(), "value");
    assert_eq!(bench.calls("Memcache.GetMulti", "200"), 3.0);
}

#[tokio::test]
async fn writes_beyond_the_queue_are_dropped_and_counted() {
    let double = Double { permits: Some(Semaphore::new(0)), ..Double::default() };
    let background = BackgroundCache { writeback_goroutines: 1, writeback_buffer: 2 };
    let bench = bench(double, background, 0);
    for number in 0..10 {
        bench.cache.put(&key(number), b"value");
    }
    let dropped = format!("tempo_cache_dropped_background_writes_total{NAME}");
    let queued = format!("tempo_cache_background_queue_length{NAME}");
    // The writer did not run yet.
    assert_eq!((bench.sample(&dropped), bench.sample(&queued)), (8.0, 2.0));
    bench.store.permits.as_ref().unwrap().add_permits(2);
    while bench.store.written.load(Ordering::Relaxed) < 2 {
        bench.store.wrote.notified().await;
    }
}

#[tokio::test]
async fn queue_of_any_length_may_be_asked_for() {
    let background = BackgroundCache { writeback_goroutines: 1, writeback_buffer: i64::MAX };
    let bench = bench(Double::default(), background, 0);
    bench.cache.put(&key(1), b"value");
    bench.store.wrote.notified().await;
    assert_eq!(bench.cache.get(&key(1)).await.unwrap(), "value");
}

#[tokio::test]
async fn writes_of_more_bytes_than_may_wait_are_dropped() {
    let bench = bench(Double::default(), BackgroundCache::default(), 0);
    let value = vec![0; 15 << 20];
    (0..5).for_each(|number| bench.cache.put(&key(number), &value));
    let dropped = format!("tempo_cache_dropped_background_writes_total{NAME}");
    // The writer did not run yet.
    assert_eq!(bench.sample(&dropped), 1.0);
}

#[tokio::test]
async fn value_over_the_item_size_is_skipped() {
    let bench = bench(Double::default(), BackgroundCache::default(), 40);
    bench.cache.put(&key(1), b"123456789");
    let skipped = format!("tempo_memcache_client_set_skip_total{NAME}");
    assert_eq!(bench.sample(&skipped), 1.0);
    bench.cache.put(&key(1), b"12345678");
    bench.store.wrote.notified().await;
    assert_eq!(bench.sample(&skipped), 1.0);
}

#[tokio::test]
async fn value_larger_than_any_that_is_read_is_skipped_whatever_the_item_size() {
    for max_item_bytes in [0, usize::MAX] {
        let bench = bench(Double::default(), BackgroundCache::default(), max_item_bytes);
        bench.cache.put(&key(1), &vec![0; MAX_VALUE_BYTES]);
        let skipped = format!("tempo_memcache_client_set_skip_total{NAME}");
        assert_eq!(bench.sample(&skipped), 1.0);
    }
}
