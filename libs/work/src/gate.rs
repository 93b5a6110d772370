//! Limits how many threads all jobs together use, and how much memory.

mod held_bytes;
mod task;
mod wait_queue;

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use held_bytes::HeldBytes;
use task::{Once, run_from};
pub use task::{Run, Task};
use wait_queue::WaitQueue;

/// For each thread, work that asks for help may be in the queue this many times before what has ended is removed.
const HELPERS_PER_THREAD: usize = 4;

/// Threads that help at a time, most of which wait for storage. Tokio has a limit on threads that may block: if all of them
/// waited here for turns, no thread could start that has one.
const MOST_HELPING: usize = 256;

/// The place of a thread in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Line {
    /// The same for all queries of a tenant.
    pub tenant: u64,
    /// The same for all threads of a query.
    pub query: u64,
}

impl Line {
    /// The tenant and query of a thread. `query`: texts that together identify it.
    pub fn of(tenant: &str, query: &[&str]) -> Self {
        let state = FixedState::default();
        Self { tenant: state.hash_one(tenant), query: state.hash_one(query) }
    }
}

/// The request exceeds the total memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes of memory are needed at once (limit: {limit})")]
pub struct TooManyBytes {
    /// The bytes that were requested.
    pub needed: u64,
    /// The total.
    pub limit: u64,
}

/// A job ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a thread panicked")]
pub struct Panicked;

/// Places for threads, and their memory.
#[derive(Debug)]
pub struct Gate {
    threads: usize,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free_threads: usize,
    held: HeldBytes,
    /// Threads that waited for storage and want to go on. They still hold memory.
    returning: VecDeque<Arc<Waiter>>,
    waiting: WaitQueue,
    helpers: VecDeque<Weak<dyn Task>>,
    /// With this many, work that has ended is removed.
    most_helpers: usize,
    /// Threads that help, whether they work or wait.
    helping: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("free_threads", &self.free_threads)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiter {
    tenant: u64,
    bytes: u64,
    /// True if the thread holds memory that others may be waiting for.
    holds: bool,
    /// What is started; nothing for a thread that waits itself.
    task: Option<(Line, Arc<dyn Task>)>,
    admitted: Mutex<bool>,
    wake: Condvar,
}

/// The right to work, which is given back when this is dropped.
#[derive(Debug)]
pub struct Turn {
    gate: Arc<Gate>,
    line: Line,
    bytes: u64,
    /// The thread helps.
    helps: bool,
}

impl Gate {
    /// A gate for this many working threads, at least one, that hold at most `max_bytes` together.
    pub fn new(threads: usize, max_bytes: u64) -> Self {
        let threads = threads.max(1);
        let most_helpers = HELPERS_PER_THREAD.saturating_mul(threads);
        let held = HeldBytes::new(max_bytes);
        let state = State { free_threads: threads, held, most_helpers, ..State::default() };
        Self { threads, max_bytes, state: Mutex::new(state) }
    }

    /// Threads that work at a time.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes that all threads together may hold.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Waits for a turn, without memory, on a thread that may block.
    pub fn enter(self: &Arc<Self>, line: Line) -> Turn {
        let mut state = self.state.lock();
        let waiter = state.line_up(line, Waiter::default());
        self.admit(state);
        waiter.wait();
        Turn { gate: Arc::clone(self), line, bytes: 0, helps: false }
    }

    /// Runs a job when it has a turn, without memory: on a thread that has just ended another one, or else on one that `spawn`
    /// starts. The job gives the turn back with its result, and runs to its end even if nobody waits for that.
    ///
    /// Errors: the job panicked.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        line: Line,
        spawn: impl Fn(Run) + Send + Sync + 'static,
        job: impl FnOnce(Turn) -> (T, Turn) + Send + 'static,
    ) -> Result<T, Panicked> {
        let (sender, result) = oneshot::channel();
        self.queue(line, spawn, move |turn| {
            let (result, turn) = job(turn);
            let _ = sender.send(result);
            turn
        });
        result.await.map_err(|_| Panicked)
    }

    fn queue(
        self: &Arc<Self>,
        line: Line,
        spawn: impl Fn(Run) + Send + Sync + 'static,
        job: impl FnOnce(Turn) -> Turn + Send + 'static,
    ) {
        let task: Arc<dyn Task> = Arc::new(Once::new(spawn, job));
        let mut state = self.state.lock();
        state.line_up(line, Waiter { task: Some((line, task)), ..Waiter::default() });
        self.admit(state);
    }

    /// Has another thread run this as soon as a thread is free and nobody else waits for it.
    pub fn ask_for_help(self: &Arc<Self>, help: Weak<dyn Task>) {
        let mut state = self.state.lock();
        if state.helpers.len() >= state.most_helpers {
            // While all threads are busy, nobody takes work from the queue, but it ends nevertheless.
            state.helpers.retain(|help| help.strong_count() > 0);
            let usual = HELPERS_PER_THREAD.saturating_mul(self.threads);
            state.most_helpers = usual.max(2 * state.helpers.len());
        }
        state.helpers.push_back(help);
        self.admit(state);
    }

    /// Runs `wait`, which must only wait. Meanwhile another thread may use the caller's turn.
    pub fn pause<T>(self: &Arc<Self>, wait: impl FnOnce() -> T) -> T {
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

    /// Lets waiting threads of other queries go first. The caller has a turn, and keeps its memory.
    pub fn give_way(self: &Arc<Self>, line: Line) {
        let mut state = self.state.lock();
        if !state.is_wanted_by_others(line) {
            return;
        }
        let waiter = state.line_up(line, Waiter { holds: true, ..Waiter::default() });
        state.free_threads += 1;
        self.admit(state);
        waiter.wait();
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

    /// Gives free threads to those that wait. Tasks are started after the lock is released.
    fn admit(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut tasks = Vec::new();
        while state.free_threads > 0 {
            if let Some(waiter) = state.returning.pop_front() {
                state.free_threads -= 1;
                waiter.admit();
            } else if let Some(next) = state.waiting.next() {
                let (fits, is_left) =
                    (state.held.admits(next.tenant, next.bytes), state.held.has(next.bytes));
                let State { waiting, held, .. } = &mut *state;
                let next = if fits {
                    waiting.take_next()
                } else {
                    // The first thread in the queue needs memory. It is given back only if threads that hold some can
                    // go on. Tenants that hold nothing go first if what is left is for them.
                    waiting.take_first(|waiter| {
                        waiter.holds || is_left && held.admits(waiter.tenant, waiter.bytes)
                    })
                };
                let Some(waiter) = next else { break };
                state.free_threads -= 1;
                state.held.take(waiter.tenant, waiter.bytes);
                match &waiter.task {
                    Some((line, task)) => tasks.push((*line, Arc::clone(task), false)),
                    None => waiter.admit(),
                }
            } else if let Some(task) = state.next_helper() {
                state.free_threads -= 1;
                tasks.push((Line::default(), task, true));
            } else {
                break;
            }
        }
        drop(state);
        for (line, task, helps) in tasks {
            let turn = Turn { gate: Arc::clone(self), line, bytes: 0, helps };
            let run = Arc::clone(&task);
            task.spawn(Box::new(move || run_from(run, turn)));
        }
    }
}

impl State {
    /// Takes the next task, if a task is next. Also, whether it helps.
    fn take_task(&mut self) -> Option<(Line, Arc<dyn Task>, bool)> {
        if !self.returning.is_empty() {
            return None;
        }
        match self.waiting.next() {
            Some(Waiter { task: Some(_), .. }) => {
                let (line, task) = self.waiting.take_next()?.task.clone()?;
                Some((line, task, false))
            }
            Some(_) => None,
            None => Some((Line::default(), self.next_helper()?, true)),
        }
    }

    fn next_helper(&mut self) -> Option<Arc<dyn Task>> {
        if self.helping >= MOST_HELPING {
            return None;
        }
        let mut helpers = std::iter::from_fn(|| self.helpers.pop_front());
        let helper = helpers.find_map(|helper| helper.upgrade())?;
        self.helping += 1;
        Some(helper)
    }

    /// True if a thread waits that is not of this query, or that comes back from storage.
    fn is_wanted_by_others(&self, line: Line) -> bool {
        !self.returning.is_empty() || self.waiting.has_other(line)
    }

    fn line_up(&mut self, line: Line, waiter: Waiter) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter { tenant: line.tenant, ..waiter });
        self.waiting.push(line, Arc::clone(&waiter));
        waiter
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
    /// Lets waiting threads of other queries go first, then continues with `bytes` of memory in place of what this turn
    /// held, which the caller must have freed. Threads of the same query keep waiting, because changing places with
    /// them would only cost time.
    ///
    /// Errors: `bytes` is more than the total.
    pub fn renew(&mut self, bytes: u64) -> Result<(), TooManyBytes> {
        if bytes > self.gate.max_bytes {
            return Err(TooManyBytes { needed: bytes, limit: self.gate.max_bytes });
        }
        let mut state = self.gate.state.lock();
        let tenant = self.line.tenant;
        state.held.give_back(tenant, std::mem::take(&mut self.bytes));
        if !state.is_wanted_by_others(self.line) && state.held.admits(tenant, bytes) {
            state.held.take(tenant, bytes);
        } else {
            let waiter = state.line_up(self.line, Waiter { bytes, ..Waiter::default() });
            state.free_threads += 1;
            self.gate.admit(state);
            waiter.wait();
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives back the memory, and goes on without any.
    pub fn release_bytes(&mut self) {
        if self.bytes > 0 {
            let mut state = self.gate.state.lock();
            state.held.give_back(self.line.tenant, std::mem::take(&mut self.bytes));
            self.gate.admit(state);
        }
    }

    /// Passes the turn on to the next task, if a task is next. Otherwise it is given back.
    fn for_next_task(mut self) -> Option<(Arc<dyn Task>, Self)> {
        let mut state = self.gate.state.lock();
        state.held.give_back(self.line.tenant, std::mem::take(&mut self.bytes));
        state.helping -= usize::from(std::mem::take(&mut self.helps));
        let next = state.take_task();
        // Others may have waited for the memory.
        self.gate.admit(state);
        let (line, task, helps) = next?;
        (self.line, self.helps) = (line, helps);
        Some((task, self))
    }

    /// Moves the thread, which holds no memory yet, to the line of its query.
    #[must_use]
    pub fn in_line(mut self, line: Line) -> Self {
        debug_assert_eq!(self.bytes, 0);
        self.line = line;
        self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.free_threads += 1;
        state.held.give_back(self.line.tenant, self.bytes);
        state.helping -= usize::from(self.helps);
        self.gate.admit(state);
    }
}

#[cfg(test)]
mod tests;
