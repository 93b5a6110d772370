use super::*;

async fn begin(bodies: &Arc<Bodies>) -> Held {
    bodies.begin(&HeaderMap::new()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn bodies_take_half_of_the_budget_and_work_the_rest() {
    let all = Budget::new(1_000);
    let bodies = Bodies::within(&all);
    let (first, second) = (begin(&bodies).await, begin(&bodies).await);
    first.take(400).await.unwrap();
    assert_eq!(second.take(200).await, Err(NoRoom));
    second.take(100).await.unwrap();
    assert!(!second.try_take_for_work(600));
    second.take_for_work(500).await.unwrap();
    assert_eq!(all.used(), 1_000);
    second.keep_of_work(100);
    assert_eq!(all.used(), 600);
    let clone = second.clone();
    drop((first, second));
    assert_eq!(all.used(), 200);
    drop(clone);
    assert_eq!(all.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_body_is_cut_off_for_a_quick_one() {
    let bodies = Bodies::within(&Budget::new(2_000));
    let slow = begin(&bodies).await;
    slow.unfinished();
    slow.take(900).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let small = begin(&bodies).await;
    small.unfinished();
    small.take(50).await.unwrap();
    let quick = begin(&bodies).await;
    quick.unfinished();
    let held = slow.clone();
    let cut = tokio::spawn(async move {
        held.cut_off().await;
        drop(held);
    });
    let reader = tokio::spawn(async move {
        slow.cut_off().await;
        drop(slow);
    });
    quick.take(500).await.unwrap();
    cut.await.unwrap();
    reader.await.unwrap();
    assert_eq!(bodies.arriving.used(), 550);
    // One that has arrived is not cut off: whoever comes waits, and is refused.
    quick.arrived();
    let late = begin(&bodies).await;
    assert_eq!(late.take(900).await, Err(NoRoom));
    assert!(!quick.0.unfinished.cut.is_cancelled());
    drop((small, quick));
    late.take(900).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_memory_that_becomes_free() {
    let bodies = Bodies::within(&Budget::new(1_000));
    let first = begin(&bodies).await;
    first.take(500).await.unwrap();
    let second = begin(&bodies).await;
    let waiting = tokio::spawn(async move { second.take(300).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(first);
    waiting.await.unwrap().unwrap();
    assert_eq!(bodies.all.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_head_counts() {
    let bodies = Bodies::within(&Budget::new(20_000));
    let mut headers = HeaderMap::new();
    headers.insert("x", "y".repeat(8_000).parse().unwrap());
    let held = bodies.begin(&headers).await.unwrap();
    assert_eq!(bodies.arriving.used(), 8_001);
    assert_eq!(bodies.begin(&headers).await.unwrap_err(), NoRoom);
    drop(held);
    assert_eq!(bodies.arriving.used(), 0);
}
