//! Tenants whose jobs take long, beside others.

use tactus_work::MOST_NEWCOMERS;

use super::*;

/// The jobs that have come.
async fn given(querier: &mut FakeQuerier) -> Vec<Job> {
    let mut given = Vec::new();
    while let Some(job) = querier.job_now().await {
        given.push(job);
    }
    given
}

fn of_tenant(jobs: &[Job], tenant: &str) -> usize {
    jobs.iter().filter(|job| jobs::tenant(job.request.as_ref().unwrap()) == tenant).count()
}

async fn ask_often(queue: &JobQueue, tenant: &str, count: usize) {
    for _ in 0..count {
        ask(queue, tenant).await;
    }
}

/// A querier of 20 slots with two tenants whose jobs do not end.
async fn with_two_at_work(queue: &JobQueue) -> (FakeQuerier, Vec<Job>) {
    let mut one = connected(queue, "one", 20).await;
    ask_often(queue, "a", 25).await;
    let mut running = given(&mut one).await;
    assert_eq!(running.len(), 20, "all slots are for a tenant that is alone");
    ask_often(queue, "b", 25).await;
    let more = given(&mut one).await;
    assert_eq!((more.len(), of_tenant(&more, "b")), (10, 10));
    running.extend(more);
    (one, running)
}

#[tokio::test]
async fn tenants_with_long_jobs_leave_places_to_another() {
    let queue = queue();
    let (mut one, running) = with_two_at_work(&queue).await;
    let call = ask(&queue, "c").await;
    let job = one.job_now().await.expect("it does not wait for the others");
    one.answer(&job);
    call.await.unwrap().unwrap();
    ask_often(&queue, "c", 5).await;
    let more = given(&mut one).await;
    assert_eq!((more.len(), of_tenant(&more, "c")), (3, 3));
    // Places that are left are not for those who have many.
    running[..3].iter().for_each(|job| one.answer(job));
    assert_eq!(of_tenant(&given(&mut one).await, "a"), 0);
}

#[tokio::test]
async fn very_many_tenants_do_not_run_very_many_jobs() {
    let queue = queue();
    let (mut one, running) = with_two_at_work(&queue).await;
    for number in 0..400 {
        ask(&queue, &format!("made-up-{number}")).await;
    }
    assert_eq!(given(&mut one).await.len(), 30 + MOST_NEWCOMERS);
    one.answer(&running[0]);
    let next = given(&mut one).await;
    assert_eq!(next.len(), 1);
    assert_eq!(of_tenant(&next, "a") + of_tenant(&next, "b"), 0);
}

#[tokio::test]
async fn tenants_take_up_places_again_that_others_leave() {
    let queue = queue();
    let (mut one, running) = with_two_at_work(&queue).await;
    let call = ask(&queue, "c").await;
    let job = one.job_now().await.unwrap();
    one.answer(&running[0]);
    assert_eq!(given(&mut one).await.len(), 0, "half of the places are taken");
    one.answer(&job);
    call.await.unwrap().unwrap();
    assert_eq!(given(&mut one).await.len(), 1);
}
