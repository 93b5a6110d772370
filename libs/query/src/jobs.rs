//! Runs the jobs of a query.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, TryFutureExt as _, try_join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tactus_api::{Error, Result};
use tactus_rpc::jobs::JobKind;
use tactus_server::bodies::AnswerMemory;
use tonic::{Code, Response, Status};

use crate::frontend::Frontend;
use crate::queue::JobQueue;
use crate::results::BlockJob;

/// The outcome of a job after which the query can go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Answer(T),
    /// The block is damaged, so there is no answer and will not be one.
    Damaged,
}

/// A running job.
pub(crate) type Running<T> = BoxFuture<'static, Result<Outcome<T>>>;

/// What an answer, or an error, means for the query.
pub(crate) fn outcome<T>(answer: Result<Response<T>, Status>) -> Result<Outcome<T>> {
    match answer {
        Ok(answer) => Ok(Outcome::Answer(answer.into_inner())),
        Err(status) if status.code() == Code::DataLoss => Ok(Outcome::Damaged),
        Err(status) => Err(Error::from(status)),
    }
}

/// Has a job run. Retries are up to the queue.
pub(crate) fn ask<J>(queue: &JobQueue, job: J) -> Running<J::Answer>
where
    J: JobKind<Answer: Send> + Send + 'static,
{
    let queue = queue.clone();
    Box::pin(async move { outcome(queue.ask(job).await) })
}

/// An outcome, and the memory of an answer until that of what is made of it is counted.
pub(crate) type Counted<T> = (Outcome<T>, Option<Arc<AnswerMemory>>);

impl Frontend {
    /// Answers a job from the cache of answers, or has a querier run it.
    ///
    /// Whoever takes the answer counts what is made of it, at once.
    pub(crate) fn run_on_block<J: BlockJob>(&self, job: J) -> Running<J::Answer> {
        self.run_counted(job).map_ok(|(outcome, _memory)| outcome).boxed()
    }

    /// As [`Self::run_on_block`], with the memory of the answer. For those that take answers as they come, and count what they
    /// make of them only then: many may wait for that.
    pub(crate) fn run_counted<J: BlockJob>(
        &self,
        job: J,
    ) -> BoxFuture<'static, Result<Counted<J::Answer>>> {
        let (results, queue) = (Arc::clone(&self.results), self.queue.clone());
        let memory = Arc::clone(&self.memory);
        Box::pin(async move {
            let places = results.places(&job);
            if let Some((answer, taken)) = results.find(&job, &places, &memory).await? {
                return Ok((Outcome::Answer(answer), Some(Arc::new(taken))));
            }
            let mut answer = queue.ask(job).await;
            let mut taken = None;
            if let Ok(answer) = &mut answer {
                results.keep::<J>(&places, answer);
                taken = answer.extensions_mut().remove::<Arc<AnswerMemory>>();
            }
            Ok((outcome(answer)?, taken))
        })
    }

    /// Has all these jobs run at the same time. Answers are in the order of the jobs.
    pub(crate) async fn ask_all<J>(&self, jobs: &[J]) -> Result<Vec<Outcome<J::Answer>>>
    where
        J: JobKind<Answer: Send> + Clone + Send + 'static,
    {
        try_join_all(jobs.iter().map(|job| ask(&self.queue, job.clone()))).await
    }
}

/// The jobs of a query, running and waiting.
pub(crate) struct Jobs<J, T, R> {
    waiting: VecDeque<J>,
    running: FuturesUnordered<Running<T>>,
    in_flight: usize,
    run: R,
}

impl<J, T, R: Fn(J) -> Running<T>> Jobs<J, T, R> {
    /// An empty list of jobs, of which `in_flight` may run at a time.
    pub(crate) fn new(in_flight: usize, run: R) -> Self {
        let running = FuturesUnordered::new();
        Self { waiting: VecDeque::new(), running, in_flight: in_flight.max(1), run }
    }

    /// From now on twice as many may run at a time, but no more than `most`.
    pub(crate) fn double_in_flight(&mut self, most: usize) {
        self.in_flight = most.min(self.in_flight * 2);
    }

    /// Adds jobs behind the waiting ones.
    pub(crate) fn add(&mut self, jobs: Vec<J>) {
        self.waiting.extend(jobs);
    }

    /// Sorts the waiting jobs by a key. The sort is stable.
    pub(crate) fn sort_by_key<K: Ord>(&mut self, key: impl FnMut(&J) -> K) {
        self.waiting.make_contiguous().sort_by_key(key);
    }

    /// Starts jobs in order while there are free places. The first job that `wants` rejects, and all jobs after it, go
    /// on waiting.
    pub(crate) fn start(&mut self, wants: impl Fn(&J) -> bool) {
        while self.running.len() < self.in_flight
            && self.waiting.front().is_some_and(&wants)
            && let Some(job) = self.waiting.pop_front()
        {
            self.running.push((self.run)(job));
        }
    }

    /// Removes all jobs and cancels those that run.
    pub(crate) fn cancel(&mut self) {
        self.waiting.clear();
        self.running.clear();
    }

    /// Waits for the next job to end; `None` if none runs. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Outcome<T>>> {
        self.running.next().await
    }

    /// Number of jobs that run, or that `wants` would start.
    pub(crate) fn left(&self, wants: impl Fn(&J) -> bool) -> usize {
        let waiting = if self.waiting.front().is_some_and(wants) { self.waiting.len() } else { 0 };
        self.running.len() + waiting
    }

    /// True if no job runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}

/// Runs jobs in order, at most `in_flight` at a time, and passes each answer to `state` as it comes.
///
/// `take` may stop early; running jobs are then cancelled. Ends at the first error, of a job or of `take`.
pub(crate) async fn run_jobs<J, T, S>(
    jobs: Vec<J>,
    in_flight: usize,
    state: &mut S,
    run: impl Fn(J) -> Running<T>,
    mut take: impl FnMut(&mut S, Outcome<T>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut all = Jobs::new(in_flight, run);
    all.add(jobs);
    loop {
        all.start(|_| true);
        let Some(outcome) = all.next().await else { return Ok(()) };
        if take(state, outcome?)?.is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn jobs_start_in_order_and_end_when_the_answer_is_full() {
        let started = Mutex::new(Vec::new());
        let run = |job: u32| -> Running<u32> {
            started.lock().unwrap().push(job);
            Box::pin(async move { Ok(Outcome::Answer(job)) })
        };
        let mut taken = 0;
        let take = |taken: &mut u32, _| {
            *taken += 1;
            Ok(if *taken == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        run_jobs((0..100).collect(), 1, &mut taken, run, take).await.unwrap();
        assert_eq!(*started.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn jobs_from_the_first_unwanted_on_do_not_start() {
        let run = |job: u32| -> Running<u32> { Box::pin(async move { Ok(Outcome::Answer(job)) }) };
        let mut jobs = Jobs::new(3, run);
        jobs.add((0..100).collect());
        let mut taken = 0;
        jobs.start(|job| *job != 5);
        while jobs.next().await.is_some() {
            taken += 1;
            jobs.start(|job| *job != 5);
        }
        assert_eq!((taken, jobs.is_idle()), (5, true));
    }

    #[tokio::test]
    async fn jobs_that_come_later_are_put_in_order_with_those_that_wait() {
        let run = |job: u32| -> Running<u32> { Box::pin(async move { Ok(Outcome::Answer(job)) }) };
        let mut jobs = Jobs::new(1, run);
        jobs.add(vec![9, 5, 1]);
        jobs.start(|_| true);
        jobs.add(vec![7, 3]);
        jobs.sort_by_key(|job| std::cmp::Reverse(*job));
        let mut order = Vec::new();
        while let Some(outcome) = jobs.next().await {
            order.push(outcome.unwrap());
            jobs.start(|_| true);
            if order.len() == 4 {
                jobs.cancel();
            }
        }
        assert_eq!(order, [9, 7, 5, 3].map(Outcome::Answer));
    }
}
