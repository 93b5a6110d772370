//! Ingesters that answer some calls and not others.

use super::doubles::Behaviour::HoldOnly;
use super::*;

/// Has an ingester been silent just now.
fn note(cluster: &Cluster, id: &str) {
    cluster.recent.silent.note(&cluster.ring.view().read_set(), &[id.to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn ingester_that_says_what_it_holds_and_answers_no_query_is_not_waited_for() {
    let cluster_of = |behaviours: &[Behaviour]| {
        let cluster = cluster(3, behaviours);
        cluster.doubles.values().for_each(|double| double.has_spans());
        cluster
    };
    let holders = |cluster: &Cluster| {
        let searches = cluster.doubles["a"].searches.lock();
        searches.iter().map(Vec::len).collect::<Vec<_>>()
    };
    let searched = cluster_of(&[Answer, HoldOnly, Answer]);
    let started = Instant::now();
    assert_eq!(searched.search().await.unwrap(), found("ac", false));
    assert_eq!(
        started.elapsed().as_millis() / 10 * 10,
        5_100,
        "a sixth of the time, then as for any other"
    );
    assert_eq!(holders(&searched), [3, 0]);
    // For a while the others do without it.
    let started = Instant::now();
    assert_eq!(searched.search().await.unwrap(), found("ac", false));
    assert_eq!((started.elapsed().as_millis(), holders(&searched)), (0, vec![3, 0, 2]));
    tokio::time::sleep(10 * SECOND).await;
    searched.search().await.unwrap();
    assert_eq!(holders(&searched), [3, 0, 2, 3, 0]);

    let counted = cluster_of(&[Answer, HoldOnly, Answer]);
    let started = Instant::now();
    assert_eq!(counted.metrics(&["a", "b", "c"]).await.unwrap(), (0, "b".to_owned()));
    assert_eq!(started.elapsed().as_millis() / 10 * 10, 5_000);
    assert_eq!(counted.holdings(&[]).await, found("ac", false));
    assert_eq!(counted.metrics(&["a", "c"]).await.unwrap(), (2, String::new()));
    // One that takes long because it evaluates for the others is waited for.
    let busy = cluster_of(&[Answer, Late(4 * SECOND), Answer]);
    assert_eq!(busy.metrics(&["a", "b", "c"]).await.unwrap(), (3, String::new()));
    // So is any, as long as the others took.
    let slow = cluster_of(&[Late(6 * SECOND), HoldOnly, Late(SECOND)]);
    let started = Instant::now();
    assert_eq!(slow.metrics(&["a", "b", "c"]).await.unwrap(), (0, "b".to_owned()));
    assert_eq!(started.elapsed().as_secs(), 12);

    // Another querier is told, and does without it even if the others lack something.
    for (behaviours, others) in [
        ([Answer, HoldOnly, Answer], found("ac", false)),
        ([Answer, HoldOnly, Fail(Code::Unavailable)], found("a", true)),
    ] {
        let told = cluster_of(&behaviours);
        assert_eq!(told.holdings(&["b"]).await, others);
    }
    let without_copies = cluster(1, &[Answer, Answer]);
    assert_eq!(without_copies.holdings(&["b"]).await, found("a", true));
}

#[tokio::test(start_paused = true)]
async fn ingester_that_was_silent_is_asked_again_once_another_is_dead() {
    let restarted = cluster(3, &[Answer, Answer, Answer]);
    note(&restarted, "b");
    assert_eq!(restarted.holdings(&[]).await, found("ac", false));
    let dead = cluster(3, &[Answer, Answer, Fail(Code::Unavailable)]);
    note(&dead, "b");
    assert_eq!(dead.holdings(&[]).await, found("ab", false));
    // Without replicas it is asked in any case.
    let without_copies = cluster(1, &[Answer, Answer]);
    note(&without_copies, "b");
    assert_eq!(without_copies.holdings(&[]).await, found("ab", false));
}

#[tokio::test(start_paused = true)]
async fn ingester_that_hangs_is_not_waited_for_long_while_another_is_left_out() {
    let elapsed = |started: Instant| started.elapsed().as_millis() / 10 * 10;
    let hanging = cluster(3, &[Answer, Answer, Hang]);
    note(&hanging, "a");
    let started = Instant::now();
    assert_eq!(hanging.holdings(&[]).await, found("ab", false));
    assert_eq!(elapsed(started), 1_100);

    let searched = cluster(3, &[Answer, Answer, HoldOnly]);
    searched.doubles.values().for_each(|double| double.has_spans());
    note(&searched, "a");
    let started = Instant::now();
    assert_eq!(searched.search().await.unwrap(), found("ab", false));
    assert_eq!(elapsed(started), 5_100, "as if nobody were left out");
    let searches = searched.doubles["b"].searches.lock();
    assert_eq!(searches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0]);
}

#[tokio::test(start_paused = true)]
async fn ingester_that_was_silent_is_relied_on_once_it_starts_again_or_answers_such_a_query() {
    let restarted = cluster(3, &[Answer, Answer, Answer]);
    note(&restarted, "b");
    restarted.change(|instance| instance.incarnation += 1);
    assert_eq!(restarted.holdings(&[]).await, found("abc", false));

    let answers = cluster(3, &[Answer, Answer, Answer]);
    note(&answers, "b");
    assert_eq!(answers.metrics(&["a", "b", "c"]).await.unwrap(), (3, String::new()));
    assert_eq!(answers.holdings(&[]).await, found("abc", false));

    let holds = cluster(3, &[Answer, HoldOnly, Fail(Code::Unavailable)]);
    note(&holds, "b");
    assert_eq!(holds.holdings(&[]).await, found("ab", false));
    let left = holds.recent.silent.leave_out_of(holds.ring.view().read_set());
    assert_eq!(left.instances.len(), 2, "it says what it holds, and no more");
}
