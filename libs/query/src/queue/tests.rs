//! The queue with queriers that a test plays itself, message by message, and with services of its own process.

mod local;
mod odd;
mod suspects;
mod tenants;

use futures_util::FutureExt as _;
use futures_util::stream;
use prost::Message as _;
use tactus_proto::tactus::v1::frontend_message::Message as ToWorker;
use tactus_proto::tactus::v1::job_answer::Result as JobResult;
use tactus_proto::tactus::v1::worker_message::Message as FromWorker;
use tactus_proto::tactus::v1::{
    Job, JobAnswer, JobExplanation, JobFailure, SearchRequest, SearchResponse, WorkerHello,
    WorkerLeaving, WorkerMessage,
};
use tactus_server::bodies::AnswerMemory;
use tactus_work::memory::{Budget, TOO_MANY_BYTES};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Request};

use super::stream::{MAX_UNREAD, attend};
use super::*;
use crate::current_query::{as_query, new_number};

/// A querier at the other end of a stream.
struct FakeQuerier {
    messages: mpsc::UnboundedSender<Result<WorkerMessage, Status>>,
    jobs: mpsc::Receiver<Result<tactus_proto::tactus::v1::FrontendMessage, Status>>,
    task: JoinHandle<()>,
}

impl FakeQuerier {
    fn connect(queue: &JobQueue, name: &str, slots: u32) -> Self {
        Self::within(queue, name, slots, Bodies::unbounded())
    }

    fn within(queue: &JobQueue, name: &str, slots: u32, memory: Arc<Bodies>) -> Self {
        let (messages, inbound) = mpsc::unbounded_channel();
        let (outbound, jobs) = mpsc::channel(MAX_UNREAD);
        let inbound = stream::unfold(inbound, async |mut inbound| {
            inbound.recv().await.map(|message| (message, inbound))
        });
        let shared = Arc::clone(&queue.shared);
        let task = tokio::spawn(attend(shared, Box::pin(inbound), outbound, memory));
        let querier = Self { messages, jobs, task };
        querier.say(hello(name, slots));
        querier
    }

    fn say(&self, message: FromWorker) {
        let _ = self.messages.send(Ok(WorkerMessage { message: Some(message) }));
    }

    /// The next message but pings.
    async fn next(&mut self) -> Option<ToWorker> {
        loop {
            match self.jobs.recv().await?.unwrap().message.unwrap() {
                ToWorker::Ping(_) => {}
                message => return Some(message),
            }
        }
    }

    async fn job(&mut self) -> Job {
        match self.next().await {
            Some(ToWorker::Job(job)) => job,
            other => panic!("no job but {other:?}"),
        }
    }

    /// The job that has come already, if one has.
    async fn job_now(&mut self) -> Option<Job> {
        settle().await;
        self.job().now_or_never()
    }

    fn answer(&self, job: &Job) {
        let result = JobResult::SearchRecent(SearchResponse::default());
        let answer = JobAnswer { id: job.id, scope: String::new(), result: Some(result) };
        self.say(answered(&answer));
    }

    /// An answer of so many bytes.
    fn answer_of(&self, job: &Job, bytes: usize) {
        let explanation = JobExplanation { source: "x".repeat(bytes), ..Default::default() };
        let answer = SearchResponse { explanations: vec![explanation], ..Default::default() };
        let result = Some(JobResult::SearchRecent(answer));
        self.say(answered(&JobAnswer { id: job.id, scope: String::new(), result }));
    }

    fn fail(&self, job: &Job, code: Code) {
        let failure = JobFailure { code: code as i32, message: format!("{code:?}") };
        let result = Some(JobResult::Failure(failure));
        self.say(answered(&JobAnswer { id: job.id, scope: String::new(), result }));
    }
}

fn answered(answer: &JobAnswer) -> FromWorker {
    FromWorker::Answer(answer.encode_to_vec().into())
}

fn hello(name: &str, slots: u32) -> FromWorker {
    let querier_id = name.to_owned();
    FromWorker::Hello(WorkerHello { querier_id, slots, version: 1, max_message_bytes: 10_000 })
}

/// It says that it is there, and nothing else.
fn stays(querier: &FakeQuerier) {
    let alive = querier.messages.clone();
    tokio::spawn(async move {
        while alive.send(Ok(WorkerMessage { message: None })).is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
}

/// Lets all tasks come to rest.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn queue() -> JobQueue {
    JobQueue::new(&QueryFrontend::default(), &Registry::new())
}

fn search(tenant: &str, query: &str) -> SearchRequest {
    SearchRequest { tenant: tenant.to_owned(), query: query.to_owned(), ..Default::default() }
}

/// A call whose job is queued when this returns.
async fn ask(queue: &JobQueue, tenant: &str) -> JoinHandle<Result<SearchResponse, Status>> {
    ask_for(queue, search(tenant, "{}")).await
}

async fn ask_for(
    queue: &JobQueue,
    search: SearchRequest,
) -> JoinHandle<Result<SearchResponse, Status>> {
    let queue = queue.clone();
    let call = tokio::spawn(async move { Ok(queue.ask(search).await?.into_inner()) });
    settle().await;
    call
}

#[tokio::test]
async fn job_runs_on_a_querier_and_its_answer_comes_back() {
    let queue = queue();
    assert_eq!(
        queue.check_ready().unwrap_err(),
        "number of queriers connected to query-frontend is 0"
    );
    let mut one = FakeQuerier::connect(&queue, "one", 1);
    let first = ask(&queue, "a").await;
    let second = ask(&queue, "a").await;
    assert_eq!((queue.check_ready(), queue.slots(), queue.outstanding()), (Ok(()), 1, 2));
    let job = one.job().await;
    assert_eq!((job.timeout_ms, jobs::tenant(job.request.as_ref().unwrap())), (0, "a"));
    assert_eq!(one.job_now().await, None);
    one.answer(&job);
    first.await.unwrap().unwrap();
    let job = one.job().await;
    one.answer(&job);
    second.await.unwrap().unwrap();
    assert_eq!(queue.outstanding(), 0);
}

async fn connected(queue: &JobQueue, name: &str, slots: u32) -> FakeQuerier {
    let querier = FakeQuerier::connect(queue, name, slots);
    settle().await;
    querier
}

#[tokio::test]
async fn failed_job_is_tried_again_on_another_querier() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    // The same querier with a second stream is not another one.
    let mut same = connected(&queue, "one", 5).await;
    let mut two = connected(&queue, "two", 1).await;
    one.fail(&job, Code::Internal);
    let job = two.job().await;
    assert_eq!((one.job_now().await, same.job_now().await), (None, None));
    two.answer(&job);
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn failed_job_waits_for_another_querier_that_is_busy() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let first = ask(&queue, "a").await;
    let failing = one.job().await;
    let mut two = connected(&queue, "two", 1).await;
    let second = ask(&queue, "a").await;
    let busy = two.job().await;
    one.fail(&failing, Code::Unavailable);
    assert_eq!((one.job_now().await, two.job_now().await), (None, None));
    two.answer(&busy);
    second.await.unwrap().unwrap();
    let job = two.job().await;
    two.answer(&job);
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn job_fails_after_as_many_attempts_as_there_may_be() {
    for (codes, expected) in [
        (&[Code::Internal, Code::Unknown][..], Code::Unknown),
        (&[Code::Cancelled, Code::DeadlineExceeded], Code::DeadlineExceeded),
        (&[Code::InvalidArgument], Code::InvalidArgument),
        (&[Code::ResourceExhausted], Code::ResourceExhausted),
        (&[Code::Aborted], Code::Aborted),
        (&[Code::DataLoss], Code::DataLoss),
    ] {
        let queue = queue();
        // Alone, it gets its own failures again.
        let mut one = connected(&queue, "one", 1).await;
        let call = ask(&queue, "a").await;
        for &code in codes {
            let job = one.job().await;
            one.fail(&job, code);
        }
        assert_eq!(call.await.unwrap().unwrap_err().code(), expected);
        assert_eq!(one.job_now().await, None);
    }
}

#[tokio::test]
async fn querier_that_goes_away_gives_its_jobs_back() {
    let queue = queue();
    let mut one = connected(&queue, "one", 2).await;
    let calls = [ask(&queue, "a").await, ask(&queue, "a").await];
    one.job().await;
    one.job().await;
    let mut two = connected(&queue, "two", 2).await;
    drop(one);
    for _ in 0..2 {
        let job = two.job().await;
        two.answer(&job);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(queue.slots(), 2);
}

#[tokio::test]
async fn job_whose_caller_is_gone_leaves_the_queue() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let running = ask(&queue, "a").await;
    let waiting = ask(&queue, "a").await;
    let job = one.job().await;
    waiting.abort();
    settle().await;
    assert_eq!(queue.outstanding(), 1);
    running.abort();
    settle().await;
    assert_eq!(queue.outstanding(), 0);
    let Some(ToWorker::Cancel(cancel)) = one.next().await else { panic!("not cancelled") };
    assert_eq!(cancel.id, job.id);
    // The slot is taken until the querier says that it is free.
    let next = ask(&queue, "a").await;
    assert_eq!(one.job_now().await, None);
    one.fail(&job, Code::Cancelled);
    let job = one.job().await;
    one.answer(&job);
    next.await.unwrap().unwrap();
}

#[tokio::test]
async fn small_query_does_not_wait_behind_a_large_one_of_another_tenant() {
    let queue = queue();
    let mut one = connected(&queue, "one", 2).await;
    let mut large = Vec::new();
    for _ in 0..2 {
        large.push(ask(&queue, "large").await);
    }
    let shared = queue.clone();
    let many = tokio::spawn(async move {
        let call = |_| shared.ask(search("large", "{}"));
        futures_util::future::join_all((0..10_000).map(call)).await.len()
    });
    let running = [one.job().await, one.job().await];
    settle().await;
    assert_eq!(queue.outstanding(), 10_002);
    let small = ask(&queue, "small").await;
    one.answer(&running[0]);
    let next = [one.job().await];
    one.answer(&running[1]);
    let next = [next[0].clone(), one.job().await];
    let tenants = next.each_ref().map(|job| jobs::tenant(job.request.as_ref().unwrap()));
    assert!(tenants.contains(&"small"), "{tenants:?}");
    next.iter().for_each(|job| one.answer(job));
    small.await.unwrap().unwrap();
    many.abort();
    settle().await;
    assert_eq!(queue.outstanding(), 0);
}

#[tokio::test]
async fn jobs_are_spread_over_queriers() {
    let queue = queue();
    let mut one = connected(&queue, "one", 10).await;
    let mut two = connected(&queue, "two", 10).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(ask(&queue, "a").await);
    }
    for querier in [&mut one, &mut two] {
        for _ in 0..2 {
            let job = querier.job().await;
            querier.answer(&job);
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn querier_that_leaves_answers_what_it_has_and_gets_no_more() {
    let queue = queue();
    let mut one = connected(&queue, "one", 2).await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.say(FromWorker::Leaving(WorkerLeaving {}));
    settle().await;
    assert!(queue.check_ready().is_err());
    let next = ask(&queue, "a").await;
    assert_eq!(one.job_now().await, None);
    assert!(!one.task.is_finished());
    one.answer(&job);
    call.await.unwrap().unwrap();
    one.task.await.unwrap();
    next.abort();
    // One without jobs is let go at once.
    let two = connected(&queue, "two", 2).await;
    two.say(FromWorker::Leaving(WorkerLeaving {}));
    two.task.await.unwrap();
}

#[tokio::test]
async fn querier_may_change_its_slots() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let calls = [ask(&queue, "a").await, ask(&queue, "a").await];
    one.job().await;
    assert_eq!(one.job_now().await, None);
    one.say(hello("one", 2));
    one.job().await;
    assert_eq!(queue.slots(), 2);
    calls.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn silent_querier_is_given_up() {
    let queue = queue();
    let mut silent = connected(&queue, "silent", 1).await;
    let call = ask(&queue, "a").await;
    silent.job().await;
    let started = Instant::now();
    let mut two = connected(&queue, "two", 1).await;
    stays(&two);
    // A copy of it, before anybody knows whether the other one is gone.
    let job = two.job().await;
    two.answer(&job);
    call.await.unwrap().unwrap();
    assert_eq!(queue.workers(), 2);
    silent.task.await.unwrap();
    assert!((10..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(queue.workers(), 1);
    let pinged = std::iter::from_fn(|| silent.jobs.try_recv().ok()).count();
    assert!(pinged >= 4, "{pinged}");
}

#[tokio::test(start_paused = true)]
async fn job_without_any_querier_fails_in_the_end() {
    let queue = queue();
    let started = Instant::now();
    let status = ask(&queue, "a").await.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "there is no querier"));
    assert!((30..70).contains(&started.elapsed().as_secs()));
    assert_eq!(queue.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn querier_is_told_how_much_time_there_is() {
    let queue = queue();
    let mut one = connected(&queue, "one", 5).await;
    for (limit, expected) in [(0, 0), (5, 5_000)] {
        let queue = queue.clone();
        let query = as_query(
            new_number(),
            &[],
            Duration::from_secs(limit),
            Duration::ZERO,
            None,
            async move { queue.ask(search("a", "{}")).await.map(drop) },
        );
        let query = tokio::spawn(query);
        let job = one.job().await;
        assert_eq!(job.timeout_ms, expected);
        one.answer(&job);
        query.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn job_larger_than_queriers_take_fails_and_breaks_no_stream() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let large = search("a", &"x".repeat(10_000));
    let status = ask_for(&queue, large).await.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("max_recv_msg_size"), "{}", status.message());
    assert_eq!(one.job_now().await, None);
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.answer(&job);
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn queue_that_stops_waits_for_its_jobs_and_ends_its_streams() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let call = ask(&queue, "a").await;
    let stopping = tokio::spawn({
        let queue = queue.clone();
        async move { queue.stop(Duration::from_secs(60), || false).await }
    });
    let job = one.job().await;
    assert!(!stopping.is_finished());
    one.answer(&job);
    call.await.unwrap().unwrap();
    stopping.await.unwrap();
    one.task.await.unwrap();
}

#[tokio::test]
async fn queue_is_shown_in_metrics() {
    let registry = Registry::new();
    let queue = JobQueue::new(&QueryFrontend::default(), &registry);
    let mut one = connected(&queue, "one", 1).await;
    let calls = [ask(&queue, "a").await, ask(&queue, "a").await, ask(&queue, "a").await];
    let job = one.job().await;
    one.fail(&job, Code::Internal);
    queue.count_refused("a");
    settle().await;
    let text = registry.encode();
    for line in [
        "tempo_query_frontend_queue_length{user=\"a\"} 2\n",
        "tempo_query_frontend_connected_clients 1\n",
        "tempo_query_frontend_discarded_requests_total{user=\"a\"} 1\n",
        "tempo_query_frontend_queue_duration_seconds_count 2\n",
        "tempo_query_frontend_retries_count 0\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    calls.iter().for_each(JoinHandle::abort);
}
