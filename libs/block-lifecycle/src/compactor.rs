//! The state of a compactor: what it works on, and which blocks it leaves alone for now.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tactus_storage::poller::Owns;
use tactus_storage::{Blocklist, Bucket, Timestamp, Uuid};
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::jobs::turns::Turns;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// A block that was left out is tried again after two cycles, then four and so on, up to this time.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Blocks that are remembered as left out.
const MAX_LEFT_OUT: usize = 10_000;

/// Merges blocks, deletes old ones and runs jobs. Nothing happens until [`Compactor::run`] is called.
pub struct Compactor {
    pub(crate) settings: Settings,
    pub(crate) bucket: Bucket,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) owns: Owns,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) jobs: Mutex<HashMap<Uuid, JobState>>,
    /// The order in which jobs have their turns.
    pub(crate) job_turns: Mutex<Turns>,
    /// Tenants that had as many jobs as they may have, and when that was counted.
    pub(crate) full_of_jobs: Mutex<HashMap<String, Instant>>,
    /// Locked from reading a job's record until it is written, so that no change is lost.
    pub(crate) records: tokio::sync::Mutex<()>,
    /// Blocks that a rewrite of this process reads.
    busy: Mutex<HashSet<Uuid>>,
    left_out: Mutex<HashMap<Uuid, LeftOut>>,
}

/// Progress of a job that only this process knows; the rest is in the record of the job.
#[derive(Debug, Default)]
pub(crate) struct JobState {
    /// Blocks that contain nothing that the job removes.
    pub(crate) checked: HashSet<Uuid>,
    /// True if all blocks were checked after the job's watch period. Later blocks need not be checked.
    pub(crate) is_through: bool,
    /// How far the job was after its last pass.
    pub(crate) status: Option<&'static str>,
    /// When the job was done, or cancelled; `None` if it is open.
    pub(crate) finished: Option<Timestamp>,
    /// Cancelled once somebody cancels the job, while this process runs it.
    pub(crate) cancel: CancellationToken,
}

/// Why a block is left out of rewrites for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It cannot be read.
    Damaged,
    /// One of its traces takes more memory than a merge has. Rewrites of this block alone go on.
    TooLarge,
    /// Another writer wants it left alone, or a merge failed and no block is to blame.
    Other,
}

/// A block that could not be rewritten.
struct LeftOut {
    tenant: String,
    reason: Reason,
    failures: u32,
    /// When it is tried again.
    until: Instant,
}

tactus_telemetry::debug_of!(Compactor { settings });

impl Compactor {
    /// A compactor for a bucket whose blocks are in `blocklist`. `owns` returns whether this process is responsible for
    /// a string; callers describe what the string is.
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
            job_turns: Mutex::default(),
            full_of_jobs: Mutex::default(),
            records: tokio::sync::Mutex::default(),
            busy: Mutex::default(),
            left_out: Mutex::default(),
        })
    }

    /// Pause between two rounds, and the time after which a round takes no further tenant.
    pub(crate) fn cycle(&self) -> Duration {
        self.settings.compaction.compaction_cycle.as_std().max(Duration::from_millis(100))
    }

    /// Reserves blocks for a rewrite; `None` if one of them is already reserved.
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

    /// Excludes a block from rewrites for a while, longer each time it fails, because what looks like damage may have
    /// been the network.
    pub(crate) fn leave_out(&self, tenant: &str, block: Uuid, reason: Reason) {
        let mut left_out = self.left_out.lock();
        if left_out.len() >= MAX_LEFT_OUT && !left_out.contains_key(&block) {
            return;
        }
        let now = Instant::now();
        let entry = left_out.entry(block).or_insert_with(|| {
            let tenant = tenant.to_owned();
            LeftOut { tenant, reason, failures: 0, until: now }
        });
        entry.reason = reason;
        entry.failures = (entry.failures + 1).min(16);
        entry.until = now + MAX_PAUSE.min(self.cycle() * (1 << entry.failures));
    }

    /// Blocks of a tenant that are left out now, and why. `is_known` tells which blocks still exist.
    pub(crate) fn left_out(
        &self,
        tenant: &str,
        is_known: impl Fn(Uuid) -> bool,
    ) -> HashMap<Uuid, Reason> {
        let mut left_out = self.left_out.lock();
        left_out.retain(|&block, entry| entry.tenant != tenant || is_known(block));
        let of_tenant = || left_out.iter().filter(|(_, entry)| entry.tenant == tenant);
        let number =
            |reason| of_tenant().filter(|(_, entry)| entry.reason == reason).count() as f64;
        self.metrics.damaged_blocks.with([tenant]).set(number(Reason::Damaged));
        self.metrics.too_large_blocks.with([tenant]).set(number(Reason::TooLarge));
        let now = Instant::now();
        let paused = of_tenant().filter(|(_, entry)| entry.until > now);
        paused.map(|(&block, entry)| (block, entry.reason)).collect()
    }

    /// Notes that these blocks could be rewritten.
    pub(crate) fn set_sound(&self, blocks: &[Uuid]) {
        let mut left_out = self.left_out.lock();
        blocks.iter().for_each(|block| drop(left_out.remove(block)));
    }
}

/// Blocks that a rewrite reads. They are free again when this is dropped.
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
