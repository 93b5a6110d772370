//! Runs the jobs of a query.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tactus_api::{Error, Result};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::frontend::Frontend;
use crate::results::BlockJob;

/// How a job ended, if the query can go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Answer(T),
    /// Its block is damaged: there is no answer, and there will be none.
    Damaged,
}

/// A job on its way.
pub(crate) type Running<T> = BoxFuture<'static, Result<Outcome<T>>>;

/// Calls a method of a service with a request.
pub(crate) type Call<S, R, T> = fn(Arc<S>, R) -> BoxFuture<'static, Result<T, Status>>;

/// Makes a call. The queue behind it makes as many attempts as there may be.
pub(crate) fn call<S, R, T>(service: &Arc<S>, request: R, call: Call<S, R, T>) -> Running<T>
where
    S: Send + Sync + ?Sized + 'static,
    R: Send + 'static,
    T: Send + 'static,
{
    let answer = call(Arc::clone(service), request);
    Box::pin(async move {
        match answer.await {
            Ok(answer) => Ok(Outcome::Answer(answer)),
            Err(status) if status.code() == Code::DataLoss => Ok(Outcome::Damaged),
            Err(status) => Err(Error::from(status)),
        }
    })
}

impl Frontend {
    /// Answers a job by what is kept, or has a querier run it.
    pub(crate) fn run_on_block<J: BlockJob>(&self, job: J) -> Running<J::Answer> {
        let (results, querier) = (Arc::clone(&self.results), Arc::clone(&self.querier));
        Box::pin(async move {
            if let Some(answer) = results.find(&job).await {
                return Ok(Outcome::Answer(answer));
            }
            Ok(match call(&querier, job.clone(), J::run).await? {
                Outcome::Damaged => Outcome::Damaged,
                Outcome::Answer(response) => {
                    results.keep(&job, &response);
                    Outcome::Answer(response.into_inner())
                }
            })
        })
    }

    /// Asks the ingesters: the same call for each request, all at a time. Answers are in the order of the requests.
    pub(crate) async fn ask_ingesters<R, T>(
        &self,
        requests: &[R],
        method: Call<dyn Ingester, R, T>,
    ) -> Result<Vec<Outcome<T>>>
    where
        R: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        try_join_all(requests.iter().map(|request| call(&self.ingester, request.clone(), method)))
            .await
    }
}

/// Time without an answer after which [`run_jobs_telling`] tells what there is.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Runs jobs in their order, at most `in_flight` at a time, and hands each answer to `state` as it comes.
///
/// `wants` is asked before a job starts: the first job that is not wanted any more, and all after it, are left out.
/// `take` may break off: jobs still running are cancelled then. Ends at the first error, of a job or of `take`.
pub(crate) async fn run_jobs<J, T, S>(
    jobs: Vec<J>,
    in_flight: usize,
    state: &mut S,
    run: impl Fn(J) -> Running<T>,
    wants: impl Fn(&S, &J) -> bool,
    take: impl FnMut(&mut S, Outcome<T>) -> Result<ControlFlow<()>>,
) -> Result<()> {
    run_jobs_telling(jobs, in_flight, state, run, wants, take, |_| {}).await
}

/// As [`run_jobs`]; while no job is answered, `tell` is called now and then, for what could not be told when it was taken.
pub(crate) async fn run_jobs_telling<J, T, S>(
    jobs: Vec<J>,
    in_flight: usize,
    state: &mut S,
    run: impl Fn(J) -> Running<T>,
    wants: impl Fn(&S, &J) -> bool,
    mut take: impl FnMut(&mut S, Outcome<T>) -> Result<ControlFlow<()>>,
    mut tell: impl FnMut(&mut S),
) -> Result<()> {
    let mut waiting = VecDeque::from(jobs);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < in_flight.max(1)
            && waiting.front().is_some_and(|job| wants(state, job))
            && let Some(job) = waiting.pop_front()
        {
            running.push(run(job));
        }
        let outcome = match timeout(TELL_EVERY, running.next()).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(()),
            Err(_) => {
                tell(state);
                continue;
            }
        };
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
        run_jobs((0..100).collect(), 1, &mut taken, run, |_, _| true, take).await.unwrap();
        assert_eq!(*started.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_back_is_told_while_a_job_takes_long() {
        let run = |seconds: u64| -> Running<u64> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(Outcome::Answer(seconds))
            })
        };
        let mut told = (0, 0);
        let take = |told: &mut (u32, u32), _| {
            told.0 += 1;
            Ok(ControlFlow::Continue(()))
        };
        let tell = |told: &mut (u32, u32)| told.1 += told.0;
        run_jobs_telling(vec![0, 10], 2, &mut told, run, |_, _| true, take, tell).await.unwrap();
        assert_eq!(told.0, 2);
        assert!((190..=200).contains(&told.1), "{told:?}");
    }

    #[tokio::test]
    async fn jobs_from_the_first_unwanted_on_do_not_start() {
        let run = |job: u32| -> Running<u32> { Box::pin(async move { Ok(Outcome::Answer(job)) }) };
        let mut taken = Vec::new();
        let take = |taken: &mut Vec<Outcome<u32>>, job| {
            taken.push(job);
            Ok(ControlFlow::Continue(()))
        };
        let wants = |_: &_, job: &u32| *job != 5;
        run_jobs((0..100).collect(), 3, &mut taken, run, wants, take).await.unwrap();
        assert_eq!(taken.len(), 5);
    }
}
