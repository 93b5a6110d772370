//! What keeps memory and rates bounded.

use std::{sync::Arc, time::Duration};

use tactus_model::TenantId;
use tactus_receivers::{PushError, TraceSink};
use tactus_ring::{Instance, Ring, RingSettings};

use super::doubles::*;
use crate::Settings;

/// A request of about a kilobyte.
fn kilobyte() -> bytes::Bytes {
    let ids: Vec<([u8; 16], [u8; 8])> = (1..=28u8).map(|n| ([n; 16], [n; 8])).collect();
    let spans: Vec<(&[u8], &[u8])> = ids.iter().map(|(t, s)| (&t[..], &s[..])).collect();
    export(&spans)
}

#[tokio::test(flavor = "multi_thread")]
async fn large_request_is_taken_unless_its_spans_are_empty() {
    let cluster = Cluster::with(Settings::default(), 1, 1);
    let push =
        |spans: &[(&[u8], &[u8])]| cluster.distributor.push(TenantId::single(), export(spans));
    let taken = push(&vec![(&[1_u8; 16][..], &[2_u8; 8][..]); 50_000]).await.unwrap();
    assert_eq!((taken.accepted_spans, taken.rejected_spans), (50_000, 0));
    let refused = push(&vec![(&b""[..], &b""[..]); 50_000]).await;
    let Err(PushError::Malformed(text)) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("almost empty"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn flood_is_refused_at_once_and_memory_stays_bounded() {
    let settings = Settings { max_inflight_bytes: 1_000_000, ..Settings::default() };
    let cluster = Arc::new(Cluster::with(settings.clone(), 3, 3));
    cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::Hang));
    let mut floods = Vec::new();
    for _ in 0..1_000 {
        let cluster = Arc::clone(&cluster);
        floods.push(tokio::spawn(async move {
            let started = tokio::time::Instant::now();
            let result = cluster.distributor.push(TenantId::single(), kilobyte()).await;
            (result, started.elapsed())
        }));
    }
    cluster.settle().await;
    let used = cluster.distributor.budget.used();
    assert!((970_000..=1_000_000).contains(&used), "{used}");
    let mut refused = 0;
    for flood in floods {
        let (result, elapsed) = flood.await.unwrap();
        let Err(PushError::Unavailable { retry_after, .. }) = result else { panic!("{result:?}") };
        assert_eq!(retry_after, Duration::from_secs(1));
        refused += usize::from(elapsed.is_zero());
    }
    assert!((940..1_000).contains(&refused), "{refused}");
    assert_eq!(cluster.metric("tactus_distributor_overload_refusals_total"), refused as f64);
    tokio::time::sleep(2 * settings.remote_timeout).await;
    assert_eq!(cluster.distributor.budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn replicas_share_the_memory_of_a_push_unless_each_compresses_it() {
    for (compresses_pushes, copies) in [(false, 1), (true, 3)] {
        let settings = Settings { compresses_pushes, ..Settings::default() };
        let cluster = Arc::new(Cluster::with(settings.clone(), 3, 3));
        cluster.doubles.iter().for_each(|double| double.behaves(Behaviour::Hang));
        let pushing = Arc::clone(&cluster);
        let push =
            tokio::spawn(
                async move { pushing.distributor.push(TenantId::single(), kilobyte()).await },
            );
        cluster.settle().await;
        assert_eq!(cluster.calls(), [1, 1, 1]);
        let request = kilobyte().len() as u64;
        let expected = (1 + copies) * request + (1 + 3) * crate::write::CALL_BYTES;
        assert_eq!(cluster.distributor.budget.used(), expected);
        assert!(push.await.unwrap().is_err());
        tokio::time::sleep(2 * settings.remote_timeout).await;
        assert_eq!(cluster.distributor.budget.used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_ingester_holds_a_share_of_the_memory_only() {
    let settings = Settings { max_inflight_bytes: 8_000_000, ..Settings::default() };
    let cluster = Cluster::with(settings.clone(), 3, 3);
    cluster.doubles[1].behaves(Behaviour::Hang);
    // Three calls in a row that are late make it suspect.
    for _ in 0..3 {
        assert!(cluster.distributor.push(TenantId::single(), kilobyte()).await.is_ok());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..2_000 {
        assert!(cluster.distributor.push(TenantId::single(), kilobyte()).await.is_ok());
        cluster.settle().await;
    }
    // The call's bytes and the request that it pins.
    let used = cluster.distributor.budget.used();
    assert!((1..=4_000_000).contains(&used), "{used}");
    assert!(cluster.doubles[1].calls() <= 3 + 256);
    tokio::time::sleep(2 * settings.remote_timeout).await;
    assert_eq!(cluster.distributor.budget.used(), 0);
    let failures = r#"tempo_distributor_ingester_append_failures_total{ingester="1"}"#;
    assert_eq!(cluster.metric(failures), 2_003.0);
}

#[tokio::test]
async fn global_rate_is_divided_by_the_healthy_distributors() {
    let mut cluster = Cluster::new(1, 1);
    let member = |n: usize| Instance::active(&n.to_string(), &n.to_string(), [n as u32]);
    let dead = Instance { alive: false, ..member(4) };
    let ring = vec![member(1), member(2), member(3), dead];
    cluster.distributor.parts.distributors =
        Some(Ring::fixed(RingSettings::new("distributor"), ring));
    *cluster.limits.lock() = rate_limits(15_000_000, 1);
    cluster.limits.lock().ingestion.rate_strategy = "global".to_owned();
    let result = cluster.distributor.push(TenantId::single(), export(&[GOOD])).await;
    let Err(PushError::RateLimited { message: text, .. }) = result else { panic!("{result:?}") };
    assert!(
        text.contains("(local: 5000000 bytes/s, global: 20000000 bytes/s, burst: 1 bytes)"),
        "{text}"
    );
    cluster.limits.lock().ingestion.rate_strategy = "local".to_owned();
    let result = cluster.distributor.push(TenantId::single(), export(&[GOOD])).await;
    assert!(result.unwrap_err().to_string().contains("(local: 15000000 bytes/s, global: 0"));
}

#[tokio::test(start_paused = true)]
async fn answer_takes_the_artificial_delay() {
    let mut settings = Settings::default();
    settings.section.artificial_delay = Duration::from_secs(1).into();
    let cluster = Cluster::with(settings, 1, 1);
    // The tenant's own, if it has one.
    for (own, seconds) in [(None, 1), (Some(2), 2), (Some(0), 0)] {
        cluster.limits.lock().ingestion.artificial_delay =
            own.map(|seconds| Duration::from_secs(seconds).into());
        let started = tokio::time::Instant::now();
        assert!(cluster.distributor.push(TenantId::single(), export(&[GOOD])).await.is_ok());
        assert_eq!(started.elapsed(), Duration::from_secs(seconds));
    }
}
