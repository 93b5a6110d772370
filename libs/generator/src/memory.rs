//! Bounds the memory of the series of all tenants of a process, by estimates when something is created or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tactus_telemetry::metrics::Gauge;
use tactus_work::memory::may_grow;

/// What many holders take together.
#[derive(Debug)]
pub struct SeriesMemory {
    max_bytes: u64,
    used: AtomicU64,
    shown: Option<Gauge>,
}

impl SeriesMemory {
    /// Room for this many bytes; 0 is no limit.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), shown: None })
    }

    /// As [`Self::new`]; the gauge tells what is taken.
    pub(crate) fn shown(max_bytes: u64, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), shown: Some(gauge) })
    }

    /// Bytes taken.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// True if there is room for this many bytes more.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.max_bytes == 0 || self.used().saturating_add(bytes) <= self.max_bytes
    }
}

/// What one holder takes; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<SeriesMemory>,
    bytes: u64,
}

impl Share {
    /// Nothing yet.
    pub(crate) fn of(memory: &Arc<SeriesMemory>) -> Self {
        Self { memory: Arc::clone(memory), bytes: 0 }
    }

    /// True if there is room for this many bytes more, and others have room besides.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let max_bytes = self.memory.max_bytes;
        let left = max_bytes.saturating_sub(self.memory.used());
        self.memory.has_room(bytes) && (may_grow(self.bytes, left) || max_bytes == 0)
    }

    /// From now on it is this many bytes, also if there is no room for them: whoever can do without asks before.
    pub(crate) fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes == before {
            return;
        }
        if bytes > before {
            self.memory.used.fetch_add(bytes - before, Relaxed);
        } else {
            self.memory.used.fetch_sub(before - bytes, Relaxed);
        }
        if let Some(gauge) = &self.memory.shown {
            gauge.add(bytes as f64 - before as f64);
        }
    }

    /// So many bytes more, if there is room for them.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let has_room = self.has_room(bytes);
        if has_room {
            self.set(self.bytes.saturating_add(bytes));
        }
        has_room
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_together_and_are_given_back() {
        let memory = SeriesMemory::new(10);
        let (mut one, mut other) = (Share::of(&memory), Share::of(&memory));
        one.set(6);
        assert!(other.grow(4) && !other.grow(1));
        one.set(2);
        assert!(other.has_room(4) && !other.has_room(5));
        one.set(30);
        assert_eq!(memory.used(), 34);
        drop((one, other));
        assert_eq!(memory.used(), 0);
        assert!(SeriesMemory::new(0).has_room(u64::MAX));
    }

    #[test]
    fn holder_that_takes_all_it_gets_leaves_room_for_others() {
        let memory = SeriesMemory::new(1_000);
        let greedy = || {
            let mut share = Share::of(&memory);
            while share.grow(1) {}
            share
        };
        let first = greedy();
        assert!((790..=810).contains(&first.bytes), "{}", first.bytes);
        let others: Vec<u64> = std::iter::repeat_with(greedy).take(2).map(|it| it.bytes).collect();
        assert!(others.iter().all(|&bytes| bytes > 150), "{others:?}");
        let kept: Vec<Share> = std::iter::repeat_with(greedy).take(2).collect();
        assert!(kept[0].bytes > 150 && kept[1].bytes > 25, "{kept:?}");
        let mut unlimited = Share::of(&SeriesMemory::new(0));
        assert!(unlimited.grow(1 << 40) && unlimited.grow(1));
    }
}
