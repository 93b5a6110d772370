//! Queriers that say what they should not, and answers that take much memory.

use bytes::Bytes;
use tactus_proto::tactus::v1::{MetricsResponse, MetricsSeries};

use super::*;

#[tokio::test(start_paused = true)]
async fn answer_takes_memory_until_whoever_asked_has_it_and_fails_where_there_is_none() {
    let all = Budget::new(400_000);
    let bodies = Bodies::within(&all);
    let queue = queue();
    let mut one = FakeQuerier::within(&queue, "one", 2, Arc::clone(&bodies));
    settle().await;
    let call = queue.ask(search("a", "{}"));
    let mut call = std::pin::pin!(call);
    assert!(call.as_mut().now_or_never().is_none());
    let job = one.job().await;
    one.answer_of(&job, 150_000);
    settle().await;
    assert!((150_000..151_000).contains(&all.used()), "{}", all.used());
    assert_eq!(call.await.unwrap().into_inner().explanations[0].source.len(), 150_000);
    assert_eq!(all.used(), 0);

    let mut held = AnswerMemory::of(&bodies);
    held.add(300_000).await.unwrap();
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.answer_of(&job, 150_000);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, TOO_MANY_BYTES));
    assert_eq!(one.job_now().await, None, "not again: there is no more memory for another try");
}

#[tokio::test]
async fn stream_that_does_not_start_with_a_hello_is_refused() {
    let queue = queue();
    let (messages, inbound) = mpsc::unbounded_channel();
    let (outbound, mut jobs) = mpsc::channel(MAX_UNREAD);
    let inbound = stream::unfold(inbound, async |mut inbound| {
        inbound.recv().await.map(|message| (message, inbound))
    });
    let leaving = WorkerMessage { message: Some(FromWorker::Leaving(WorkerLeaving {})) };
    messages.send(Ok(leaving)).unwrap();
    attend(Arc::clone(&queue.shared), Box::pin(inbound), outbound, Bodies::unbounded()).await;
    assert_eq!(jobs.recv().await.unwrap().unwrap_err().code(), Code::InvalidArgument);
}

/// A querier could answer jobs that it has not read, by guessing their numbers, and ask for ever more.
#[tokio::test(start_paused = true)]
async fn querier_that_does_not_read_gets_no_more_jobs_and_is_disconnected() {
    let queue = queue();
    let (messages, inbound) = mpsc::unbounded_channel();
    let (outbound, mut unread) = mpsc::channel(1);
    let inbound = stream::unfold(inbound, async |mut inbound| {
        inbound.recv().await.map(|message| (message, inbound))
    });
    let say = |message| messages.send(Ok(WorkerMessage { message: Some(message) })).unwrap();
    say(hello("deaf", 10));
    let shared = Arc::clone(&queue.shared);
    let deaf = tokio::spawn(attend(shared, Box::pin(inbound), outbound, Bodies::unbounded()));
    settle().await;
    assert_eq!(queue.workers(), 1);
    let waiting = ask(&queue, "a").await;
    let status = ask(&queue, "a").await.await.unwrap().unwrap_err();
    assert_eq!(status.message(), "a querier does not read its messages");
    tokio::time::sleep(Duration::from_secs(3)).await;
    deaf.await.unwrap();
    assert_eq!(queue.workers(), 0);
    assert!(unread.recv().await.is_some());
    assert!(unread.recv().await.is_none(), "more than one message was queued");
    waiting.abort();
}

#[tokio::test]
async fn answers_of_another_kind_and_to_no_job_do_no_harm() {
    let queue = queue();
    let mut one = connected(&queue, "one", 2).await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.say(answered(&JobAnswer { id: 999, ..JobAnswer::default() }));
    let result = Some(JobResult::RecentTags(Default::default()));
    let other = |job: &Job| JobAnswer { id: job.id, scope: String::new(), result: result.clone() };
    one.say(answered(&other(&job)));
    // As any other failure it is tried again.
    let job = one.job().await;
    one.say(answered(&other(&job)));
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "a querier answered another job")
    );
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.say(answered(&JobAnswer { id: job.id, ..JobAnswer::default() }));
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn querier_with_a_name_that_is_none_is_refused() {
    let queue = queue();
    for name in [String::new(), "x".repeat(1_025)] {
        let mut querier = connected(&queue, &name, 1).await;
        let status = querier.jobs.recv().await.unwrap().unwrap_err();
        assert_eq!(status.message(), "the name of a querier has 1 to 1024 bytes");
    }
    connected(&queue, &"x".repeat(1_024), 1).await;
    assert_eq!(queue.workers(), 1);
}

#[tokio::test]
async fn text_of_a_failure_is_cut() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    let failure = JobFailure { code: Code::InvalidArgument as i32, message: "x".repeat(1_000_000) };
    let result = Some(JobResult::Failure(failure));
    one.say(answered(&JobAnswer { id: job.id, scope: String::new(), result }));
    let status = call.await.unwrap().unwrap_err();
    assert!(status.message().len() <= 1_024 && status.message().starts_with("xxx"), "{status}");
}

/// So many series whose attribute has a name of so many bytes.
fn series(id: u64, count: usize, name: usize) -> JobAnswer {
    let one = MetricsSeries { attribute: "x".repeat(name), ..MetricsSeries::default() };
    let answer = MetricsResponse { series: vec![one; count], ..MetricsResponse::default() };
    JobAnswer { id, scope: String::new(), result: Some(JobResult::RecentMetrics(answer)) }
}

#[tokio::test(start_paused = true)]
async fn answer_counts_as_what_it_becomes_when_it_is_decoded() {
    let bodies = Bodies::within(&Budget::new(1_500_000));
    let mut held = AnswerMemory::of(&bodies);
    held.add(100_000).await.unwrap();
    let queue = queue();
    let mut one = FakeQuerier::within(&queue, "one", 2, bodies);
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    let large = series(job.id, 10_000, 20);
    assert!(large.encoded_len() < 300_000);
    one.say(answered(&JobAnswer { id: 999, ..large.clone() }));
    settle().await;
    assert!(!call.is_finished(), "nobody asked for it");
    one.say(answered(&large));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::ResourceExhausted, TOO_MANY_BYTES));
}

#[tokio::test]
async fn answer_that_becomes_many_times_its_length_is_none() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let call = ask(&queue, "a").await;
    for _ in 0..2 {
        let job = one.job().await;
        one.say(answered(&series(job.id, 10_000, 0)));
    }
    let error = call.await.unwrap().unwrap_err();
    assert!(error.message().contains("more parts than its bytes can fill"), "{error}");
}

#[tokio::test]
async fn querier_that_sends_a_damaged_answer_is_let_go_and_its_job_runs_elsewhere() {
    let queue = queue();
    let mut one = connected(&queue, "one", 1).await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    let mut two = connected(&queue, "two", 1).await;
    let mut damaged = answered_bytes(&job).to_vec();
    damaged.extend_from_slice(b"\xa2\x06\xff");
    one.say(FromWorker::Answer(damaged.into()));
    one.task.await.unwrap();
    let job = two.job().await;
    two.answer(&job);
    call.await.unwrap().unwrap();
}

/// The beginning of an answer.
fn answered_bytes(job: &Job) -> Bytes {
    JobAnswer { id: job.id, ..JobAnswer::default() }.encode_to_vec().into()
}

/// Kills the querier that has the job, while others are there.
async fn lost(queue: &JobQueue, names: &[&str]) -> JoinHandle<Result<SearchResponse, Status>> {
    let call = ask(queue, "a").await;
    for name in names {
        let mut querier = connected(queue, name, 1).await;
        querier.job().await;
        drop(querier.messages);
        querier.task.await.unwrap();
    }
    call
}

#[tokio::test]
async fn job_that_loses_two_queriers_runs_on_a_third_and_may_still_fail_once() {
    let queue = queue();
    let call = lost(&queue, &["one", "two"]).await;
    let mut three = connected(&queue, "three", 1).await;
    let job = three.job().await;
    three.fail(&job, Code::Internal);
    let job = three.job().await;
    three.answer(&job);
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn job_that_loses_three_queriers_is_given_to_no_other() {
    let queue = queue();
    let call = lost(&queue, &["one", "two", "three"]).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "querier three went away"));
    assert_eq!(connected(&queue, "four", 1).await.job_now().await, None);
}
