//! One tenant: its series, and the task that collects them.
//!
//! Pushes of a tenant are read in parallel and counted one after the other. A collection delays them for as long as it
//! takes to write all series into the page cache.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex as SyncMutex;
use tactus_config::sections::overrides::Limits;
use tactus_model::{SelectedKeys, TenantId};
use tactus_proto::tactus::v1::PushRequest;
use tactus_remote_write::TenantRemoteWrite;
use tactus_telemetry::{error_text, log_limited};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    convert::{bytes_of, convert},
    engine,
    error::Error,
    memory::Share,
    metrics::TenantMetrics,
    page::OpenMetrics,
    shared::Shared,
};

/// Edges are looked through, and limits looked at, so often.
const LOOK: Duration = Duration::from_secs(2);

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(tactus_clock::since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// A tenant of the generator.
#[derive(Debug)]
pub(crate) struct Instance {
    tenant: TenantId,
    metrics: TenantMetrics,
    /// Taken before a thread of the pool is: who waits for a collection holds no thread.
    series: Arc<Mutex<Series>>,
    /// What the processors looked for when a push was read last.
    keys: SyncMutex<Arc<SelectedKeys>>,
    /// When something was pushed last.
    pushed: SyncMutex<Instant>,
    /// Ends the task.
    gone: CancellationToken,
}

/// What counts a tenant's spans, and where that goes.
struct Series {
    metrics: TenantMetrics,
    engine: engine::Tenant,
    /// `None` once the tenant was let go of, or the process ends.
    remote_write: Option<TenantRemoteWrite>,
    /// Remote write leaves out samples up to this time, Unix milliseconds.
    started_ms: i64,
    /// No sample that was sent is newer, Unix milliseconds.
    sent_ms: i64,
    /// The limits that are in effect, or that were refused.
    limits: Arc<Limits>,
    retired: bool,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is in the series.
    Counted,
    /// The instance was let go of meanwhile: the next one is to count it.
    Retired,
}

tactus_telemetry::debug_of!(Series { retired });

impl Instance {
    /// Opens the tenant's queue and sends what is in it. Blocks for files; to be called within a runtime. `sent_ms`: what
    /// [`Self::retire`] returned, if this process had the tenant before.
    ///
    /// Errors: invalid limits; a queue that another process uses.
    pub(crate) fn start(
        shared: &Shared,
        tenant: TenantId,
        sent_ms: Option<i64>,
    ) -> Result<Self, Error> {
        // An alert watches its growth, also if the limits are wrong from the start.
        let metrics = shared.metrics.of_tenant(tenant.as_str());
        let started = Self::start_counted(shared, tenant, sent_ms, metrics.clone());
        if started.is_err() {
            metrics.update_failed.inc();
        }
        started
    }

    fn start_counted(
        shared: &Shared,
        tenant: TenantId,
        sent_ms: Option<i64>,
        metrics: TenantMetrics,
    ) -> Result<Self, Error> {
        let limits = shared.limits(&tenant);
        let (name, now) = (tenant.as_str(), now_ms());
        // Others may have continued the series until this process had the tenant, not since. Zero samples of series that
        // come back are older than now. The clock may have been set back meanwhile.
        let started_ms = sent_ms.map_or(now, |sent_ms| sent_ms.min(now));
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Tenant {
            tenant: name.to_owned(),
            source,
        };
        let settings = shared.settings(&tenant, &limits.metrics_generator);
        let settings = settings.map_err(|reason| failed(reason.into()))?;
        let headers = &limits.metrics_generator.remote_write_headers;
        let remote_write = shared.remote_write.tenant(&tenant, headers, started_ms);
        let series = Series {
            metrics: metrics.clone(),
            remote_write: Some(remote_write.map_err(|error| failed(Box::new(error)))?),
            started_ms,
            sent_ms: started_ms,
            engine: engine::Tenant::new(
                name,
                settings,
                &shared.engine_metrics,
                &shared.memory,
                now,
            )
            .map_err(|reason| failed(reason.into()))?,
            limits,
            retired: false,
        };
        Ok(Self {
            metrics,
            keys: SyncMutex::new(Arc::clone(series.engine.selected_keys())),
            series: Arc::new(Mutex::new(series)),
            pushed: SyncMutex::new(Instant::now()),
            gone: CancellationToken::new(),
            tenant,
        })
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Counts a push. `skip`: its client asked for no series.
    ///
    /// Errors: nothing of it was counted.
    pub(crate) async fn push(
        &self,
        shared: &Arc<Shared>,
        push: Arc<PushRequest>,
        skip: bool,
    ) -> Result<Pushed, Error> {
        *self.pushed.lock() = Instant::now();
        let limits = shared.limits(&self.tenant);
        let bytes = bytes_of(&push);
        let (builder_limits, ends) = (
            shared.builder_limits(&limits),
            ends_within(now_ms(), shared.slack(&limits.metrics_generator)),
        );
        let mut keys = Arc::clone(&self.keys.lock());
        let (received, mut series) = loop {
            let (push, ends, wanted) = (Arc::clone(&push), ends.clone(), Arc::clone(&keys));
            let read = move || convert(&push, builder_limits, &wanted, &ends);
            let received = shared.pool.run_sized(bytes, read).await??;
            let series = self.lock().await;
            if series.retired {
                return Ok(Pushed::Retired);
            }
            let wanted = series.engine.selected_keys();
            if *wanted == keys {
                break (received, series);
            }
            // Seldom: the limits have changed meanwhile, and processors look for other attributes.
            keys = Arc::clone(wanted);
            *self.keys.lock() = Arc::clone(wanted);
        };
        self.metrics.spans.inc_by(received.spans);
        self.metrics.bytes.inc_by(bytes);
        self.metrics.outside.inc_by(received.outside);
        let count = move || series.engine.push(&received.selected, skip, now_ms());
        shared.pool.run_sized(bytes, count).await?;
        Ok(Pushed::Counted)
    }

    #[cfg(test)]
    pub(crate) async fn sent_ms(&self) -> i64 {
        self.lock().await.sent_ms
    }

    async fn lock(&self) -> OwnedMutexGuard<Series> {
        Arc::clone(&self.series).lock_owned().await
    }

    /// Collects, lets edges expire and follows the limits, until `ended`.
    pub(crate) async fn run(self: Arc<Self>, shared: Arc<Shared>, ended: CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let period = || shared.interval(&shared.limits(&self.tenant).metrics_generator);
        let mut collect_at = tokio::time::Instant::now() + period();
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                () = self.gone.cancelled() => return,
                () = sleep_until(collect_at) => {
                    self.update_and_collect(&shared).await;
                    // A collection that took longer than its period leaves out those it missed.
                    collect_at = (collect_at + period()).max(tokio::time::Instant::now());
                }
                _ = look.tick() => {
                    self.look(&shared).await;
                    // A period that has become shorter does not wait for the end of the longer one.
                    collect_at = collect_at.min(tokio::time::Instant::now() + period());
                }
            }
        }
    }

    async fn look(&self, shared: &Arc<Shared>) {
        let mut series = self.lock().await;
        let is_current = Arc::ptr_eq(&shared.limits(&self.tenant), &series.limits);
        // There may be thousands of tenants, and without calls one seldom has more to do.
        if is_current && !series.engine.has_to_expire(now_ms()) {
            return;
        }
        let (shared_there, tenant) = (Arc::clone(shared), self.tenant.clone());
        let work = move || {
            series.update(&shared_there, &tenant);
            series.engine.expire(now_ms());
        };
        if shared.pool.run(work).await.is_err() {
            tracing::error!(tenant = self.tenant.as_str(), "waiting calls could not be examined");
        }
    }

    async fn update_and_collect(&self, shared: &Arc<Shared>) {
        let mut series = self.lock().await;
        let (shared_there, tenant) = (Arc::clone(shared), self.tenant.clone());
        let work = move || {
            series.update(&shared_there, &tenant);
            series.engine.expire(now_ms());
            if series.limits.metrics_generator.disable_collection {
                series.engine.show_demand();
            } else {
                series.collect(&tenant);
            }
        };
        if shared.pool.run(work).await.is_err() {
            self.metrics.collection_failed.inc();
        }
    }

    /// All series as they are, in OpenMetrics.
    pub(crate) async fn page(&self, shared: &Shared) -> Result<String, Error> {
        let mut series = self.lock().await;
        let memory = Share::of(&shared.page_memory);
        let gone = CancellationToken::new();
        let _waits = gone.clone().drop_guard();
        let show = move || {
            let mut page = OpenMetrics::within(memory, gone);
            series.engine.collect(now_ms(), &mut page);
            drop(series);
            (!page.is_too_large()).then(|| page.finish())
        };
        shared.pool.run(show).await?.ok_or(Error::PageTooLarge)
    }

    /// Lets the tenant go if it has no series and no waiting calls, its receivers know of the end of its series, and it
    /// pushed nothing for so long. Returns the time that no sent sample is newer than, Unix milliseconds, if it is gone.
    pub(crate) async fn retire(&self, shared: &Shared, idle: Duration) -> Option<i64> {
        if self.pushed.lock().elapsed() < idle {
            return None;
        }
        let mut series = self.lock().await;
        if !series.engine.is_empty() || series.owes_markers() {
            return None;
        }
        series.retired = true;
        self.gone.cancel();
        // What it still holds is sent all the same.
        series.remote_write = None;
        let sent_ms = series.sent_ms;
        drop(series);
        shared.engine_metrics.forget_tenant(self.tenant.as_str());
        Some(sent_ms)
    }

    /// Resolves what waits, and collects for the last time.
    pub(crate) async fn finish(&self, shared: &Arc<Shared>) {
        let mut series = self.lock().await;
        let tenant = self.tenant.clone();
        let work = move || {
            series.retired = true;
            series.engine.expire_all(now_ms());
            if !series.limits.metrics_generator.disable_collection {
                series.collect(&tenant);
            }
        };
        if shared.pool.run(work).await.is_err() {
            self.metrics.collection_failed.inc();
        }
    }
}

impl Series {
    /// Follows the tenant's limits. What they do not change goes on counting.
    fn update(&mut self, shared: &Shared, tenant: &TenantId) {
        let limits = shared.limits(tenant);
        if Arc::ptr_eq(&limits, &self.limits) {
            return;
        }
        let ours = &limits.metrics_generator;
        let settings = shared.settings(tenant, ours);
        if let Err(reason) = settings.and_then(|settings| self.engine.set(settings, now_ms())) {
            self.metrics.update_failed.inc();
            let tenant = tenant.as_str();
            tracing::error!(
                tenant,
                reason,
                "new limits are invalid, the metrics generator keeps the old ones"
            );
        }
        if ours.remote_write_headers != self.limits.metrics_generator.remote_write_headers
            && let Some(remote_write) = &self.remote_write
            && let Err(reason) = remote_write.set_headers(&ours.remote_write_headers)
        {
            let (tenant, reason) = (tenant.as_str(), reason.to_string());
            tracing::error!(
                tenant,
                reason,
                "remote_write_headers are invalid, the old ones stay in use"
            );
        }
        self.limits = limits;
    }

    /// True if the next collection brings staleness markers, and there will be one.
    fn owes_markers(&self) -> bool {
        let has_remotes = self.remote_write.as_ref().is_some_and(TenantRemoteWrite::has_remotes);
        has_remotes
            && !self.limits.metrics_generator.disable_collection
            && self.engine.owes_markers()
    }

    fn collect(&mut self, tenant: &TenantId) {
        self.metrics.collections.inc();
        let Some(remote_write) = &self.remote_write else { return };
        if !remote_write.has_remotes() {
            // Exemplars stay for those who scrape.
            return self.engine.show_demand();
        }
        // An instance may end in the millisecond in which it began.
        let now = now_ms().max(self.started_ms + 1);
        if self.engine.has_samples() {
            self.sent_ms = self.sent_ms.max(now);
        }
        let mut collection = remote_write.begin(now);
        self.engine.collect(now, &mut collection);
        match collection.commit() {
            Ok(()) => self.engine.committed(),
            Err(error) => {
                self.metrics.collection_failed.inc();
                let (tenant, error) = (tenant.as_str(), error_text(&error));
                log_limited!(error, tenant, error, "collecting metrics failed");
            }
        }
    }
}

/// When a span must have ended to be counted, in unix nanoseconds.
fn ends_within(now_ms: i64, slack: Duration) -> RangeInclusive<u64> {
    let now = u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000_000);
    let slack = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
    now.saturating_sub(slack)..=now.saturating_add(slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_reaches_both_ways_and_never_beyond_time() {
        assert_eq!(ends_within(100_000, Duration::from_secs(30)), 70_000_000_000..=130_000_000_000);
        assert_eq!(ends_within(1, Duration::MAX), 0..=u64::MAX);
    }
}
