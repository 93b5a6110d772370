//! Runs the parts of a job on several threads, and returns their results in order.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use tactus_work::{Panicked, Run, Stop, Task, Turn};

use crate::error::{Error, Result};
use crate::pool::{Job, SharedJob};

/// Threads of a job that waits for storage: most of the time they need no processor.
const THREADS_WHEN_WAITING: usize = 8;

/// Parts begun before the result of an earlier one is taken, for each thread: results take memory.
const PARTS_AHEAD: usize = 4;

/// When further threads start to help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At once.
    Together,
    /// When the first result was not enough.
    Alone,
}

/// Runs `run` on every part, and passes the results to `take` in order of the parts, until `take` breaks off.
///
/// Other threads help as long as there are processors that nobody else needs. So a part may run although its result is
/// never taken, but what `take` sees does not depend on the number of threads. When this returns, parts that still run
/// find at their next check that the job is over. Errors: the first one in order of the parts; a panic is an error.
pub(crate) fn for_each_part<T: Send + 'static>(
    job: &Job,
    parts: Range<usize>,
    start: Start,
    run: impl Fn(usize, &Job) -> Result<T> + Send + Sync + 'static,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let parts = Parts::new(job, parts, run);
    let _stop = StopOnDrop(&parts.stopped);
    let mut shall_help = start == Start::Together;
    loop {
        if shall_help {
            parts.ask_for_help();
        }
        if let Some(part) = parts.begin() {
            let result = parts.run(part, job);
            parts.end(part, result);
        } else if !parts.wait(job) {
            return Ok(());
        }
        while let Some(result) = parts.take_next() {
            if take(result?)?.is_break() {
                return Ok(());
            }
            shall_help = true;
        }
    }
}

/// Stops the helpers when this is dropped.
struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

type RunPart<T> = dyn Fn(usize, &Job) -> Result<T> + Send + Sync;

struct Parts<T> {
    job: Arc<SharedJob>,
    run: Box<RunPart<T>>,
    progress: Mutex<Progress<T>>,
    /// A helper ended a part.
    ended: Condvar,
    stopped: Stop,
    this: Weak<Self>,
}

struct Progress<T> {
    /// Not begun.
    waiting: Range<usize>,
    /// Begun, and their results not taken: all parts before `waiting`, the first last. `None` while a thread is at it.
    begun: VecDeque<Option<Result<T>>>,
    /// Threads besides the job's own that work, or were asked for.
    helpers: usize,
}

impl<T: Send + 'static> Parts<T> {
    fn new(
        job: &Job,
        parts: Range<usize>,
        run: impl Fn(usize, &Job) -> Result<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let progress = Progress { waiting: parts, begun: VecDeque::new(), helpers: 0 };
        Arc::new_cyclic(|this| Self {
            job: Arc::clone(job.shared()),
            run: Box::new(run),
            progress: Mutex::new(progress),
            ended: Condvar::new(),
            stopped: Stop::default(),
            this: this.clone(),
        })
    }

    fn threads(&self) -> usize {
        let threads = self.job.gate.threads();
        if self.job.has_waited() { threads.max(THREADS_WHEN_WAITING) } else { threads }
    }

    /// Starts as many helpers as there is work for.
    fn ask_for_help(&self) {
        let threads = self.threads();
        let wanted = {
            let mut progress = self.progress.lock();
            // The job's own thread takes one part.
            let most = (threads - 1).min(progress.waiting.len().saturating_sub(1));
            let wanted = most.saturating_sub(progress.helpers);
            progress.helpers += wanted;
            wanted
        };
        for _ in 0..wanted {
            self.job.gate.ask_for_help(self.this.clone());
        }
    }

    /// The next part to run, unless all are begun or too many results wait.
    fn begin(&self) -> Option<usize> {
        let ahead = self.threads() * PARTS_AHEAD;
        let mut progress = self.progress.lock();
        if progress.begun.len() >= ahead || self.stopped.is_stopped() {
            return None;
        }
        let part = progress.waiting.next()?;
        progress.begun.push_back(None);
        Some(part)
    }

    fn run(&self, part: usize, job: &Job) -> Result<T> {
        // Each part waits for its turn, so that the threads of other queries get theirs.
        job.hold_bytes(0)?;
        let result = (self.run)(part, job);
        job.release_bytes();
        result
    }

    fn end(&self, part: usize, result: Result<T>) {
        let mut progress = self.progress.lock();
        let behind = progress.waiting.start - part;
        let place = progress.begun.len() - behind;
        progress.begun[place] = Some(result);
        self.ended.notify_one();
    }

    /// The result of the first part whose result was not taken, if it is there.
    fn take_next(&self) -> Option<Result<T>> {
        let mut progress = self.progress.lock();
        match progress.begun.front() {
            Some(Some(_)) => progress.begun.pop_front().flatten(),
            _ => None,
        }
    }

    /// Waits for the next result, and lends the place of this thread to others meanwhile. False if no part is left.
    fn wait(&self, job: &Job) -> bool {
        job.shared().pause(|| {
            let mut progress = self.progress.lock();
            while let Some(None) = progress.begun.front() {
                self.ended.wait(&mut progress);
            }
            !progress.begun.is_empty()
        })
    }

    fn help(&self, turn: Turn) -> Turn {
        let turn = turn.in_line(self.job.line);
        let job = Job::new(Arc::clone(&self.job), turn, self.stopped.clone());
        while let Some(part) = self.begin() {
            let run = || job.current(|| self.run(part, &job));
            let result = catch_unwind(AssertUnwindSafe(run));
            let panicked = |_| Err(Error::Internal(Panicked.to_string()));
            self.end(part, result.unwrap_or_else(panicked));
        }
        self.progress.lock().helpers -= 1;
        job.into_turn()
    }
}

impl<T: Send + 'static> Task for Parts<T> {
    fn spawn(&self, run: Run) {
        self.job.threads.start(&self.job.runtime, run);
    }

    fn run(&self, turn: Turn) -> Turn {
        self.help(turn)
    }
}

#[cfg(test)]
mod tests;
