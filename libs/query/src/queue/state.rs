//! The jobs and workers of a queue, and the choice which job runs where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tactus_proto::tactus::v1::JobAnswer;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_rpc::QueryContext;
use tactus_server::bodies::AnswerMemory;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Span;

use super::local::LocalJob;
use super::metrics::Metrics;
use super::route::{Route, WorkerId};
use super::turns::{JobId, Turns};

/// The answer to a job, and its memory until the caller has it.
pub(super) type Answered = (JobAnswer, Option<AnswerMemory>);

/// The state of a queue, which its lock protects.
pub(super) struct State {
    jobs: HashMap<JobId, Job>,
    turns: Turns,
    workers: BTreeMap<WorkerId, Worker>,
    /// Number of the last job or worker.
    last_id: u64,
    /// Since when there has been no worker.
    lonely_since: Option<Instant>,
    max_attempts: u32,
    retry_weight: u64,
    metrics: Arc<Metrics>,
    /// Jobs that whoever holds the lock starts after releasing it.
    launches: Vec<LocalJob>,
}

struct Job {
    tenant: Arc<str>,
    request: Arc<JobRequest>,
    weight: u64,
    queued_at: Instant,
    deadline: Option<Instant>,
    context: QueryContext,
    attempts: u32,
    /// Names of the workers on which it failed.
    failed_on: Vec<Arc<str>>,
    runs_on: Option<WorkerId>,
    reply: oneshot::Sender<Result<Answered, Status>>,
    /// For self-tracing: from queueing to the answer.
    span: Span,
}

struct Worker {
    /// The querier's name, the same for all of its streams.
    name: Arc<str>,
    /// The number of jobs that run at a time.
    slots: usize,
    leaving: bool,
    running: HashMap<JobId, Running>,
    running_of: HashMap<Arc<str>, usize>,
    route: Route,
}

struct Running {
    tenant: Arc<str>,
    /// Cancels it when dropped, if it runs in this process.
    cancel: Option<oneshot::Sender<()>>,
}

impl Worker {
    /// The tenant with the most jobs leaves some places to others, because its jobs may take long.
    fn has_room(&self) -> bool {
        !self.leaving && self.running.len() < self.slots.saturating_add(self.slots / 2)
    }

    fn has_room_for(&self, tenant: &str) -> bool {
        self.has_room() && self.running_of.get(tenant).is_none_or(|&jobs| jobs < self.slots)
    }

    fn begin(&mut self, job: JobId, running: Running) {
        *self.running_of.entry(Arc::clone(&running.tenant)).or_default() += 1;
        self.running.insert(job, running);
    }

    /// False if it does not run.
    fn end(&mut self, job: JobId) -> bool {
        let Some(Running { tenant, .. }) = self.running.remove(&job) else { return false };
        match self.running_of.get_mut(&tenant) {
            Some(jobs) if *jobs > 1 => *jobs -= 1,
            _ => drop(self.running_of.remove(&tenant)),
        }
        true
    }

    fn cancel(&mut self, job: JobId) {
        if let Some(running) = self.running.get_mut(&job) {
            running.cancel = None;
        }
    }
}

/// A job to be queued.
pub(super) struct NewJob {
    pub(super) tenant: Arc<str>,
    pub(super) request: JobRequest,
    pub(super) weight: u64,
    pub(super) deadline: Option<Instant>,
    /// What is known of the query, except its deadline.
    pub(super) context: QueryContext,
    pub(super) reply: oneshot::Sender<Result<Answered, Status>>,
    /// For self-tracing.
    pub(super) span: Span,
}

impl State {
    pub(super) fn new(max_attempts: usize, retry_weight: u64, metrics: Arc<Metrics>) -> Self {
        Self {
            jobs: HashMap::new(),
            turns: Turns::default(),
            workers: BTreeMap::new(),
            last_id: 0,
            lonely_since: Some(Instant::now()),
            max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX).max(1),
            retry_weight,
            metrics,
            launches: Vec::new(),
        }
    }

    /// The jobs to be started in this process.
    pub(super) fn take_launches(&mut self) -> Vec<LocalJob> {
        std::mem::take(&mut self.launches)
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Jobs that wait or run.
    pub(super) fn outstanding(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs that all workers together run at a time.
    pub(super) fn slots(&self) -> usize {
        let workers = self.workers.values().filter(|worker| !worker.leaving);
        workers.fold(0, |sum, worker| sum.saturating_add(worker.slots))
    }

    /// Workers that take jobs.
    pub(super) fn workers(&self) -> usize {
        self.workers.values().filter(|worker| !worker.leaving).count()
    }

    /// For how long there has been no worker.
    pub(super) fn lonely_for(&self) -> Option<Duration> {
        self.lonely_since.map(|since| since.elapsed())
    }

    /// True if a job would run at once, so that its weight does not matter.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.waiting() == 0 && self.workers.values().any(Worker::has_room)
    }

    /// Queues a job, and starts it if there is room.
    pub(super) fn add(&mut self, new: NewJob) -> JobId {
        self.last_id += 1;
        let id = self.last_id;
        let NewJob { tenant, request, weight, deadline, context, reply, span } = new;
        self.turns.push(&tenant, context.query, id);
        let job = Job {
            tenant,
            request: Arc::new(request),
            weight,
            queued_at: Instant::now(),
            deadline,
            context,
            attempts: 0,
            failed_on: Vec::new(),
            runs_on: None,
            reply,
            span,
        };
        self.jobs.insert(id, job);
        self.dispatch();
        id
    }

    /// Removes a job that nobody waits for any more. If it runs, its slot stays taken until the worker reports its end.
    pub(super) fn abandon(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.turns.remove(&job.tenant, id);
        let worker = job.runs_on.and_then(|worker| self.workers.get_mut(&worker));
        let Some(worker) = worker else { return };
        match &worker.route {
            Route::Local(..) => worker.cancel(id),
            Route::Remote(route) => route.cancel(id),
        }
    }

    /// Adds a worker.
    pub(super) fn connect(&mut self, name: &str, slots: usize, route: Route) -> WorkerId {
        self.last_id += 1;
        let (running, running_of) = (HashMap::new(), HashMap::new());
        let name = name.into();
        let worker = Worker { name, slots, leaving: false, running, running_of, route };
        self.workers.insert(self.last_id, worker);
        let id = self.last_id;
        self.note_loneliness();
        self.dispatch();
        id
    }

    /// Changes how many jobs a worker runs at a time.
    pub(super) fn resize(&mut self, worker: WorkerId, slots: usize) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.slots = slots;
            self.dispatch();
        }
    }

    /// Notes that the worker takes no more jobs. True if it runs none now.
    pub(super) fn leave(&mut self, worker: WorkerId) -> bool {
        let Some(found) = self.workers.get_mut(&worker) else { return true };
        found.leaving = true;
        let is_free = found.running.is_empty();
        self.note_loneliness();
        // A job that failed elsewhere may have been waiting for this worker.
        self.dispatch();
        is_free
    }

    /// True if a leaving worker has finished all its jobs.
    pub(super) fn has_left(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_none_or(|worker| worker.leaving && worker.running.is_empty())
    }

    /// Removes a worker. Its jobs go back into the queue.
    pub(super) fn disconnect(&mut self, worker: WorkerId) {
        let Some(gone) = self.workers.remove(&worker) else { return };
        self.note_loneliness();
        let mut jobs: Vec<_> = gone.running.into_keys().collect();
        jobs.sort_unstable();
        for job in jobs {
            let lost = Status::unavailable(format!("querier {} went away", gone.name));
            self.settle(job, &gone.name, Err(lost));
        }
        self.dispatch();
    }

    /// Notes the result of a worker for a job.
    pub(super) fn finish(&mut self, worker: WorkerId, id: JobId, result: Result<Answered, Status>) {
        let Some(found) = self.workers.get_mut(&worker) else { return };
        if !found.end(id) {
            return;
        }
        let name = Arc::clone(&found.name);
        self.settle(id, &name, result);
        self.dispatch();
    }

    /// Answers a job, or queues it for another attempt.
    fn settle(&mut self, id: JobId, worker: &Arc<str>, result: Result<Answered, Status>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.runs_on = None;
        if let Err(status) = &result
            && is_retryable(status)
            && job.attempts < self.max_attempts
        {
            tracing::debug!(%status, attempt = job.attempts, %worker, "job failed, trying again");
            job.failed_on.push(Arc::clone(worker));
            job.weight = job.weight.saturating_add(self.retry_weight);
            job.queued_at = Instant::now();
            self.turns.push_again(&job.tenant, id);
            return;
        }
        if let Some(job) = self.jobs.remove(&id) {
            self.metrics.retries.observe(f64::from(job.attempts.saturating_sub(1)));
            // The caller may have gone.
            let _ = job.reply.send(result);
        }
    }

    /// Starts whatever can run.
    fn dispatch(&mut self) {
        while let Some((id, worker)) = self.next() {
            self.start(id, worker);
        }
    }

    fn next(&mut self) -> Option<(JobId, WorkerId)> {
        if self.turns.waiting() == 0 || !self.workers.values().any(Worker::has_room) {
            return None;
        }
        let (jobs, workers) = (&self.jobs, &self.workers);
        self.turns.take(|id| {
            let job = jobs.get(&id)?;
            let has_other = !job.failed_on.is_empty()
                && workers
                    .values()
                    .any(|worker| !worker.leaving && !job.failed_on.contains(&worker.name));
            let fits = |worker: &Worker| {
                worker.has_room_for(&job.tenant)
                    && !(has_other && job.failed_on.contains(&worker.name))
            };
            let free = workers.iter().filter(|(_, worker)| fits(worker));
            // The worker with the fewest jobs; of several, the one that came first.
            let (worker, _) = free.min_by_key(|(_, worker)| worker.running.len())?;
            Some((*worker, job.weight))
        })
    }

    fn start(&mut self, id: JobId, worker_id: WorkerId) {
        let (Some(job), Some(worker)) = (self.jobs.get_mut(&id), self.workers.get_mut(&worker_id))
        else {
            return;
        };
        self.metrics.waited.observe_duration(job.queued_at.elapsed());
        job.attempts += 1;
        let time = job.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let cancel = match &worker.route {
            Route::Remote(route) => {
                match route.start(id, &job.request, time, job.context, &job.span) {
                    Ok(()) => None,
                    Err(status) => {
                        let name = Arc::clone(&worker.name);
                        return self.settle(id, &name, Err(status));
                    }
                }
            }
            Route::Local(services, memory) => {
                let (cancel, cancelled) = oneshot::channel();
                let (services, memory) = (services.clone(), Arc::clone(memory));
                let request = Arc::clone(&job.request);
                let span = job.span.clone();
                let deadline = time.and_then(|time| std::time::Instant::now().checked_add(time));
                let context = QueryContext { deadline, ..job.context };
                let worker = worker_id;
                let job =
                    LocalJob { worker, id, services, memory, request, context, cancelled, span };
                self.launches.push(job);
                Some(cancel)
            }
        };
        job.runs_on = Some(worker_id);
        worker.begin(id, Running { tenant: Arc::clone(&job.tenant), cancel });
    }

    fn note_loneliness(&mut self) {
        if self.workers() > 0 {
            self.lonely_since = None;
        } else if self.lonely_since.is_none() {
            self.lonely_since = Some(Instant::now());
        }
    }
}

/// True if another attempt may succeed.
fn is_retryable(status: &Status) -> bool {
    match status.code() {
        // The worker is stopping. A job that we cancelled is not in the queue any more.
        Code::Cancelled => true,
        // The caller has to change its request first.
        Code::Aborted | Code::DataLoss => false,
        _ => tactus_api::Error::from(status.clone()).is_retryable(),
    }
}
