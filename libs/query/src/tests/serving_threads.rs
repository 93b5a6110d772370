//! What takes long is not done by the threads that serve connections.

use futures_util::FutureExt as _;
use tactus_api::RequestedRange;
use tactus_api::request::{MetricsQuery, SearchKind, SearchQuery, parse_traceql};
use tactus_model::TenantId;
use tactus_work::{Line, Slot};

use super::*;
use crate::long_work::LongWork;

/// All places for long work of a tenant.
fn all_slots(tenant: &TenantId) -> Vec<Slot> {
    let tenant = Line::of(tenant.as_str(), &[]).tenant;
    let enter = || LongWork::of_process().enter(tenant).now_or_never()?.ok();
    std::iter::from_fn(enter).collect()
}

/// The answer to a query of this tenant, which does not come before there is a place for its long work.
async fn after_long_work<T>(tenant: &TenantId, query: impl Future<Output = T>) -> T {
    let taken = all_slots(tenant);
    assert!(!taken.is_empty());
    let mut query = std::pin::pin!(query);
    for _ in 0..1_000 {
        tokio::select! {
            biased;
            _ = &mut query => panic!("it did not wait"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(taken);
    query.await
}

#[tokio::test]
async fn patterns_are_compiled_by_others_each_time() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let tenant = TenantId::parse("compiles-patterns").unwrap();
    let tenants = std::slice::from_ref(&tenant);
    let text = "{ .a =~ `x+` }";
    let root = after_long_work(&tenant, api.frontend.parse_traceql(tenants, text)).await.unwrap();
    let search = SearchQuery {
        kind: SearchKind::TraceQl { text: text.to_owned(), root: Box::new(root) },
        limit: 20,
        spans_per_span_set: 3,
        range: RequestedRange::default(),
        explain: false,
    };
    after_long_work(&tenant, api.frontend.search(tenants, &search)).await.unwrap();
    assert_eq!(api.recent.searches.lock().len(), 1);
    let text = "{ .a =~ `x+` } | rate()";
    let metrics = MetricsQuery {
        text: text.to_owned(),
        explain: false,
        is_instant: true,
        exemplars: 0,
        root: parse_traceql(text, 0).unwrap(),
        start: 1_700_000_000_000_000_000,
        end: 1_700_000_060_000_000_000,
        step: 60_000_000_000,
        max_series: 0,
    };
    let query = Box::pin(api.frontend.query_metrics(tenants, &metrics));
    Box::pin(after_long_work(&tenant, query)).await.unwrap();
    assert!(!api.recent.metrics_requests.lock().is_empty());
}

#[tokio::test]
async fn short_queries_wait_for_no_thread() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let tenant = TenantId::parse("asks-shortly").unwrap();
    let _taken = all_slots(&tenant);
    let root = api.frontend.parse_traceql(std::slice::from_ref(&tenant), "{ .a = 1 }").await;
    assert!(root.is_ok());
}
