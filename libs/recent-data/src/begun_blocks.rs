//! Blocks in progress: those being uploaded to object storage, and uploaded ones whose segments still answer queries.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tactus_model::TenantId;
use tactus_storage::Uuid;
use tactus_wal::create_anew;
use tokio::sync::Semaphore;

use crate::{error::Error, layout::sync_directory, segment::Segment};

/// If all tenants together have this many segments, all of them are made into blocks, because each segment takes
/// memory.
pub(crate) const MAX_SEGMENTS: usize = 50_000;
/// For each block that is being built, this many may have been begun, which means that their manifests are on disk.
const BEGUN_PER_SLOT: usize = 4;

/// Blocks that are being uploaded, at most one of each tenant at a time.
#[derive(Debug)]
pub(crate) struct Flushes {
    /// One for each block that is being built and uploaded.
    pub(crate) slots: Semaphore,
    /// Tenants that are flushed at the same time, in the background or by a call.
    pub(crate) most_begun: usize,
    /// One for each tenant that is flushed in the background.
    pub(crate) places: Arc<Semaphore>,
    /// A flush in the background has ended since gauges were last refreshed.
    pub(crate) has_ended: AtomicBool,
    pending: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<Queue>>>>,
    pub(crate) held: Held,
}

/// The blocks of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Blocks in progress, the oldest first. There is more than one only after a restart.
    pub(crate) blocks: VecDeque<PendingBlock>,
    pub(crate) failures: u32,
    pub(crate) not_before: Option<Instant>,
}

/// A block in progress. It must be finished under the same id.
#[derive(Debug)]
pub(crate) struct PendingBlock {
    pub(crate) id: Uuid,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// An earlier process began this block. It may even have finished it.
    pub(crate) resumed: bool,
}

/// The content of `flushing/<tenant>/<block id>.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Paths below `segments/`.
    pub(crate) segments: Vec<PathBuf>,
    /// When the upload of the block finished, in unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flushed: Option<u64>,
}

impl PendingBlock {
    pub(crate) fn new(id: Uuid, segments: Vec<Arc<Segment>>, resumed: bool) -> Self {
        segments.iter().for_each(|segment| segment.set_block(id));
        Self { id, segments, resumed }
    }
}

impl Flushes {
    pub(crate) fn new(slots: usize) -> Self {
        let most_begun = slots.max(1).saturating_mul(BEGUN_PER_SLOT).min(Semaphore::MAX_PERMITS);
        Self {
            slots: Semaphore::new(slots.max(1)),
            most_begun,
            places: Arc::new(Semaphore::new(most_begun)),
            has_ended: AtomicBool::new(false),
            pending: Mutex::default(),
            held: Held::default(),
        }
    }

    pub(crate) fn has_pending(&self, tenant: &TenantId) -> bool {
        let queue = self.pending.lock().get(tenant).cloned();
        queue.is_some_and(|queue| queue.try_lock().is_ok_and(|queue| !queue.blocks.is_empty()))
    }

    /// True unless the tenant is being flushed, or waits after a failure.
    pub(crate) fn is_ready(&self, tenant: &TenantId) -> bool {
        let queue = self.pending.lock().get(tenant).cloned();
        let is_due = |queue: &Queue| queue.not_before.is_none_or(|time| time <= Instant::now());
        queue.is_none_or(|queue| queue.try_lock().is_ok_and(|queue| is_due(&queue)))
    }

    pub(crate) fn queue(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<Queue>> {
        Arc::clone(self.pending.lock().entry(tenant.clone()).or_default())
    }

    /// Forgets a tenant that has no block in progress.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        let mut pending = self.pending.lock();
        let is_idle = |queue: &Arc<tokio::sync::Mutex<Queue>>| {
            Arc::strong_count(queue) == 1
                && queue.try_lock().is_ok_and(|queue| queue.blocks.is_empty())
        };
        if pending.get(tenant).is_some_and(is_idle) {
            pending.remove(tenant);
        }
    }

    /// Continues a block that an earlier process began.
    pub(crate) fn resume(&self, tenant: &TenantId, id: Uuid, segments: Vec<Arc<Segment>>) {
        let block = PendingBlock::new(id, segments, true);
        let queue = self.queue(tenant);
        queue.try_lock().expect("nothing else runs during start").blocks.push_back(block);
    }
}

impl Manifest {
    /// Writes the manifest. After any crash, even of the machine, the file is either complete or absent.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("paths of our own are UTF-8");
        let directory = path.parent().unwrap_or(path);
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let partial = path.with_extension("partial");
        let mut file = create_anew(&partial).map_err(Error::io("create", &partial))?;
        file.write_all(&bytes).map_err(Error::io("write", &partial))?;
        file.sync_all().map_err(Error::io("sync", &partial))?;
        fs::rename(&partial, path).map_err(Error::io("rename", &partial))?;
        for changed in [Some(directory), directory.parent()].into_iter().flatten() {
            sync_directory(changed).map_err(Error::io("sync", changed))?;
        }
        Ok(())
    }
}

/// Blocks in object storage whose segments still answer queries, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<VecDeque<HeldBlock>>);

/// A block in object storage whose segments still answer queries.
#[derive(Debug)]
pub(crate) struct HeldBlock {
    pub(crate) tenant: TenantId,
    pub(crate) flushed: Instant,
    pub(crate) block: PendingBlock,
}

impl Held {
    /// Keeps the segments of a block whose upload finished at this time.
    pub(crate) fn add(&self, tenant: TenantId, flushed: Instant, block: PendingBlock) {
        block.segments.iter().for_each(|segment| segment.set_flushed());
        let mut held = self.0.lock();
        let at = held.partition_point(|other| other.flushed <= flushed);
        held.insert(at, HeldBlock { tenant, flushed, block });
    }

    pub(crate) fn take_oldest(&self, is_due: impl FnOnce(&HeldBlock) -> bool) -> Option<HeldBlock> {
        let mut held = self.0.lock();
        held.front().is_some_and(is_due).then(|| held.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_place_of_an_unfinished_manifest_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["block.json", "other"].map(|name| folder.path().join(name));
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, path.with_extension("partial")).unwrap();
        Manifest { segments: Vec::new(), flushed: None }.write(&path).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "other");
    }
}
