//! Drop rules and forwarders in front of an ingester.

use std::sync::Arc;

use tactus_config::sections::{distributor::DropRule, overrides};
use tactus_model::TenantId;
use tactus_receivers::{PushError, PushOutcome, TraceSink};

use super::doubles::*;
use tactus_drop_rules::RuleBook;

fn rule(query: &str) -> DropRule {
    DropRule { name: "r".to_owned(), query: query.to_owned(), ..DropRule::default() }
}

/// An ingester behind a distributor with a rule of the tenant `ruled`, and one of everyone.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(1, 1);
    let own = vec![rule("{ span:id = \"0303030303030303\" }")];
    let ruled = Arc::new(overrides::Limits { drop_rules: own, ..overrides::Limits::default() });
    let free: Arc<overrides::Limits> = Arc::default();
    let limits_of = move |tenant: &TenantId| match tenant.as_str() {
        "ruled" => Arc::clone(&ruled),
        _ => Arc::clone(&free),
    };
    let everyone =
        vec![DropRule { name: "all".to_owned(), ..rule("{ span:id = \"0404040404040404\" }") }];
    let book = RuleBook::new(everyone, Arc::new(limits_of), &cluster.registry).unwrap();
    cluster.distributor = cluster.distributor.with_rules(book);
    cluster
}

const RULED: (&[u8], &[u8]) = (&[1; 16], &[3; 8]);
const FOR_ALL: (&[u8], &[u8]) = (&[1; 16], &[4; 8]);

async fn push(
    cluster: &Cluster,
    tenant: &str,
    spans: &[(&[u8], &[u8])],
) -> Result<PushOutcome, PushError> {
    cluster.distributor.push(TenantId::parse(tenant).unwrap(), export(spans)).await
}

#[tokio::test]
async fn dropped_spans_are_no_error_and_counted() {
    let cluster = cluster();
    let outcome = push(&cluster, "ruled", &[GOOD, RULED, FOR_ALL]).await.unwrap();
    let clean = PushOutcome { accepted_spans: 3, ..PushOutcome::default() };
    assert_eq!(outcome, clean);
    assert_eq!(span_ids(&cluster.doubles[0].pushes.lock()[0]).len(), 1);
    let discarded = "tempo_discarded_spans_total{reason=\"drop_rule\",tenant=\"ruled\"}";
    assert_eq!(cluster.metric(discarded), 2.0);
    for rule in ["r", "all"] {
        let series =
            format!("tactus_distributor_drop_rule_spans_total{{rule=\"{rule}\",tenant=\"ruled\"}}");
        let other =
            format!("tactus_distributor_drop_rule_spans_total{{tenant=\"ruled\",rule=\"{rule}\"}}");
        assert_eq!(cluster.metric(&series) + cluster.metric(&other), 1.0);
    }
    assert_eq!(cluster.metric("tempo_distributor_spans_received_total{tenant=\"ruled\"}"), 3.0);
    push(&cluster, "free", &[GOOD, RULED, FOR_ALL]).await.unwrap();
    assert_eq!(span_ids(&cluster.doubles[0].pushes.lock()[1]).len(), 2);
}

#[tokio::test]
async fn resource_in_parts_is_whole_for_rules() {
    let cluster = cluster();
    let request = in_parts(&[GOOD, RULED], b"\x10\x05", b"\x10\x06");
    let outcome = cluster.distributor.push(TenantId::parse("ruled").unwrap(), request).await;
    assert_eq!(outcome.unwrap().accepted_spans, 2);
    let push = &cluster.doubles[0].pushes.lock()[0];
    assert_eq!(push.resources, [&b"\x10\x05\x10\x06"[..]]);
    assert_eq!(span_ids(push).len(), 1);
}

#[tokio::test]
async fn request_of_dropped_spans_alone_goes_nowhere() {
    let cluster = cluster();
    let outcome = push(&cluster, "ruled", &[RULED]).await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 0));
    let outcome = push(&cluster, "ruled", &[RULED, (&[1; 16], &[0; 8])]).await.unwrap();
    assert_eq!((outcome.accepted_spans, outcome.rejected_spans), (1, 1));
    assert!(outcome.message.contains("INVALID_ID: 1 spans"), "{}", outcome.message);
    assert_eq!(cluster.calls(), [0]);
    assert_eq!(cluster.distributor.budget.used(), 0);
}

#[tokio::test]
async fn rate_is_of_what_came_before_rules() {
    let cluster = cluster();
    *cluster.limits.lock() = rate_limits(1, 10);
    let refused = push(&cluster, "ruled", &[RULED]).await.unwrap_err();
    assert!(matches!(refused, PushError::RateLimited { .. }), "{refused:?}");
    let dropped = "tempo_discarded_spans_total{reason=\"drop_rule\",tenant=\"ruled\"}";
    assert_eq!(cluster.metric(dropped), 0.0);
}

#[tokio::test]
async fn large_requests_are_ruled_on_a_thread_of_their_own() {
    let cluster = cluster();
    let mut spans = vec![GOOD; 2_000];
    spans.push(RULED);
    assert!(export(&spans).len() > crate::request::SMALL_REQUEST_BYTES);
    assert_eq!(push(&cluster, "ruled", &spans).await.unwrap().accepted_spans, 2_001);
    assert_eq!(span_ids(&cluster.doubles[0].pushes.lock()[0]).len(), 2_000);
}
