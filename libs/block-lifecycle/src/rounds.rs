//! The schedule of a compactor: rounds of merges and jobs, retention, and the search for unfinished blocks.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tactus_storage::block_io::{clear_leftovers, clear_orphan, list_orphans, list_tenants};
use tactus_telemetry::error_text;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::compactor::Compactor;
use crate::error::Result;

/// Pause between two searches for unfinished blocks.
const ORPHAN_INTERVAL: Duration = Duration::from_secs(3600);

impl Compactor {
    /// Runs until `stop` is cancelled. A merge that is in progress then is abandoned, and leaves nothing visible.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // A panic, for example of the store's client, must not end the compactor.
        while AssertUnwindSafe(self.run_all(&stop)).catch_unwind().await.is_err() {
            self.metrics.errors.inc();
            tracing::error!("the compactor panicked and begins anew");
            if stop.run_until_cancelled(sleep(self.cycle())).await.is_none() {
                return;
            }
        }
    }

    async fn run_all(&self, stop: &CancellationToken) {
        // Policies and jobs use the time that the last run of retention determined, so it runs once at the start.
        tokio::select! {
            _ = self.time_to_delete_by() => {}
            () = stop.cancelled() => return,
        }
        tokio::join!(self.run_rounds(stop), self.run_retentions(stop), self.run_orphans(stop));
    }

    /// In each cycle, runs the jobs of all tenants and the merges of the next tenant.
    async fn run_rounds(&self, stop: &CancellationToken) {
        let mut last = String::new();
        let mut merges_took = Duration::ZERO;
        while stop.run_until_cancelled(sleep(self.cycle())).await.is_some() {
            // Many jobs must not hold up merges, and merges must not hold up jobs: they share the time equally.
            let most = self.settings.compaction.max_time_per_tenant.as_std();
            self.run_jobs(self.cycle().max(merges_took).min(most), stop).await;
            if stop.is_cancelled() {
                return;
            }
            let tenants = self.blocklist.tenants();
            let known: HashSet<&str> = tenants.iter().map(String::as_str).collect();
            self.metrics.keep_tenants(|tenant| known.contains(tenant));
            let next = tenants.iter().find(|tenant| **tenant > last).or_else(|| tenants.first());
            let Some(tenant) = next else { continue };
            let started = Instant::now();
            self.compact_tenant(tenant, stop).await;
            merges_took = started.elapsed();
            last.clone_from(tenant);
        }
    }

    async fn run_retentions(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(self.settings.retention_interval)).await.is_some() {
            tokio::select! {
                () = self.run_retention() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn run_orphans(&self, stop: &CancellationToken) {
        let Some(age) = self.settings.compaction.orphan_age.non_zero() else { return };
        let mut interval = ORPHAN_INTERVAL.min(age);
        // The first search comes early, so that a process that is restarted often does it as well.
        interval = interval.min(self.settings.retention_interval);
        while stop.run_until_cancelled(sleep(interval)).await.is_some() {
            tokio::select! {
                () = self.clear_orphans(age) => {}
                () = stop.cancelled() => return,
            }
            interval = ORPHAN_INTERVAL.min(age);
        }
    }

    /// Deletes the blocks of writers that were killed before they wrote `meta.json`.
    pub(crate) async fn clear_orphans(&self, age: Duration) {
        let tenants = match list_tenants(&self.bucket).await {
            Ok(tenants) => tenants,
            Err(error) => {
                let error = error_text(&error);
                tracing::error!(error, "cannot look for unfinished blocks");
                return;
            }
        };
        for tenant in tenants {
            if !(self.owns)(&format!("orphans-{tenant}")) {
                continue;
            }
            if let Err(error) = self.clear_orphans_of(&tenant, age).await {
                let error = error_text(&error);
                tracing::error!(tenant, error, "cannot delete unfinished blocks");
            }
        }
    }

    async fn clear_orphans_of(&self, tenant: &str, age: Duration) -> Result<()> {
        for orphan in list_orphans(&self.bucket, tenant, age).await? {
            if !self.is_busy(orphan.block_id) && clear_orphan(&self.bucket, tenant, &orphan).await?
            {
                self.metrics.orphans_deleted.inc();
                let (block, bytes) = (orphan.block_id, orphan.bytes);
                tracing::info!(tenant, %block, bytes, "deleted a block that was never finished");
            }
        }
        clear_leftovers(&self.bucket, tenant, age).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tactus_compaction::BlockProblem;
    use tactus_storage::meta::BlockVersion;
    use tactus_storage::{BlockMeta, Uuid};
    use tactus_telemetry::metrics::Registry;

    use super::*;
    use crate::compactor::Reason;
    use crate::settings::Limits;
    use crate::testing::{SOON, compactor, show};

    #[tokio::test]
    async fn round_that_panics_is_not_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let limits = Arc::new(move |_: &str| {
            assert_ne!(counted.fetch_add(1, Ordering::Relaxed), 0, "the first round");
            Limits::default()
        });
        let registry = Registry::new();
        let compactor = compactor(&directory, limits, &registry);
        let meta = BlockMeta::new(BlockVersion::VParquet4, "t", Uuid::new_v4());
        show(&compactor, "t", vec![meta]);
        let stop = CancellationToken::new();
        let run = tokio::spawn(compactor.run(stop.clone()));
        while rounds.load(Ordering::Relaxed) < 2 {
            sleep(SOON).await;
        }
        stop.cancel();
        run.await.unwrap();
        assert!(registry.encode().contains("tempodb_compaction_errors_total 1"));
    }

    #[tokio::test]
    async fn blocks_that_are_damaged_and_that_are_too_large_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let limits = Arc::new(|_: &str| Limits::default());
        let compactor = compactor(&directory, limits, &registry);
        let blocks = [1, 2, 3, 4].map(Uuid::from_u128);
        let failed = |block, source| {
            let error = tactus_compaction::Error::Block { block, source };
            assert!(compactor.failed("t", &error.into()));
        };
        failed(blocks[0], BlockProblem::Unordered);
        failed(blocks[1], BlockProblem::TooLarge { spans: 2, mib: 3 });
        failed(blocks[2], BlockProblem::TooLarge { spans: 2, mib: 3 });
        compactor.leave_out("t", blocks[3], Reason::Other);
        compactor.leave_out("u", Uuid::from_u128(5), Reason::Damaged);
        let left_out = compactor.left_out("t", |_| true);
        assert_eq!(left_out.into_keys().collect::<HashSet<_>>(), blocks.into());
        let shows = |line: &str| registry.encode().lines().any(|it| it == line);
        assert!(shows("tactus_compactor_damaged_blocks{tenant=\"t\"} 1"));
        assert!(shows("tactus_compactor_too_large_blocks{tenant=\"t\"} 2"));
        // One that was found damaged once, and too large the next time.
        failed(blocks[0], BlockProblem::TooLarge { spans: 2, mib: 3 });
        compactor.set_sound(&blocks[1..2]);
        compactor.left_out("t", |_| true);
        assert!(shows("tactus_compactor_damaged_blocks{tenant=\"t\"} 0"));
        assert!(shows("tactus_compactor_too_large_blocks{tenant=\"t\"} 2"));
    }
}
