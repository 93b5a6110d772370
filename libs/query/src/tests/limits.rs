//! Limits of tenants, and queries over several.

use std::collections::HashMap;

use tactus_api::Error;
use tactus_config::PromDuration;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::{TagValue, TagValuesResponse};
use tactus_storage::meta::BlockVersion;
use tactus_traceql::{Attribute, Intrinsic};

use super::cancellation::{soon, until};
use super::metrics::{response, series};
use super::*;

fn limited(limits: Limits) -> Setup {
    Setup { limits, ..Setup::default() }
}

#[tokio::test]
async fn queries_of_a_tenant_at_a_time_are_limited() {
    let limits = limits_with(|limits| limits.read.max_concurrent_queries = 1);
    let setup = Setup { blocks: &[], tenancy: Tenancy::by_header(true), ..limited(limits) };
    let api = Api::new(setup).await;
    let get = |tenants: &'static str| api.get_as("/api/search?q={}", "X-Scope-OrgID", tenants);
    api.recent.calls.hang(true);
    let mut first = Box::pin(get("a"));
    until(&mut first, || api.recent.calls.running() == 1).await;
    // One query of a list counts for each of its tenants.
    for tenants in ["a", "a|b"] {
        let refused = get(tenants).await;
        assert_eq!(
            (refused.status.as_u16(), refused.text()),
            (429, "too many queries at a time (limit: 1, max_concurrent_queries of the tenant)")
        );
    }
    api.recent.calls.hang(false);
    assert_eq!(get("b").await.status, 200);
    drop(first);
    assert_eq!(get("a|b").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn names_to_choose_from_are_queries_within_limits_one_at_a_time() {
    let limits = limits_with(|limits| limits.read.max_concurrent_queries = 1);
    let mut settings = Settings::default();
    settings.section.max_query_expression_size_bytes = 100;
    let api = Api::new(Setup { settings, blocks: &[], ..limited(limits) }).await;
    let tenants = [TenantId::parse(TENANT).unwrap()];
    let recent = async |query: &str| {
        let names = api.frontend.recent_names(&tenants, "kind".to_owned(), query).await;
        names.map(|names| names.list.len())
    };
    let (kind, window) = (Attribute::Intrinsic(Intrinsic::Kind), Duration::from_secs(60));
    assert!(api.frontend.names(&tenants, kind, String::new(), window).await.is_ok());
    let only = api.frontend.admit(&tenants).unwrap();
    assert_eq!(recent("").await, Err(Error::TooManyQueries { limit: 1 }));
    drop(only);
    assert!(matches!(recent(&" ".repeat(101)).await, Err(Error::Invalid(_))));
    api.recent.calls.hang(true);
    assert_eq!(recent("").await, Err(Error::ApiTimeout));
    soon(|| api.recent.calls.running() == 0).await;
    let stop = async {
        soon(|| api.recent.calls.running() == 1).await;
        let id = api.frontend.queries.running(&tenants)[0].id.clone();
        assert!(api.frontend.queries.stop(&id, &tenants));
    };
    assert_eq!(tokio::join!(recent(""), stop).0, Err(Error::Stopped));
}

#[tokio::test]
async fn names_to_choose_from_count_as_memory_of_the_query() {
    let recent = Arc::new(RecentData::default());
    let frontend = frontend_within(&recent, Limits::built_in(), u64::MAX, 2_000_000);
    let tenants = [TenantId::parse(TENANT).unwrap()];
    for (values, fits) in [(1_000, true), (9_000, false)] {
        let value = |number| TagValue { value: format!("{number:01000}"), ..TagValue::default() };
        let values = (0..values).map(value).collect();
        *recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
        let found = frontend.recent_names(&tenants, "kind".to_owned(), "").await;
        assert_eq!(found.is_ok(), fits);
        assert!(fits || matches!(found, Err(Error::NeedsTooMuchMemory(_))));
    }
}

#[tokio::test]
async fn bytes_that_a_query_of_a_tenant_inspects_are_limited() {
    let limits = limits_with(|limits| limits.read.max_inspected_bytes = 5);
    let api = Api::new(limited(limits)).await;
    for path in [
        "/api/search?q={}",
        "/api/v2/search/tags?",
        "/api/v2/search/tag/span.region/values?",
        "/api/metrics/query_range?q={}|rate()&step=60",
        "/api/traces/0af7651916cd43dd8448eb211c80319c?",
    ] {
        let answer = api.get(&format!("{path}&{RANGE}")).await;
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        assert!(answer.text().starts_with("the query inspected more than 5 bytes"), "{path}");
    }
}

#[tokio::test]
async fn ranges_of_a_tenant_are_limited() {
    let hour = PromDuration::hours(1);
    let limits = limits_with(|limits| {
        limits.read.max_search_duration = hour;
        limits.read.max_metrics_duration = hour;
    });
    let api = Api::new(limited(limits)).await;
    for path in ["/api/search?q={}", "/api/search/tags?", "/api/v2/search/tag/span.a/values?"] {
        let answer = api.get(&format!("{path}&start=1&end=3602")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (400, "range specified by start and end exceeds 1h0m0s. received start=1 end=3602")
        );
    }
    let answer = api.get("/api/metrics/query_range?q={}|rate()&start=1&end=3602").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (400, "metrics query time range exceeds the maximum allowed duration of 1h0m0s")
    );
}

#[tokio::test]
async fn short_trace_ids_are_filled_up_if_the_tenant_wants_it() {
    let limits = limits_with(|limits| limits.read.left_pad_trace_ids = true);
    let api = Api::new(limited(limits)).await;
    let json = api.search("{ status = error }", "").await.json();
    assert_eq!(json["traces"][0]["traceID"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn tags_are_read_from_the_newest_blocks_only_if_those_are_limited() {
    let limits = limits_with(|limits| limits.read.max_blocks_per_tag_values_query = 2);
    let querier = Arc::new(BlockData::default());
    let setup = Setup { blocks: &[], querier: Some(Arc::clone(&querier)), ..limited(limits) };
    let api = Api::new(setup).await;
    for end in [10, 40, 20, 30] {
        let id = Uuid::from_u128(u128::from(end));
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, id);
        let nanos = |seconds: u64| (1_700_000_000 + seconds) * 1_000_000_000;
        meta.set_time_range_unix_nanos(nanos(0), nanos(end));
        (meta.size, meta.total_records) = (1, 1);
        api.blocklist.add_block(meta);
    }
    for path in ["/api/v2/search/tags", "/api/search/tag/a/values"] {
        api.get(&format!("{path}?{RANGE}")).await.json();
        let mut searched = std::mem::take(&mut *querier.searched.lock());
        searched.sort_unstable();
        let expected = [30, 40].map(|end: u128| Uuid::from_u128(end).to_string());
        assert_eq!(searched, expected);
    }
}

#[tokio::test]
async fn alternatives_of_a_tag_filter_are_limited_by_tenant() {
    let limits = limits_with(|limits| limits.read.max_condition_groups_per_tag_query = Some(2));
    let api = Api::new(limited(limits)).await;
    let answer = api.get("/api/v2/search/tags?q={span.a=1||span.a=2||span.a=3}").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("maximum condition groups reached (limit: 2)"));
}

/// Paths of every kind of query.
fn paths() -> [String; 7] {
    [
        "/api/traces/0af7651916cd43dd8448eb211c80319c?".to_owned(),
        "/api/v2/traces/0af7651916cd43dd8448eb211c80319c?".to_owned(),
        format!("/api/search?q={{}}&{RANGE}"),
        format!("/api/search/tags?{RANGE}"),
        format!("/api/v2/search/tag/span.region/values?{RANGE}"),
        format!("/api/metrics/query_range?q={{}}|rate()&step=60&{RANGE}"),
        format!("/api/metrics/query?q={{}}|rate()&{RANGE}"),
    ]
}

#[tokio::test]
async fn list_of_tenants_is_refused_where_it_is_not_allowed() {
    let api = Api::new(Setup { tenancy: Tenancy::by_header(false), ..Setup::default() }).await;
    for path in paths() {
        let answer = api.get_as(&path, "X-Scope-OrgID", "a|single-tenant").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (400, "multiple org IDs present"));
        assert_eq!(api.get_as(&path, "X-Scope-OrgID", TENANT).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn list_of_tenants_finds_what_one_of_them_has() {
    let api = Api::new(Setup { tenancy: Tenancy::by_header(true), ..Setup::default() }).await;
    for path in paths() {
        let alone = api.get_as(&path, "X-Scope-OrgID", TENANT).await;
        let listed = api.get_as(&path, "X-Scope-OrgID", "z|single-tenant|a").await;
        assert_eq!((alone.status.as_u16(), listed.status.as_u16()), (200, 200), "{path}");
        let found = |answer: &Answer| {
            let mut json = answer.json();
            // The work differs: three tenants are asked.
            json.as_object_mut().unwrap().remove("metrics");
            json
        };
        assert_eq!(found(&alone), found(&listed), "{path}");
    }
}

#[tokio::test]
async fn series_of_several_tenants_are_added() {
    let tenancy = Tenancy::by_header(true);
    let api = Api::new(Setup { tenancy, blocks: &[], ..Setup::default() }).await;
    *api.recent.series.lock() = response(vec![series(&[], &[(0, 5.0)])]);
    let path = format!("/api/metrics/query?q={}&{MINUTES}", encoded("{} | count_over_time()"));
    let mut values = HashMap::new();
    for tenants in ["a", "a|b", "a|b|a"] {
        let json = api.get_as(&path, "X-Scope-OrgID", tenants).await.json();
        values.insert(tenants, json["series"][0]["value"].as_f64().unwrap());
    }
    assert_eq!(values, [("a", 5.0), ("a|b", 10.0), ("a|b|a", 10.0)].into());
}
