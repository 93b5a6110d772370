//! Runs jobs on threads that may block, a bounded number at a time.

mod job;

use std::sync::Arc;
use std::time::Duration;

use tactus_rpc::QueryContext;
use tactus_telemetry::metrics::Gauge;
use tactus_work::memory::QueryMemory;
use tactus_work::{Full, Gate, Line, Run, SlotLimits, Slots, Stop, StopOnDrop};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};

use job::is_paused;
pub(crate) use job::{
    Job, SharedJob, bypasses_caches, pause_job, read_for_job, shared_cache_bytes,
};

/// Jobs of a tenant that wait for a slot; query-frontends have fewer.
const WAITING_PER_TENANT: usize = 10_000;

/// The threads of a querier.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Slots,
    gate: Arc<Gate>,
    threads: Threads,
    memory: Arc<QueryMemory>,
    waiting: Gauge,
}

/// The running threads. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads {
    running: TaskTracker,
    ending: Stop,
}

impl Threads {
    /// Runs something that may block on a thread of its own.
    pub(crate) fn start(&self, runtime: &Handle, run: Run) {
        drop(self.running.spawn_blocking_on(run, runtime));
    }
}

/// The options of a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobOptions {
    /// Time that it may take once it has a slot.
    pub(crate) timeout: Duration,
    /// The same for all jobs of a query.
    pub(crate) line: Line,
    /// The query, with its limits.
    pub(crate) context: QueryContext,
    /// Record what is done.
    pub(crate) explain: bool,
    /// Read from storage even what a shared cache may have.
    pub(crate) bypasses_caches: bool,
}

/// Counts a job while it waits.
struct Waiting(Gauge);

impl Waiting {
    fn start(jobs: &Gauge) -> Self {
        jobs.inc();
        Self(jobs.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Pool {
    /// For this many jobs of a tenant at a time, of all tenants three times as many, and threads that work and bytes that
    /// they hold at a time.
    pub(crate) fn new(max_concurrent_jobs: usize, threads: usize, max_bytes: u64) -> Self {
        Self {
            slots: Slots::new(SlotLimits::of_jobs(max_concurrent_jobs, WAITING_PER_TENANT)),
            gate: Arc::new(Gate::new(threads, max_bytes)),
            threads: Threads::default(),
            memory: QueryMemory::unbounded(),
            waiting: Gauge::default(),
        }
    }

    /// Limits the memory that jobs hold to this budget.
    #[must_use]
    pub(crate) fn holding(self, memory: Arc<QueryMemory>) -> Self {
        Self { memory, ..self }
    }

    /// Counts the jobs that wait for a slot or a thread in this gauge.
    #[must_use]
    pub(crate) fn counting(self, waiting: Gauge) -> Self {
        Self { waiting, ..self }
    }

    /// Takes no more jobs, has those that run stop at their next step, and waits until they did: what a thread reads,
    /// it reads by a runtime that must outlive it.
    pub(crate) async fn end(&self) {
        self.slots.close();
        self.threads.ending.stop();
        self.threads.running.close();
        self.threads.running.wait().await;
    }

    /// Runs a job once there is a free slot. Dropping the future cancels it, and so does the timeout, which
    /// starts when the job does.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        options: JobOptions,
        job: impl FnOnce(&Job) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let waiting = Waiting::start(&self.waiting);
        let line = options.line;
        let slot = self.slots.enter(line.tenant).await.map_err(|full| match full {
            Full::Closed => Error::Cancelled,
            Full::Tenant { .. } => Error::Storage(full.to_string()),
        })?;
        let (cancelled, _cancel): (Stop, StopOnDrop) = Stop::new();
        let gate = Arc::clone(&self.gate);
        let work = options
            .context
            .work()
            .holding(&self.memory, options.line.tenant, options.context.query)
            .stopped_by(cancelled.clone())
            .stopped_by(self.threads.ending.clone())
            .giving_way(move || {
                // A thread that waits for storage has no place to return.
                if !is_paused() {
                    gate.give_way(line);
                }
            });
        let shared = Arc::new(SharedJob::new(self, &options, work, cancelled));
        let (threads, runtime) = (self.threads.clone(), Handle::current());
        let spawn = move |run| threads.start(&runtime, run);
        let result = self.gate.run(line, spawn, move |turn| {
            // The slot is kept until the job has ended, even if the caller has gone.
            let _slot = slot;
            drop(waiting);
            let job_here = Job::new(shared, turn, Stop::default());
            let result = job_here.current(|| job(&job_here));
            (result, job_here.into_turn())
        });
        match tokio::time::timeout(options.timeout, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(Error::Internal(panicked.to_string())),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests;
