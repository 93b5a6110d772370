//! Pushes on threads that may wait for the disk.
//!
//! A push converts its spans and writes them to the log, and a disk may take as long as it likes for that. The threads
//! that serve connections do not wait for it: so many threads do as pushes may be at it at a time, and whoever pushes
//! waits for a bounded time. Once a disk hangs, pushes are refused until it answers.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use crate::{disk::DiskHangs, error::PushError, head::Appended};

/// Room for pushes.
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

    /// Longest time that a push waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs a push on a thread of its own. `hangs`: what there is to say of the disk if that takes too long.
    ///
    /// After [`PushError::TimedOut`] it may be done nevertheless.
    pub(crate) async fn run(
        &self,
        push: impl FnOnce() -> Result<Appended, PushError> + Send + 'static,
        hangs: impl Fn() -> DiskHangs,
    ) -> Result<Appended, PushError> {
        let enter = timeout(self.timeout, Arc::clone(&self.threads).acquire_owned()).await;
        // It is never closed.
        let Ok(Ok(permit)) = enter else { return Err(PushError::DiskHangs(hangs())) };
        let task = tokio::task::spawn_blocking(move || {
            // Taken until the thread is free, not until nobody waits for the push.
            let _permit = permit;
            push()
        });
        match timeout(self.timeout, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PushError::Failed),
            Err(_) => Err(PushError::TimedOut(hangs())),
        }
    }
}
