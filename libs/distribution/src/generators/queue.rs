//! The queue of a tenant for the metrics generators, and the tasks that send it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_model::TenantId;
use tactus_work::memory::Reservation;
use tokio_util::task::TaskTracker;

use super::{TenantMetrics, send::Sender};
use crate::push::CheckedExport;

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
    pub(super) export: CheckedExport,
    /// The client asked for no series.
    pub(super) skip: bool,
    /// Its bytes.
    pub(super) held: Reservation,
}

/// The queue of a tenant. Its tasks live as long as there is something to send, even after the queue was dropped.
pub(super) struct Queue {
    settings: QueueSettings,
    line: Arc<Line>,
    used: Mutex<Instant>,
}

/// What the queue and its tasks share.
struct Line {
    tenant: TenantId,
    sender: Arc<Sender>,
    metrics: TenantMetrics,
    tasks: TaskTracker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Tasks that send.
    working: usize,
}

impl Queue {
    pub(super) fn start(
        tenant: TenantId,
        settings: QueueSettings,
        sender: &Arc<Sender>,
        metrics: TenantMetrics,
        tasks: &TaskTracker,
    ) -> Self {
        let (sender, tasks) = (Arc::clone(sender), tasks.clone());
        let line = Line { tenant, sender, metrics, tasks, state: Mutex::default() };
        Self { settings, line: Arc::new(line), used: Mutex::new(Instant::now()) }
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
        let mut state = self.line.state.lock();
        if state.working < self.settings.workers {
            state.working += 1;
            self.line.tasks.spawn(work(Arc::clone(&self.line), job));
            return true;
        }
        let has_room = state.waiting.len() < self.settings.requests;
        if has_room {
            state.waiting.push_back(job);
            self.line.metrics.length.inc();
        }
        has_room
    }
}

/// Sends a request, then those that wait. Counts in [`State::working`] until none is left.
async fn work(line: Arc<Line>, first: Job) {
    let mut next = Some(first);
    while let Some(Job { export, skip, held }) = next {
        match line.sender.send(&line.tenant, export, skip).await {
            Ok(()) => line.metrics.sent.inc(),
            Err(_) => line.metrics.failed.inc(),
        }
        drop(held);
        // Looking for a job and ending the task happen under one lock, so a request that is queued later starts a task
        // of its own.
        let mut state = line.state.lock();
        next = state.waiting.pop_front();
        match next {
            Some(_) => line.metrics.length.dec(),
            None => state.working -= 1,
        }
    }
}
