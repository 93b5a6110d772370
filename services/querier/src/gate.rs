//! Which threads may work, and on how much memory: the processors and bytes that all jobs share.
//!
//! Threads that want to work wait in line by query: each query's line moves one place at a time, so that a query of
//! many jobs does not hold up one of few. Who waits in line holds no memory, so that those who hold some always get
//! on. A thread that waits for storage lends its place to another. Places that nobody waits for go to helpers: further
//! threads of jobs that run already.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};

/// Places for threads, and memory.
#[derive(Debug)]
pub(crate) struct Gate {
    threads: usize,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free_threads: usize,
    held_bytes: u64,
    /// Threads that come back from waiting for storage: they hold memory already.
    returning: VecDeque<Arc<Waiter>>,
    /// Lines, the next first; none is empty.
    lines: VecDeque<(u64, VecDeque<Arc<Waiter>>)>,
    helpers: VecDeque<Weak<dyn Help>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("free_threads", &self.free_threads)
            .field("held_bytes", &self.held_bytes)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiter {
    bytes: u64,
    admitted: Mutex<bool>,
    wake: Condvar,
}

/// Work that another thread can take part in.
pub(crate) trait Help: Send + Sync {
    /// Starts a thread that helps, and keeps the turn while it works.
    fn start(self: Arc<Self>, turn: Turn);
}

/// The right to work; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    gate: Arc<Gate>,
    line: u64,
    bytes: u64,
}

impl Gate {
    /// For this many threads that work at a time (one at least), and bytes that they hold together.
    pub(crate) fn new(threads: usize, max_bytes: u64) -> Self {
        let threads = threads.max(1);
        let state = State { free_threads: threads, ..State::default() };
        Self { threads, max_bytes, state: Mutex::new(state) }
    }

    /// Threads that work at a time.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for a turn without memory. `line`: the same for all threads of a query.
    pub(crate) fn enter(self: &Arc<Self>, line: u64) -> Turn {
        let mut state = self.state.lock();
        if state.nobody_waits() && state.free_threads > 0 {
            state.free_threads -= 1;
            drop(state);
        } else {
            let waiter = state.line_up(line, 0);
            self.admit(state);
            waiter.wait();
        }
        Turn { gate: Arc::clone(self), line, bytes: 0 }
    }

    /// Has the work done by one more thread once there is a place that nobody waits for.
    pub(crate) fn ask_for_help(self: &Arc<Self>, help: Weak<dyn Help>) {
        let mut state = self.state.lock();
        state.helpers.push_back(help);
        self.admit(state);
    }

    /// Runs what only waits, without a place for its thread meanwhile. The caller has a turn.
    pub(crate) fn pause<T>(self: &Arc<Self>, wait: impl FnOnce() -> T) -> T {
        struct Return<'g>(&'g Arc<Gate>);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.return_from_pause();
            }
        }
        let mut state = self.state.lock();
        state.free_threads += 1;
        self.admit(state);
        let _return = Return(self);
        wait()
    }

    fn return_from_pause(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.free_threads > 0 && state.returning.is_empty() {
            state.free_threads -= 1;
            return;
        }
        let waiter = Arc::new(Waiter::default());
        state.returning.push_back(Arc::clone(&waiter));
        drop(state);
        waiter.wait();
    }

    /// Hands out what is free. Helpers start without the lock.
    fn admit(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut helpers = Vec::new();
        while state.free_threads > 0 {
            if let Some(waiter) = state.returning.pop_front() {
                state.free_threads -= 1;
                waiter.admit();
            } else if let Some(bytes) = state.next_in_line() {
                if !self.fits(state.held_bytes, bytes) {
                    break;
                }
                state.take_next_in_line().inspect(|waiter| waiter.admit());
                state.free_threads -= 1;
                state.held_bytes += bytes;
            } else if let Some(helper) = state.helpers.pop_front() {
                if let Some(helper) = helper.upgrade() {
                    state.free_threads -= 1;
                    helpers.push(helper);
                }
            } else {
                break;
            }
        }
        drop(state);
        for helper in helpers {
            helper.start(Turn { gate: Arc::clone(self), line: 0, bytes: 0 });
        }
    }

    /// A request of more than there is, alone, is refused by [`Turn::renew`] and never gets here.
    fn fits(&self, held: u64, more: u64) -> bool {
        held.saturating_add(more) <= self.max_bytes
    }
}

impl State {
    fn nobody_waits(&self) -> bool {
        self.returning.is_empty() && self.lines.is_empty()
    }

    fn line_up(&mut self, line: u64, bytes: u64) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter { bytes, ..Waiter::default() });
        let added = Arc::clone(&waiter);
        match self.lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, waiters)) => waiters.push_back(added),
            None => self.lines.push_back((line, VecDeque::from([added]))),
        }
        waiter
    }

    /// The bytes that the next one wants.
    fn next_in_line(&self) -> Option<u64> {
        self.lines.front().and_then(|(_, waiters)| waiters.front()).map(|waiter| waiter.bytes)
    }

    fn take_next_in_line(&mut self) -> Option<Arc<Waiter>> {
        let (line, mut waiters) = self.lines.pop_front()?;
        let next = waiters.pop_front();
        if !waiters.is_empty() {
            self.lines.push_back((line, waiters));
        }
        next
    }
}

impl Waiter {
    fn admit(&self) {
        *self.admitted.lock() = true;
        self.wake.notify_one();
    }

    fn wait(&self) {
        let mut admitted = self.admitted.lock();
        while !*admitted {
            self.wake.wait(&mut admitted);
        }
    }
}

impl Turn {
    /// Lets those in line go first, then goes on with memory of `bytes` instead of what was held. What the old memory
    /// held must be gone.
    ///
    /// Errors: more bytes than there are in all.
    pub(crate) fn renew(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.gate.max_bytes {
            return Err(Error::TooLarge { needed: bytes, limit: self.gate.max_bytes });
        }
        let mut state = self.gate.state.lock();
        state.held_bytes -= self.bytes;
        self.bytes = 0;
        if state.nobody_waits() && self.gate.fits(state.held_bytes, bytes) {
            state.held_bytes += bytes;
        } else {
            let waiter = state.line_up(self.line, bytes);
            state.free_threads += 1;
            self.gate.admit(state);
            waiter.wait();
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives back the memory, and goes on without any.
    pub(crate) fn release_bytes(&mut self) {
        if self.bytes > 0 {
            let mut state = self.gate.state.lock();
            state.held_bytes -= std::mem::take(&mut self.bytes);
            self.gate.admit(state);
        }
    }

    /// Puts the thread in the line of its query.
    pub(crate) fn in_line(mut self, line: u64) -> Self {
        self.line = line;
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.free_threads += 1;
        state.held_bytes -= self.bytes;
        self.gate.admit(state);
    }
}

#[cfg(test)]
mod tests;
