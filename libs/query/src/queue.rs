//! The queue between queries and queriers.
//!
//! ```text
//! request -> job -> FIFO of its query -> queries, tenants in turn -> worker with room -> answer
//! ```
//!
//! Behind it work queriers: the one in this process, and any that opens a stream to it. A job fails only if it cannot
//! succeed, `max_attempts` workers failed at it, or three went away while they ran it; one whose worker goes away is run by
//! another. A job whose caller is gone leaves the queue, and is cancelled if it runs.
//! A worker that fails what others do, or never answers, gets copies of jobs only, until it answers one.
//!
//! Memory: a job waits in the queue instead of in its query, so there are as many as queries have in flight. New queries
//! are refused while too many jobs of their tenant wait.

mod local;
mod metrics;
mod route;
mod state;
mod stream;
mod turns;
mod weight;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tactus_config::sections::query_frontend::QueryFrontend;
use tactus_proto::tactus::v1::frontend_server::FrontendServer;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_proto::tactus::v1::querier_server::Querier;
use tactus_rpc::jobs::{self, ANSWER_SCOPE, JobKind, JobServices};
use tactus_server::bodies::Bodies;
use tactus_telemetry::metrics::Registry;
use tactus_telemetry::work_span;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::{Response, Status};

use metrics::Metrics;
use route::Route;
use state::{Answered, NewJob, State};
pub use stream::WorkerStreams;
use turns::JobId;
use weight::Scales;

use crate::current_query::CurrentQuery;

/// How long a job waits while there is no querier.
const LONELY: Duration = Duration::from_secs(30);

/// Name of the worker in this process. No querier of another process can have it.
const LOCAL: &str = "";

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
    /// Cancelled when the queue stops; then all streams end.
    closing: CancellationToken,
}

tactus_telemetry::debug_of!(it: JobQueue { slots = it.slots() });

impl Shared {
    /// Changes the state, then starts the local jobs that the change allows.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, launches) = {
            let mut state = self.state.lock();
            (change(&mut state), state.take_launches())
        };
        launches.into_iter().for_each(|job| job.start(self));
        result
    }
}

impl JobQueue {
    /// A queue without workers. `section`: weights, attempts, and how many jobs of a tenant may wait.
    pub fn new(section: &QueryFrontend, registry: &Registry) -> Self {
        let metrics = Arc::new(Metrics::register(registry));
        let weights = section.weights.clone();
        let retry_weight = u64::from(weights.request_with_weights && weights.retry_with_weights);
        let state = State::new(section.max_retries, retry_weight, Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            scales: Scales::new(weights),
            metrics,
            max_outstanding_per_tenant: section.max_outstanding_per_tenant,
            closing: CancellationToken::new(),
        });
        metrics::show(registry, Arc::downgrade(&shared));
        Self { shared }
    }

    /// Runs up to `slots` jobs at a time by direct calls of services in this process. They run on the runtime of the
    /// job's caller. `memory`: of answers, until whoever asked has them.
    pub fn add_local_worker(
        &self,
        querier: Arc<dyn Querier>,
        ingester: Arc<dyn Ingester>,
        slots: usize,
        memory: Arc<Bodies>,
    ) {
        let route = Route::Local(JobServices { querier, ingester }, memory);
        self.shared.change(|state| state.connect(LOCAL, slots.max(1), route));
    }

    /// The service for queriers of other processes. `max_message_bytes`: the largest message that this process takes;
    /// what a querier answers is limited to it. `memory`: of answers, until whoever asked has them.
    pub fn service(
        &self,
        max_message_bytes: usize,
        memory: Arc<Bodies>,
    ) -> FrontendServer<WorkerStreams> {
        let queue = Arc::downgrade(&self.shared);
        FrontendServer::new(WorkerStreams { queue, max_message_bytes, memory })
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

    /// Waits until no job is left and `has_queries` is false, `grace` at most, and ends the streams of all queriers: between
    /// two steps a query has no job. To be called when no more queries come.
    pub async fn stop(&self, grace: Duration, has_queries: impl Fn() -> bool) {
        let drained = async {
            while self.outstanding() > 0 || has_queries() {
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

    /// Has a worker answer a request. If the future is dropped, the job is removed from the queue, or cancelled.
    ///
    /// Errors: those of the last worker that tried it; [`tonic::Code::Unavailable`] if there is no worker for a long
    /// time.
    pub async fn ask<K: JobKind>(&self, request: K) -> Result<Response<K::Answer>, Status> {
        let (answer, memory) = self.run(request.job()).await?;
        let scope = jobs::scope_to_keep(&answer).and_then(|scope| scope.parse().ok());
        let answer = answer.result.and_then(K::answer);
        let answer = answer.ok_or_else(|| Status::internal("a querier answered another job"))?;
        let mut response = Response::new(answer);
        // Whoever does not keep it counts the memory of what it makes of the answer.
        if let Some(memory) = memory {
            response.extensions_mut().insert(Arc::new(memory));
        }
        if let Some(scope) = scope {
            response.metadata_mut().insert(ANSWER_SCOPE, scope);
        }
        Ok(response)
    }

    async fn run(&self, request: JobRequest) -> Result<Answered, Status> {
        let shared = &self.shared;
        if shared.closing.is_cancelled() && self.workers() == 0 {
            return Err(Status::unavailable("this query-frontend stops"));
        }
        let (reply, mut answer) = oneshot::channel();
        let tenant = jobs::tenant(&request).into();
        let (deadline, context) = CurrentQuery::get().unwrap_or_default();
        let is_idle = shared.state.lock().is_idle();
        let weight = if is_idle { 1 } else { shared.scales.weigh(&request) };
        let span = work_span!(jobs::name(&request), tenant = jobs::tenant(&request));
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

/// A job in the queue. It is removed when this is dropped.
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
