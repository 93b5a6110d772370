//! A fixed number of connections that calls take in turn and share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A connection that takes no writes is replaced only so often, because the next may lead to the same server.
const GIVE_UP_PAUSE: Duration = Duration::from_secs(10);

/// The connections.
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    next: AtomicUsize,
}

/// A place for a connection.
pub(super) struct Slot<C> {
    held: Mutex<Option<Held<C>>>,
    /// When a connection was given up last that works but takes no writes.
    given_up: Mutex<Option<Instant>>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
    idle_timeout: Duration,
    max_age: Duration,
}

struct Held<C> {
    connection: C,
    since: Instant,
    last_used: Instant,
}

impl<C: Clone> Slots<C> {
    /// Zero durations are no limit.
    pub(super) fn new(slots: usize, idle_timeout: Duration, max_age: Duration) -> Self {
        let slot = |_| Slot {
            held: Mutex::new(None),
            given_up: Mutex::new(None),
            connecting: tokio::sync::Mutex::default(),
            idle_timeout,
            max_age,
        };
        Self { slots: (0..slots.max(1)).map(slot).collect(), next: AtomicUsize::new(0) }
    }

    pub(super) fn next(&self) -> &Slot<C> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        &self.slots[number % self.slots.len()]
    }
}

impl<C: Clone> Slot<C> {
    /// The connection, a new one if there is none or it is too old.
    pub(super) async fn get<E>(&self, connect: impl Future<Output = Result<C, E>>) -> Result<C, E> {
        if let Some(connection) = self.held(Instant::now()) {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = self.held(Instant::now()) {
            return Ok(connection);
        }
        let connection = connect.await?;
        let now = Instant::now();
        let held = Held { connection: connection.clone(), since: now, last_used: now };
        *self.held.lock() = Some(held);
        Ok(connection)
    }

    fn held(&self, now: Instant) -> Option<C> {
        let mut held = self.held.lock();
        let is_over = |limit: Duration, since| {
            !limit.is_zero() && now.saturating_duration_since(since) > limit
        };
        let current = held.as_mut()?;
        if is_over(self.idle_timeout, current.last_used) || is_over(self.max_age, current.since) {
            *held = None;
            return None;
        }
        current.last_used = now;
        Some(current.connection.clone())
    }

    /// Forgets the connection.
    pub(super) fn clear(&self) {
        *self.held.lock() = None;
    }

    /// Forgets a connection that works but takes no writes, once in a while. True if it did.
    pub(super) fn give_up(&self, now: Instant) -> bool {
        let mut given_up = self.given_up.lock();
        if given_up.is_some_and(|at| now.saturating_duration_since(at) < GIVE_UP_PAUSE) {
            return false;
        }
        *given_up = Some(now);
        self.clear();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn number(slot: &Slot<u32>, fresh: u32) -> u32 {
        slot.get(async { Ok::<_, ()>(fresh) }).await.unwrap()
    }

    #[tokio::test]
    async fn slots_take_turns_and_keep_their_connection() {
        let slots = Slots::new(2, Duration::ZERO, Duration::ZERO);
        let (one, two) = (slots.next(), slots.next());
        assert_eq!((number(one, 1).await, number(two, 2).await), (1, 2));
        assert_eq!((number(one, 3).await, number(slots.next(), 3).await), (1, 1));
        one.clear();
        assert_eq!((number(one, 3).await, number(two, 3).await), (3, 2));
        assert!(Slots::<u32>::new(0, Duration::ZERO, Duration::ZERO).slots.len() == 1);
    }

    #[tokio::test]
    async fn connection_that_failed_to_open_is_tried_again() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let slot = slots.next();
        assert_eq!(slot.get(async { Err::<u32, _>("no") }).await, Err("no"));
        assert_eq!(number(slot, 1).await, 1);
    }

    #[tokio::test]
    async fn connection_that_takes_no_writes_is_replaced_once_in_a_while() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let (slot, now) = (slots.next(), Instant::now());
        number(slot, 1).await;
        assert!(slot.give_up(now));
        assert_eq!(number(slot, 2).await, 2);
        assert!(!slot.give_up(now + GIVE_UP_PAUSE / 2));
        assert_eq!(number(slot, 3).await, 2);
        assert!(slot.give_up(now + GIVE_UP_PAUSE));
    }

    #[tokio::test]
    async fn old_and_idle_connections_are_replaced() {
        let second = Duration::from_secs(1);
        let slots = Slots::new(1, second, 3 * second);
        let slot = slots.next();
        number(slot, 1).await;
        let now = Instant::now();
        assert_eq!(slot.held(now + second / 2), Some(1));
        assert_eq!(slot.held(now + second * 5 / 4), Some(1), "used meanwhile");
        assert_eq!(slot.held(now + second * 5 / 2), None, "idle");
        number(slot, 2).await;
        for half in 0..7 {
            let found = slot.held(now + second / 2 * half);
            assert_eq!(found, Some(2), "{half}");
        }
        assert_eq!(slot.held(now + second * 7 / 2), None, "old");
    }
}
