//! Which segments have columns in memory.
//!
//! A column is read when somebody looks at it. Of segments that nobody looks at any more the last ones keep theirs, within a
//! number of segments and of bytes.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use tactus_work::memory::Budget;

use super::{SegmentError, open::OpenBatch};

/// Columns that nobody looked at for so long are forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// Memory for what segments of all tenants have in common.
const TORN_BYTES: u64 = 64 << 20;

/// The segments of an ingester: what of them is in memory, and how many there are. Clones are of the same.
#[derive(Debug, Clone)]
pub(crate) struct SegmentCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_kept: usize,
    max_bytes: u64,
    kept: Mutex<LruCache<u64, Kept>>,
    last_number: AtomicU64,
    segments: AtomicUsize,
    file_bytes: AtomicU64,
    heap_bytes: AtomicUsize,
    column_bytes: AtomicU64,
    torn_memory: Arc<Budget>,
}

#[derive(Debug)]
struct Kept {
    batch: Arc<OpenBatch>,
    used: Instant,
}

/// A segment's place among all; counts it while it lives.
#[derive(Debug)]
pub(super) struct Slot {
    state: Arc<SlotState>,
    heap_bytes: usize,
}

/// What the readers of a segment share.
#[derive(Debug)]
pub(super) struct SlotState {
    cache: SegmentCache,
    number: u64,
    /// What somebody holds: others get the same.
    held: Mutex<Weak<OpenBatch>>,
    failures: AtomicU64,
    last_failure: Mutex<Option<SegmentError>>,
}

impl SegmentCache {
    /// `max_kept` segments keep columns of `max_bytes` together while nobody uses them.
    pub(crate) fn new(max_kept: usize, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_kept,
            max_bytes,
            kept: Mutex::new(LruCache::unbounded()),
            last_number: AtomicU64::new(0),
            segments: AtomicUsize::new(0),
            file_bytes: AtomicU64::new(0),
            heap_bytes: AtomicUsize::new(0),
            column_bytes: AtomicU64::new(0),
            torn_memory: Budget::new(TORN_BYTES),
        }))
    }

    pub(super) fn state(&self) -> Arc<SlotState> {
        Arc::new(SlotState {
            cache: self.clone(),
            number: self.0.last_number.fetch_add(1, Ordering::Relaxed),
            held: Mutex::default(),
            failures: AtomicU64::new(0),
            last_failure: Mutex::default(),
        })
    }

    /// Segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.0.segments.load(Ordering::Relaxed)
    }

    /// Bytes of their files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.0.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of memory that they take besides their columns.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes.load(Ordering::Relaxed)
    }

    /// Memory for the traces that lie in several segments of a tenant.
    pub(super) fn torn_memory(&self) -> &Arc<Budget> {
        &self.0.torn_memory
    }

    /// Bytes of columns in memory.
    pub(crate) fn column_bytes(&self) -> u64 {
        self.0.column_bytes.load(Ordering::Relaxed)
    }

    /// Forgets the columns that nobody looked at for long.
    pub(crate) fn forget_idle(&self) {
        let is_idle = |kept: &Kept| kept.used.elapsed() > IDLE;
        self.evict(|cache| cache.peek_lru().is_some_and(|(_, kept)| is_idle(kept)));
    }

    /// Segments that keep columns.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.0.kept.lock().len()
    }

    pub(super) fn add_file_bytes(&self, bytes: u64) {
        self.0.file_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_file_bytes(&self, bytes: u64) {
        self.0.file_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes columns that were read, and makes room for them.
    pub(super) fn add_column_bytes(&self, bytes: u64) {
        let all = self.0.column_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.0.max_bytes {
            self.shrink();
        }
    }

    pub(super) fn remove_column_bytes(&self, bytes: u64) {
        self.0.column_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Columns that a query is looking at count, and go when it has done.
    fn shrink(&self) {
        let mut left = self.column_bytes();
        self.evict(|cache| {
            let oldest = cache.peek_lru().map(|(_, kept)| kept.batch.column_bytes());
            let too_much = cache.len() > self.0.max_kept || left > self.0.max_bytes;
            left = left.saturating_sub(oldest.unwrap_or(0));
            too_much
        });
    }

    /// Forgets the oldest as long as that is wanted.
    fn evict(&self, mut is_wanted: impl FnMut(&LruCache<u64, Kept>) -> bool) {
        // Freed when the lock is free again.
        let mut evicted = Vec::new();
        let mut kept = self.0.kept.lock();
        while !kept.is_empty() && is_wanted(&kept) {
            evicted.extend(kept.pop_lru());
        }
        drop(kept);
    }
}

impl Slot {
    pub(super) fn new(state: Arc<SlotState>, heap_bytes: usize) -> Self {
        let shared = &state.cache.0;
        shared.segments.fetch_add(1, Ordering::Relaxed);
        shared.heap_bytes.fetch_add(heap_bytes, Ordering::Relaxed);
        Self { state, heap_bytes }
    }

    pub(super) fn state(&self) -> &Arc<SlotState> {
        &self.state
    }

    /// The batch that is in memory; opened now if there is none.
    pub(super) fn batch(
        &self,
        open: impl FnOnce() -> Result<OpenBatch, SegmentError>,
    ) -> Result<Arc<OpenBatch>, SegmentError> {
        let shared = &self.state.cache.0;
        if let Some(kept) = shared.kept.lock().get_mut(&self.state.number) {
            kept.used = Instant::now();
            return Ok(Arc::clone(&kept.batch));
        }
        let mut held = self.state.held.lock();
        let batch = match held.upgrade() {
            Some(batch) => batch,
            None => {
                let batch = Arc::new(open()?);
                *held = Arc::downgrade(&batch);
                batch
            }
        };
        let kept = Kept { batch: Arc::clone(&batch), used: Instant::now() };
        // The old one, if another thread was faster, is the same.
        let replaced = shared.kept.lock().put(self.state.number, kept);
        drop(held);
        drop(replaced);
        self.state.cache.shrink();
        Ok(batch)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.state.forget();
        let shared = &self.state.cache.0;
        shared.segments.fetch_sub(1, Ordering::Relaxed);
        shared.heap_bytes.fetch_sub(self.heap_bytes, Ordering::Relaxed);
    }
}

impl SlotState {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn cache(&self) -> &SegmentCache {
        &self.cache
    }

    /// Notes that something could not be read. Nobody gets what is in memory any more; who has it asks for
    /// [`Self::failures`] when he has done.
    pub(super) fn fail(&self, error: SegmentError) {
        self.forget();
        *self.last_failure.lock() = Some(error);
        self.failures.fetch_add(1, Ordering::AcqRel);
    }

    /// How often something could not be read.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    pub(super) fn last_failure(&self) -> Option<SegmentError> {
        self.last_failure.lock().clone()
    }

    fn forget(&self) {
        *self.held.lock() = Weak::new();
        let forgotten = self.cache.0.kept.lock().pop(&self.number);
        drop(forgotten);
    }
}
