//! Bounds the memory of requests in flight, and the memory that running queries hold.
//!
//! A request counts from its first byte until the last call that refers to it has ended, even if that call goes on in
//! the background. So memory that slow clients and slow ingesters keep in use is counted here, and only here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

mod queries;

pub use crate::end_reason::TOO_MANY_BYTES;
pub(crate) use queries::QueryShare;
#[cfg(test)]
pub(crate) use queries::SMALL_QUERY_BYTES;
pub use queries::{QueryMemory, Room};

/// Called with the number of bytes taken; negative when they are given back.
type Show = Box<dyn Fn(f64) + Send + Sync>;

/// A holder of shared memory grows only while it has at most this many times what is left: one alone leaves a fifth, and many that
/// take what they get still leave some for the next.
const TIMES_WHAT_IS_LEFT: u64 = 4;

/// True if a holder of so many bytes may take more of what is left.
pub fn may_grow(own_bytes: u64, left_bytes: u64) -> bool {
    own_bytes <= left_bytes.saturating_mul(TIMES_WHAT_IS_LEFT)
}

/// Bytes that may be in flight.
pub struct Budget {
    max_bytes: u64,
    used: AtomicU64,
    outer: Option<Outer>,
    show: Option<Show>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("max_bytes", &self.max_bytes)
            .field("used", &self.used)
            .field("outer", &self.outer)
            .finish_non_exhaustive()
    }
}

/// An outer budget, which counts the bytes beyond the inner budget's own share.
#[derive(Debug)]
struct Outer {
    budget: Arc<Budget>,
    own: u64,
    /// Locked while both budgets change, so that they stay consistent.
    changing: Mutex<()>,
}

/// Reserved bytes of a budget. They are given back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of `max_bytes`.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer: None, show: None })
    }

    /// A budget of `max_bytes`. Calls `show` with the bytes taken; negative when they are given back.
    pub fn shown(max_bytes: u64, show: impl Fn(f64) + Send + Sync + 'static) -> Arc<Self> {
        let show: Show = Box::new(show);
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer: None, show: Some(show) })
    }

    /// A budget within another one: reservations count in both.
    pub fn within(outer: &Arc<Self>, max_bytes: u64) -> Arc<Self> {
        Self::share(outer, max_bytes, 0)
    }

    /// A budget within another one. `own` bytes count only here; what is reserved beyond that counts in both.
    pub fn share(outer: &Arc<Self>, max_bytes: u64, own: u64) -> Arc<Self> {
        let budget = Arc::clone(outer);
        let outer = Some(Outer { budget, own, changing: Mutex::new(()) });
        Arc::new(Self { max_bytes, used: AtomicU64::new(0), outer, show: None })
    }

    /// Takes `bytes`, or nothing if that would exceed the limit. A request that is larger than the limit is admitted if
    /// it is alone, because otherwise it could never be sent.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.take(bytes, Some(0)).then(|| Reservation { budget: Arc::clone(self), bytes })
    }

    /// An empty reservation, which may grow.
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

    /// Whether some of what is in use counts in an outer budget.
    pub fn uses_outer(&self) -> bool {
        self.outer.as_ref().is_some_and(|outer| self.used() > outer.own)
    }

    /// Takes `bytes` more. `own`: what the reservation holds already; if that is everything in use, it is alone and may
    /// exceed the limit. `None`: it may never exceed the limit.
    fn take(&self, bytes: u64, own: Option<u64>) -> bool {
        let take = |used: u64| {
            let sum = used.saturating_add(bytes);
            let is_alone = own.is_some_and(|own| used <= own);
            (is_alone || sum <= self.max_bytes).then_some(sum)
        };
        let _changing = self.outer.as_ref().map(|outer| outer.changing.lock());
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let Ok(used) = taken else { return false };
        if let Some(outer) = &self.outer
            && !outer.take(used, bytes, own)
        {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        if let Some(show) = &self.show {
            show(bytes as f64);
        }
        true
    }

    fn give_back(&self, bytes: u64) {
        let _changing = self.outer.as_ref().map(|outer| outer.changing.lock());
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(show) = &self.show {
            show(-(bytes as f64));
        }
        if let Some(outer) = &self.outer {
            outer.budget.give_back(outer.between(used.saturating_sub(bytes), used));
        }
    }
}

impl Outer {
    /// Takes the part of `bytes` that exceeds the inner budget's own share, given that `used` bytes are in use there.
    fn take(&self, used: u64, bytes: u64, own: Option<u64>) -> bool {
        let bytes = self.between(used, used.saturating_add(bytes));
        bytes == 0 || self.budget.take(bytes, own.map(|own| self.of(own)))
    }

    /// How many of these bytes count in the outer budget.
    fn of(&self, used: u64) -> u64 {
        used.saturating_sub(self.own)
    }

    fn between(&self, less: u64, more: u64) -> u64 {
        self.of(more) - self.of(less)
    }
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more, or nothing if that would exceed the limit; see [`Budget::reserve`].
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let has_room = self.budget.take(bytes, Some(self.bytes));
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    /// As [`Self::grow`], but never beyond the limit, not even alone.
    #[must_use]
    pub fn grow_within(&mut self, bytes: u64) -> bool {
        let has_room = self.budget.take(bytes, None);
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

    /// Moves up to `bytes` into a new reservation.
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

    #[test]
    fn share_has_bytes_to_itself_whatever_others_take() {
        let common = Budget::new(10);
        let [greedy, modest] = [(); 2].map(|()| Budget::share(&common, 100, 5));
        let all = greedy.reserve(15).unwrap();
        assert!(greedy.reserve(1).is_none());
        let mut own = modest.reserve(3).unwrap();
        assert!(own.grow(2) && !own.grow(1), "five of its own");
        assert_eq!((greedy.used(), modest.used(), common.used()), (15, 5, 10));
        drop(all);
        assert!(own.grow(7));
        assert_eq!((greedy.used(), modest.used(), common.used()), (0, 12, 7));
        own.shrink_to(4);
        assert_eq!((modest.used(), common.used()), (4, 0));
        drop(own);
        assert_eq!((modest.used(), common.used()), (0, 0));
    }

    #[test]
    fn shares_that_change_at_once_leave_nothing_behind() {
        let common = Budget::new(40);
        let share = Budget::share(&common, 60, 10);
        std::thread::scope(|scope| {
            for bytes in 1..9 {
                let share = &share;
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        let mut taken = share.nothing();
                        let _ = taken.grow(bytes) && taken.grow(2 * bytes);
                    }
                });
            }
        });
        assert_eq!((share.used(), common.used()), (0, 0));
    }
}
