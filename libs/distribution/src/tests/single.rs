//! One ingester, no replicas.

use bytes::Bytes;
use tactus_model::TenantId;
use tactus_proto::tactus::v1 as proto;
use tactus_receivers::{PushError, PushOutcome, TraceSink};
use tonic::Code;

use super::doubles::*;
use crate::Settings;

async fn push(request: Bytes) -> (Result<PushOutcome, PushError>, Vec<proto::PushRequest>) {
    let cluster = Cluster::new(1, 1);
    let result = cluster.distributor.push(TenantId::single(), request).await;
    let pushes = std::mem::take(&mut *cluster.doubles[0].pushes.lock());
    (result, pushes)
}

#[tokio::test]
async fn valid_request_goes_on_without_a_copy() {
    let request = export(&[GOOD]);
    let (result, pushes) = push(request.clone()).await;
    assert_eq!(result.unwrap().accepted_spans, 1);
    let run = &pushes[0].runs[0];
    assert!(request.as_ptr_range().contains(&run.scope_spans.as_ptr()));
    assert_eq!(run.origin, 0);
}

#[tokio::test]
async fn bad_ids_cost_their_own_spans_only() {
    let request = export(&[(&[1; 8], &[2; 8]), GOOD, (&[1; 16], &[0; 8]), (&[0; 16], &[2; 8])]);
    let (result, pushes) = push(request).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 3));
    assert!(outcome.message.contains("received 64 bits"), "{}", outcome.message);
    assert_eq!(span_ids(&pushes[0]).len(), 1);
}

#[tokio::test]
async fn request_without_a_valid_span_is_refused() {
    let (result, pushes) = push(export(&[(&[1; 15], &[2; 8])])).await;
    assert!(matches!(result, Err(PushError::Invalid(text)) if text.contains("received 120 bits")));
    assert!(pushes.is_empty());
}

#[tokio::test]
async fn request_whose_spans_all_have_invalid_parents_or_links_is_refused() {
    let cluster = Cluster::new(1, 1);
    let push = |spans: &[_]| cluster.distributor.push(TenantId::single(), export(spans));
    cluster.doubles[0].behaves(Behaviour::Refuse("invalid_span_id", 1));
    let result = push(&[GOOD]).await;
    let text = "INVALID_SPAN_ID: 1 spans: a parent's id must have 8 bytes, ids of a link 16 and 8";
    assert_eq!(result, Err(PushError::Invalid(text.to_owned())));
    let outcome = push(&[GOOD, GOOD]).await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 1));
    let (trace_id, _) = GOOD;
    let result = push(&[GOOD, (trace_id, &[0; 8])]).await;
    assert!(
        matches!(&result, Err(PushError::Invalid(text)) if text.starts_with("INVALID_ID: 1 spans")),
        "{result:?}"
    );
}

#[tokio::test]
async fn resource_in_parts_is_whole_at_the_ingester() {
    let (result, pushes) = push(in_parts(&[GOOD], b"\x10\x05", b"\x10\x06")).await;
    assert_eq!(result.unwrap().accepted_spans, 1);
    assert_eq!(pushes[0].resources, [&b"\x10\x05\x10\x06"[..]]);
    assert_eq!(span_ids(&pushes[0]).len(), 1);
}

#[tokio::test]
async fn empty_request_succeeds_and_garbage_does_not() {
    let (result, _) = push(Bytes::new()).await;
    assert_eq!(result, Ok(PushOutcome::default()));
    let (result, _) = push(Bytes::from_static(b"\x0a\xff\xff")).await;
    assert!(matches!(result, Err(PushError::Malformed(_))));
}

#[tokio::test]
async fn rate_limit_refuses_with_a_retry_hint_if_the_tenant_has_it() {
    let cluster = Cluster::new(1, 1);
    *cluster.limits.lock() = rate_limits(1, 40);
    let push = || cluster.distributor.push(TenantId::single(), export(&[GOOD]));
    assert!(push().await.is_ok());
    let hint = Settings::default().retry_after();
    let refused = push().await;
    assert!(
        matches!(refused, Err(PushError::RateLimited { retry_after, .. }) if retry_after == hint)
    );
    let has_no_hint = |refused: Result<PushOutcome, PushError>| match refused {
        Err(PushError::RateLimited { retry_after, .. }) => retry_after.is_zero(),
        _ => false,
    };
    cluster.limits.lock().ingestion.retry_info_enabled = false;
    assert!(has_no_hint(push().await));
    // Larger than the burst: coming again does not help.
    *cluster.limits.lock() = rate_limits(1, 10);
    assert!(has_no_hint(push().await));
    let series = r#"tempo_discarded_spans_total{reason="rate_limited",tenant="single-tenant"}"#;
    assert_eq!(cluster.metric(series), 3.0);
}

#[tokio::test]
async fn request_without_spans_is_not_limited() {
    let cluster = Cluster::new(1, 1);
    *cluster.limits.lock() = rate_limits(1, 1);
    let request = Bytes::from(b"\x0a\x00".repeat(1_000));
    let result = cluster.distributor.push(TenantId::single(), request).await;
    assert_eq!(result, Ok(PushOutcome::default()));
    // The limit comes before what is wrong with the spans.
    let request = export(&[(&[1; 15], &[2; 8])]);
    let result = cluster.distributor.push(TenantId::single(), request).await;
    assert!(matches!(result, Err(PushError::RateLimited { .. })));
    assert_eq!(cluster.calls(), [0]);
}

#[tokio::test]
async fn resources_and_runs_without_a_valid_span_are_left_out() {
    let (bad, good) = (export(&[(&[1; 15], &[2; 8])]), export(&[GOOD]));
    let request = [b"\x0a\x00", &bad[..], b"\x0a\x02\x12\x00", &good[..]].concat();
    let (result, pushes) = push(request.into()).await;
    assert_eq!(result.unwrap().rejected_spans, 1);
    assert_eq!(pushes[0].resources.len(), 2);
    let rows: Vec<_> = pushes[0].runs.iter().map(|run| (run.resource, run.scope)).collect();
    assert_eq!(rows, [(1, 1)]);
}

#[tokio::test]
async fn refusals_of_the_ingester_reach_the_client() {
    let cluster = Cluster::new(1, 1);
    let push = || cluster.distributor.push(TenantId::single(), export(&[GOOD, GOOD]));
    cluster.doubles[0].behaves(Behaviour::Refuse("trace_too_large", 1));
    let outcome = push().await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 1));
    assert_eq!(outcome.message, "TRACE_TOO_LARGE: 1 spans");
    let series = r#"tempo_discarded_spans_total{reason="trace_too_large",tenant="single-tenant"}"#;
    assert_eq!(cluster.metric(series), 1.0);
    cluster.doubles[0].behaves(Behaviour::Fail(Code::ResourceExhausted));
    assert!(matches!(push().await, Err(PushError::RateLimited { .. })));
    cluster.doubles[0].behaves(Behaviour::Fail(Code::InvalidArgument));
    assert!(matches!(push().await, Err(PushError::Invalid(_))));
    cluster.doubles[0].behaves(Behaviour::Fail(Code::OutOfRange));
    let too_long = push().await.unwrap_err();
    assert!(matches!(too_long, PushError::Invalid(_)), "{too_long}");
    assert!(too_long.to_string().contains("server.grpc_server_max_recv_msg_size"), "{too_long}");
    let series = r#"tempo_discarded_spans_total{reason="invalid",tenant="single-tenant"}"#;
    assert_eq!(cluster.metric(series), 4.0);
}

#[tokio::test(start_paused = true)]
async fn ingester_that_hangs_is_given_up_after_the_timeout() {
    let cluster = Cluster::new(1, 1);
    cluster.doubles[0].behaves(Behaviour::Hang);
    let started = tokio::time::Instant::now();
    let result = cluster.distributor.push(TenantId::single(), export(&[GOOD])).await;
    assert!(matches!(result, Err(PushError::Unavailable { .. })));
    assert_eq!(started.elapsed(), Settings::default().remote_timeout);
    let failures = r#"tempo_distributor_ingester_append_failures_total{ingester="0"}"#;
    assert_eq!(cluster.metric(failures), 1.0);
}
