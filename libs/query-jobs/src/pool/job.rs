//! A job on its threads: how long it may run, what memory it holds, what it reads, and when it lends its thread's turn.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tactus_block::read::ColumnCache;
use tactus_proto::tactus::v1::JobExplanation;
use tactus_storage::BlockMeta;
use tactus_work::{Gate, Line, Stop, Turn, Work, is_over};
use tokio::runtime::Handle;

use super::{JobOptions, Pool, Threads};
use crate::error::{Error, Result};
use crate::explain::{Phase, Recorder};

thread_local! {
    /// The job of this thread, for the byte sources: open blocks are shared between jobs.
    static CURRENT: RefCell<Option<Arc<SharedJob>>> = const { RefCell::new(None) };
    /// The thread has lent its place.
    static PAUSED: Cell<bool> = const { Cell::new(false) };
}

/// One thread's view of a running job.
#[derive(Debug)]
pub(crate) struct Job {
    shared: Arc<SharedJob>,
    turn: RefCell<Turn>,
    /// Bytes that this thread found in caches and that are counted already.
    counted_hits: Cell<u64>,
    /// Stops the part that this thread runs.
    stopped: Stop,
}

/// The state that all threads of a job share.
#[derive(Debug)]
pub(crate) struct SharedJob {
    /// For I/O: jobs may block on it.
    pub(crate) runtime: Handle,
    pub(crate) gate: Arc<Gate>,
    pub(crate) line: Line,
    work: Work,
    pub(crate) threads: Threads,
    pub(super) cancelled: Stop,
    bytes_read: AtomicU64,
    cached_bytes: AtomicU64,
    shared_cache_bytes: AtomicU64,
    bypasses_caches: bool,
    /// The answer lacks what another block would tell, so it must not be cached.
    lacks_a_block: AtomicBool,
    waited: AtomicBool,
    recorder: Option<Recorder>,
}

impl Job {
    /// A job on the thread that calls this. `stopped` is true once the thread shall not go on.
    pub(crate) fn new(shared: Arc<SharedJob>, turn: Turn, stopped: Stop) -> Self {
        let counted_hits = Cell::new(ColumnCache::hit_bytes_of_this_thread());
        Self { shared, turn: RefCell::new(turn), counted_hits, stopped }
    }

    /// The turn, when the job has ended.
    pub(crate) fn into_turn(self) -> Turn {
        self.turn.into_inner()
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

    /// Fails once the job is over, because the caller has gone or the job used up a limit. Call it before each long
    /// step, and before other threads see the result of a step.
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

    /// As [`Self::hold_bytes`], plus `read` bytes that were read ahead, as far as they fit. If the job can run without
    /// these, it does.
    pub(crate) fn hold_with_read(&self, bytes: u64, read: u64) -> Result<()> {
        let all = bytes.saturating_add(read).min(self.shared.gate.max_bytes());
        self.hold_bytes(bytes.max(all))
    }

    /// Like [`Self::hold_bytes`], as far as there can be this many: then all other jobs wait.
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

    /// Another block that the answer depends on could not be read.
    pub(crate) fn lacks_a_block(&self) {
        self.shared.lacks_a_block.store(true, Ordering::Relaxed);
    }

    /// True if all blocks could be read. Otherwise the answer may be another one next time.
    pub(crate) fn has_all_blocks(&self) -> bool {
        !self.shared.lacks_a_block.load(Ordering::Relaxed)
    }

    /// What all threads of the job share.
    pub(crate) fn shared(&self) -> &Arc<SharedJob> {
        &self.shared
    }

    /// Waits for a result that several jobs have use of: one of them makes it. If that one is cancelled, another one does.
    pub(crate) fn wait_for_shared<T>(&self, mut make: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            self.check()?;
            match self.shared.pause(&mut make) {
                Err(Error::Cancelled) => {}
                result => return result,
            }
        }
    }

    /// Records what is done, if that is wanted.
    pub(crate) fn record(&self, note: impl FnOnce(&Recorder)) {
        if let Some(recorder) = &self.shared.recorder {
            note(recorder);
        }
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
        self.shared.recorder.as_ref().map(explain).into_iter().collect()
    }

    /// Records that a part was not read.
    pub(crate) fn pruned(&self, reason: impl FnOnce() -> String) {
        self.record(|recorder| recorder.pruned(reason()));
    }

    /// Runs a step, and adds its time to the explanation.
    pub(crate) fn timed<T>(&self, phase: Phase, step: impl FnOnce() -> T) -> T {
        match &self.shared.recorder {
            None => step(),
            Some(recorder) => recorder.timed(phase, step),
        }
    }
}

impl SharedJob {
    /// Of a job that begins, on the runtime of the caller.
    pub(super) fn new(pool: &Pool, options: &JobOptions, work: Work, cancelled: Stop) -> Self {
        Self {
            runtime: Handle::current(),
            gate: Arc::clone(&pool.gate),
            line: options.line,
            work,
            threads: pool.threads.clone(),
            cancelled,
            bytes_read: AtomicU64::new(0),
            cached_bytes: AtomicU64::new(0),
            shared_cache_bytes: AtomicU64::new(0),
            bypasses_caches: options.bypasses_caches,
            lacks_a_block: AtomicBool::new(false),
            waited: AtomicBool::new(false),
            recorder: options.explain.then(Recorder::default),
        }
    }

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

/// True if this thread has lent its place, and has none to give.
pub(super) fn is_paused() -> bool {
    PAUSED.get()
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
