//! What waits of one tenant, and the tasks that send it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_server::budget::Reservation;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{metrics::TenantMetrics, send::Sender};

/// How large a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueSettings {
    /// Requests that may wait.
    pub(super) requests: usize,
    /// Requests sent at a time.
    pub(super) workers: usize,
}

/// A request on its way.
pub(super) struct Job {
    pub(super) request: Bytes,
    /// The client asked for no series.
    pub(super) skip: bool,
    /// Its bytes.
    pub(super) held: Reservation,
}

/// The queue of a tenant. Its tasks send what waits when it is dropped, and end.
pub(super) struct Queue {
    settings: QueueSettings,
    jobs: mpsc::Sender<Job>,
    metrics: TenantMetrics,
    used: Mutex<Instant>,
}

impl Queue {
    pub(super) fn start(
        tenant: TenantId,
        settings: QueueSettings,
        sender: &Arc<Sender>,
        metrics: TenantMetrics,
        tasks: &TaskTracker,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(settings.requests);
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        for _ in 0..settings.workers {
            let (sender, waiting) = (Arc::clone(sender), Arc::clone(&waiting));
            let (tenant, metrics) = (tenant.clone(), metrics.clone());
            tasks.spawn(work(tenant, sender, waiting, metrics));
        }
        Self { settings, jobs, metrics, used: Mutex::new(Instant::now()) }
    }

    pub(super) fn settings(&self) -> QueueSettings {
        self.settings
    }

    /// Time since something was offered.
    pub(super) fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }

    /// False if the queue is full.
    pub(super) fn offer(&self, job: Job) -> bool {
        *self.used.lock() = Instant::now();
        self.metrics.length.inc();
        let is_queued = self.jobs.try_send(job).is_ok();
        if !is_queued {
            self.metrics.length.dec();
        }
        is_queued
    }
}

async fn work(
    tenant: TenantId,
    sender: Arc<Sender>,
    waiting: Arc<tokio::sync::Mutex<mpsc::Receiver<Job>>>,
    metrics: TenantMetrics,
) {
    loop {
        // The lock is held while waiting: the others have nothing else to do.
        let job = waiting.lock().await.recv().await;
        let Some(Job { request, skip, held }) = job else { return };
        metrics.length.dec();
        match sender.send(&tenant, request, skip).await {
            Ok(()) => metrics.sent.inc(),
            Err(_) => metrics.failed.inc(),
        }
        drop(held);
    }
}
