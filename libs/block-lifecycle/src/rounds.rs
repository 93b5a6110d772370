//! When a compactor does what: rounds of merges and jobs, retention, and the search for unfinished blocks.

use std::sync::Arc;
use std::time::Duration;

use tactus_storage::block_io::{clear_leftovers, clear_orphan, list_orphans, list_tenants};
use tactus_telemetry::error_text;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::compactor::Compactor;
use crate::error::Result;

/// Pause between two searches for unfinished blocks.
const ORPHAN_INTERVAL: Duration = Duration::from_secs(3600);

impl Compactor {
    /// Runs until `stop` is cancelled. A merge that is under way then is abandoned, and nobody sees anything of it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // Policies and jobs use the time that the last run of retention found. This makes one available from the start.
        tokio::select! {
            _ = self.time_to_delete_by() => {}
            () = stop.cancelled() => return,
        }
        tokio::join!(self.run_rounds(&stop), self.run_retentions(&stop), self.run_orphans(&stop));
    }

    /// In each cycle, runs the jobs of all tenants and the merges of the next tenant.
    async fn run_rounds(&self, stop: &CancellationToken) {
        let mut last = String::new();
        while stop.run_until_cancelled(sleep(self.settings.cycle)).await.is_some() {
            self.run_jobs(stop).await;
            let tenants = self.blocklist.tenants();
            let next = tenants.iter().find(|tenant| **tenant > last).or_else(|| tenants.first());
            let Some(tenant) = next else { continue };
            self.compact_tenant(tenant, stop).await;
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
        let Some(age) = self.settings.orphan_age else { return };
        let mut interval = ORPHAN_INTERVAL.min(age);
        // The first look comes early, so that a process which is restarted often gets to it as well.
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
