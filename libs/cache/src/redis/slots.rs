//! A fixed number of connections that calls take in turn and share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::redis::RedisError;
use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::store::{Error, Result};

/// A connection that works in part is replaced only so often, because the next may be no better.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// The connections.
pub(super) struct Slots<C> {
    slots: Vec<Slot<C>>,
    next: AtomicUsize,
}

/// A place for a connection.
pub(super) struct Slot<C> {
    held: Arc<Mutex<Option<Held<C>>>>,
    /// When the connection was to be replaced last while calls could do with what there was.
    renewed: Mutex<Option<Instant>>,
    attempt: Mutex<Attempt>,
    idle_timeout: Duration,
    max_age: Duration,
}

struct Held<C> {
    connection: C,
    since: Instant,
    last_used: Instant,
}

/// The last attempt to connect. The task ends with the slot.
#[derive(Default)]
struct Attempt {
    task: JoinSet<()>,
    done: Option<Done>,
}

/// Ends with an attempt to connect.
type Done = Shared<oneshot::Receiver<Result<(), RedisError>>>;

impl<C: Clone + Send + 'static> Slots<C> {
    /// Zero durations are no limit.
    pub(super) fn new(slots: usize, idle_timeout: Duration, max_age: Duration) -> Self {
        let slot = |_| Slot {
            held: Arc::default(),
            renewed: Mutex::default(),
            attempt: Mutex::default(),
            idle_timeout,
            max_age,
        };
        Self { slots: (0..slots.max(1)).map(slot).collect(), next: AtomicUsize::new(0) }
    }

    /// The slot whose turn it is. If it has no connection but another slot has, that one serves until it is connected.
    pub(super) fn next<F>(&self, connect: impl FnOnce() -> F) -> &Slot<C>
    where
        F: Future<Output = Result<C, RedisError>> + Send + 'static,
    {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (own, now) = (&self.slots[number % self.slots.len()], Instant::now());
        if own.held(now).is_some() {
            return own;
        }
        let Some(other) = self.slots.iter().find(|slot| slot.held(now).is_some()) else {
            return own;
        };
        own.renew(now, connect);
        other
    }

    /// Forgets the connections that were made until then.
    pub(super) fn forget(&self, until: Instant) {
        for slot in &self.slots {
            slot.forget(until);
        }
    }
}

impl<C: Clone + Send + 'static> Slot<C> {
    /// The connection, a new one if there is none or it is too old. Cancel safe: connecting goes on.
    pub(super) async fn get<F>(&self, connect: impl FnOnce() -> F) -> Result<C>
    where
        F: Future<Output = Result<C, RedisError>> + Send + 'static,
    {
        if let Some(connection) = self.held(Instant::now()) {
            return Ok(connection);
        }
        match self.connect(connect).await {
            Ok(result) => result?,
            // The task was stopped.
            Err(_) => return Err(Error::Unavailable),
        }
        self.held(Instant::now()).ok_or(Error::Unavailable)
    }

    /// Begins to connect, unless that is under way. If it fails, there is no connection afterwards.
    fn connect<F>(&self, connect: impl FnOnce() -> F) -> Done
    where
        F: Future<Output = Result<C, RedisError>> + Send + 'static,
    {
        let mut attempt = self.attempt.lock();
        while attempt.task.try_join_next().is_some() {}
        if !attempt.task.is_empty()
            && let Some(done) = &attempt.done
        {
            return done.clone();
        }
        let (sender, receiver) = oneshot::channel();
        let (held, connecting) = (Arc::clone(&self.held), connect());
        attempt.task.spawn(async move {
            let (fresh, result) = match connecting.await {
                Ok(connection) => {
                    let now = Instant::now();
                    (Some(Held { connection, since: now, last_used: now }), Ok(()))
                }
                Err(error) => (None, Err(error)),
            };
            *held.lock() = fresh;
            // Fails if nobody waits any more.
            let _ = sender.send(result);
        });
        let done = receiver.shared();
        attempt.done = Some(done.clone());
        done
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

    /// Forgets the connection if it was made until then.
    pub(super) fn forget(&self, until: Instant) {
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| held.since <= until) {
            *held = None;
        }
    }

    /// Connects anew, once in a while. Calls have the old connection meanwhile. True if this begins now.
    pub(super) fn renew<F>(&self, now: Instant, connect: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = Result<C, RedisError>> + Send + 'static,
    {
        let mut renewed = self.renewed.lock();
        if renewed.is_some_and(|at| now.saturating_duration_since(at) < RENEWAL_PAUSE) {
            return false;
        }
        *renewed = Some(now);
        drop(self.connect(connect));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    async fn open(number: u32) -> Result<u32, RedisError> {
        Ok(number)
    }

    async fn refused() -> Result<u32, RedisError> {
        Err(RedisError::from(std::io::Error::from(ErrorKind::ConnectionRefused)))
    }

    async fn number(slot: &Slot<u32>, fresh: u32) -> u32 {
        slot.get(|| open(fresh)).await.unwrap()
    }

    /// Waits until the slot has this connection, or none.
    async fn has(slot: &Slot<u32>, connection: Option<u32>) {
        while slot.held(Instant::now()) != connection {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn slots_take_turns_and_keep_their_connection() {
        let slots = Slots::new(2, Duration::ZERO, Duration::ZERO);
        assert_eq!(number(slots.next(|| open(1)), 1).await, 1);
        assert_eq!(number(slots.next(|| open(2)), 3).await, 1, "the second one connects");
        has(&slots.slots[1], Some(2)).await;
        assert_eq!(number(slots.next(|| open(3)), 3).await, 1);
        assert_eq!(number(slots.next(|| open(3)), 3).await, 2);
        assert!(Slots::<u32>::new(0, Duration::ZERO, Duration::ZERO).slots.len() == 1);
    }

    #[tokio::test]
    async fn connection_that_failed_to_open_is_tried_again() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let slot = slots.next(refused);
        assert!(matches!(slot.get(refused).await, Err(Error::Redis(_))));
        assert_eq!(number(slot, 1).await, 1);
    }

    #[tokio::test]
    async fn attempt_to_connect_goes_on_without_its_callers_and_is_the_only_one() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let (begun, go) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let connect = || {
            begun.fetch_add(1, Ordering::Relaxed);
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                open(1).await
            }
        };
        let slot = slots.next(connect);
        for _ in 0..3 {
            let call = tokio::time::timeout(Duration::from_millis(1), slot.get(connect));
            assert!(call.await.is_err());
        }
        go.notify_one();
        has(slot, Some(1)).await;
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn attempt_to_connect_ends_with_its_slot() {
        let slots = Slots::<u32>::new(1, Duration::ZERO, Duration::ZERO);
        let held = Arc::new(());
        let connect = || {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                open(1).await
            }
        };
        assert!(slots.next(connect).renew(Instant::now(), connect));
        yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(slots);
        while Arc::strong_count(&held) > 1 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn connection_that_works_in_part_is_replaced_once_in_a_while() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let (slot, now) = (slots.next(|| open(1)), Instant::now());
        assert_eq!(number(slot, 1).await, 1);
        assert!(slot.renew(now, || open(2)));
        assert_eq!(number(slot, 3).await, 1, "as long as there is no other one");
        has(slot, Some(2)).await;
        assert!(!slot.renew(now + RENEWAL_PAUSE / 2, || open(3)));
        assert!(slot.renew(now + RENEWAL_PAUSE, refused));
        has(slot, None).await;
    }

    #[tokio::test]
    async fn connections_that_were_made_later_are_not_forgotten() {
        let slots = Slots::new(1, Duration::ZERO, Duration::ZERO);
        let before = Instant::now();
        let slot = slots.next(|| open(1));
        assert_eq!(number(slot, 1).await, 1);
        slot.forget(before);
        assert_eq!(number(slot, 2).await, 1);
        slots.forget(Instant::now());
        assert_eq!(number(slot, 2).await, 2);
    }

    #[tokio::test]
    async fn old_and_idle_connections_are_replaced() {
        let second = Duration::from_secs(1);
        let slots = Slots::new(1, second, 3 * second);
        let slot = slots.next(|| open(1));
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
