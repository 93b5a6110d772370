//! Ingesters that fail, hang, refuse.

use std::time::Duration;

use tactus_model::TenantId;
use tactus_receivers::{PushError, PushOutcome, TraceSink};
use tokio::time::Instant;
use tonic::Code;

use super::doubles::*;
use crate::Settings;

impl Cluster {
    async fn push(&self) -> Result<PushOutcome, PushError> {
        self.distributor.push(TenantId::single(), export(&[GOOD])).await
    }

    /// Doubles by how the ring orders them for the trace of `GOOD`: its replicas first, then who may stand in.
    fn order(&self) -> Vec<usize> {
        let route = self.distributor.routes.of(&TenantId::single(), 0).unwrap();
        let set = route.placement.set_of(route.tokens.token(&[1; 16]));
        let set = &route.placement.sets()[set];
        let address = |at: &u32| route.placement.instance(*at).address.parse().unwrap();
        set.instances.iter().chain(&set.next).map(address).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn one_replica_that_fails_or_hangs_costs_nothing() {
    for behaviour in [Behaviour::Fail(Code::Unavailable), Behaviour::Hang] {
        let cluster = Cluster::new(3, 3);
        cluster.doubles[0].behaves(behaviour);
        let started = Instant::now();
        assert_eq!(cluster.push().await.unwrap().accepted_spans, 1);
        assert!(started.elapsed().is_zero());
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(cluster.calls(), [1, 1, 1]);
        let failures = |n: usize| {
            let series = "tempo_distributor_ingester_append_failures_total";
            cluster.metric(&format!("{series}{{ingester=\"{n}\"}}"))
        };
        assert_eq!([failures(0), failures(1), failures(2)], [1.0, 0.0, 0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn two_failed_replicas_of_three_leave_no_quorum() {
    let cluster = Cluster::new(3, 3);
    cluster.doubles[0].behaves(Behaviour::Fail(Code::Unavailable));
    cluster.doubles[1].behaves(Behaviour::Hang);
    let started = Instant::now();
    let result = cluster.push().await;
    let Err(PushError::Unavailable { retry_after, .. }) = result else { panic!("{result:?}") };
    assert_eq!(retry_after, Duration::from_secs(1));
    assert_eq!(started.elapsed(), Settings::default().remote_timeout);
}

#[tokio::test(start_paused = true)]
async fn slow_replica_is_waited_for_if_nobody_can_stand_in() {
    let cluster = Cluster::new(3, 3);
    cluster.doubles[0].behaves(Behaviour::Fail(Code::Unavailable));
    cluster.doubles[1].behaves(Behaviour::StoreAfter(Duration::from_secs(2)));
    let started = Instant::now();
    assert!(cluster.push().await.is_ok());
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn next_ingesters_stand_in_for_failed_ones_at_once() {
    let cluster = Cluster::new(5, 3);
    let order = cluster.order();
    for failed in &order[..2] {
        cluster.doubles[*failed].behaves(Behaviour::Fail(Code::Unavailable));
    }
    let started = Instant::now();
    assert!(cluster.push().await.is_ok());
    assert!(started.elapsed().is_zero());
    // One stand-in is enough for a quorum.
    let calls = cluster.calls();
    let calls: Vec<usize> = order.iter().map(|double| calls[*double]).collect();
    assert_eq!(calls, [1, 1, 1, 1, 0]);
    assert_eq!(cluster.metric("tactus_distributor_hedged_pushes_total"), 1.0);
    let (kept, stood_in) = (&cluster.doubles[order[2]], &cluster.doubles[order[3]]);
    assert_eq!(kept.pushes.lock()[0], stood_in.pushes.lock()[0]);
}

#[tokio::test(start_paused = true)]
async fn next_ingesters_stand_in_for_slow_ones_after_the_delay() {
    let cluster = Cluster::new(5, 3);
    let order = cluster.order();
    let has_suspects = || cluster.distributor.peers.has_suspects();
    for slow in &order[..2] {
        cluster.doubles[*slow].behaves(Behaviour::Hang);
    }
    for _ in 0..3 {
        assert!(!has_suspects());
        let started = Instant::now();
        assert!(cluster.push().await.is_ok());
        assert_eq!(started.elapsed(), Settings::default().late_after());
    }
    cluster.settle().await;
    // By now they are suspect, and nobody waits for them.
    assert!(has_suspects());
    let started = Instant::now();
    assert!(cluster.push().await.is_ok());
    assert!(started.elapsed().is_zero());
    assert_eq!(cluster.doubles[order[0]].calls(), 4);
    // One that answers in time again is relied on again.
    cluster.doubles[order[0]].behaves(Behaviour::Store);
    assert!(cluster.push().await.is_ok());
    cluster.settle().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = cluster.metric("tactus_distributor_hedged_pushes_total");
    assert!(cluster.push().await.is_ok());
    assert_eq!(cluster.metric("tactus_distributor_hedged_pushes_total"), before);
    assert!(has_suspects(), "the other one still hangs");
    cluster.doubles[order[1]].behaves(Behaviour::Store);
    assert!(cluster.push().await.is_ok());
    cluster.settle().await;
    assert!(!has_suspects());
}

#[tokio::test(start_paused = true)]
async fn push_goes_to_no_more_ingesters_while_all_are_slow() {
    let cluster = Cluster::new(5, 3);
    let slow = Settings::default().late_after() * 3;
    cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::StoreAfter(slow)));
    let order = cluster.order();
    // The stand-ins as well become known to be slow.
    for _ in 0..3 {
        assert!(cluster.push().await.is_ok());
        tokio::time::sleep(slow).await;
    }
    let before = cluster.calls();
    assert!(before.iter().all(|calls| *calls == 3), "{before:?}");
    for _ in 0..4 {
        assert!(cluster.push().await.is_ok());
        tokio::time::sleep(slow).await;
    }
    let after = cluster.calls();
    let more: Vec<usize> = order.iter().map(|double| after[*double] - before[*double]).collect();
    assert_eq!(more, [4, 4, 4, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_replicas_only_what_was_not_stored_goes_elsewhere() {
    for code in [Code::Unimplemented, Code::Unauthenticated, Code::PermissionDenied] {
        let cluster = Cluster::new(3, 1);
        let order = cluster.order();
        cluster.doubles[order[0]].behaves(Behaviour::Fail(code));
        assert!(cluster.push().await.is_ok(), "{code:?}");
        assert_eq!(cluster.doubles[order[1]].pushes.lock().len(), 1);
    }
    let cluster = Cluster::new(3, 1);
    let order = cluster.order();
    cluster.doubles[order[0]].behaves(Behaviour::Fail(Code::Unavailable));
    assert!(cluster.push().await.is_ok());
    assert_eq!(cluster.doubles[order[1]].pushes.lock().len(), 1);
    cluster.doubles[order[0]].behaves(Behaviour::Hang);
    assert!(matches!(cluster.push().await, Err(PushError::Unavailable { .. })));
    assert_eq!(cluster.doubles[order[1]].pushes.lock().len(), 1);
}

#[tokio::test]
async fn request_too_long_for_ingesters_goes_to_no_others_and_makes_none_suspect() {
    let cluster = Cluster::new(4, 3);
    cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::Fail(Code::OutOfRange)));
    for _ in 0..4 {
        assert!(matches!(cluster.push().await, Err(PushError::Invalid(_))));
    }
    cluster.settle().await;
    cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::Store));
    assert!(cluster.push().await.is_ok());
    assert_eq!(cluster.metric("tactus_distributor_hedged_pushes_total"), 0.0);
}

#[tokio::test]
async fn what_most_failures_say_is_told_to_the_client() {
    let cluster = Cluster::new(3, 3);
    cluster.doubles[0].behaves(Behaviour::Fail(Code::ResourceExhausted));
    cluster.doubles[1].behaves(Behaviour::Fail(Code::ResourceExhausted));
    assert!(matches!(cluster.push().await, Err(PushError::RateLimited { .. })));
    cluster.doubles[1].behaves(Behaviour::Fail(Code::Internal));
    assert!(matches!(cluster.push().await, Err(PushError::Unavailable { .. })));
    let discarded = |reason: &str| {
        let labels = format!(r#"reason="{reason}",tenant="single-tenant""#);
        cluster.metric(&format!("tempo_discarded_spans_total{{{labels}}}"))
    };
    assert_eq!((discarded("ingester_full"), discarded("internal_error")), (1.0, 1.0));
}

#[tokio::test]
async fn invalid_spans_are_sent_to_nobody_else() {
    let cluster = Cluster::new(5, 3);
    let invalid = Behaviour::Fail(Code::InvalidArgument);
    cluster.doubles.iter().for_each(|double| double.behaves(invalid.clone()));
    for _ in 0..5 {
        assert!(matches!(cluster.push().await, Err(PushError::Invalid(_))));
    }
    cluster.settle().await;
    assert_eq!(cluster.calls().iter().sum::<usize>(), 15);
    // Nor does it make anybody suspect.
    cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::Store));
    assert!(cluster.push().await.is_ok());
    assert_eq!(cluster.metric("tactus_distributor_hedged_pushes_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn spans_count_as_refused_when_a_quorum_refuses_them() {
    let refuse = Behaviour::Refuse("live_traces_exceeded", 1);
    let cluster = Cluster::new(3, 3);
    cluster.doubles[0].behaves(refuse.clone());
    let outcome = cluster.push().await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 0));
    cluster.doubles[2].behaves(refuse.clone());
    let outcome = cluster.push().await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (0, 1));
    assert_eq!(outcome.message, "LIVE_TRACES_EXCEEDED: 1 spans");
    let labels = r#"reason="live_traces_exceeded",tenant="single-tenant""#;
    assert_eq!(cluster.metric(&format!("tempo_discarded_spans_total{{{labels}}}")), 1.0);
    // One refuses, one stores, one does not say: refused, but not before the third had its chance.
    cluster.doubles[2].behaves(Behaviour::Hang);
    let started = Instant::now();
    assert_eq!(cluster.push().await.unwrap().rejected_spans, 1);
    assert_eq!(started.elapsed(), Settings::default().late_after());
    cluster.doubles[2].behaves(Behaviour::StoreAfter(Duration::from_millis(100)));
    assert_eq!(cluster.push().await.unwrap().rejected_spans, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_when_the_client_goes_away() {
    let cluster = Cluster::new(3, 3);
    for double in &cluster.doubles {
        double.behaves(Behaviour::StoreAfter(Duration::from_secs(1)));
    }
    let push = tokio::time::timeout(Duration::from_millis(500), cluster.push());
    assert!(push.await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(cluster.doubles.iter().all(|double| double.pushes.lock().len() == 1));
}
