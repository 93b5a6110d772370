//! Which segments are mapped.
//!
//! The system bounds the maps of a process, and there may be a segment for each tenant and cut: a segment is mapped when
//! somebody asks for its spans, and of those that nobody asks for any more the last ones stay.

use std::{
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};
use parking_lot::Mutex;
use tactus_model::SpanBatch;

use super::{SegmentError, map_batch};

/// A map that nobody asked for so long is closed.
const IDLE: Duration = Duration::from_secs(600);

/// The maps of all segments of an ingester, and how many segments there are. Clones are of the same.
#[derive(Debug, Clone)]
pub(crate) struct SegmentMaps {
    kept: Cache<u64, Arc<SpanBatch>>,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    last_number: AtomicU64,
    segments: AtomicUsize,
    file_bytes: AtomicU64,
    heap_bytes: AtomicUsize,
}

/// A segment's place among all; counts it while it lives.
#[derive(Debug)]
pub(super) struct MapSlot {
    maps: SegmentMaps,
    number: u64,
    file_bytes: u64,
    heap_bytes: usize,
    /// The map that somebody holds: others get the same.
    held: Mutex<Weak<SpanBatch>>,
}

impl SegmentMaps {
    /// `max_kept`: maps that stay open while nobody uses them.
    pub(crate) fn new(max_kept: usize) -> Self {
        let kept = Cache::builder()
            .max_capacity(max_kept as u64)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE)
            .build();
        Self { kept, totals: Arc::default() }
    }

    pub(super) fn slot(&self, file_bytes: u64, heap_bytes: usize) -> MapSlot {
        let totals = &self.totals;
        totals.segments.fetch_add(1, Ordering::Relaxed);
        totals.file_bytes.fetch_add(file_bytes, Ordering::Relaxed);
        totals.heap_bytes.fetch_add(heap_bytes, Ordering::Relaxed);
        let number = totals.last_number.fetch_add(1, Ordering::Relaxed);
        MapSlot { maps: self.clone(), number, file_bytes, heap_bytes, held: Mutex::default() }
    }

    /// Segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.totals.segments.load(Ordering::Relaxed)
    }

    /// Bytes of their files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.totals.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of memory that they take besides their maps.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.totals.heap_bytes.load(Ordering::Relaxed)
    }

    /// Maps that stay open while nobody uses them.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> u64 {
        self.kept.run_pending_tasks();
        self.kept.entry_count()
    }
}

impl MapSlot {
    /// The spans of the segment's file; mapped now if nobody has them.
    pub(super) fn batch(&self, path: &Path) -> Result<Arc<SpanBatch>, SegmentError> {
        // Asked first: it notes that the map is in use.
        if let Some(batch) = self.maps.kept.get(&self.number) {
            return Ok(batch);
        }
        let mut held = self.held.lock();
        let batch = match held.upgrade() {
            Some(batch) => batch,
            None => {
                let batch = Arc::new(map_batch(path)?);
                *held = Arc::downgrade(&batch);
                batch
            }
        };
        self.maps.kept.insert(self.number, Arc::clone(&batch));
        Ok(batch)
    }
}

impl Drop for MapSlot {
    fn drop(&mut self) {
        self.maps.kept.invalidate(&self.number);
        let totals = &self.maps.totals;
        totals.segments.fetch_sub(1, Ordering::Relaxed);
        totals.file_bytes.fetch_sub(self.file_bytes, Ordering::Relaxed);
        totals.heap_bytes.fetch_sub(self.heap_bytes, Ordering::Relaxed);
    }
}
