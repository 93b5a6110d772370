//! One forwarder: its queue, and what sends its requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tactus_drop_rules::{SpanFilter, without};
use tactus_model::TenantId;
use tactus_telemetry::log_limited;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::client::Client;
use crate::{
    metrics::QueueMetrics,
    queue::{Queue, QueueSettings},
};

/// Requests take space in a queue in units of this many bytes, so that the number of small requests is bounded, too.
const UNIT_BYTES: usize = 4096;

/// How a forwarder is set up.
#[derive(Debug)]
pub(super) struct ForwarderSettings {
    pub(super) name: String,
    /// Bytes of requests that wait or are on their way.
    pub(super) max_bytes: u64,
    /// Requests sent at a time.
    pub(super) workers: usize,
    /// Spans that match any are left out.
    pub(super) leaves_out: Vec<SpanFilter>,
}

/// A forwarder.
pub(super) struct Forwarder {
    queue: Queue<Job>,
    room: Arc<Semaphore>,
    sender: Arc<Sender>,
    /// Those that send. It is closed when no more requests are taken.
    pub(super) tasks: TaskTracker,
}

struct Job {
    tenant: TenantId,
    request: Bytes,
    has_bad_ids: bool,
    room: OwnedSemaphorePermit,
}

impl Forwarder {
    pub(super) fn new(settings: ForwarderSettings, client: Client, metrics: QueueMetrics) -> Self {
        let units = (settings.max_bytes / UNIT_BYTES as u64).clamp(1, u64::from(u32::MAX >> 3));
        // Whatever has room may wait.
        let size = QueueSettings { requests: usize::MAX, workers: settings.workers };
        let (tasks, is_failing) = (TaskTracker::new(), AtomicBool::new(false));
        let sender = Arc::new(Sender { settings, client, metrics, is_failing });
        let this = Arc::clone(&sender);
        let queue = Queue::new(size, &tasks, move |job| Box::pin(Arc::clone(&this).send(job)));
        Self { queue, room: Arc::new(Semaphore::new(units as usize)), sender, tasks }
    }

    /// Queues a request, unless there is no room.
    pub(super) fn offer(&self, tenant: &TenantId, request: &Bytes, has_bad_ids: bool) {
        let (metrics, name) = (&self.sender.metrics, &self.sender.settings.name);
        metrics.offered(name, tenant.as_str());
        let units = u32::try_from(request.len() / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(units) {
            let length = metrics.length(name, tenant.as_str());
            let (tenant, request) = (tenant.clone(), request.clone());
            if self.queue.offer(Job { tenant, request, has_bad_ids, room }, &length) {
                return;
            }
        }
        metrics.refused(name, tenant.as_str());
    }
}

struct Sender {
    settings: ForwarderSettings,
    client: Client,
    metrics: QueueMetrics,
    /// True if the last request failed. Only the change is logged, not each failure. An endpoint that fails every other
    /// request is logged now and then.
    is_failing: AtomicBool,
}

impl Sender {
    async fn send(self: Arc<Self>, job: Job) {
        let Job { tenant, mut request, has_bad_ids, room } = job;
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
