//! Work that would block the async runtime: files of a local store, and long calculations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{Error, Result, Source};

/// Pieces of work on files at a time. Where the disk hangs, each keeps a thread until it answers, and pushes need threads of the
/// same pool.
const MOST_AT_A_TIME: usize = 64;

/// Writes do not wait for reads, whose clients may have left.
static READS: Places = Places::new();
static WRITES: Places = Places::new();

/// A disk that does nothing of what was asked for this long hangs.
const DISK_HANGS_AFTER: Duration = Duration::from_secs(10);

struct Places {
    free: Semaphore,
    given_back: AtomicU64,
}

impl Places {
    const fn new() -> Self {
        Self { free: Semaphore::const_new(MOST_AT_A_TIME), given_back: AtomicU64::new(0) }
    }

    /// Runs file work on a thread of its own once a place is free. Errors: those of the work; the disk hangs.
    async fn run<T: Send + 'static>(
        &'static self,
        key: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut free = std::pin::pin!(self.free.acquire());
        let place = loop {
            let before = self.given_back.load(Relaxed);
            match timeout(DISK_HANGS_AFTER, &mut free).await {
                Err(_) if before == self.given_back.load(Relaxed) => {
                    let source = "the disk does not answer what was asked before".into();
                    return Err(Error::Unavailable { key: key.into(), source });
                }
                Err(_) => {}
                // The semaphore is never closed.
                Ok(place) => break place,
            }
        };
        off_runtime(key, move || {
            // Kept until the thread is free, even if nobody waits for it any more.
            let _place = place;
            let done = work();
            self.given_back.fetch_add(1, Relaxed);
            done
        })
        .await
    }
}

/// Reads files off the async runtime. Errors: those of the work; the disk hangs.
pub(crate) async fn blocking<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    READS.run(key, work).await
}

/// As [`blocking`], for work that changes files.
pub(crate) async fn blocking_write<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    WRITES.run(key, work).await
}

/// Runs work that takes long off the async runtime.
pub(crate) async fn off_runtime<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let unavailable = |source: Source| Error::Unavailable { key: key.into(), source };
    tokio::task::spawn_blocking(work).await.map_err(|error| unavailable(error.into()))?
}
