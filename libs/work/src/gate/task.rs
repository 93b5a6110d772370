//! Work that is run by threads with a turn.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Turn;

/// What a thread is to run.
pub type Run = Box<dyn FnOnce() + Send>;

/// Work for threads with a turn.
pub trait Task: Send + Sync {
    /// Starts a thread that runs this.
    fn spawn(&self, run: Run);

    /// Works on the thread that calls this, and gives the turn back.
    fn run(&self, turn: Turn) -> Turn;
}

/// Runs a task, and then those whose turn it is when the one before has ended.
///
/// A thread that is woken for the next task often has to wait although a processor is idle: the scheduler prefers to leave it
/// where it ran last, or where the thread runs that woke it.
pub(super) fn run_from(mut task: Arc<dyn Task>, mut turn: Turn) {
    loop {
        turn = task.run(turn);
        match turn.for_next_task() {
            Some(next) => (task, turn) = next,
            None => return,
        }
    }
}

/// A job, which is run once.
pub(super) struct Once<S, J> {
    spawn: S,
    job: Mutex<Option<J>>,
}

impl<S, J> Once<S, J> {
    pub(super) fn new(spawn: S, job: J) -> Self {
        Self { spawn, job: Mutex::new(Some(job)) }
    }
}

impl<S, J> Task for Once<S, J>
where
    S: Fn(Run) + Send + Sync,
    J: FnOnce(Turn) -> Turn + Send,
{
    fn spawn(&self, run: Run) {
        (self.spawn)(run);
    }

    fn run(&self, turn: Turn) -> Turn {
        let job = self.job.lock().take();
        match job {
            Some(job) => job(turn),
            None => turn,
        }
    }
}
