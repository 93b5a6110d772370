use axum::body::Body;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::BodyExt as _;

use super::counted::counted_body;
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
    assert_eq!(bodies.arriving.used(), 8_101);
    assert_eq!(bodies.begin(&headers).await.unwrap_err(), NoRoom);
    drop(held);
    assert_eq!(bodies.arriving.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn head_of_very_many_small_lines_counts_for_more_than_its_bytes() {
    let bodies = Bodies::within(&Budget::new(1_000_000));
    let mut headers = HeaderMap::new();
    for _ in 0..3_000 {
        headers.append("a", http::HeaderValue::from_static(""));
    }
    let held = bodies.begin(&headers).await.unwrap();
    assert_eq!(bodies.arriving.used(), 303_000);
    assert_eq!(bodies.begin(&headers).await.unwrap_err(), NoRoom);
    drop(held);
    assert_eq!(bodies.arriving.used(), 0);
}

#[tokio::test]
async fn chunks_of_a_byte_are_put_together_and_chunks_count_more_than_their_bytes() {
    let all = Budget::new(1_000_000);
    let bodies = Bodies::within(&all);
    let large = vec![b'x'; counted::SMALL_CHUNK];
    for (chunks, most_frames) in [
        (vec![vec![b'y']; 20_000], 5),
        (vec![b"a".to_vec(), large.clone(), Vec::new(), b"b".to_vec(), b"c".to_vec(), large], 5),
    ] {
        let whole = chunks.concat();
        // Each comes when the one before was taken, as a connection gives them.
        let parts = futures_util::stream::iter(chunks).then(async |chunk| {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(chunk)
        });
        let held = begin(&bodies).await;
        let mut body = counted_body(Body::from_stream(parts), held.clone(), Arc::default(), true);
        let (mut frames, mut got) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            frames += 1;
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert_eq!(got, whole);
        assert!(frames <= most_frames, "{frames}");
        let counted = counted::COPIES * whole.len() + frames * counted::CHUNK_BYTES;
        assert_eq!(all.used(), counted as u64);
        drop(held);
    }
}

#[tokio::test]
async fn large_head_of_a_request_without_a_body_counts_while_it_is_answered() {
    let all = Budget::new(1_000_000);
    let shown = Arc::clone(&all);
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async move { shown.used().to_string() }))
        .layer(axum::middleware::from_fn_with_state(Bodies::within(&all), count));
    for (line, query, expected) in [(10, 10, "0"), (8_000, 0, "8106"), (0, 8_000, "8106")] {
        let request = Request::get(format!("/?{}", "q".repeat(query)))
            .header("line", "y".repeat(line))
            .body(Body::empty())
            .unwrap();
        let (status, _, body) = crate::testing::ask(&app, request).await;
        assert_eq!((status, &*body, all.used()), (200, expected, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn few_answers_wait_for_memory_and_others_are_refused_at_once() {
    let bodies = Bodies::within(&Budget::new(1_600_000));
    let held = bodies.hold_answer(1_600_000).await.unwrap();
    let waiting = Arc::clone(&bodies);
    let waiting = tokio::spawn(async move { waiting.hold_answer(150_000).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!(bodies.hold_answer(90_000).await.unwrap_err(), NoRoom);
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(held);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(bodies.waiting.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn answer_is_not_cut_off_while_more_of_it_is_written() {
    let bodies = Bodies::within(&Budget::new(1_000_000));
    let slow = Outgoing::hold(&bodies, 900_000, ()).await.unwrap();
    let writing = slow.writing();
    tokio::time::sleep(STANDSTILL).await;
    assert_eq!(bodies.hold_answer(200_000).await.unwrap_err(), NoRoom);
    drop(writing);
    tokio::time::sleep(STANDSTILL).await;
    assert!(bodies.hold_answer(200_000).await.is_ok());
    assert_eq!(slow.with(|()| ()), None);
}

#[tokio::test(start_paused = true)]
async fn small_parts_of_many_streams_count_and_one_that_nobody_reads_makes_room() {
    let all = Budget::new(1_000_000);
    let bodies = Bodies::within(&all);
    let _tiny = Outgoing::hold(&bodies, 4_000, ()).await.unwrap();
    assert_eq!(all.used(), 0);
    let mut parts = vec![Outgoing::try_hold(&bodies, 50_000, ()).unwrap()];
    for _ in 1..20 {
        parts.push(Outgoing::hold(&bodies, 50_000, ()).await.unwrap());
    }
    assert_eq!(all.used(), 1_000_000);
    tokio::time::sleep(STANDSTILL).await;
    let further = Outgoing::hold(&bodies, 50_000, ()).await;
    assert!(further.is_ok());
    assert_eq!(parts.iter().filter(|part| part.with(|()| ()).is_none()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn heads_are_in_memory_while_they_wait_so_few_of_them_may() {
    let bodies = Bodies::within(&Budget::new(1_600_000));
    let full = bodies.begin_with(800_000).await.unwrap();
    full.arrived();
    let (first, second) = (Arc::clone(&bodies), Arc::clone(&bodies));
    let waiting = tokio::spawn(async move { first.begin_with(150_000).await.map(drop) });
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(second.begin_with(60_000).await.map(drop), Err(NoRoom));
    assert_eq!(began.elapsed(), Duration::ZERO, "refused at once");
    drop(full);
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn small_answers_find_room_beside_large_ones_that_have_taken_all() {
    let common = Budget::new(4 << 20);
    let port = Budget::share(&common, 8 << 20, 200_000);
    let large = Budget::within(&common, 8 << 20);
    let bodies = Bodies::with_large(&port, &large, &Arc::default());
    let alone = bodies.hold_answer(6 << 20).await.unwrap();
    let small = bodies.hold_answer(150_000).await.unwrap();
    assert_eq!((large.used(), port.used(), common.used()), (6 << 20, 150_000, 6 << 20));
    assert_eq!(bodies.hold_answer(100_000).await.unwrap_err(), NoRoom);
    assert_eq!(bodies.hold_answer(1 << 20).await.unwrap_err(), NoRoom);
    drop(alone);
    assert!(bodies.hold_answer(100_000).await.is_ok());
    drop(small);
    assert_eq!((large.used(), port.used(), common.used()), (0, 0, 0));
}

/// A body of which so many bytes have come, and no more do. It leaves when it is cut off.
async fn stall(bodies: &Arc<Bodies>, bytes: usize) -> Arc<Unfinished> {
    let held = begin(bodies).await;
    held.unfinished();
    held.take(bytes).await.unwrap();
    let unfinished = Arc::clone(&held.0.unfinished);
    tokio::spawn(async move {
        held.cut_off().await;
        drop(held);
    });
    unfinished
}

#[tokio::test(start_paused = true)]
async fn request_whose_body_nobody_reads_does_not_keep_stalled_ones_from_being_cut_off() {
    let bodies = Bodies::within(&Budget::new(40_000));
    let head = bodies.begin_with(9_000).await.unwrap();
    drop(counted_body(Body::from("body"), head.clone(), Arc::default(), true));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stalled = stall(&bodies, 9_000).await;
    assert_eq!(begin(&bodies).await.take(9_000).await, Ok(()));
    assert!(stalled.cut.is_cancelled() && !head.0.unfinished.cut.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn another_is_cut_off_where_the_first_one_does_not_leave() {
    let bodies = Bodies::within(&Budget::new(40_000));
    let deaf = begin(&bodies).await;
    deaf.unfinished();
    deaf.take(9_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let stalled = stall(&bodies, 9_000).await;
    assert_eq!(begin(&bodies).await.take(9_000).await, Ok(()));
    assert!(stalled.cut.is_cancelled() && deaf.0.unfinished.cut.is_cancelled());
}

/// Three ports that have a mebibyte each, and four together.
fn ports() -> [Arc<Bodies>; 3] {
    let (common, shared) = (Budget::new(4 << 20), Arc::default());
    [(); 3].map(|()| {
        let all = Budget::share(&common, 16 << 20, 1 << 20);
        Bodies::with_large(&all, &Budget::within(&common, 16 << 20), &shared)
    })
}

#[tokio::test(start_paused = true)]
async fn stalled_body_makes_room_for_another_port_but_not_with_what_its_port_has_to_itself() {
    let [modest, greedy, port] = ports();
    let modest = stall(&modest, 1 << 20).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let greedy = stall(&greedy, 4 << 20).await;
    assert!(Outgoing::hold(&port, 2 << 20, ()).await.is_ok());
    assert!(greedy.cut.is_cancelled() && !modest.cut.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn requests_cut_off_an_answer_of_another_port_only_if_nobody_reads_it() {
    let [reading, port, _] = ports();
    let answer = Outgoing::hold(&reading, 3 << 20, ()).await.unwrap();
    let request = begin(&port).await;
    assert_eq!(request.take(5 << 19).await, Err(NoRoom));
    assert_eq!(answer.with(|()| ()), Some(()));
    tokio::time::sleep(STANDSTILL).await;
    assert_eq!(request.take(5 << 19).await, Ok(()));
    assert_eq!(answer.with(|()| ()), None);
}
