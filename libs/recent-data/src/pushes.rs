//! Runs pushes on threads that may wait for the disk.
//!
//! A push converts its spans and writes them to the log, which may take as long as the disk takes. Threads that serve
//! connections must not wait for that. So a limited number of pushes run on threads of their own, and callers wait for
//! a limited time. While the disk does not respond, pushes are refused.

use std::{sync::Arc, time::Duration};

use tactus_allocator::for_ingest;
use tokio::{sync::Semaphore, time::timeout};

use crate::{disk::DiskHangs, error::PushError, head::Appended};

/// The limit on pushes that run at the same time.
#[derive(Debug)]
pub(crate) struct Pushes {
    threads: Arc<Semaphore>,
    timeout: Duration,
}

impl Pushes {
    pub(crate) fn new(threads: usize, timeout: Duration) -> Self {
        let most = threads.clamp(1, Semaphore::MAX_PERMITS);
        Self { threads: Arc::new(Semaphore::new(most)), timeout }
    }

    /// Longest time that a push may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs a push on a thread of its own. `hangs` describes the state of the disk if that takes too long.
    ///
    /// After [`PushError::TimedOut`] the push may still succeed.
    pub(crate) async fn run(
        &self,
        push: impl FnOnce() -> Result<Appended, PushError> + Send + 'static,
        hangs: impl Fn() -> DiskHangs,
    ) -> Result<Appended, PushError> {
        let enter = timeout(self.timeout, Arc::clone(&self.threads).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(permit)) = enter else { return Err(PushError::DiskHangs(hangs())) };
        let task = tokio::task::spawn_blocking(move || {
            // The permit is kept until the thread is free, even if nobody waits for the push any more.
            let _permit = permit;
            for_ingest(push)
        });
        match timeout(self.timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PushError::Failed),
            Err(_) => Err(PushError::TimedOut(hangs())),
        }
    }
}
