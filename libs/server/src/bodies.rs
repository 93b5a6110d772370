//! Counts the memory of request bodies from their first byte.
//!
//! A body takes memory as it arrives, and again when it is decompressed and decoded. All of that comes out of one
//! budget. Bodies as they arrived may take at most half of it, so that those that are there can be decoded.
//!
//! If memory runs out, the unfinished body that has cost the most so far (bytes times age) is cut off. So senders that
//! start and do not continue lose to quick ones. Answers come out of the same budget until they are sent, so readers
//! that do not read lose in the same way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use tactus_telemetry::metrics::Counter;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use tactus_work::memory::{Budget, Reservation};

mod answer;
mod counted;
mod frames;
mod held_answer;
mod messages;
mod middleware;
mod plain;
mod plain_messages;
mod sending;
mod unfinished_messages;

pub use answer::NoMemory;
pub(crate) use answer::{count_answer, send_answer};
pub(crate) use frames::{body_of_length, next_frame};
pub use held_answer::{AnswerMemory, held_bytes};
pub(crate) use middleware::{Counting, count, count_grpc};
use middleware::{busy, head_bytes, no_room_status};
pub use plain::{DecompressError, Plain, first_capacity};
pub use sending::{Outgoing, Writing, next_piece};

/// How long a request waits for memory. Data that it has already sent waits with it and is not counted.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// An answer of which nothing was read for this time stands still.
const STANDSTILL: Duration = Duration::from_secs(2);

/// How often a waiting answer looks for others that stand still.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The age that a new body counts with from the start.
const LEAST_AGE: Duration = Duration::from_millis(50);

/// A body that is cut off is gone by then, unless nobody looks at it.
const CUT_OFF_WITHIN: Duration = Duration::from_millis(100);

/// Answers and heads are in memory while they wait for it: no more of them than this part of the budget, others are refused at once.
/// A slice of a large trace takes half of that.
const WAITING_SHARE: u64 = 8;

/// Answers of this many bytes and more are large.
const LARGE_ANSWER: u64 = 1 << 20;

/// Smaller heads of requests are not counted.
const SMALL_HEAD: usize = 4 << 10;

/// The setting that limits the memory of ports with this middleware.
const LIMIT: &str = "server.max_inflight_bytes";

/// There is no memory for a request: its sender may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many bytes are in flight")]
pub struct NoRoom;

/// The memory of all bodies of some ports.
#[derive(Debug)]
pub struct Bodies {
    all: Arc<Budget>,
    /// For large answers.
    large: Arc<Budget>,
    arriving: Arc<Budget>,
    /// Answers and heads that are there and wait for memory.
    waiting: Arc<Budget>,
    shared: Arc<SharedMemory>,
    refusals: Counter,
}

/// What ports have in common whose budgets have a part in common: bodies of each are cut off for all of them.
#[derive(Debug, Default)]
pub struct SharedMemory {
    next: AtomicU64,
    unfinished: Mutex<AllUnfinished>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct AllUnfinished {
    bodies: HashMap<u64, Arc<Unfinished>>,
    last_cut: Option<Instant>,
}

/// A body of which more is to come.
#[derive(Debug)]
struct Unfinished {
    /// Of the port.
    all: Arc<Budget>,
    since: Instant,
    bytes: AtomicU64,
    /// When some of it came last.
    came: Mutex<Instant>,
    cut: CancellationToken,
    /// Of an answer: when something of it was taken last.
    moved: Mutex<Option<Instant>>,
    /// Of an answer: how many write more of it, so that its reader has to wait.
    writers: AtomicUsize,
}

/// For whom others are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// A request, which cannot wait for long: any that is unfinished.
    Request,
    /// An answer: requests, and answers that stand still. For others it waits.
    Answer,
}

/// The memory that a request holds. It is given back with the last clone.
#[derive(Debug, Clone)]
pub struct Held(Arc<Holding>);

#[derive(Debug)]
struct Holding {
    bodies: Arc<Bodies>,
    number: u64,
    unfinished: Arc<Unfinished>,
    /// As it came.
    sent: Mutex<Reservation>,
    /// The memory of what is made from the body.
    made: Mutex<Reservation>,
    /// Of a large answer.
    large: Mutex<Reservation>,
}

impl Bodies {
    /// Bodies within a budget that others may use as well.
    pub fn within(all: &Arc<Budget>) -> Arc<Self> {
        Self::counting(all, Counter::default())
    }

    /// As [`Self::within`]; counts what is refused.
    pub fn counting(all: &Arc<Budget>, refusals: Counter) -> Arc<Self> {
        Self::new(all, all, Arc::default(), refusals)
    }

    /// As [`Self::within`], with another budget for answers of a mebibyte and more: what it does not have is left to small
    /// answers. `shared`: with other ports, which use the same outer budget.
    pub fn with_large(
        all: &Arc<Budget>,
        large: &Arc<Budget>,
        shared: &Arc<SharedMemory>,
    ) -> Arc<Self> {
        Self::new(all, large, Arc::clone(shared), Counter::default())
    }

    fn new(
        all: &Arc<Budget>,
        large: &Arc<Budget>,
        shared: Arc<SharedMemory>,
        refusals: Counter,
    ) -> Arc<Self> {
        Arc::new(Self {
            refusals,
            all: Arc::clone(all),
            large: Arc::clone(large),
            arriving: Budget::within(all, all.max_bytes() / 2),
            waiting: Budget::new(all.max_bytes() / WAITING_SHARE),
            shared,
        })
    }

    /// Bodies without a bound.
    pub fn unbounded() -> Arc<Self> {
        Self::within(&Budget::new(u64::MAX))
    }

    /// The most bytes of all bodies together.
    pub fn max_bytes(&self) -> u64 {
        self.all.max_bytes()
    }

    /// The most bytes of large answers together.
    pub fn max_answer_bytes(&self) -> u64 {
        self.large.max_bytes()
    }

    /// A request begins. Errors: its head is large, and there is no room.
    pub async fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Result<Held, NoRoom> {
        self.begin_with(head_bytes(headers)).await
    }

    /// A request begins whose head takes this many bytes. Errors: as of [`Self::begin`].
    async fn begin_with(self: &Arc<Self>, head: usize) -> Result<Held, NoRoom> {
        let held = self.nothing();
        if head > SMALL_HEAD {
            held.unfinished();
            let try_take = || held.try_take(head as u64);
            let asker = (Asker::Request, LONGEST_WAIT);
            held.wait_with(head as u64, asker, try_take).await?;
        }
        Ok(held)
    }

    /// Memory for a message that arrived as a part of a longer call, and for what is made of it, as for a body of that length.
    /// Errors: there is none, even after a moment; the status of a call.
    pub async fn hold_message(self: &Arc<Self>, bytes: usize) -> Result<Held, Status> {
        let held = self.nothing();
        held.take(counted::COPIES.saturating_mul(bytes))
            .await
            .map_err(|NoRoom| no_room_status())?;
        Ok(held)
    }

    /// No memory yet.
    fn nothing(self: &Arc<Self>) -> Held {
        let now = Instant::now();
        let unfinished = Unfinished {
            all: Arc::clone(&self.all),
            since: now,
            came: Mutex::new(now),
            bytes: AtomicU64::new(0),
            cut: CancellationToken::new(),
            moved: Mutex::default(),
            writers: AtomicUsize::new(0),
        };
        Held(Arc::new(Holding {
            bodies: Arc::clone(self),
            number: self.shared.next.fetch_add(1, Relaxed),
            unfinished: Arc::new(unfinished),
            sent: Mutex::new(self.arriving.nothing()),
            made: Mutex::new(self.all.nothing()),
            large: Mutex::new(self.large.nothing()),
        }))
    }

    /// Cuts off the most expensive unfinished body, unless that is number `asker` or one is on its way out already.
    fn cut_off_another(&self, asker: u64, kind: Asker) {
        let mut unfinished = self.shared.unfinished.lock();
        let now = Instant::now();
        let is_cut = |body: &Unfinished| body.cut.is_cancelled();
        let is_soon = |cut: Instant| now.saturating_duration_since(cut) <= CUT_OFF_WITHIN;
        if unfinished.last_cut.is_some_and(is_soon)
            && unfinished.bodies.values().any(|body| is_cut(body))
        {
            return;
        }
        let others = unfinished.bodies.iter().filter(|(_, body)| !is_cut(body));
        let useful = others.filter(|(_, body)| self.may_cut_off(body, kind, now));
        if let Some((number, body)) = useful.max_by_key(|(_, body)| body.cost(now))
            && *number != asker
        {
            body.cut.cancel();
            unfinished.last_cut = Some(now);
        }
    }

    /// Whether a body holds memory that somebody at this port may have. Of another port only what that does not have to itself,
    /// and what stalls: those who ask much of a port must not cost another one what gets on.
    fn may_cut_off(&self, body: &Unfinished, kind: Asker, now: Instant) -> bool {
        if body.bytes.load(Relaxed) == 0 {
            return false;
        }
        match Arc::ptr_eq(&body.all, &self.all) {
            true => kind == Asker::Request || body.stands_still(now),
            false => body.holds_common_memory() && body.stands_still(now) && body.stalls(now),
        }
    }
}

impl Unfinished {
    fn cost(&self, now: Instant) -> u128 {
        let age = now.saturating_duration_since(self.since).max(LEAST_AGE);
        u128::from(self.bytes.load(Relaxed)) * age.as_millis()
    }

    /// Whether other ports have more once it is gone.
    fn holds_common_memory(&self) -> bool {
        let is_answer = self.moved.lock().is_some();
        // Large answers have no part of what the port has to itself.
        self.all.uses_outer() || is_answer && self.bytes.load(Relaxed) >= LARGE_ANSWER
    }

    /// Somebody takes something of an answer.
    fn moves(&self) {
        *self.moved.lock() = Some(Instant::now());
    }

    /// False for an answer that somebody reads, or waits to read.
    fn stands_still(&self, now: Instant) -> bool {
        if self.writers.load(Relaxed) > 0 {
            return false;
        }
        let moved = *self.moved.lock();
        moved.is_none_or(|moved| now.saturating_duration_since(moved) >= STANDSTILL)
    }

    /// True if nothing of it came for a while.
    fn stalls(&self, now: Instant) -> bool {
        now.saturating_duration_since(*self.came.lock()) >= STANDSTILL
    }
}

impl Held {
    /// More of the body is to come: from now on it may be cut off for the sake of others.
    pub fn unfinished(&self) {
        let Holding { bodies, number, unfinished, .. } = &*self.0;
        let mut all = bodies.shared.unfinished.lock();
        all.bodies.entry(*number).or_insert_with(|| Arc::clone(unfinished));
    }

    /// Returns when the body is cut off.
    pub async fn cut_off(&self) {
        self.0.unfinished.cut.cancelled().await;
    }

    /// The body is there: it is not cut off any more.
    pub fn arrived(&self) {
        self.0.bodies.shared.unfinished.lock().bodies.remove(&self.0.number);
    }

    /// Takes memory for the body as it comes. Errors: there is none, even after a moment, or the body was cut off.
    pub async fn take(&self, bytes: usize) -> Result<(), NoRoom> {
        self.wait((Asker::Request, LONGEST_WAIT), || self.try_take(bytes as u64)).await
    }

    fn try_take(&self, bytes: u64) -> bool {
        let has_room = self.0.sent.lock().grow(bytes);
        if has_room {
            self.0.unfinished.bytes.fetch_add(bytes, Relaxed);
            *self.0.unfinished.came.lock() = Instant::now();
        }
        has_room
    }

    /// Takes memory for what is made of the body. Errors: as of [`Self::take`].
    pub async fn take_for_work(&self, bytes: usize) -> Result<(), NoRoom> {
        self.wait((Asker::Request, LONGEST_WAIT), || self.try_take_for_work(bytes)).await
    }

    /// As [`Self::take_for_work`], at once or not at all.
    pub fn try_take_for_work(&self, bytes: usize) -> bool {
        self.0.made.lock().grow(bytes as u64)
    }

    /// What is made of the body takes only this many bytes from now on.
    pub fn keep_of_work(&self, bytes: usize) {
        self.0.made.lock().shrink_to(bytes as u64);
        self.0.bodies.shared.freed.notify_waiters();
    }

    /// As [`Self::wait`], for this many bytes that are in memory while they wait. Errors: also if so many wait already that these have
    /// to go at once.
    async fn wait_with(
        &self,
        bytes: u64,
        asker: (Asker, Duration),
        try_take: impl Fn() -> bool,
    ) -> Result<(), NoRoom> {
        if try_take() {
            return Ok(());
        }
        let bodies = &self.0.bodies;
        let Some(_waiting) = bodies.waiting.reserve(bytes) else {
            bodies.cut_off_another(self.0.number, asker.0);
            bodies.refusals.inc();
            return Err(NoRoom);
        };
        self.wait(asker, try_take).await
    }

    /// `kind`, `longest`: for whom, and how long.
    async fn wait(
        &self,
        (kind, longest): (Asker, Duration),
        try_take: impl Fn() -> bool,
    ) -> Result<(), NoRoom> {
        if try_take() {
            return Ok(());
        }
        let deadline = Instant::now() + longest;
        loop {
            let mut freed = std::pin::pin!(self.0.bodies.shared.freed.notified());
            freed.as_mut().enable();
            if try_take() {
                return Ok(());
            }
            self.0.bodies.cut_off_another(self.0.number, kind);
            let look_again = deadline.min(Instant::now() + LOOK_EVERY);
            let has_time = tokio::select! {
                () = self.cut_off() => false,
                waited = timeout_at(look_again, freed) => waited.is_ok() || look_again < deadline,
            };
            if !has_time {
                self.0.bodies.refusals.inc();
                return Err(NoRoom);
            }
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.bodies.shared.unfinished.lock().bodies.remove(&self.number);
        self.sent.get_mut().shrink_to(0);
        self.made.get_mut().shrink_to(0);
        self.large.get_mut().shrink_to(0);
        self.bodies.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
