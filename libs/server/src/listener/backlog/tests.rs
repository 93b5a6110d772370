use super::*;

#[tokio::test(start_paused = true)]
async fn connection_that_does_not_get_on_is_cut_for_others() {
    let backlog = Backlog::new(100_000);
    let [stuck, quick, small] = [(); 3].map(|()| backlog.share());
    let _stuck_piece = Piece::new(&[0_u8; 40_000][..], &stuck);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(Piece::new(&[0_u8; 50_000][..], &quick));
    }
    small.add(1_000);
    assert_eq!(backlog.used.load(Relaxed), 41_000);
    let _more = Piece::new(&[0_u8; 60_000][..], &quick);
    stuck.cut().await;
    assert!(!quick.holding.cut.is_cancelled() && !small.holding.cut.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn many_that_hold_little_do_not_cost_a_reader_its_answer() {
    let backlog = Backlog::new(100_000);
    let idle = backlog.share();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let begun: Vec<_> = (0..12).map(|_| backlog.share()).collect();
    for share in &begun {
        share.add(7_900);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It was idle for long, and begins a request now.
    idle.add(1_000);
    let reader = backlog.share();
    let _piece = Piece::new(&[0_u8; 40_000][..], &reader);
    begun[0].cut().await;
    let is_cut = |share: &Arc<Share>| share.holding.cut.is_cancelled();
    assert!(!begun[1..].iter().chain([&idle, &reader]).any(is_cut));
}

#[test]
fn connections_are_cut_until_the_rest_is_within_the_limit() {
    let backlog = Backlog::new(100_000);
    let mut open: Vec<_> = (0..20).map(|_| backlog.share()).collect();
    open.iter().for_each(|share| share.add(20_000));
    while let Some(cut) = open.iter().position(|share| share.holding.cut.is_cancelled()) {
        drop(open.swap_remove(cut));
    }
    assert_eq!(open.len(), 5);
}

#[test]
fn nothing_is_left_of_connections_that_ended() {
    let backlog = Backlog::new(1 << 20);
    let share = backlog.share();
    let piece = Piece::new(&[0_u8; 20_000][..], &share);
    share.add(9_000);
    share.remove(4_000);
    assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (25_000, 1));
    drop(piece);
    assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (5_000, 1));
    drop(share);
    assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn connection_of_most_requests_that_do_not_get_on_is_cut_for_others() {
    let backlog = Backlog::new(100 * OPEN_REQUEST_BYTES);
    let [lasting, flood, quick] = [(); 3].map(|()| backlog.share());
    (0..20).for_each(|_| lasting.begin_request());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    (0..30).for_each(|_| flood.begin_request());
    tokio::time::sleep(MOST_TIME).await;
    (0..50).for_each(|_| quick.begin_request());
    quick.end_request();
    let is_cut = |share: &Arc<Share>| share.holding.cut.is_cancelled();
    quick.begin_request();
    assert!(!is_cut(&lasting) && !is_cut(&flood) && !is_cut(&quick));
    quick.begin_request();
    assert!(!is_cut(&lasting) && is_cut(&flood) && !is_cut(&quick));
    // What it has open, begins and ends does not count any more.
    assert_eq!(backlog.requests.load(Relaxed), 71);
    flood.begin_request();
    (0..31).for_each(|_| flood.end_request());
    assert_eq!(backlog.requests.load(Relaxed), 71);
}

#[tokio::test(start_paused = true)]
async fn requests_of_many_connections_do_not_cost_one_its_many_that_end() {
    let backlog = Backlog::new(1000 * OPEN_REQUEST_BYTES);
    let gateway = backlog.share();
    let stalled: Vec<_> = (0..801).map(|_| backlog.share()).collect();
    stalled[..800].iter().for_each(|share| share.begin_request());
    tokio::time::sleep(MOST_TIME).await;
    (0..200).for_each(|_| gateway.begin_request());
    stalled[800].begin_request();
    assert!(!gateway.holding.cut.is_cancelled());
    let is_cut = |share: &&Arc<Share>| share.holding.cut.is_cancelled();
    assert_eq!(stalled.iter().filter(is_cut).count(), 16);
}

#[test]
fn connections_that_were_cut_for_their_requests_do_not_shield_others() {
    let backlog = Backlog::new(100 * OPEN_REQUEST_BYTES);
    let flood: Vec<_> = (0..50).map(|_| backlog.share()).collect();
    for share in &flood {
        (0..20).for_each(|_| share.begin_request());
        assert!(backlog.requests.load(Relaxed) <= 100);
    }
}

#[test]
fn bound_that_is_set_holds_from_then_on() {
    let backlog = Backlog::new(1 << 20);
    let share = backlog.share();
    share.add(100_000);
    backlog.set_max_bytes(110_000);
    share.add(10_000);
    assert!(!share.holding.cut.is_cancelled());
    share.add(1);
    assert!(share.holding.cut.is_cancelled());
}

#[test]
fn large_piece_is_a_part_of_a_file_of_the_program() {
    let backlog = Backlog::new(1 << 20);
    let _piece = Piece::new(&[0_u8; 900_000][..], &backlog.share());
    assert_eq!(backlog.used.load(Relaxed), 64 << 10);
}
