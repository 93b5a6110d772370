//! The state that all tenants of a generator share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tactus_config::Config;
use tactus_config::sections::overrides::{GeneratorLimits, Limits};
use tactus_model::{BuilderLimits, TenantId};
use tactus_overrides::Overrides;
use tactus_remote_write::RemoteWrite;
use tactus_telemetry::metrics::Registry;
use tokio::sync::Semaphore;

use crate::engine;
use crate::memory::SeriesMemory;
use crate::metrics::Metrics;

/// Configuration, limits, threads, metrics and remote write, which all tenants of a generator use.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) overrides: Arc<Overrides>,
    pub(crate) pool: Pool,
    pub(crate) metrics: Metrics,
    pub(crate) engine_metrics: engine::EngineMetrics,
    pub(crate) remote_write: Arc<RemoteWrite>,
    /// Of the series of all tenants.
    pub(crate) memory: Arc<SeriesMemory>,
    /// Of pages that are made of them.
    pub(crate) page_memory: Arc<SeriesMemory>,
}

tactus_telemetry::debug_of!(Shared { pool });

impl Shared {
    /// Checks the configuration of remote write, and reads its certificates.
    ///
    /// Errors: the first receiver that cannot be used.
    pub(crate) fn open(
        config: Arc<Config>,
        overrides: Arc<Overrides>,
        registry: &Registry,
    ) -> Result<Self, tactus_remote_write::Error> {
        let max_bytes = config.metrics_generator.registry.max_bytes;
        let metrics = Metrics::register(registry);
        Ok(Self {
            memory: SeriesMemory::shown(max_bytes, metrics.series_bytes.clone()),
            page_memory: SeriesMemory::new(max_bytes),
            remote_write: RemoteWrite::open(&config.metrics_generator.storage, registry)?,
            pool: Pool::new(available_parallelism().map_or(1, usize::from)),
            metrics,
            engine_metrics: engine::EngineMetrics::register(registry),
            overrides,
            config,
        })
    }

    pub(crate) fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        self.overrides.of(tenant)
    }

    /// What a tenant's limits make of its series. Errors: in words for the operator.
    pub(crate) fn settings(
        &self,
        tenant: &TenantId,
        limits: &GeneratorLimits,
    ) -> Result<engine::Settings, String> {
        engine::Settings::resolve(&self.config.metrics_generator, limits, tenant.as_str())
    }

    /// How far from now the end of a span may be.
    pub(crate) fn slack(&self, limits: &GeneratorLimits) -> Duration {
        let own = limits.ingestion_time_range_slack.non_zero();
        own.unwrap_or(self.config.metrics_generator.metrics_ingestion_time_range_slack.as_std())
    }

    /// The time between two collections.
    pub(crate) fn interval(&self, limits: &GeneratorLimits) -> Duration {
        engine::collection_interval(&self.config.metrics_generator, limits)
    }

    /// As the ingester cuts attributes.
    pub(crate) fn builder_limits(&self, limits: &Limits) -> BuilderLimits {
        let max_attribute_bytes = match limits.ingestion.max_attribute_bytes {
            0 => self.config.distributor.max_attribute_bytes,
            bytes => bytes,
        };
        BuilderLimits { max_attribute_bytes }
    }

    /// Sends what was collected, within the deadline of the configuration.
    pub(crate) async fn flush(&self) {
        let storage = &self.config.metrics_generator.storage;
        self.remote_write.flush(storage.remote_write_flush_deadline.as_std()).await;
    }
}

/// What takes a millisecond at most is done where it is: to wake another thread, and be woken by it, costs a tenth of that.
const IN_PLACE_BYTES: u64 = 256 * 1024;

/// Runs work that takes processor time, so much of it at once, on threads that serve no connections.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
}

/// The work panicked; a defect of ours.
#[derive(Debug, thiserror::Error)]
#[error("a task of the metrics generator ended early")]
pub struct Panicked;

impl Pool {
    /// Runs at most `threads` at a time; at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Waits for a place, and runs `work` there to its end, also if nobody waits for it any more.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Panicked)?;
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        task.await.map_err(|_| Panicked)
    }

    /// Runs work in proportion to this many bytes of a push: a few at once and in place, more as [`Self::run`] does.
    pub(crate) async fn run_sized<R: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        if bytes > IN_PLACE_BYTES {
            return self.run(work).await;
        }
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn no_more_runs_at_once_than_there_are_places() {
        let (pool, now, most) =
            (Pool::new(2), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runs = (0..8).map(|_| {
            let (pool, now, most) = (pool.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                pool.run(work).await.unwrap();
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn panic_is_an_error_and_gives_its_place_back() {
        let pool = Pool::new(1);
        for bytes in [1, 1 << 30] {
            let result =
                pool.run_sized(bytes, || assert!(std::hint::black_box(false), "on purpose"));
            assert!(result.await.is_err());
        }
        let result = pool.run(|| assert!(std::hint::black_box(false), "on purpose")).await;
        assert!(result.is_err());
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
