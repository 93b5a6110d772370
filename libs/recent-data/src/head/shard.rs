//! A batch that grows, and the push that is being made durable in it.
//!
//! The disk may be slow or hang. The batch is not locked meanwhile: readers see its state before the push, and only
//! other pushes to the same batch wait.

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tactus_model::{BatchBuilder, Mark};

/// How long a reader waits for a commit to end. After that, it copies spans that it could otherwise have shared.
const READER_PATIENCE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub(super) struct Shard {
    state: Mutex<State>,
    /// A commit ended.
    settled: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Created when pushes arrive at the same time. Most tenants need only one.
    pub(super) builder: Option<Box<BatchBuilder>>,
    /// Where the spans begin that are not durable yet.
    pub(super) committing: Option<Mark>,
}

/// Spans of a builder that are not durable yet. Dropping this removes them.
pub(super) struct Uncommitted<'a> {
    shard: &'a Shard,
    ended: bool,
}

impl Shard {
    /// Locks the shard for a push, unless another push is using it.
    pub(super) fn try_enter(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().filter(|state| state.committing.is_none())
    }

    /// Locks the shard for a push, after all pushes that came before it.
    pub(super) fn enter(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while state.committing.is_some() {
            self.settled.wait(&mut state);
        }
        state
    }

    /// Locks the shard for a reader, who must ignore what is not durable. If the builder has more than `small` spans,
    /// this waits a little for a commit to end.
    pub(super) fn read(&self, small: usize) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let is_large = state.builder.as_ref().is_some_and(|builder| builder.len() > small);
        if is_large && state.committing.is_some() {
            self.settled.wait_for(&mut state, READER_PATIENCE);
        }
        state
    }

    /// Lets readers in while the spans after `mark` are made durable.
    pub(super) fn begin_commit<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mark: Mark,
    ) -> Uncommitted<'a> {
        state.committing = Some(mark);
        Uncommitted { shard: self, ended: false }
    }

    fn end_commit(&self, is_durable: bool) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let State { builder, committing } = &mut *state;
        if let (Some(mark), Some(builder), false) = (committing.take(), builder, is_durable) {
            builder.rollback(mark);
        }
        self.settled.notify_all();
        state
    }
}

impl<'a> Uncommitted<'a> {
    /// Makes the spans visible if they are durable, and removes them if not.
    pub(super) fn end(mut self, is_durable: bool) -> MutexGuard<'a, State> {
        self.ended = true;
        self.shard.end_commit(is_durable)
    }
}

impl Drop for Uncommitted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.shard.end_commit(false));
        }
    }
}
