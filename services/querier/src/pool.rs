//! Runs jobs on threads that may block, a bounded number at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::source::bytes_read_by_this_thread;

/// The threads of a querier.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
}

/// What a running job knows of its surroundings.
#[derive(Debug)]
pub(crate) struct Job {
    /// For I/O: jobs may block on it.
    pub(crate) runtime: Handle,
    cancelled: Arc<AtomicBool>,
    bytes_before: u64,
}

/// Cancels the job when the future that waits for it is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(max_concurrent_jobs: usize) -> Self {
        let slots = max_concurrent_jobs.clamp(1, Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(slots)) }
    }

    /// Runs a job once there is a free thread. Dropping the future cancels it, and so does the timeout, which
    /// starts when the job does.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        job: impl FnOnce(&Job) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Error::Cancelled)?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let _cancel = CancelOnDrop(Arc::clone(&cancelled));
        let runtime = Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            // The slot is taken until the thread is free, not until the caller lost interest.
            let _slot = slot;
            let bytes_before = bytes_read_by_this_thread();
            job(&Job { runtime, cancelled, bytes_before })
        });
        match tokio::time::timeout(timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Error::Internal(error.to_string())),
            Err(_) => Err(Error::TimedOut),
        }
    }
}

impl Job {
    /// Fails once the caller is gone. To be asked before each row group.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Bytes of block data that this job has read.
    pub(crate) fn inspected_bytes(&self) -> u64 {
        bytes_read_by_this_thread() - self.bytes_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn dropped_job_is_cancelled() {
        let pool = Pool::new(1);
        let (started_sender, started) = tokio::sync::oneshot::channel();
        let (seen_sender, seen) = tokio::sync::oneshot::channel();
        let mut running = Box::pin(pool.run(LONG, move |job| {
            let _ = started_sender.send(());
            while job.check().is_ok() {
                std::thread::yield_now();
            }
            let _ = seen_sender.send(());
            Ok(())
        }));
        tokio::select! {
            _ = &mut running => panic!("the job cannot end by itself"),
            _ = started => {}
        }
        drop(running);
        seen.await.unwrap();
        // The thread is free again.
        assert_eq!(pool.run(LONG, |_| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn slow_job_times_out_and_a_panic_is_an_error() {
        let pool = Pool::new(2);
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let slow = pool.run(Duration::from_millis(1), move |_| {
            let _ = receiver.recv();
            Ok(())
        });
        assert!(matches!(slow.await, Err(Error::TimedOut)));
        drop(sender);
        let failing = pool.run(LONG, |_| -> Result<()> { panic!("on purpose") });
        assert!(matches!(failing.await, Err(Error::Internal(_))));
    }
}
