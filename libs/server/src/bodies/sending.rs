//! Counts the memory of answers that are being sent. They are dropped when others need the memory.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Asker, Bodies, Held, LARGE_ANSWER, NoRoom, Unfinished};

/// How long an answer waits for memory, while others are sent or cut off.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Smaller answers are not counted.
pub(super) const SMALL: u64 = 64 << 10;

/// Smaller parts of a stream are not counted. There may be thousands of streams with such a part.
const SMALL_PART: u64 = 4 << 10;

/// Size of the pieces for the connection, which keeps a piece for as long as nobody reads.
const PIECE_BYTES: usize = 64 << 10;

/// A value that is dropped when its memory is needed. A connection that cannot send does not ask for more data, so a
/// task watches instead.
#[derive(Debug)]
pub(super) struct UntilCutOff<T> {
    rest: Arc<Mutex<Option<T>>>,
    /// `None`: it is not counted, and never cut off.
    watched: Option<(Arc<Unfinished>, DropGuard)>,
}

impl<T: Send + 'static> UntilCutOff<T> {
    /// From now on, `held` may be cut off, and `rest`, which owns the data, with it.
    pub(super) fn new(rest: T, held: &Held) -> Self {
        let done = CancellationToken::new();
        let rest = Arc::new(Mutex::new(Some(rest)));
        let unfinished = Arc::clone(&held.0.unfinished);
        unfinished.moves();
        held.unfinished();
        let (of_task, ended) = (Arc::clone(&rest), done.clone());
        let cut = held.0.unfinished.cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = cut.cancelled() => drop(of_task.lock().take()),
            }
        });
        Self { rest, watched: Some((unfinished, done.drop_guard())) }
    }

    /// Returns when the value is cut off.
    async fn cut_off(&self) {
        match &self.watched {
            Some((unfinished, _)) => unfinished.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }

    fn uncounted(rest: T) -> Self {
        Self { rest: Arc::new(Mutex::new(Some(rest))), watched: None }
    }

    /// The result of `look`; `None` once the value is cut off.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        if let Some((unfinished, _)) = &self.watched {
            unfinished.moves();
        }
        self.rest.lock().as_mut().map(look)
    }
}

impl<T> Drop for UntilCutOff<T> {
    /// Gives the memory back now, not when the task has noticed.
    fn drop(&mut self) {
        let rest = self.rest.lock().take();
        drop(rest);
    }
}

/// While this is there, more of an answer is being written, so that its reader is not what holds it up.
#[derive(Debug)]
pub struct Writing(Option<Arc<Unfinished>>);

impl Writing {
    fn of(unfinished: Option<Arc<Unfinished>>) -> Self {
        if let Some(unfinished) = &unfinished {
            unfinished.writers.fetch_add(1, Relaxed);
        }
        Self(unfinished)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.0 {
            // In this order, or it might stand still for a moment.
            unfinished.moves();
            unfinished.writers.fetch_sub(1, Relaxed);
        }
    }
}

/// A part of an answer that waits to be sent. It is counted unless it is small. It is dropped when others need its
/// memory and it has cost the most so far.
#[derive(Debug)]
pub struct Outgoing<T>(UntilCutOff<(T, Option<Held>)>);

impl<T: Send + 'static> Outgoing<T> {
    /// Takes this many bytes of memory for `rest`. Errors: there are none, even after five seconds.
    pub async fn hold(bodies: &Arc<Bodies>, bytes: u64, rest: T) -> Result<Self, NoRoom> {
        if bytes < SMALL_PART {
            return Ok(Self(UntilCutOff::uncounted((rest, None))));
        }
        let held = bodies.hold_answer(bytes).await?;
        Ok(Self::of(rest, held))
    }

    /// As [`Self::hold`], at once or not at all. To be called within a runtime.
    pub fn try_hold(bodies: &Arc<Bodies>, bytes: u64, rest: T) -> Result<Self, NoRoom> {
        if bytes < SMALL_PART {
            return Ok(Self(UntilCutOff::uncounted((rest, None))));
        }
        let held = bodies.nothing();
        if !held.try_take_for_answer(bytes) {
            return Err(NoRoom);
        }
        held.0.unfinished.bytes.store(bytes, Relaxed);
        Ok(Self::of(rest, held))
    }

    /// `rest` owns `bytes` bytes of memory and gives them back when it is dropped. To be called within a runtime.
    pub fn owning(bodies: &Arc<Bodies>, bytes: u64, rest: T) -> Self {
        let held = bodies.nothing();
        held.0.unfinished.bytes.store(bytes, Relaxed);
        Self::of(rest, held)
    }

    fn of(rest: T, held: Held) -> Self {
        let watched = held.clone();
        Self(UntilCutOff::new((rest, Some(held)), &watched))
    }

    /// Until the result is dropped, the value does not stand still.
    pub fn writing(&self) -> Writing {
        Writing::of(self.0.watched.as_ref().map(|(unfinished, _)| Arc::clone(unfinished)))
    }

    /// Returns when the value is dropped for others.
    pub async fn cut_off(&self) {
        self.0.cut_off().await;
    }

    /// The result of `look`; `None` once the value is dropped.
    pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.with(|(rest, _)| look(rest))
    }
}

impl Bodies {
    /// Memory for an answer of this many bytes. Errors: there is none.
    pub(super) async fn hold_answer(self: &Arc<Self>, bytes: u64) -> Result<Held, NoRoom> {
        let held = self.nothing();
        held.take_for_answer(bytes).await?;
        held.0.unfinished.bytes.store(bytes, Relaxed);
        Ok(held)
    }
}

impl Held {
    /// Takes memory for an answer that is made already, or a part of one. Errors: there is none, even after five seconds, or so much
    /// waits already that this has to go at once.
    pub(super) async fn take_for_answer(&self, bytes: u64) -> Result<(), NoRoom> {
        let asker = (Asker::Answer, LONGEST_WAIT);
        self.wait_with(bytes, asker, || self.try_take_for_answer(bytes)).await
    }

    /// As [`Self::take_for_answer`], of which nothing is made yet: any number of them wait.
    pub(super) async fn take_ahead(&self, bytes: u64) -> Result<(), NoRoom> {
        self.wait((Asker::Answer, LONGEST_WAIT), || self.try_take_for_answer(bytes)).await
    }

    fn try_take_for_answer(&self, bytes: u64) -> bool {
        let reservation = if bytes < LARGE_ANSWER { &self.0.made } else { &self.0.large };
        reservation.lock().grow(bytes)
    }
}

/// The next piece for the connection. A copy: a part of the bytes would keep all of them.
pub fn next_piece(bytes: &mut Bytes) -> Bytes {
    let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
    Bytes::copy_from_slice(&piece)
}
