//! Threads for processors: bounded, and not those that serve connections.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::Semaphore;

/// What takes a millisecond at most is done where it is: to wake another thread, and be woken by it, costs a tenth of that.
const IN_PLACE_BYTES: u64 = 256 * 1024;

/// Runs work that takes processor time, so much of it at once.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
}

/// The work panicked; a defect of ours.
#[derive(Debug, thiserror::Error)]
#[error("a task of the metrics generator ended early")]
pub struct Panicked;

impl Pool {
    /// Runs at most `threads` at a time; at least one.
    pub(crate) fn new(threads: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// Waits for a place, and runs `work` there to its end, also if nobody waits for it any more.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Panicked)?;
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        task.await.map_err(|_| Panicked)
    }

    /// Runs work in proportion to so many bytes of a push: a few at once and in place, more as [`Self::run`] does.
    pub(crate) async fn run_sized<R: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Panicked> {
        if bytes > IN_PLACE_BYTES {
            return self.run(work).await;
        }
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn no_more_runs_at_once_than_there_are_places() {
        let (pool, now, most) =
            (Pool::new(2), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let runs = (0..8).map(|_| {
            let (pool, now, most) = (pool.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                pool.run(work).await.unwrap();
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn panic_is_an_error_and_gives_its_place_back() {
        let pool = Pool::new(1);
        for bytes in [1, 1 << 30] {
            let result =
                pool.run_sized(bytes, || assert!(std::hint::black_box(false), "on purpose"));
            assert!(result.await.is_err());
        }
        let result = pool.run(|| assert!(std::hint::black_box(false), "on purpose")).await;
        assert!(result.is_err());
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
