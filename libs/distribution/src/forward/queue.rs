//! The queue of one forwarder, and the task that sends it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tactus_drop_rules::{SpanFilter, without};
use tactus_model::TenantId;
use tactus_telemetry::{log_limited, metrics::Gauge};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::client::Client;
use crate::metrics::QueueMetrics;

/// Requests take space in a queue in units of this many bytes, so that the number of small requests is bounded, too.
const UNIT_BYTES: usize = 4096;

/// How a forwarder is set up.
#[derive(Debug)]
pub(super) struct QueueSettings {
    pub(super) name: String,
    /// Bytes of requests that wait or are on their way.
    pub(super) max_bytes: u64,
    /// Requests sent at a time.
    pub(super) workers: usize,
    /// Spans that match any are left out.
    pub(super) leaves_out: Vec<SpanFilter>,
}

/// The queue of one forwarder.
pub(super) struct Queue {
    name: String,
    room: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    metrics: QueueMetrics,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Job {
    tenant: TenantId,
    request: Bytes,
    has_bad_ids: bool,
    waiting: Waiting,
    room: OwnedSemaphorePermit,
}

/// Counts a request for as long as it waits.
struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Queue {
    /// Starts the task. After `stop` it ends when the queue is empty.
    pub(super) fn start(
        settings: QueueSettings,
        client: Client,
        metrics: QueueMetrics,
        stop: CancellationToken,
    ) -> Self {
        let units = (settings.max_bytes / UNIT_BYTES as u64).clamp(1, u64::from(u32::MAX >> 3));
        // Each job takes at least one unit, so a job that fits into the queue also fits into this channel.
        let (sender, jobs) = mpsc::channel(units as usize);
        let (name, metrics_of_task) = (settings.name.clone(), metrics.clone());
        let is_failing = AtomicBool::new(false);
        let sender_task =
            Arc::new(Sender { settings, client, metrics: metrics_of_task, is_failing });
        let task = tokio::spawn(sender_task.run(jobs, stop));
        Self {
            name,
            room: Arc::new(Semaphore::new(units as usize)),
            jobs: sender,
            metrics,
            task: Mutex::new(Some(task)),
        }
    }

    /// Queues a request, unless there is no room.
    pub(super) fn offer(&self, tenant: &TenantId, request: &Bytes, has_bad_ids: bool) {
        self.metrics.offered(&self.name, tenant.as_str());
        let units = u32::try_from(request.len() / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(units) {
            let length = self.metrics.length(&self.name, tenant.as_str());
            length.inc();
            let waiting = Waiting(length);
            let (tenant, request) = (tenant.clone(), request.clone());
            if self.jobs.try_send(Job { tenant, request, has_bad_ids, waiting, room }).is_ok() {
                return;
            }
        }
        self.metrics.refused(&self.name, tenant.as_str());
    }

    /// Waits for the task to end. At the deadline it ends the task, and returns false.
    pub(super) async fn ended_by(&self, deadline: Instant) -> bool {
        let Some(task) = self.task.lock().take() else { return true };
        let abort = task.abort_handle();
        let ended = tokio::time::timeout_at(deadline, task).await.is_ok();
        if !ended {
            abort.abort();
        }
        ended
    }
}

struct Sender {
    settings: QueueSettings,
    client: Client,
    metrics: QueueMetrics,
    /// True if the last request failed. Only the change is logged, not each failure. An endpoint that fails every other
    /// request is logged now and then.
    is_failing: AtomicBool,
}

impl Sender {
    async fn run(self: Arc<Self>, mut jobs: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut sending = JoinSet::new();
        loop {
            let has_worker = sending.len() < self.settings.workers;
            tokio::select! {
                () = stop.cancelled(), if !jobs.is_closed() => jobs.close(),
                Some(_) = sending.join_next() => {}
                job = jobs.recv(), if has_worker => match job {
                    Some(job) => {
                        sending.spawn(Arc::clone(&self).send(job));
                    }
                    None => break,
                },
            }
        }
        while sending.join_next().await.is_some() {}
    }

    async fn send(self: Arc<Self>, job: Job) {
        let Job { tenant, mut request, has_bad_ids, waiting, room } = job;
        drop(waiting);
        if has_bad_ids || !self.settings.leaves_out.is_empty() {
            let this = Arc::clone(&self);
            let left = move || without(&request, &this.settings.leaves_out);
            request = match tokio::task::spawn_blocking(left).await {
                Ok(Ok((request, spans))) if spans > 0 => request,
                // It was stored, so that it can be read.
                _ => return,
            };
        }
        let sent = self.metrics.sent.with([tenant.as_str()]);
        let failed = self.metrics.failed.with([tenant.as_str()]);
        let forwarder = &self.settings.name;
        match self.client.export(tenant.as_str(), &request).await {
            Ok(()) => {
                sent.inc();
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    log_limited!(info, forwarder, "forwarding works again");
                }
            }
            Err(status) => {
                failed.inc();
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let (code, error) = (status.code(), status.message());
                    log_limited!(warn, forwarder, ?code, error, "spans are not forwarded");
                }
            }
        }
        drop(room);
    }
}
