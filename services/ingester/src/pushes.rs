//! Pushes on threads that may wait for the disk.
//!
//! A push converts its spans and writes them to the log, and a disk may take as long as it likes for that. The threads
//! that serve connections do not wait for it: so many threads do as pushes may be at it at a time, and whoever pushes
//! waits for a bounded time. Once a disk hangs, pushes are refused until it answers.

use std::{sync::Arc, time::Duration};

use tactus_model::TenantId;
use tactus_proto::tactus::v1::PushRequest;
use tokio::{sync::Semaphore, time::timeout};

use crate::{disk::DiskHangs, error::PushError, head::Appended, ingester::Ingester};

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
}

impl Ingester {
    /// Stores a push as [`Self::push`] does, within `disk_timeout`, on a thread of its own.
    ///
    /// After [`PushError::TimedOut`] its spans may be stored nevertheless.
    pub(crate) async fn store(
        &self,
        push: PushRequest,
        tenant: TenantId,
    ) -> Result<Appended, PushError> {
        let result = self.store_in_time(push, tenant).await;
        if let Err(error @ (PushError::DiskHangs(_) | PushError::TimedOut(_))) = &result {
            // All others were counted where they were refused.
            self.metrics.refused_pushes.with([error.reason()]).inc();
        }
        result
    }

    async fn store_in_time(
        &self,
        push: PushRequest,
        tenant: TenantId,
    ) -> Result<Appended, PushError> {
        self.disk_answers().map_err(PushError::DiskHangs)?;
        let Some(ingester) = self.weak().upgrade() else {
            return Err(PushError::NotRunning("shutting down"));
        };
        let limit = self.pushes.timeout;
        let enter = timeout(limit, Arc::clone(&self.pushes.threads).acquire_owned()).await;
        // It is never closed.
        let Ok(Ok(permit)) = enter else { return Err(PushError::DiskHangs(self.disk_hangs())) };
        let task = tokio::task::spawn_blocking(move || {
            // Taken until the thread is free, not until nobody waits for the push.
            let _permit = permit;
            ingester.push(&push, &tenant)
        });
        match timeout(limit, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PushError::Failed),
            Err(_) => Err(PushError::TimedOut(self.disk_hangs())),
        }
    }

    /// Errors: the disk of the log hangs. Never waits for it.
    pub(crate) fn disk_answers(&self) -> Result<(), DiskHangs> {
        match self.wal.longest_wait() {
            Some(wait) if wait.age >= self.pushes.timeout => Err(self.disk_hangs()),
            _ => Ok(()),
        }
    }

    fn disk_hangs(&self) -> DiskHangs {
        let timeout = self.pushes.timeout;
        let wait = self.wal.longest_wait().filter(|wait| wait.age >= timeout / 2);
        DiskHangs { directory: self.disk.directory().to_owned(), wait, timeout }
    }
}
