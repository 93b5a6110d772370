//! How many bytes of the page series of tenants may take.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the page that series of tenants take, of all metrics together.
///
/// Clients choose tenants, and a page that grows with them would in the end not be scraped.
#[derive(Debug)]
pub(super) struct PageBudget {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl PageBudget {
    pub(super) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(bytes) <= self.max.load(Ordering::Relaxed)
    }

    /// Takes so many bytes, or none.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn release(&self, bytes: usize) {
        let left = |used: usize| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// True when most of it is taken.
    pub(super) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max.load(Ordering::Relaxed) / 4 * 3
    }
}
