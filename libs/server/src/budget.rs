//! Memory of requests in flight, bounded.
//!
//! A request is counted from its first byte until the last call that refers to it has ended, also if that call went on
//! in the background; so a slow client and a slow ingester show here and nowhere else.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tactus_telemetry::metrics::Gauge;

/// Bytes that may be in flight.
#[derive(Debug)]
pub struct Budget {
    max_bytes: u64,
    used: AtomicU64,
    /// What is taken here is taken there as well.
    outer: Option<Arc<Budget>>,
    /// Shows what is used.
    gauge: Option<Gauge>,
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
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer: None, gauge: None })
    }

    /// A budget of so many bytes of which `gauge` shows what is used.
    pub fn shown(max_bytes: u64, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer: None, gauge: Some(gauge) })
    }

    /// A part of another budget: what is reserved counts in both.
    pub fn within(outer: &Arc<Self>, max_bytes: u64) -> Arc<Self> {
        let outer = Some(Arc::clone(outer));
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer, gauge: None })
    }

    /// Takes `bytes`, or nothing if that would be over the limit. What is larger than the limit passes alone: it could
    /// never be sent otherwise.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.take(bytes, 0).then(|| Reservation { budget: Arc::clone(self), bytes })
    }

    /// A reservation of nothing, which may grow.
    pub fn nothing(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    /// Bytes in flight.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Takes `bytes` for somebody who has `own` already.
    fn take(&self, bytes: u64, own: u64) -> bool {
        let take = |used: u64| {
            let sum = used.saturating_add(bytes);
            (used <= own || sum <= self.max_bytes).then_some(sum)
        };
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return false;
        }
        if let Some(outer) = &self.outer
            && !outer.take(bytes, own)
        {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        if let Some(gauge) = &self.gauge {
            gauge.add(bytes as f64);
        }
        true
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(gauge) = &self.gauge {
            gauge.add(-(bytes as f64));
        }
        if let Some(outer) = &self.outer {
            outer.give_back(bytes);
        }
    }
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more, or nothing if that would be over the limit; as of [`Budget::reserve`].
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let has_room = self.budget.take(bytes, self.bytes);
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(more) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.budget.give_back(more);
        }
    }

    /// Moves up to `bytes` into a reservation of their own.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { budget: Arc::clone(&self.budget), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
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
        let mut alone = budget.reserve(11).unwrap();
        assert!(budget.reserve(1).is_none());
        assert!(alone.grow(5));
        drop(alone);
        assert!(budget.reserve(1).is_some());
    }

    #[test]
    fn part_of_a_budget_is_bounded_by_both() {
        let whole = Budget::new(10);
        let part = Budget::within(&whole, 6);
        let (mut inner, other) = (part.reserve(3).unwrap(), part.reserve(1).unwrap());
        assert!(!inner.grow(3), "more than the part");
        let outer = whole.reserve(5).unwrap();
        assert!(!inner.grow(2), "more than the whole");
        assert_eq!((part.used(), whole.used()), (4, 9));
        drop(outer);
        assert!(inner.grow(2));
        inner.shrink_to(2);
        assert_eq!((part.used(), whole.used(), inner.bytes()), (3, 3, 2));
        drop((inner, other));
        assert_eq!((part.used(), whole.used()), (0, 0));
    }
}
