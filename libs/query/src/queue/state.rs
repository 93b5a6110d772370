//! The jobs and workers of a queue, and the choice which job runs where.

mod copies;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tactus_proto::tactus::v1::JobAnswer;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_rpc::{QueryContext, jobs};
use tactus_server::bodies::AnswerMemory;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::Span;

use super::local::LocalJob;
use super::metrics::Metrics;
use super::route::{Route, WorkerId};
use super::turns::{JobId, Turns};
use super::worker::{Running, Worker};
use copies::Choice;

/// A job fails once this many workers went away while they ran it, because it may be what ends them.
const MAX_LOST: u32 = 3;

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
    /// Workers that went away while they ran it. That says nothing about the job, unless it happens again and again.
    lost: u32,
    /// Names of the workers on which it failed.
    failed_on: Vec<Arc<str>>,
    /// Usually one; others have copies of it.
    runs_on: Vec<WorkerId>,
    reply: oneshot::Sender<Result<Answered, Status>>,
    /// For self-tracing: from queueing to the answer.
    span: Span,
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
            lost: 0,
            failed_on: Vec::new(),
            runs_on: Vec::new(),
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
        for worker in job.runs_on {
            if let Some(worker) = self.workers.get_mut(&worker) {
                worker.cancel(id);
            }
        }
    }

    /// Adds a worker.
    pub(super) fn connect(&mut self, name: &str, slots: usize, route: Route) -> WorkerId {
        self.last_id += 1;
        self.workers.insert(self.last_id, Worker::new(name, slots, route));
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
        let is_free = found.load() == 0;
        self.note_loneliness();
        // A job that failed elsewhere may have been waiting for this worker.
        self.dispatch();
        is_free
    }

    /// Whether a worker runs a job.
    pub(super) fn is_running(&self, worker: WorkerId, job: JobId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.is_running(job))
    }

    /// True if a leaving worker has finished all its jobs.
    pub(super) fn has_left(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_none_or(|worker| worker.leaving && worker.load() == 0)
    }

    /// Removes a worker. Its jobs go back into the queue.
    pub(super) fn disconnect(&mut self, worker: WorkerId) {
        let Some(gone) = self.workers.remove(&worker) else { return };
        self.note_loneliness();
        let name = Arc::clone(&gone.name);
        let mut jobs: Vec<_> = gone.jobs().collect();
        jobs.sort_unstable();
        for id in jobs {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.lost += 1;
            }
            let lost = Status::unavailable(format!("querier {name} went away"));
            self.settle(id, (worker, &name), Err(lost));
        }
        self.dispatch();
    }

    /// Notes the result of a worker for a job.
    pub(super) fn finish(&mut self, worker: WorkerId, id: JobId, result: Result<Answered, Status>) {
        let Some(found) = self.workers.get_mut(&worker) else { return };
        if !found.end(id) {
            return;
        }
        let answers = |answer: &JobAnswer| {
            self.jobs.get(&id).is_none_or(|job| jobs::is_answer(&job.request, answer))
        };
        let result = match result {
            Ok((answer, _)) if !answers(&answer) => {
                Err(Status::internal("a querier answered another job"))
            }
            result => result,
        };
        if result.is_ok() {
            found.praise();
        }
        let name = Arc::clone(&found.name);
        self.settle(id, (worker, &name), result);
        self.dispatch();
    }

    /// Answers a job, or queues it for another attempt.
    fn settle(
        &mut self,
        id: JobId,
        (worker, name): (WorkerId, &Arc<str>),
        result: Result<Answered, Status>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.runs_on.retain(|other| *other != worker);
        if let Err(status) = &result {
            job.failed_on.push(Arc::clone(name));
            let workers = &self.workers;
            let is_sound = |other| workers.get(other).is_some_and(|it: &Worker| !it.is_suspect());
            // It was a copy. If the query is at fault, the other worker says so as well.
            if job.runs_on.iter().any(is_sound) || self.turns.is_waiting(&job.tenant, id) {
                return;
            }
            let failed = job.attempts.saturating_sub(job.lost);
            let may_be_lost = MAX_LOST.max(self.max_attempts);
            let has_attempts = failed < self.max_attempts && job.lost < may_be_lost;
            if is_retryable(status) && has_attempts {
                tracing::debug!(%status, attempt = job.attempts, worker = %name, "job failed, trying again");
                job.weight = job.weight.saturating_add(self.retry_weight);
                job.queued_at = Instant::now();
                self.turns.push_again(&job.tenant, id);
                return;
            }
        }
        let Some(job) = self.jobs.remove(&id) else { return };
        self.turns.remove(&job.tenant, id);
        self.end_copies(id, &job.runs_on);
        if result.is_ok() {
            self.blame(&job.failed_on);
        }
        self.metrics.retries.observe(f64::from(job.attempts.saturating_sub(1)));
        // The caller may have gone.
        let _ = job.reply.send(result);
    }

    /// A job succeeded that failed on these.
    fn blame(&mut self, names: &[Arc<str>]) {
        for worker in self.workers.values_mut().filter(|worker| names.contains(&worker.name)) {
            worker.blame();
        }
    }

    /// Starts whatever can run.
    fn dispatch(&mut self) {
        while let Some((id, worker)) = self.next() {
            if let Some(job) = self.jobs.get_mut(&id) {
                self.metrics.waited.observe_duration(job.queued_at.elapsed());
                job.attempts += 1;
            }
            self.start(id, worker);
            self.try_suspects(id);
        }
    }

    fn next(&mut self) -> Option<(JobId, WorkerId)> {
        if self.turns.waiting() == 0 || !self.workers.values().any(Worker::has_room) {
            return None;
        }
        let (jobs, workers) = (&self.jobs, &self.workers);
        self.turns.take(|id| {
            let job = jobs.get(&id)?;
            let choice = Choice::of(job, workers);
            let free = workers.iter().filter(|(id, worker)| {
                choice.admits(job, worker)
                    && worker.has_room_for(&job.tenant)
                    && !job.runs_on.contains(id)
            });
            // The worker with the fewest jobs; of several, the one that came first.
            let order = |(_, worker): &(&WorkerId, &Worker)| (worker.is_silent(), worker.load());
            let (worker, _) = free.min_by_key(order)?;
            Some((*worker, job.weight))
        })
    }

    fn start(&mut self, id: JobId, worker_id: WorkerId) {
        let (Some(job), Some(worker)) = (self.jobs.get_mut(&id), self.workers.get_mut(&worker_id))
        else {
            return;
        };
        let time = job.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let cancel = match &worker.route {
            Route::Remote(route) => {
                match route.start(id, &job.request, time, job.context, &job.span) {
                    Ok(()) => None,
                    Err(status) => {
                        let name = Arc::clone(&worker.name);
                        return self.settle(id, (worker_id, &name), Err(status));
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
        job.runs_on.push(worker_id);
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
