//! The schedule of a compactor: rounds of merges and jobs, retention, and the search for unfinished blocks.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tactus_storage::block_io::{
    clear_leftovers, clear_orphan, clear_shared_leftovers, list_orphans, list_tenants,
};
use tactus_telemetry::error_text;
use tokio::task::yield_now;
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

    /// In each cycle, runs the jobs of all tenants and the merges of the next tenants.
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
            let started = Instant::now();
            self.compact_tenants(&tenants, &mut last, stop).await;
            merges_took = started.elapsed();
        }
    }

    /// The merges of one tenant after the other, each once, from the one after `last` on. Most of very many tenants have
    /// little or nothing due, but finding that out costs processor time, too. So no further turn begins once the round has
    /// taken as long as a cycle.
    async fn compact_tenants(
        &self,
        tenants: &[String],
        last: &mut String,
        stop: &CancellationToken,
    ) {
        let started = Instant::now();
        let (before, after) = tenants.split_at(tenants.partition_point(|tenant| *tenant <= *last));
        for tenant in after.iter().chain(before) {
            self.compact_tenant(tenant, stop).await;
            last.clone_from(tenant);
            if stop.is_cancelled() || started.elapsed() >= self.cycle() {
                return;
            }
            // A turn without merges waits for nothing, and would hold its thread.
            yield_now().await;
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
        if (self.owns)("shared-leftovers")
            && let Err(error) = clear_shared_leftovers(&self.bucket, age).await
        {
            let error = error_text(&error);
            tracing::error!(error, "cannot delete files that were never finished");
        }
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

    use parking_lot::Mutex;
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

    /// The tenants whose turns one round has, of `a`, `b` and `c` without anything due, after that of `last`.
    async fn turns(last: &str, cycle: Duration, stop: &CancellationToken) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let turns = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&turns);
        let limits = Arc::new(move |tenant: &str| {
            noted.lock().push(tenant.to_owned());
            Limits::default()
        });
        let mut compactor = compactor(&directory, limits, &Registry::new());
        let settings = &mut Arc::get_mut(&mut compactor).unwrap().settings;
        settings.compaction.compaction_cycle = cycle.into();
        let mut last = last.to_owned();
        compactor.compact_tenants(&["a", "b", "c"].map(str::to_owned), &mut last, stop).await;
        let turns = std::mem::take(&mut *turns.lock());
        assert_eq!(turns.last(), Some(&last));
        turns
    }

    #[tokio::test]
    async fn tenants_without_anything_due_use_up_no_cycle() {
        let (hour, stop) = (Duration::from_secs(3600), CancellationToken::new());
        assert_eq!(turns("", hour, &stop).await, ["a", "b", "c"]);
        assert_eq!(turns("a", hour, &stop).await, ["b", "c", "a"]);
        assert_eq!(turns("c", hour, &stop).await, ["a", "b", "c"]);
        // One that is gone.
        assert_eq!(turns("bb", hour, &stop).await, ["c", "a", "b"]);
        stop.cancel();
        assert_eq!(turns("a", hour, &stop).await, ["b"]);
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
