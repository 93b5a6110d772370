//! Queriers that fail at what others do, or never answer.

use super::*;

/// Answers the job of a call at a querier.
async fn served_by(two: &mut FakeQuerier, call: JoinHandle<Result<SearchResponse, Status>>) {
    let job = two.job().await;
    two.answer(&job);
    call.await.unwrap().unwrap();
}

/// A querier that failed three jobs that another one did.
async fn with_a_suspect(queue: &JobQueue) -> (FakeQuerier, FakeQuerier) {
    let mut one = connected(queue, "one", 5).await;
    let mut two = connected(queue, "two", 5).await;
    for _ in 0..3 {
        let call = ask(queue, "a").await;
        let job = one.job().await;
        one.fail(&job, Code::Internal);
        served_by(&mut two, call).await;
    }
    (one, two)
}

#[tokio::test(start_paused = true)]
async fn querier_that_fails_what_another_one_does_gets_no_jobs_but_copies() {
    let queue = queue();
    let (mut one, mut two) = with_a_suspect(&queue).await;
    for _ in 0..20 {
        let call = ask(&queue, "a").await;
        assert_eq!(one.job_now().await, None);
        served_by(&mut two, call).await;
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let call = ask(&queue, "a").await;
        let copy = one.job().await;
        one.fail(&copy, Code::Internal);
        served_by(&mut two, call).await;
        let call = ask(&queue, "a").await;
        assert_eq!(one.job_now().await, None, "one copy a second");
        served_by(&mut two, call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn querier_that_answers_a_copy_is_trusted_again() {
    let queue = queue();
    let (mut one, mut two) = with_a_suspect(&queue).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let call = ask(&queue, "a").await;
    let copy = one.job().await;
    served_by(&mut two, call).await;
    // Late, but well.
    one.answer(&copy);
    settle().await;
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    one.answer(&job);
    call.await.unwrap().unwrap();
    assert_eq!((two.job_now().await, queue.outstanding()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn copy_may_be_the_first_to_be_answered() {
    let queue = queue();
    let (mut one, mut two) = with_a_suspect(&queue).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let call = ask(&queue, "a").await;
    let (copy, job) = (one.job().await, two.job().await);
    assert_eq!(copy.id, job.id);
    one.answer(&copy);
    call.await.unwrap().unwrap();
    let Some(ToWorker::Cancel(cancel)) = two.next().await else { panic!("not cancelled") };
    assert_eq!(cancel.id, job.id);
    two.fail(&job, Code::Cancelled);
    settle().await;
    assert_eq!((queue.outstanding(), two.job_now().await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn failure_of_a_copy_changes_nothing() {
    let queue = queue();
    let (mut one, mut two) = with_a_suspect(&queue).await;
    for code in [Code::InvalidArgument, Code::Internal] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let call = ask(&queue, "a").await;
        let copy = one.job().await;
        one.fail(&copy, code);
        served_by(&mut two, call).await;
    }
    // Nor is a copy waited for when the other querier fails: there are no others to try.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let call = ask(&queue, "a").await;
    let (copy, job) = (one.job().await, two.job().await);
    two.fail(&job, Code::Internal);
    let again = two.job_now().await.or(one.job_now().await);
    assert_eq!(again, None, "one has it, two failed at it");
    one.answer(&copy);
    call.await.unwrap().unwrap();
    assert_eq!(queue.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn suspect_querier_without_others_gets_jobs() {
    let queue = queue();
    let (mut one, two) = with_a_suspect(&queue).await;
    two.say(FromWorker::Leaving(WorkerLeaving {}));
    settle().await;
    for _ in 0..3 {
        let call = ask(&queue, "a").await;
        let job = one.job().await;
        one.answer(&job);
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn job_that_fails_everywhere_makes_nobody_suspect() {
    let queue = queue();
    let mut one = connected(&queue, "one", 5).await;
    let mut two = connected(&queue, "two", 5).await;
    for _ in 0..10 {
        let call = ask(&queue, "a").await;
        for querier in [&mut one, &mut two] {
            let job = querier.job().await;
            querier.fail(&job, Code::Internal);
        }
        call.await.unwrap().unwrap_err();
    }
    let calls = [ask(&queue, "a").await, ask(&queue, "a").await];
    let jobs = (one.job_now().await, two.job_now().await);
    assert!(jobs.0.is_some() && jobs.1.is_some(), "{jobs:?}");
    calls.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn job_that_is_never_answered_is_copied_to_another_querier_and_its_own_is_suspect() {
    let queue = queue();
    let mut one = connected(&queue, "one", 5).await;
    let mut two = connected(&queue, "two", 5).await;
    [&one, &two].into_iter().for_each(stays);
    let started = Instant::now();
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    served_by(&mut two, call).await;
    assert!((5..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let Some(ToWorker::Cancel(cancel)) = one.next().await else { panic!("not cancelled") };
    assert_eq!(cancel.id, job.id);
    one.fail(&job, Code::Cancelled);
    settle().await;
    // A copy, which is never answered either, and nothing else any more.
    let call = ask(&queue, "a").await;
    one.job().await;
    served_by(&mut two, call).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let call = ask(&queue, "a").await;
        assert_eq!(one.job_now().await, None);
        served_by(&mut two, call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn long_jobs_are_not_copied_to_queriers_that_are_busy() {
    let queue = queue();
    let mut queriers = [connected(&queue, "one", 1).await, connected(&queue, "two", 1).await];
    queriers.iter().for_each(stays);
    let calls = [ask(&queue, "a").await, ask(&queue, "b").await];
    let mut jobs = Vec::new();
    for querier in &mut queriers {
        jobs.push(querier.job().await);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    for (querier, job) in queriers.iter_mut().zip(&jobs) {
        assert_eq!(querier.job_now().await, None);
        querier.answer(job);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn copy_of_a_long_job_ends_when_that_is_answered() {
    let queue = queue();
    let mut one = connected(&queue, "one", 5).await;
    let mut two = connected(&queue, "two", 5).await;
    [&one, &two].into_iter().for_each(stays);
    let call = ask(&queue, "a").await;
    let job = one.job().await;
    let copy = two.job().await;
    one.answer(&job);
    call.await.unwrap().unwrap();
    let Some(ToWorker::Cancel(cancel)) = two.next().await else { panic!("not cancelled") };
    assert_eq!((cancel.id, queue.outstanding()), (copy.id, 0));
}

#[tokio::test(start_paused = true)]
async fn querier_with_a_long_job_comes_after_others_that_have_room() {
    let queue = queue();
    let mut one = connected(&queue, "one", 5).await;
    let mut two = connected(&queue, "two", 1).await;
    let long = ask(&queue, "a").await;
    one.job().await;
    // It is not copied yet.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let first = ask(&queue, "b").await;
    let job = two.job().await;
    // It is full: then the other one will do.
    let second = ask(&queue, "b").await;
    let other = one.job().await;
    one.answer(&other);
    two.answer(&job);
    for call in [first, second] {
        call.await.unwrap().unwrap();
    }
    long.abort();
}
