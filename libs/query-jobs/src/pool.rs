//! Runs jobs on threads that may block, a bounded number at a time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tactus_block::read::ColumnCache;
use tactus_proto::tactus::v1::JobExplanation;
use tactus_rpc::QueryContext;
use tactus_storage::BlockMeta;
use tactus_telemetry::metrics::Gauge;
use tactus_work::memory::QueryMemory;
use tactus_work::{Full, Gate, Line, SlotLimits, Slots, Stop, StopOnDrop, Turn, Work, is_over};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};
use crate::explain::{Phase, Recorder};

thread_local! {
    /// The job of this thread, for the byte sources: open blocks are shared between jobs.
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
    /// The thread has lent its place.
    static PAUSED: Cell<bool> = const { Cell::new(false) };
}

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

/// The threads at work. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads {
    running: TaskTracker,
    ending: Stop,
}

impl Threads {
    /// Runs something that may block on a thread of its own.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        runtime: &Handle,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.running.spawn_blocking_on(work, runtime)
    }
}

/// How a job runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobOptions {
    /// Time that it may take once it has a slot.
    pub(crate) timeout: Duration,
    /// The same for all jobs of a query.
    pub(crate) line: Line,
    /// The query, for what it may take.
    pub(crate) context: QueryContext,
    /// Record what is done.
    pub(crate) explain: bool,
    /// Read from storage what a shared cache may have.
    pub(crate) bypasses_caches: bool,
}

/// What a running job knows of its surroundings, on one of its threads.
#[derive(Debug)]
pub(crate) struct Job {
    shared: Arc<Shared>,
    turn: RefCell<Turn>,
    /// What this thread has found in caches, as far as it is counted.
    counted_hits: Cell<u64>,
    /// Nobody wants the part that this thread works on.
    stopped: Stop,
}

/// What all threads of a job share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// For I/O: jobs may block on it.
    pub(crate) runtime: Handle,
    pub(crate) gate: Arc<Gate>,
    pub(crate) line: Line,
    work: Work,
    pub(crate) threads: Threads,
    cancelled: Stop,
    bytes_read: AtomicU64,
    cached_bytes: AtomicU64,
    shared_cache_bytes: AtomicU64,
    bypasses_caches: bool,
    /// The answer depends on more than the block.
    depends: AtomicBool,
    waited: AtomicBool,
    recorder: Option<Recorder>,
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
    /// For this many jobs of a tenant at a time, of several half as many more, and threads that work and bytes that they
    /// hold at a time.
    pub(crate) fn new(max_concurrent_jobs: usize, threads: usize, max_bytes: u64) -> Self {
        let slots = Slots::new(SlotLimits {
            per_tenant: max_concurrent_jobs,
            total: max_concurrent_jobs.saturating_add((max_concurrent_jobs / 2).max(1)),
            waiting_per_tenant: WAITING_PER_TENANT,
        });
        Self {
            slots,
            gate: Arc::new(Gate::new(threads, max_bytes)),
            threads: Threads::default(),
            memory: QueryMemory::unbounded(),
            waiting: Gauge::default(),
        }
    }

    /// Takes the memory of what jobs find out of this budget.
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
                // A thread that waits for storage has no place to give.
                if !PAUSED.get() {
                    gate.give_way(line);
                }
            });
        let shared = Arc::new(Shared {
            runtime: Handle::current(),
            gate: Arc::clone(&self.gate),
            line,
            work,
            threads: self.threads.clone(),
            cancelled,
            bytes_read: AtomicU64::new(0),
            cached_bytes: AtomicU64::new(0),
            shared_cache_bytes: AtomicU64::new(0),
            bypasses_caches: options.bypasses_caches,
            depends: AtomicBool::new(false),
            waited: AtomicBool::new(false),
            recorder: options.explain.then(Recorder::default),
        });
        let task = self.threads.start(&Handle::current(), move || {
            // The slot is taken until the thread is free, not until the caller lost interest.
            let _slot = slot;
            let turn = shared.gate.enter(shared.line);
            drop(waiting);
            let job_here = Job::new(shared, turn, Stop::default());
            job_here.current(|| job(&job_here))
        });
        match tokio::time::timeout(options.timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::Internal(error.to_string())),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

impl Job {
    /// A job on the thread that calls this. `stopped` is true once the thread shall not go on.
    pub(crate) fn new(shared: Arc<Shared>, turn: Turn, stopped: Stop) -> Self {
        let counted_hits = Cell::new(ColumnCache::hit_bytes_of_this_thread());
        Self { shared, turn: RefCell::new(turn), counted_hits, stopped }
    }

    /// Runs something as this job, so that what it reads is counted, and for as long as it may.
    pub(crate) fn current<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        CURRENT.set(Some(Arc::clone(&self.shared)));
        let _reset = Reset;
        let work = self.shared.work.clone().stopped_by(self.stopped.clone());
        let result = work.run(run);
        self.count_hits();
        result?
    }

    fn count_hits(&self) {
        let hits = ColumnCache::hit_bytes_of_this_thread();
        let more = hits - self.counted_hits.replace(hits);
        self.shared.cached_bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// Fails once the job is over: the caller is gone, or it took what it may. To be asked before each step that takes
    /// long, and before what a step made is shown to other threads.
    pub(crate) fn check(&self) -> Result<()> {
        if self.shared.is_cancelled() || self.stopped.is_stopped() || is_over() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Waits until there is memory of `bytes`, which this thread then holds in place of what it held before. Other
    /// jobs may go first.
    ///
    /// Errors: more than any job may hold; the caller is gone.
    pub(crate) fn hold_bytes(&self, bytes: u64) -> Result<()> {
        self.turn.borrow_mut().renew(bytes)?;
        self.check()
    }

    /// Like [`Self::hold_bytes`], with bytes that were read ahead, as far as they fit: a job that may run without them
    /// does.
    pub(crate) fn hold_with_read(&self, bytes: u64, read: u64) -> Result<()> {
        let all = bytes.saturating_add(read).min(self.shared.gate.max_bytes());
        self.hold_bytes(bytes.max(all))
    }

    /// Like [`Self::hold_bytes`], as far as there can be so many: then all other jobs wait.
    pub(crate) fn hold_large_bytes(&self, bytes: u64) -> Result<()> {
        self.hold_bytes(bytes.min(self.shared.gate.max_bytes()))
    }

    /// Gives back the memory that this thread held. What was in it must be gone.
    pub(crate) fn release_bytes(&self) {
        self.turn.borrow_mut().release_bytes();
    }

    /// Bytes of block data that this job has read.
    pub(crate) fn inspected_bytes(&self) -> u64 {
        self.shared.bytes_read.load(Ordering::Relaxed)
    }

    /// The answer depends on more than the block, which may be other the next time.
    pub(crate) fn depends_on_more(&self) {
        self.shared.depends.store(true, Ordering::Relaxed);
    }

    /// True if the answer is a function of the request and the block alone.
    pub(crate) fn depends_on_block_only(&self) -> bool {
        !self.shared.depends.load(Ordering::Relaxed)
    }

    /// What all threads of the job share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where to record what is done, if that is wanted.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.shared.recorder.as_ref()
    }

    /// What was done on a block, if that is wanted.
    pub(crate) fn explanations(&self, meta: &BlockMeta) -> Vec<JobExplanation> {
        let explain = |recorder: &Recorder| {
            self.count_hits();
            let cached_bytes = self.shared.cached_bytes.load(Ordering::Relaxed);
            let source = meta.block_id.to_string();
            let mut explanation =
                recorder.explanation(source, self.inspected_bytes(), cached_bytes);
            explanation.shared_cache_bytes = self.shared.shared_cache_bytes.load(Ordering::Relaxed);
            explanation
        };
        self.recorder().map(explain).into_iter().collect()
    }

    /// Records that a part was not read.
    pub(crate) fn pruned(&self, reason: impl FnOnce() -> String) {
        if let Some(recorder) = self.recorder() {
            recorder.pruned(reason());
        }
    }

    /// Runs a step, and adds its time to the explanation.
    pub(crate) fn timed<T>(&self, phase: Phase, step: impl FnOnce() -> T) -> T {
        match self.recorder() {
            None => step(),
            Some(recorder) => recorder.timed(phase, step),
        }
    }
}

impl Shared {
    /// True once the caller is gone, or the process ends.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_stopped() || self.threads.ending.is_stopped()
    }

    /// True once a thread of the job had to wait for storage.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited.load(Ordering::Relaxed)
    }

    /// Runs what may wait for other threads or for storage, and lends the place of this thread meanwhile.
    pub(crate) fn pause<T>(&self, wait: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                PAUSED.set(false);
            }
        }
        if PAUSED.replace(true) {
            return wait();
        }
        self.gate.pause(|| {
            let _reset = Reset;
            wait()
        })
    }
}

/// True if the job of this thread is not to use what is in shared caches.
pub(crate) fn bypasses_caches() -> bool {
    CURRENT.with_borrow(|job| job.as_ref().is_some_and(|job| job.bypasses_caches))
}

/// Counts bytes that a read of this thread's job found in a shared cache.
pub(crate) fn shared_cache_bytes(bytes: u64) {
    CURRENT.with_borrow(|job| {
        if let Some(job) = job {
            job.shared_cache_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    });
}

/// Runs what may wait for other threads, with the place of this thread's job lent to others.
pub(crate) fn pause_job<T>(wait: impl FnOnce() -> T) -> T {
    match CURRENT.with_borrow(Clone::clone) {
        Some(job) => job.pause(wait),
        None => wait(),
    }
}

/// Reads on behalf of the job of this thread, whichever that is: counts the bytes, and stops if nobody wants them.
pub(crate) fn read_for_job<T>(
    waits: bool,
    read: impl FnOnce() -> tactus_block::Result<T>,
    bytes: impl FnOnce(&T) -> usize,
) -> tactus_block::Result<T> {
    let Some(job) = CURRENT.with_borrow(Clone::clone) else { return read() };
    if job.is_cancelled() {
        return Err(tactus_block::Error::Io(std::io::Error::other(Error::Cancelled)));
    }
    let result = if waits {
        job.waited.store(true, Ordering::Relaxed);
        job.pause(read)
    } else {
        read()
    };
    if let Ok(read) = &result {
        job.bytes_read.fetch_add(bytes(read) as u64, Ordering::Relaxed);
    }
    result
}

#[cfg(test)]
mod tests;
