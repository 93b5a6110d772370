//! Keeps the block list up to date, and its metrics.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tactus_config::Config;
use tactus_storage::{
    BlockMeta, Blocklist, Bucket, Poller, Timestamp,
    blocklist::Snapshot,
    poller::{Owns, PollReport},
};
use tactus_telemetry::{
    error_text,
    metrics::{CounterVec, DEFAULT_BUCKETS, GaugeVec, Histogram, Registry},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::settings;

/// How long the start waits for the first poll, which goes on after that.
const FIRST_POLL_PATIENCE: Duration = Duration::from_secs(20);

/// The first pause after a poll that left the list incomplete; each further one is twice as long, up to the usual one.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// However long a poll took, the pause after it is the interval divided by this.
const SHORTEST_PAUSE: u32 = 10;

/// The wait for the next poll looks at the clock as often as this.
const LOOK: Duration = Duration::from_secs(1);

/// When a look comes later than this, the process stood still.
const STOOD_STILL: Duration = Duration::from_secs(10);

/// Polls the block list until `stop`, in the background. Returns after the first poll, or when it takes long: until it has ended,
/// answers are partial. Returns at once when the process is told to end. `owns`: which tenant indexes this process writes.
pub(crate) async fn start(
    config: &Config,
    bucket: Bucket,
    blocklist: Arc<Blocklist>,
    owns: Owns,
    stop: CancellationToken,
    shutdown: &CancellationToken,
) -> JoinHandle<()> {
    let poller = Poller::new(bucket, Arc::clone(&blocklist), settings::poller(config), owns);
    let interval = settings::poll_interval(&config.storage.trace);
    let metrics = Metrics::register(Registry::global());
    let mut forgotten = ForgottenIndexes::new(interval);
    let (polled, first_poll) = oneshot::channel();
    let polls = async move {
        let (mut pauses, mut polled) = (Pauses::new(interval), Some(polled));
        loop {
            let begun = tactus_clock::since_boot();
            let report = poll(&poller, &blocklist, &metrics).await;
            // Answers are partial until the list was read once, and when it was not for long.
            let is_urgent = report.is_none() || blocklist.is_part_of_any();
            forgotten.look(report);
            if let Some(polled) = polled.take() {
                // Fails if nobody waits any more.
                let _ = polled.send(());
            }
            let took = tactus_clock::since_boot().saturating_sub(begun);
            wait(pauses.after(took, is_urgent)).await;
        }
    };
    // Who is told to stop does not wait for a long poll: one that is dropped changes nothing.
    let polling = tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = polls => {}
        }
    });
    let first_poll = tokio::time::timeout(FIRST_POLL_PATIENCE, first_poll);
    if let Some(Err(_)) = shutdown.run_until_cancelled(first_poll).await {
        tracing::error!(
            "the first poll of the block list takes long, answers are partial until it has ended"
        );
    }
    polling
}

/// The pauses between polls. Polls begin once in an interval, because an index has the age of the poll that wrote it from its
/// begin: with a whole interval between polls that take long, readers would find it too old.
struct Pauses {
    interval: Duration,
    /// The next one after a poll that left the list incomplete.
    soon: Duration,
}

impl Pauses {
    fn new(interval: Duration) -> Self {
        Self { interval, soon: FIRST_RETRY }
    }

    /// The pause after a poll that took so long. `is_urgent`: it left the list incomplete.
    fn after(&mut self, took: Duration, is_urgent: bool) -> Duration {
        let shortest = self.interval / SHORTEST_PAUSE;
        let usual = self.interval.saturating_sub(took).max(shortest);
        let pause = if is_urgent { self.soon.min(usual) } else { usual };
        self.soon = if is_urgent { pause.saturating_mul(2) } else { FIRST_RETRY };
        pause
    }
}

/// Waits as long, by a clock that goes on while the machine sleeps. Ends early if the process stood still: it may have missed
/// announcements.
async fn wait(pause: Duration) {
    let mut looked = tactus_clock::since_boot();
    let end = looked.saturating_add(pause);
    while looked < end {
        tokio::time::sleep(LOOK.min(end.saturating_sub(looked))).await;
        let now = tactus_clock::since_boot();
        if now.saturating_sub(looked) > STOOD_STILL {
            return;
        }
        looked = now;
    }
}

async fn poll(poller: &Poller, blocklist: &Blocklist, metrics: &Metrics) -> Option<PollReport> {
    // What an alert watches the growth of is there before it grows.
    let failed_polls = metrics.errors.with([""]);
    let started = Instant::now();
    // A panic, such as one of the store's client, must not end the polling for good.
    let result = AssertUnwindSafe(poller.poll_once()).catch_unwind().await;
    metrics.duration.observe_duration(started.elapsed());
    // Also if the poll failed: then they get older.
    metrics.set_index_ages(&poller.index_times());
    let Ok(result) = result else {
        failed_polls.inc();
        tracing::error!("a poll of the block list panicked, the next one is made all the same");
        return None;
    };
    match result {
        Ok(report) => {
            metrics.set(&report, &blocklist.snapshot());
            if report.is_incomplete() {
                tracing::warn!(
                    failed_tenants = ?report.failed_tenants,
                    abandoned = report.abandoned,
                    metas_corrupt = report.metas_corrupt,
                    metas_missing = report.metas_missing,
                    left_out = report.left_out,
                    "block list is incomplete"
                );
            }
            if report.left_out > 0 {
                tracing::error!(
                    blocks = report.left_out,
                    "block list has no room for all blocks, queries answer without these and say that they are partial: \
                     raise storage.trace.blocklist_max_bytes"
                );
            }
            Some(report)
        }
        Err(error) => {
            // Of no tenant: which ones there are could not be learned.
            failed_polls.inc();
            tracing::error!(error = error_text(&error), "cannot poll the block list");
            None
        }
    }
}

/// Watches for tenant indexes that nobody writes any more, where the bucket must not be listed instead: blocks that came later are
/// known only to whoever was told of them, until it restarts.
struct ForgottenIndexes {
    older_than: Duration,
    /// The log has said it, and the state has lasted since.
    is_told: bool,
}

impl ForgottenIndexes {
    fn new(interval: Duration) -> Self {
        Self { older_than: settings::index_is_forgotten_after(interval), is_told: false }
    }

    /// Says once that there are some. A poll that failed tells nothing.
    fn look(&mut self, report: Option<PollReport>) {
        let Some(report) = report else { return };
        let forgotten = self.among(&report, Timestamp::now());
        if let Some((tenant, age)) = forgotten.first()
            && !self.is_told
        {
            tracing::warn!(
                tenant,
                tenants = forgotten.len(),
                age_seconds = age.as_secs(),
                "tenant index is old and this process does not write it: blocks written since are not found after a restart. \
                 Run a compactor (compactor.disabled: false), or set storage.trace.blocklist_poll_fallback"
            );
        }
        self.is_told = !forgotten.is_empty();
    }

    /// Tenants whose index was read, is another's to write and has not been written for long, with its age.
    fn among<'r>(&self, report: &'r PollReport, now: Timestamp) -> Vec<(&'r str, Duration)> {
        let age = |created_at: Timestamp| {
            Duration::try_from(now.duration_since(created_at)).unwrap_or_default()
        };
        report
            .by_tenant
            .iter()
            .filter(|seen| !seen.is_builder)
            .filter_map(|seen| Some((seen.tenant.as_str(), age(seen.index_created_at?))))
            .filter(|(_, age)| *age > self.older_than)
            .collect()
    }
}

tactus_telemetry::metrics! {
    struct Metrics {
        duration: Histogram = "tempodb_blocklist_poll_duration_seconds", "Time of a poll of the block list.", &DEFAULT_BUCKETS;
        errors: CounterVec<1> = "tempodb_blocklist_poll_errors_total",
            "Polls of a tenant's blocks that failed; without a tenant where tenants could not be listed.", ["tenant"];
        index_errors: CounterVec<1> = "tempodb_blocklist_tenant_index_errors_total",
            "Tenant indexes that could not be read or written.", ["tenant"];
        length: GaugeVec<1> = "tempodb_blocklist_length", "Blocks in the block list by tenant.", ["tenant"];
        is_builder: GaugeVec<1> = "tempodb_blocklist_tenant_index_builder", "1 if this process writes the tenant's index.", ["tenant"];
        index_age: GaugeVec<1> = "tempodb_blocklist_tenant_index_age_seconds",
            "Age of the tenant's index at the last poll, whether it could be used or not.", ["tenant"];
        objects: GaugeVec<2> = "tempodb_backend_objects_total",
            "Traces in the bucket by tenant and status of their block.", ["tenant", "status"];
        bytes: GaugeVec<2> = "tempodb_backend_bytes_total",
            "Bytes of blocks in the bucket by tenant and status of the block.", ["tenant", "status"];
        skipped: GaugeVec<2> = "tactus_blocklist_skipped_blocks",
            "Blocks that queries leave out, by tenant and reason.", ["tenant", "reason"];
    }
}

impl Metrics {
    fn set(&self, report: &PollReport, tenants: &Snapshot) {
        self.forget_others(report, tenants);
        for seen in &report.by_tenant {
            let tenant = [seen.tenant.as_str()];
            self.errors.with(tenant).inc_by(u64::from(seen.failed));
            self.index_errors.with(tenant).inc_by(seen.index_errors as u64);
            self.is_builder.with(tenant).set(f64::from(u8::from(seen.is_builder)));
            let corrupt = self.skipped.with([&seen.tenant, "corrupt_meta"]);
            corrupt.set(seen.metas_corrupt as f64);
        }
        for (tenant, blocks) in tenants.iter() {
            let superseded = blocks.superseded().len();
            self.length.with([tenant]).set((blocks.live().len() + superseded) as f64);
            self.skipped.with([tenant, "superseded"]).set(superseded as f64);
            self.skipped.with([tenant, "no_room"]).set(blocks.left_out() as f64);
            let unknown = self.skipped.with([tenant, "unknown_version"]);
            unknown.set(blocks.unreadable().count() as f64);
            let live = blocks.live().iter().chain(blocks.superseded()).map(AsRef::as_ref);
            self.set_totals(tenant, "live", live);
            let compacted = blocks.compacted().iter().map(|block| &block.meta);
            self.set_totals(tenant, "compacted", compacted);
        }
    }

    fn set_index_ages(&self, indexes: &[(String, Timestamp)]) {
        let now = Timestamp::now();
        for (tenant, created_at) in indexes {
            let age = now.duration_since(*created_at).as_secs_f64();
            self.index_age.with([tenant]).set(age.max(0.0));
        }
    }

    fn set_totals<'a>(
        &self,
        tenant: &str,
        status: &str,
        metas: impl Iterator<Item = &'a BlockMeta>,
    ) {
        let (mut objects, mut bytes) = (0.0, 0.0);
        for meta in metas {
            objects += meta.total_objects as f64;
            bytes += meta.size as f64;
        }
        self.objects.with([tenant, status]).set(objects);
        self.bytes.with([tenant, status]).set(bytes);
    }

    /// Series of tenants that are gone go; counters stay.
    fn forget_others(&self, report: &PollReport, tenants: &Snapshot) {
        let is_listed = |tenant: &str| tenants.contains_key(tenant);
        self.length.retain(|[tenant]| is_listed(tenant));
        self.objects.retain(|[tenant, _]| is_listed(tenant));
        self.bytes.retain(|[tenant, _]| is_listed(tenant));
        let is_known = |tenant: &str| {
            is_listed(tenant) || report.by_tenant.iter().any(|seen| seen.tenant == tenant)
        };
        self.skipped.retain(|[tenant, _]| is_known(tenant));
        self.is_builder.retain(|[tenant]| is_known(tenant));
        self.index_age.retain(|[tenant]| is_known(tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_storage::{
        BucketSettings, PollerSettings, Uuid,
        block_io::{BlockFiles, ObjectSource, mark_compacted, write_block},
        meta::BlockVersion,
        poller::TenantReport,
    };

    async fn write(bucket: &Bucket, version: BlockVersion, foreign: Option<&str>) -> Uuid {
        let mut meta = BlockMeta::new(version, "t", Uuid::new_v4());
        if let Some(format) = foreign {
            meta.format = format.to_owned();
        }
        (meta.size, meta.total_records) = (4, 1);
        (meta.total_objects, meta.bloom_shards) = (7, 1);
        let bytes = || ObjectSource::Bytes(b"data".as_slice().into());
        let files = BlockFiles {
            data: bytes(),
            blooms: vec![bytes()],
            index: None,
            summary: None,
            no_compact: false,
        };
        write_block(bucket, &meta, &files).await.unwrap();
        meta.block_id
    }

    #[tokio::test]
    async fn wait_is_as_long_as_asked() {
        let (begun, pause) = (tactus_clock::since_boot(), Duration::from_millis(30));
        wait(pause).await;
        assert!(tactus_clock::since_boot() - begun >= pause);
    }

    #[test]
    fn polls_begin_once_in_an_interval_and_never_without_a_pause() {
        let mut pauses = Pauses::new(Duration::from_secs(300));
        let mut after =
            |took, is_urgent| pauses.after(Duration::from_secs(took), is_urgent).as_secs();
        assert_eq!([0, 1, 75, 200].map(|took| after(took, false)), [300, 299, 225, 100]);
        assert_eq!([280, 300, 4_000].map(|took| after(took, false)), [30; 3]);
        // Soon again as long as the list is incomplete, and not later than otherwise.
        assert_eq!([0; 8].map(|took| after(took, true)), [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!((after(4_000, true), after(0, true)), (30, 60));
        assert_eq!((after(0, false), after(0, true)), (300, 5));
    }

    #[test]
    fn index_of_others_that_was_not_written_for_long_is_forgotten() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let seen = |tenant: &str, is_builder, seconds: Option<u64>| TenantReport {
            tenant: tenant.to_owned(),
            is_builder,
            index_created_at: seconds.map(|seconds| now - Duration::from_secs(seconds)),
            index_errors: 0,
            metas_corrupt: 0,
            left_out: 0,
            failed: false,
        };
        let by_tenant = vec![
            seen("old", false, Some(5_000)),
            seen("own", true, Some(5_000)),
            seen("listed", false, None),
            seen("new", false, Some(1_500)),
        ];
        let report = PollReport { by_tenant, ..PollReport::default() };
        let of = |interval| ForgottenIndexes::new(Duration::from_secs(interval));
        let age = Duration::from_secs(5_000);
        assert_eq!(of(900).among(&report, now), [("old", age)]);
        assert_eq!(of(3_000).among(&report, now), []);
        assert_eq!(of(1).among(&report, now).len(), 2);
    }

    #[tokio::test]
    async fn poll_sets_all_metrics_and_forgets_tenants_that_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let ids = [
            write(&bucket, BlockVersion::VParquet4, None).await,
            write(&bucket, BlockVersion::VParquet4, None).await,
            write(&bucket, BlockVersion::VParquet4, Some("v2")).await,
        ];
        mark_compacted(&bucket, "t", ids[0]).await.unwrap();
        let list = Arc::new(Blocklist::new());
        let poller = Poller::builder(bucket.clone(), Arc::clone(&list), PollerSettings::default());
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        poll(&poller, &list, &metrics).await;
        let text = registry.encode();
        for line in [
            r#"tempodb_blocklist_length{tenant="t"} 2"#,
            r#"tempodb_blocklist_tenant_index_builder{tenant="t"} 1"#,
            r#"tempodb_blocklist_poll_errors_total{tenant="t"} 0"#,
            r#"tempodb_blocklist_tenant_index_errors_total{tenant="t"} 0"#,
            r#"tempodb_blocklist_tenant_index_age_seconds{tenant="t"} "#,
            r#"tempodb_backend_objects_total{tenant="t",status="live"} 14"#,
            r#"tempodb_backend_bytes_total{tenant="t",status="live"} 8"#,
            r#"tempodb_backend_bytes_total{tenant="t",status="compacted"} 4"#,
            r#"tactus_blocklist_skipped_blocks{tenant="t",reason="unknown_version"} 1"#,
            r#"tactus_blocklist_skipped_blocks{tenant="t",reason="corrupt_meta"} 0"#,
            r#"tactus_blocklist_skipped_blocks{tenant="t",reason="no_room"} 0"#,
            "tempodb_blocklist_poll_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        std::fs::remove_dir_all(bucket.local_path("t").unwrap()).unwrap();
        for _ in 0..2 {
            poll(&poller, &list, &metrics).await;
        }
        assert!(!registry.encode().contains(r#"tempodb_blocklist_length{tenant="t"}"#));
    }

    #[tokio::test]
    async fn poll_that_panics_is_counted_and_not_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bucket");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        write(&bucket, BlockVersion::VParquet4, None).await;
        let list = Arc::new(Blocklist::new());
        let asked = std::sync::atomic::AtomicBool::new(false);
        let owns: Owns =
            Arc::new(move |_| match asked.swap(true, std::sync::atomic::Ordering::Relaxed) {
                false => panic!("once"),
                true => true,
            });
        let poller = Poller::new(bucket, Arc::clone(&list), PollerSettings::default(), owns);
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        assert!(poll(&poller, &list, &metrics).await.is_none());
        assert!(registry.encode().contains("tempodb_blocklist_poll_errors_total{tenant=\"\"} 1"));
        assert!(poll(&poller, &list, &metrics).await.is_some());
    }
}
