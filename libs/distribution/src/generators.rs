//! Sends spans to the metrics generators: queued after they are stored, then divided by trace.
//!
//! ```text
//! request stored -> queue of the tenant, bounded in requests; all queues together in bytes -> ring of generators -> each its part
//! ```
//!
//! Best effort, like Tempo: what finds its queue full, or what a generator refuses, is counted and dropped. A push
//! never waits for this. Tenants without processors have no queue.

mod queue;
mod send;

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tactus_config::sections::overrides::GeneratorForwarder;
use tactus_model::TenantId;
use tactus_overrides::LimitsOf;
use tactus_ring::Ring;
use tactus_rpc::GeneratorOf;
use tactus_telemetry::metrics::{CounterVec, Gauge, Registry};
use tactus_work::memory::{Budget, Reservation};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{metrics::QueueMetrics, push::CheckedExport};
use queue::{Queue, QueueSettings};
use send::Sender;

/// How long queued requests may take to send when the process stops.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How often the settings of queues are read again, and idle queues dropped.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A queue that was empty for this long is dropped.
const IDLE: Duration = Duration::from_secs(600);
/// Tenants that have a queue.
const MAX_QUEUES: usize = 10_000;
/// Length of the queue, and number of workers, if the tenant's limits say 0.
const QUEUE_SIZE: usize = 100;
const WORKERS: usize = 2;
/// Most workers of a tenant, whatever its limits are.
const MAX_WORKERS: usize = 256;

/// The parts of [`Generators`].
pub struct GeneratorParts {
    /// The ring of generators.
    pub ring: Arc<Ring>,
    /// The connections to the generators.
    pub generator_of: GeneratorOf,
    /// Limits of tenants: processors, the size of the shard, the queue.
    pub limits_of: LimitsOf,
    /// The time a push to a generator may take.
    pub remote_timeout: Duration,
    /// Bytes of requests that wait or are being sent, of all tenants together.
    pub max_bytes: u64,
}

/// Sends spans to the metrics generators. Clones share the queues.
#[derive(Clone)]
pub struct Generators(Arc<Inner>);

struct Inner {
    limits_of: LimitsOf,
    queues: Mutex<HashMap<TenantId, Known>>,
    budget: Arc<Budget>,
    sender: Arc<Sender>,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The queue of a tenant.
struct Known {
    queue: Queue,
    /// Requests that wait.
    length: Gauge,
    /// When its settings were read.
    looked: Instant,
    /// When something was offered.
    used: Instant,
}

/// A request on its way.
struct Job {
    export: CheckedExport,
    /// The client asked for no series.
    skip: bool,
    /// Its bytes.
    held: Reservation,
}

impl fmt::Debug for Generators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generators").field("queues", &self.0.queues.lock().len()).finish()
    }
}

impl Generators {
    /// Starts without queues.
    pub fn new(parts: GeneratorParts, registry: &Registry) -> Self {
        let metrics = Metrics::register(registry);
        let sender = Sender::new(&parts, metrics.clone());
        Self(Arc::new(Inner {
            limits_of: parts.limits_of,
            queues: Mutex::default(),
            budget: Budget::new(parts.max_bytes),
            sender: Arc::new(sender),
            metrics,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Drops queues of idle tenants, until [`Self::stop`].
    pub async fn sweep(self) {
        loop {
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            self.0.queues.lock().retain(|tenant, known| {
                let stays = known.used.elapsed() < IDLE;
                if !stays {
                    self.0.metrics.forget_tenant(tenant);
                }
                stays
            });
        }
    }

    /// Queues a stored request if its tenant has processors. `counts`: false if the client asked not to be counted.
    pub(crate) fn offer(&self, tenant: &TenantId, export: CheckedExport, counts: bool) {
        let limits = (self.0.limits_of)(tenant);
        // Ingesters answer the queries for which Tempo needs the local-blocks processor.
        if limits.metrics_generator.processors.iter().all(|name| name == "local-blocks") {
            return;
        }
        self.0.metrics.offered(tenant);
        // Slices of the request keep the whole request in memory.
        let Some(held) = self.0.budget.reserve(export.request().len() as u64) else {
            return self.0.metrics.refused(tenant);
        };
        let job = Job { export, skip: !counts, held };
        if !self.0.queue(tenant, &limits.metrics_generator.forwarder, job) {
            self.0.metrics.refused(tenant);
        }
    }

    /// Takes no more requests. Returns when the waiting ones are sent, or took too long.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.queues.lock().clear();
        if tokio::time::timeout(STOP_GRACE, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("not all spans that waited could be sent to metrics generators");
        }
    }
}

impl Inner {
    /// Queues a request of a tenant, whose queue is created or replaced if needed. False if it is full, or if there can
    /// be none.
    fn queue(&self, tenant: &TenantId, forwarder: &GeneratorForwarder, job: Job) -> bool {
        let mut queues = self.queues.lock();
        if self.stop.is_cancelled() {
            return false;
        }
        let now = Instant::now();
        let is_full = queues.len() >= MAX_QUEUES;
        let start = || {
            let (sender, tenant) = (Arc::clone(&self.sender), tenant.clone());
            Queue::new(settings(forwarder), &self.tasks, move |job| {
                Box::pin(Arc::clone(&sender).send(tenant.clone(), job))
            })
        };
        let known = match queues.get_mut(tenant) {
            Some(known) => {
                if now.duration_since(known.looked) >= LOOK_AGAIN {
                    known.looked = now;
                    if known.queue.settings() != settings(forwarder) {
                        // The workers of the old queue send what is left in it, and end.
                        known.queue = start();
                    }
                }
                known
            }
            None if is_full => return false,
            None => {
                let length = self.metrics.queues.length(QUEUE, tenant.as_str());
                let known = Known { queue: start(), length, looked: now, used: now };
                queues.entry(tenant.clone()).or_insert(known)
            }
        };
        known.used = now;
        known.queue.offer(job, &known.length)
    }
}

fn settings(forwarder: &GeneratorForwarder) -> QueueSettings {
    let or = |configured: i64, built_in| match usize::try_from(configured) {
        Ok(0) | Err(_) => built_in,
        Ok(number) => number,
    };
    QueueSettings {
        requests: or(forwarder.queue_size, QUEUE_SIZE).min(tokio::sync::Semaphore::MAX_PERMITS),
        workers: or(forwarder.workers, WORKERS).min(MAX_WORKERS),
    }
}

/// The value of the label `name` of queues.
const QUEUE: &str = "metrics-generator";

tactus_telemetry::metrics! {
    #[derive(Clone)]
    struct Metrics {
        queues: QueueMetrics;
        pushes: CounterVec<1> = "tempo_distributor_metrics_generator_pushes_total",
            "Pushes to each metrics generator.", ["metrics_generator"];
        push_failures: CounterVec<1> = "tempo_distributor_metrics_generator_pushes_failures_total",
            "Pushes to each metrics generator that failed.", ["metrics_generator"];
        /// Generators known.
        clients: Gauge = "tempo_distributor_metrics_generator_clients", "Metrics generators that spans are sent to.";
    }
}

impl Metrics {
    fn offered(&self, tenant: &TenantId) {
        self.queues.offered(QUEUE, tenant.as_str());
    }

    fn refused(&self, tenant: &TenantId) {
        self.queues.refused(QUEUE, tenant.as_str());
    }

    /// Gauges of a tenant without a queue.
    fn forget_tenant(&self, tenant: &TenantId) {
        self.queues.forget_length(QUEUE, tenant.as_str());
    }

    /// Counts a push to a generator.
    fn pushed(&self, address: &str, is_ok: bool) {
        self.pushes.with([address]).inc();
        // Starts the counter at 0, so that a rate includes the first failure.
        self.push_failures.with([address]).inc_by(u64::from(!is_ok));
    }

    /// Drops the series of generators that left.
    fn keep_generators(&self, keep: impl Fn(&str) -> bool) {
        self.pushes.retain(|[address]| keep(address));
        self.push_failures.retain(|[address]| keep(address));
    }
}

#[cfg(test)]
mod tests;
