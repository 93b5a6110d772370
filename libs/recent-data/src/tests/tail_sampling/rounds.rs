//! Rounds of decisions that meet others, or find no policies any more.

use std::sync::mpsc;

use super::*;

#[tokio::test]
async fn tenant_that_is_being_decided_holds_up_no_other() {
    let sampled = Sampled::new(BELOW_TEN);
    let ingester = sampled.open();
    let other = TenantId::parse("t2").unwrap();
    push_one(&ingester, 1, 100);
    ingester.push(&push_of("t2", &[span(1, 200, 1_000)]), &other).unwrap();
    ingester.seal().await.unwrap();
    // As a round that takes long.
    let busy = ingester.tenant(&tenant()).unwrap();
    let (began, has_begun) = mpsc::channel();
    let (end, has_ended) = mpsc::channel::<()>();
    let round = std::thread::spawn(move || {
        let _deciding = busy.deciding.lock();
        began.send(()).unwrap();
        let _ = has_ended.recv();
    });
    has_begun.recv().unwrap();
    let decided = ingester.decide(Due::Waited);
    tokio::time::timeout(Duration::from_secs(20), decided).await.unwrap().unwrap();
    ingester.decide_early(0).await.unwrap();
    let pending = |id: &TenantId| ingester.tenant(id).unwrap().pending_segments().len();
    assert_eq!((pending(&tenant()), pending(&other)), (1, 0));
    drop(end);
    round.join().unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!(pending(&tenant()), 0);
}

#[tokio::test]
async fn no_trace_is_undecided_once_there_are_no_policies() {
    let sampled = Sampled::new(BELOW_TEN);
    sampled.set(Some(tail_sampling(BELOW_TEN, HOUR)));
    let ingester = sampled.open();
    push_one(&ingester, 1, 100);
    ingester.seal().await.unwrap();
    ingester.decide(Due::Waited).await.unwrap();
    let undecided = "tactus_tail_sampling_sampling_traces_on_memory{tenant=\"t1\"}";
    assert_eq!(sampled.metric(undecided), Some(1.0));
    sampled.set(None);
    ingester.decide(Due::Waited).await.unwrap();
    assert_eq!((ids(&ingester), sampled.metric(undecided)), (vec![100], Some(0.0)));
}
