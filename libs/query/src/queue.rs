//! The queue between queries and queriers.
//!
//! ```text
//! call of a service -> job -> FIFO of its query -> queries, tenants in turn -> worker with room -> answer
//! ```
//!
//! To queries the queue is the two services that they call. Behind it work queriers: the one in this process, and any
//! that opens a stream to it. A job fails only if it cannot succeed, or `max_attempts` workers failed at it; one whose
//! worker goes away is run by another. A job whose caller is gone leaves the queue, and is cancelled if it runs.
//!
//! Memory: a job waits in the queue instead of in its query, so there are as many as queries have in flight. New queries
//! are refused while too many jobs of their tenant wait.

mod kinds;
mod local;
mod metrics;
mod state;
mod stream;
mod turns;
mod weight;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tactus_config::sections::query_frontend::Weights;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::JobAnswer;
use tactus_proto::tactus::v1::frontend_server::FrontendServer;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_rpc::QueryContext;
use tactus_telemetry::metrics::Registry;
use tactus_telemetry::work_span;
use tactus_work::Line;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::codec::CompressionEncoding;

use kinds::Services;
use metrics::Metrics;
use state::{NewJob, Route, State};
pub use stream::WorkerStreams;
use turns::JobId;
use weight::Scales;

use crate::frontend::joined;

/// How long a job waits for the first querier to come.
const LONELY: Duration = Duration::from_secs(30);

/// Name of the worker in this process, which no querier of another can have.
const LOCAL: &str = "";

/// Settings of a queue.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Attempts of a failed job in total; 0 counts as 1 (`query_frontend.max_retries`).
    pub max_attempts: usize,
    /// Jobs of a tenant that may wait before its new queries get 429 (`query_frontend.max_outstanding_per_tenant`).
    pub max_outstanding_per_tenant: usize,
    /// Weights of jobs.
    pub weights: Weights,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_attempts: 2, max_outstanding_per_tenant: 2_000, weights: Weights::default() }
    }
}

/// A queue of jobs. Cheap to clone; clones are the same queue.
#[derive(Clone)]
pub struct JobQueue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    scales: Scales,
    metrics: Arc<Metrics>,
    max_outstanding_per_tenant: usize,
    /// No more work: streams end.
    closing: CancellationToken,
}

impl fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobQueue").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Changes the state, and starts what is to be started then.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, launches) = {
            let mut state = self.state.lock();
            (change(&mut state), state.take_launches())
        };
        launches.into_iter().for_each(|job| job.start(self));
        result
    }
}

tokio::task_local! {
    /// The query of this task.
    static QUERY: Query;
}

/// What holds for all jobs of a query.
#[derive(Clone, Copy)]
struct Query {
    /// When nobody waits for it any more.
    deadline: Option<Instant>,
    context: QueryContext,
    /// The same for all queries of the same tenants: see [`Line`].
    tenants: u64,
}

/// Runs a query of these tenants whose jobs need not be done after `time`, and may use so much of the processors of each
/// process; zero is no limit. It is not ended then.
pub(crate) async fn as_query<T>(
    tenants: &[TenantId],
    time: Duration,
    max_cpu_time: Duration,
    query: impl Future<Output = T>,
) -> T {
    // Different for each.
    let number = RandomState::new().build_hasher().finish().max(1);
    let context = QueryContext { query: number, deadline: None, max_cpu_time };
    let deadline = Instant::now().checked_add(time).filter(|_| !time.is_zero());
    let tenants = Line::of(&joined(tenants), &[]).tenant;
    QUERY.scope(Query { deadline, context, tenants }, query).await
}

/// Runs what is done of a query of these tenants besides, such as writing its answer.
pub(crate) async fn as_part_of_query<T>(tenants: &[TenantId], part: impl Future<Output = T>) -> T {
    as_query(tenants, Duration::ZERO, Duration::ZERO, part).await
}

/// Whose query this task is of, if that is known.
pub(crate) fn current_tenants() -> Option<u64> {
    QUERY.try_with(|query| query.tenants).ok()
}

/// The query of this task; nothing is known outside of one.
pub(crate) fn current_query() -> QueryContext {
    let query = QUERY.try_with(|query| *query).ok();
    query.map_or_else(QueryContext::default, |query| QueryContext {
        deadline: query.deadline.map(Instant::into_std),
        ..query.context
    })
}

impl JobQueue {
    /// A queue without workers.
    pub fn new(settings: QueueSettings, registry: &Registry) -> Self {
        let metrics = Arc::new(Metrics::new(registry));
        let weights = settings.weights;
        let retry_weight = u64::from(weights.request_with_weights && weights.retry_with_weights);
        let state = State::new(settings.max_attempts, retry_weight, Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            scales: Scales::new(weights),
            metrics,
            max_outstanding_per_tenant: settings.max_outstanding_per_tenant,
            closing: CancellationToken::new(),
        });
        metrics::show(registry, Arc::downgrade(&shared));
        Self { shared }
    }

    /// Has the services of this process run up to `slots` jobs at a time, without serialising them. They run on the
    /// runtime of the caller of each job.
    pub fn add_local_worker(
        &self,
        querier: Arc<dyn Querier>,
        ingester: Arc<dyn Ingester>,
        slots: usize,
    ) {
        let route = Route::Local(Services { querier, ingester });
        self.shared.change(|state| state.connect(LOCAL, slots.max(1), route));
    }

    /// The service for queriers of other processes. `max_message_bytes`: the largest message that this process takes;
    /// what a querier answers is limited to it.
    pub fn service(&self, max_message_bytes: usize) -> FrontendServer<WorkerStreams> {
        let queue = Arc::downgrade(&self.shared);
        FrontendServer::new(WorkerStreams { queue, max_message_bytes })
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
    }

    /// Jobs that all workers together run at a time.
    pub fn slots(&self) -> usize {
        self.shared.state.lock().slots()
    }

    /// Queriers there are.
    pub fn workers(&self) -> usize {
        self.shared.state.lock().workers()
    }

    /// Jobs that wait or run, of all tenants.
    pub fn outstanding(&self) -> usize {
        self.shared.state.lock().outstanding()
    }

    /// Ready once there is a worker. Errors: the text for `/ready`.
    pub fn check_ready(&self) -> Result<(), String> {
        match self.shared.state.lock().workers() {
            0 => Err("number of queriers connected to query-frontend is 0".to_owned()),
            _ => Ok(()),
        }
    }

    /// Waits until no job is left, `grace` at most, and ends the streams of all queriers. To be called when no more
    /// queries come.
    pub async fn stop(&self, grace: Duration) {
        let drained = async {
            while self.outstanding() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(grace, drained).await;
        self.shared.closing.cancel();
    }

    /// True if no further query of this tenant may start.
    pub(crate) fn refuses(&self, tenant: &str) -> bool {
        // The counter is there, as 0, before the first refusal.
        self.shared.metrics.discarded.with([tenant]);
        let waiting = self.shared.state.lock().turns().waiting_of(tenant);
        waiting >= self.shared.max_outstanding_per_tenant
    }

    /// Counts a query that was refused.
    pub(crate) fn count_refused(&self, tenant: &str) {
        self.shared.metrics.discarded.with([tenant]).inc();
    }

    /// Has a worker run a job. Dropping the future takes it out of the queue, or cancels it.
    ///
    /// Errors: those of the last worker that tried; [`tonic::Code::Unavailable`] if there is no worker for long.
    async fn run(&self, request: JobRequest) -> Result<JobAnswer, Status> {
        let shared = &self.shared;
        let (reply, mut answer) = oneshot::channel();
        let tenant = kinds::tenant(&request).into();
        let query = QUERY.try_with(|query| *query).ok();
        let deadline = query.and_then(|query| query.deadline);
        let context = query.map(|query| query.context).unwrap_or_default();
        let is_idle = shared.state.lock().is_idle();
        let weight = if is_idle { 1 } else { shared.scales.weigh(&request) };
        let span = work_span!(kinds::name(&request), tenant = kinds::tenant(&request));
        let new = NewJob { tenant, request, weight, deadline, context, reply, span: span.clone() };
        let mut ticket = Ticket { shared, job: shared.change(|state| state.add(new)), done: false };
        let result = loop {
            match tokio::time::timeout(LONELY, &mut answer).await {
                Ok(Ok(done)) => break done,
                Ok(Err(_)) => return Err(Status::internal("the queue lost a job")),
                Err(_) if shared.state.lock().lonely_for() >= Some(LONELY) => {
                    return Err(Status::unavailable("there is no querier"));
                }
                Err(_) => {}
            }
        };
        ticket.done = true;
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }
}

/// A job in the queue; takes it out when dropped.
struct Ticket<'q> {
    shared: &'q Arc<Shared>,
    job: JobId,
    done: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.change(|state| state.abandon(self.job));
        }
    }
}
