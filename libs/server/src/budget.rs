//! Memory of requests in flight, bounded.
//!
//! A request is counted from its arrival until the last call that refers to it has ended, also if that call went on
//! in the background; so a slow ingester shows here and nowhere else.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Bytes that may be in flight.
#[derive(Debug)]
pub struct Budget {
    max_bytes: u64,
    used: AtomicU64,
}

/// Part of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicU64::new(0) })
    }

    /// Takes `bytes`, or nothing if that would be over the limit. What is larger than the limit passes alone: it could
    /// never be sent otherwise.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let take = |used: u64| {
            let sum = used.saturating_add(bytes);
            (used == 0 || sum <= self.max_bytes).then_some(sum)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Reservation { budget: Arc::clone(self), bytes })
    }

    /// Bytes in flight.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Moves up to `bytes` into a reservation of their own.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_refused_past_the_limit_and_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_none());
        let part = first.split(4);
        drop(first);
        assert_eq!(budget.used(), 4);
        let second = budget.reserve(6).unwrap();
        drop((part, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn request_over_the_limit_passes_alone() {
        let budget = Budget::new(10);
        let alone = budget.reserve(11).unwrap();
        assert!(budget.reserve(1).is_none());
        drop(alone);
        assert!(budget.reserve(1).is_some());
    }
}
