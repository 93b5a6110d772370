//! The cache of segment columns.
//!
//! A column is read when a query first uses it. The most recently used segments keep their columns in memory, up to a
//! number of segments and a number of bytes.

use std::{
    ops::Deref,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use tactus_model::SpanBatch;
use tactus_work::memory::Budget;

use super::{SegmentError, column_reader::ColumnReader, columns, file::FileBytes};

/// Columns that were not used for this long are dropped.
const IDLE: Duration = Duration::from_secs(600);

/// Memory for the lists of split traces (those in several segments), of all tenants together.
const SPLIT_BYTES: u64 = 64 << 20;

/// The spans of a segment. A column is read when it is first used.
#[derive(Debug, Default)]
pub(crate) struct OpenBatch {
    batch: SpanBatch,
    reader: Option<Arc<ColumnReader>>,
}

/// The cache of an ingester's segments, which also counts them. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SegmentCache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_kept: usize,
    max_bytes: u64,
    kept: Mutex<LruCache<u64, Kept>>,
    last_number: AtomicU64,
    segments: AtomicUsize,
    file_bytes: FileBytes,
    heap_bytes: AtomicUsize,
    column_bytes: AtomicU64,
    split_memory: Arc<Budget>,
}

#[derive(Debug)]
struct Kept {
    batch: Arc<OpenBatch>,
    used: Instant,
}

/// The entry of one segment in the cache. The segment counts until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    state: Arc<SlotState>,
    heap_bytes: usize,
}

/// The state that all readers of a segment share.
#[derive(Debug)]
pub(super) struct SlotState {
    cache: SegmentCache,
    number: u64,
    /// The batch that readers share while one of them holds it.
    held: Mutex<Weak<OpenBatch>>,
    failures: AtomicU64,
    last_failure: Mutex<Option<SegmentError>>,
}

impl OpenBatch {
    pub(super) fn new(reader: Arc<ColumnReader>) -> Result<Self, SegmentError> {
        let batch = columns::batch(&reader).map_err(|what| reader.corrupt(what))?;
        Ok(Self { batch, reader: Some(reader) })
    }

    pub(super) fn reader(&self) -> Option<&Arc<ColumnReader>> {
        self.reader.as_ref()
    }

    /// Bytes of columns in memory.
    fn column_bytes(&self) -> u64 {
        self.reader.as_ref().map_or(0, |reader| reader.column_bytes())
    }
}

impl Deref for OpenBatch {
    type Target = SpanBatch;

    fn deref(&self) -> &SpanBatch {
        &self.batch
    }
}

impl SegmentCache {
    /// Up to `max_kept` unused segments keep their columns, with `max_bytes` in total.
    pub(crate) fn new(max_kept: usize, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            max_kept,
            max_bytes,
            kept: Mutex::new(LruCache::unbounded()),
            last_number: AtomicU64::new(0),
            segments: AtomicUsize::new(0),
            file_bytes: FileBytes::default(),
            heap_bytes: AtomicUsize::new(0),
            column_bytes: AtomicU64::new(0),
            split_memory: Budget::new(SPLIT_BYTES),
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

    /// Number of segments that exist.
    pub(crate) fn segments(&self) -> usize {
        self.0.segments.load(Ordering::Relaxed)
    }

    /// Bytes of the files of all segments.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.0.file_bytes.get()
    }

    /// The counter behind [`Self::file_bytes`].
    pub(crate) fn file_counter(&self) -> &FileBytes {
        &self.0.file_bytes
    }

    /// Bytes of memory that all segments take, without their columns.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes.load(Ordering::Relaxed)
    }

    /// Memory for the lists of traces that lie in several segments of a tenant.
    pub(super) fn split_memory(&self) -> &Arc<Budget> {
        &self.0.split_memory
    }

    /// Bytes of columns in memory.
    pub(crate) fn column_bytes(&self) -> u64 {
        self.0.column_bytes.load(Ordering::Relaxed)
    }

    /// Drops columns that were not used for a long time.
    pub(crate) fn forget_idle(&self) {
        let is_idle = |kept: &Kept| kept.used.elapsed() > IDLE;
        self.evict(|cache| cache.peek_lru().is_some_and(|(_, kept)| is_idle(kept)));
    }

    /// Number of segments that keep columns.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.0.kept.lock().len()
    }

    /// Drops columns until the limits are kept. Columns in use count as well, but are only freed when their query ends.
    fn shrink(&self) {
        let mut left = self.column_bytes();
        self.evict(|cache| {
            let oldest = cache.peek_lru().map(|(_, kept)| kept.batch.column_bytes());
            let too_much = cache.len() > self.0.max_kept || left > self.0.max_bytes;
            left = left.saturating_sub(oldest.unwrap_or(0));
            too_much
        });
    }

    /// Drops the least recently used segments, as long as `is_wanted` returns true.
    fn evict(&self, mut is_wanted: impl FnMut(&LruCache<u64, Kept>) -> bool) {
        // Free their memory after the lock is released.
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

    /// The batch in memory; `open` makes it if there is none.
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
        // If another thread was faster, it put the same batch there.
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

    /// How often a column could not be read.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Why a column could not be read the last time.
    pub(super) fn last_failure(&self) -> Option<SegmentError> {
        self.last_failure.lock().clone()
    }

    fn forget(&self) {
        *self.held.lock() = Weak::new();
        let forgotten = self.cache.0.kept.lock().pop(&self.number);
        drop(forgotten);
    }

    /// Called when columns of this many bytes were read; may drop others.
    pub(super) fn add_bytes(&self, bytes: u64) {
        let shared = &self.cache.0;
        let all = shared.column_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > shared.max_bytes {
            self.cache.shrink();
        }
    }

    /// Called when columns of this many bytes were dropped.
    pub(super) fn remove_bytes(&self, bytes: u64) {
        self.cache.0.column_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Notes that a column could not be read. New readers do not get what is in memory now. Current readers check
    /// [`Self::failures`] when they are done.
    pub(super) fn fail(&self, error: SegmentError) {
        self.forget();
        *self.last_failure.lock() = Some(error);
        self.failures.fetch_add(1, Ordering::AcqRel);
    }
}
