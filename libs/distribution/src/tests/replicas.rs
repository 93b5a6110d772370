//! Which spans reach which ingester, and under which origin.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use proptest::prelude::*;
use tactus_model::{TenantId, wire::put_bytes_field, wire::put_message_field};
use tactus_receivers::{PushError, TraceSink};
use tactus_ring::{Operation, State, token_for};

use super::doubles::*;

/// By resource, by scope: (trace, size of the name) of each span.
type Spans = Vec<Vec<Vec<(u8, usize)>>>;

fn trace_id(trace: u8) -> [u8; 16] {
    let mut id = [0x5a; 16];
    id[15] = trace;
    id[0] = trace.wrapping_mul(37);
    id
}

/// A request whose span ids count up from 1, and of each span (trace, resource, scope).
fn request(spans: &Spans) -> (Bytes, BTreeMap<u64, (u8, String, String)>) {
    let (mut request, mut expected) = (Vec::new(), BTreeMap::new());
    for (r, scopes) in spans.iter().enumerate() {
        let mut resource_spans = Vec::new();
        put_message_field(&mut resource_spans, 1, format!("\x10r{r}").as_bytes());
        for (s, spans) in scopes.iter().enumerate() {
            let mut scope_spans = Vec::new();
            put_message_field(&mut scope_spans, 1, format!("\x0a\x01s{s}").as_bytes());
            for (trace, size) in spans {
                let id = expected.len() as u64 + 1;
                let mut message = span(&trace_id(*trace), &id.to_be_bytes());
                put_bytes_field(&mut message, 5, &vec![b'n'; *size]);
                put_message_field(&mut scope_spans, 2, &message);
                expected.insert(id, (*trace, format!("\x10r{r}"), format!("\x0a\x01s{s}")));
            }
            put_message_field(&mut scope_spans, 3, b"schema");
            put_message_field(&mut resource_spans, 2, &scope_spans);
        }
        put_message_field(&mut request, 1, &resource_spans);
    }
    (request.into(), expected)
}

fn spans() -> impl Strategy<Value = Spans> {
    let size = prop_oneof![8 => 0usize..200, 1 => 2_000usize..6_000];
    let scope = prop::collection::vec((0u8..12, size), 0..12);
    prop::collection::vec(prop::collection::vec(scope, 0..3), 1..4)
}

async fn each_span_reaches_its_replicas(
    ingesters: usize,
    replication_factor: usize,
    leaving: Option<usize>,
    shard: usize,
    spans: Spans,
) {
    let cluster = Cluster::new(ingesters, replication_factor);
    cluster.limits.lock().ingestion.tenant_shard_size = shard;
    if let Some(leaving) = leaving {
        let state = |n: usize| if n == leaving { State::Leaving } else { State::Active };
        let members = (0..ingesters).map(|n| {
            let mut member = instance(n);
            member.state = state(n);
            member
        });
        cluster.ring.replace(members.collect());
    }
    let tenant = TenantId::parse("some-tenant").unwrap();
    let (request, expected) = request(&spans);
    let view = cluster.ring.view().shuffle_shard(tenant.as_str(), shard);
    type Set = (BTreeSet<String>, usize);
    let replicas: Result<BTreeMap<u8, Set>, _> = expected
        .values()
        .map(|(trace, _, _)| {
            let token = token_for(tenant.as_str(), &trace_id(*trace));
            let set = view.replicas(token, Operation::Write)?;
            let address = |at: &u32| view.instance(*at).address.to_string();
            let addresses = set.instances.iter().map(address).collect();
            Ok::<_, tactus_ring::RingError>((*trace, (addresses, set.min_success)))
        })
        .collect();
    for push in 1..=2 {
        let result = cluster.distributor.push(tenant.clone(), request.clone()).await;
        cluster.settle().await;
        let Ok(replicas) = &replicas else {
            assert!(matches!(result, Err(PushError::Unavailable { .. })), "{result:?}");
            assert!(cluster.calls().iter().all(|calls| *calls == 0));
            return;
        };
        assert_eq!(result.unwrap().accepted_spans, expected.len() as u64);
        let mut origins: BTreeMap<&Set, BTreeSet<u64>> = BTreeMap::new();
        for (number, double) in cluster.doubles.iter().enumerate() {
            let address = number.to_string();
            let pushes = std::mem::take(&mut *double.pushes.lock());
            let here = |trace: u8| replicas[&trace].0.contains(&address);
            let wanted: BTreeSet<u64> =
                expected.iter().filter(|(_, found)| here(found.0)).map(|(id, _)| *id).collect();
            assert_eq!(pushes.len(), usize::from(!wanted.is_empty()));
            let Some(sent) = pushes.into_iter().next() else { continue };
            let ids = span_ids(&sent);
            assert_eq!(ids.len(), wanted.len(), "a span twice");
            assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), wanted);
            assert_eq!(sent.tenant, tenant.as_str());
            let distinct = |messages: &[Bytes]| messages.iter().collect::<HashSet<_>>().len();
            assert_eq!(distinct(&sent.resources), sent.resources.len(), "a resource twice");
            for run in &sent.runs {
                let one = tactus_proto::tactus::v1::PushRequest {
                    runs: vec![run.clone()],
                    ..Default::default()
                };
                for id in span_ids(&one) {
                    let (trace, resource, scope) = &expected[&id];
                    assert_eq!(sent.resources[run.resource as usize], resource.as_bytes());
                    assert_eq!(sent.scopes[run.scope as usize], scope.as_bytes());
                    origins.entry(&replicas[trace]).or_default().insert(run.origin);
                }
            }
        }
        // One origin for each set, and no two sets with the same.
        let all: Vec<u64> = origins.values().flatten().copied().collect();
        if replication_factor == 1 {
            assert!(all.iter().all(|origin| *origin == 0));
            continue;
        }
        assert!(origins.values().all(|origins| origins.len() == 1), "{origins:?}");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().all(|origin| origin & 0xff_ffff == push));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_span_reaches_each_of_its_replicas_once(
        ingesters in 1usize..8,
        replication_factor in 1usize..4,
        leaving in prop::option::of(0usize..8),
        shard in 0usize..6,
        spans in spans(),
    ) {
        let leaving = leaving.filter(|leaving| *leaving < ingesters);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(each_span_reaches_its_replicas(
            ingesters, replication_factor, leaving, shard, spans,
        ));
    }
}

#[tokio::test]
async fn as_many_ingesters_as_replicas_get_the_same_push_without_a_copy() {
    let cluster = Cluster::new(3, 3);
    let (request, _) = request(&vec![vec![vec![(1, 9), (2, 9), (1, 9)]]]);
    assert!(cluster.distributor.push(TenantId::single(), request.clone()).await.is_ok());
    cluster.settle().await;
    let pushes: Vec<_> = cluster.doubles.iter().map(|d| d.pushes.lock()[0].clone()).collect();
    assert_eq!(pushes[0], pushes[1]);
    assert_eq!(pushes[0], pushes[2]);
    assert_eq!(pushes[0].runs.len(), 1);
    assert_eq!(cluster.metric("tempo_distributor_ingester_clients"), 3.0);
    for push in &pushes {
        assert!(request.as_ptr_range().contains(&push.runs[0].scope_spans.as_ptr()));
    }
}

#[tokio::test]
async fn small_slices_are_copied_together_and_large_ones_are_not() {
    for (size, runs) in [(100, 2), (5_000, 40)] {
        let cluster = Cluster::new(2, 1);
        let (request, expected) = request(&vec![vec![(0..40).map(|n| (n % 12, size)).collect()]]);
        assert!(cluster.distributor.push(TenantId::single(), request.clone()).await.is_ok());
        let pushes: Vec<_> = cluster.doubles.iter().map(|d| d.pushes.lock()[0].clone()).collect();
        let count: usize = pushes.iter().map(|push| push.runs.len()).sum();
        assert!(count <= runs, "{count} runs of spans of {size} bytes");
        assert_eq!(pushes.iter().map(|push| span_ids(push).len()).sum::<usize>(), expected.len());
        let is_slice = request.as_ptr_range().contains(&pushes[0].runs[0].scope_spans.as_ptr());
        assert_eq!(is_slice, size == 5_000);
    }
}

#[tokio::test]
async fn tenant_with_a_shard_uses_its_ingesters_only() {
    let cluster = Cluster::new(6, 1);
    cluster.limits.lock().ingestion.tenant_shard_size = 2;
    let (request, _) = request(&vec![vec![(0..12).map(|n| (n, 9)).collect()]]);
    for _ in 0..3 {
        assert!(cluster.distributor.push(TenantId::single(), request.clone()).await.is_ok());
    }
    assert_eq!(cluster.calls().iter().filter(|calls| **calls > 0).count(), 2);
}

#[tokio::test]
async fn streams_go_on_when_the_ring_changes_and_the_set_stays() {
    let cluster = Cluster::new(3, 3);
    let push = || cluster.distributor.push(TenantId::single(), export(&[GOOD]));
    let origin = |double: usize| {
        cluster.doubles[double].pushes.lock().last().map(|push| push.runs[0].origin)
    };
    assert!(push().await.is_ok());
    cluster.settle().await;
    let first = origin(0).unwrap();
    let mut members: Vec<_> = (0..3).map(instance).collect();
    members[0].registered = 7;
    assert!(cluster.ring.replace(members.clone()));
    assert!(push().await.is_ok());
    cluster.settle().await;
    assert_eq!(origin(0), Some(first + 1));
    // Another set, another stream.
    members[2].alive = false;
    assert!(cluster.ring.replace(members));
    assert!(push().await.is_ok());
    cluster.settle().await;
    assert_ne!(origin(0).unwrap() >> 24, first >> 24);
}
