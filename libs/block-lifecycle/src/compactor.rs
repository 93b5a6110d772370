//! The compactor's state and its loops.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tactus_storage::block_io::{clear_leftovers, clear_orphan, list_orphans, list_tenants};
use tactus_storage::poller::Owns;
use tactus_storage::{Blocklist, Bucket, Uuid};
use tactus_telemetry::error_text;
use tactus_telemetry::metrics::Registry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::Result;
use crate::jobs::JobState;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// Pause between two looks for what killed writers left.
const ORPHAN_INTERVAL: Duration = Duration::from_secs(3600);

/// A block that could not be read is tried again after two cycles, then four and so on, up to this time.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Blocks that are remembered as damaged.
const MAX_DAMAGED: usize = 10_000;

/// Merges blocks, deletes what is old, carries out jobs. Does nothing by itself: call [`Compactor::run`].
pub struct Compactor {
    pub(crate) settings: Settings,
    pub(crate) bucket: Bucket,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) owns: Owns,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) jobs: Mutex<HashMap<Uuid, JobState>>,
    /// Tenants that had as many jobs as they may, and when that was counted.
    pub(crate) full_of_jobs: Mutex<HashMap<String, Instant>>,
    /// Held from reading a job's record to writing it.
    pub(crate) records: tokio::sync::Mutex<()>,
    /// Blocks that a rewrite of this process reads.
    busy: Mutex<HashSet<Uuid>>,
    damaged: Mutex<HashMap<Uuid, Damaged>>,
}

/// A block that could not be read.
struct Damaged {
    tenant: String,
    failures: u32,
    /// When it is tried again.
    until: Instant,
}

tactus_telemetry::debug_of!(Compactor { settings });

impl Compactor {
    /// A compactor on a bucket whose blocks `blocklist` knows. `owns` says which strings are this process's: what is
    /// hashed is described where it is asked.
    pub fn new(
        settings: Settings,
        bucket: Bucket,
        blocklist: Arc<Blocklist>,
        owns: Owns,
        registry: &Registry,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            bucket,
            blocklist,
            owns,
            metrics: Metrics::register(registry),
            clock: Clock::new(),
            jobs: Mutex::default(),
            full_of_jobs: Mutex::default(),
            records: tokio::sync::Mutex::default(),
            busy: Mutex::default(),
            damaged: Mutex::default(),
        })
    }

    /// Works until `stop`. A merge that runs then is broken off; nothing of it is visible.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // Policies and jobs go by the time of the last run of retention: there shall be one from the start.
        tokio::select! {
            _ = self.time_to_delete_by() => {}
            () = stop.cancelled() => return,
        }
        tokio::join!(self.run_rounds(&stop), self.run_retentions(&stop), self.run_orphans(&stop));
    }

    /// Each cycle the next tenant's merges, then all tenants' jobs.
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
        // The first look is soon: a process that is restarted often must get to it, too.
        interval = interval.min(self.settings.retention_interval);
        while stop.run_until_cancelled(sleep(interval)).await.is_some() {
            tokio::select! {
                () = self.clear_orphans(age) => {}
                () = stop.cancelled() => return,
            }
            interval = ORPHAN_INTERVAL.min(age);
        }
    }

    /// Deletes what writers left that were killed before they wrote a meta.
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

    /// Reserves blocks for a rewrite; `None` if one of them is in another one.
    pub(crate) fn reserve(&self, blocks: Vec<Uuid>) -> Option<Reserved<'_>> {
        let mut busy = self.busy.lock();
        if blocks.iter().any(|block| busy.contains(block)) {
            return None;
        }
        busy.extend(&blocks);
        Some(Reserved { compactor: self, blocks })
    }

    /// True while a rewrite of this process reads or writes the block.
    pub(crate) fn is_busy(&self, block: Uuid) -> bool {
        self.busy.lock().contains(&block)
    }

    /// Leaves a block out of rewrites for a while, the longer the oftener it failed: what looks like damage may have
    /// been the network.
    pub(crate) fn set_damaged(&self, tenant: &str, block: Uuid) {
        let mut damaged = self.damaged.lock();
        if damaged.len() >= MAX_DAMAGED && !damaged.contains_key(&block) {
            return;
        }
        let now = Instant::now();
        let entry = damaged.entry(block).or_insert_with(|| {
            let tenant = tenant.to_owned();
            Damaged { tenant, failures: 0, until: now }
        });
        entry.failures = (entry.failures + 1).min(16);
        entry.until = now + MAX_PAUSE.min(self.settings.cycle * (1 << entry.failures));
    }

    /// Damaged blocks of a tenant that are left out now. `is_known` tells which blocks still exist.
    pub(crate) fn damaged(&self, tenant: &str, is_known: impl Fn(Uuid) -> bool) -> HashSet<Uuid> {
        let mut damaged = self.damaged.lock();
        damaged.retain(|&block, entry| entry.tenant != tenant || is_known(block));
        let of_tenant = || damaged.iter().filter(|(_, entry)| entry.tenant == tenant);
        self.metrics.damaged_blocks.with([tenant]).set(of_tenant().count() as f64);
        let now = Instant::now();
        of_tenant().filter(|(_, entry)| entry.until > now).map(|(&block, _)| block).collect()
    }

    /// A rewrite could read these.
    pub(crate) fn set_sound(&self, blocks: &[Uuid]) {
        let mut damaged = self.damaged.lock();
        blocks.iter().for_each(|block| drop(damaged.remove(block)));
    }
}

/// Blocks in a rewrite, until it is dropped.
pub(crate) struct Reserved<'a> {
    compactor: &'a Compactor,
    blocks: Vec<Uuid>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut busy = self.compactor.busy.lock();
        self.blocks.iter().for_each(|block| {
            busy.remove(block);
        });
    }
}
