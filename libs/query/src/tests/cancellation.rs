//! Queries that end before their answer.

use tactus_storage::meta::BlockVersion;

use super::*;

/// Waits until `condition` holds, while the request makes no answer.
pub(super) async fn until(
    request: &mut (impl Future<Output = Answer> + Unpin),
    condition: impl Fn() -> bool,
) {
    while !condition() {
        tokio::select! {
            biased;
            answer = &mut *request => panic!("answered with {}", answer.status),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Waits until `condition` holds: what is dropped ends soon, but not at once.
pub(super) async fn soon(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come to that");
}

fn counted(api: &Api, name: &str, op: &str, result: &str) -> bool {
    let line = format!("{name}{{tenant=\"{TENANT}\",op=\"{op}\",result=\"{result}\"}} 1\n");
    api.registry.encode().contains(&line)
}

const ALL: &str = "tempo_query_frontend_queries_total";
const WITHIN: &str = "tempo_query_frontend_queries_within_slo_total";

#[tokio::test]
async fn query_whose_client_leaves_frees_its_place_and_its_calls() {
    let mut settings = Settings::default();
    settings.section.max_outstanding_per_tenant = 1;
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    for (path, op) in [("/api/search?q={}", "search"), ("/api/v2/traces/42", "traces")] {
        api.recent.calls.hang(true);
        let mut request = Box::pin(api.get(path));
        until(&mut request, || api.recent.calls.running() == 1).await;
        assert_eq!(api.get(path).await.status, 429);
        drop(request);
        soon(|| api.recent.calls.running() == 0).await;
        assert!(counted(&api, ALL, op, "canceled") && counted(&api, WITHIN, op, "canceled"));
        api.recent.calls.hang(false);
        assert_eq!(api.get(path).await.status, 200);
    }
}

#[tokio::test]
async fn jobs_on_blocks_end_with_their_query() {
    let querier = Arc::new(BlockData::default());
    let settings = Settings { querier_parallelism: 3, ..Settings::default() };
    let setup =
        Setup { settings, blocks: &[], querier: Some(Arc::clone(&querier)), ..Setup::default() };
    let api = Api::new(setup).await;
    for _ in 0..20 {
        let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, Uuid::new_v4());
        meta.set_time_range_unix_nanos(1_700_000_000_000_000_000, 1_700_000_001_000_000_000);
        (meta.size, meta.total_records) = (1, 1);
        api.blocklist.add_block(meta);
    }
    querier.calls.hang(true);
    let mut request = Box::pin(api.search("{}", ""));
    until(&mut request, || querier.calls.running() == 3).await;
    drop(request);
    soon(|| querier.calls.running() == 0).await;
    assert_eq!(querier.searched.lock().len(), 3);
}

#[tokio::test]
async fn query_beyond_the_time_for_a_call_fails_by_our_fault() {
    let (short, long) = (Duration::from_millis(1), Duration::from_secs(3600));
    for (api_timeout, timeout) in
        [(short, Duration::ZERO), (Duration::ZERO, short), (short, long), (long, short)]
    {
        let mut settings = Settings::default();
        settings.section.api_timeout = api_timeout.into();
        settings.section.search.timeout = timeout.into();
        let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
        api.recent.calls.hang(true);
        let answer = api.get("/api/search?q={}").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (503, "unable to process request in the configured timeout")
        );
        soon(|| api.recent.calls.running() == 0).await;
        assert!(counted(&api, ALL, "search", "completed"), "{}", api.registry.encode());
        assert!(!counted(&api, WITHIN, "search", "completed"));
    }
}

#[tokio::test]
async fn time_for_a_search_is_none_for_other_queries() {
    let mut settings = Settings::default();
    settings.section.search.timeout = Duration::from_nanos(1).into();
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    assert_eq!(api.get("/api/search/tags").await.status, 200);
}
