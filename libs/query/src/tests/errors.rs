//! Requests that are refused.

use axum::Router;

use super::*;

async fn check(api: &Api, path: &str, status: u16, body: &str) {
    let answer = api.get(path).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (status, body), "{path}");
    if status != 404 {
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[tokio::test]
async fn bad_parameters_have_the_documented_texts() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    for (path, body) in [
        (
            "/api/traces/xyz",
            "trace IDs can only contain hex characters: invalid character 'x' at position 1",
        ),
        (
            "/api/traces/0000000000000000000000000000000000",
            "trace IDs can't be larger than 128 bits",
        ),
        (
            "/api/v2/traces/a%2Fb",
            "trace IDs can only contain hex characters: invalid character '/' at position 2",
        ),
        (
            "/api/traces/ff?start=20&end=10",
            "http parameter start must be before end. received start=20 end=10",
        ),
        ("/api/search?q={}&limit=0", "invalid limit: must be a positive number"),
        ("/api/search?q={}&limit=262145", "limit 262145 exceeds max limit 262144"),
        ("/api/search?q={}&spss=101", "spans per span set exceeds 100. received 101"),
        (
            "/api/search?q={}&tags=a=b",
            "invalid request: can't specify tags and q in the same query",
        ),
        ("/api/search?tags=a=b%20a=c", "invalid tags: tag a has been set twice"),
        (
            "/api/search?q={}&start=1&end=604802",
            "range specified by start and end exceeds 168h0m0s. received start=1 end=604802",
        ),
        (
            "/api/search?q={}&end=10",
            "error parsing date range: only one of start and end provided: must provide both or neither",
        ),
        (
            "/api/search/tags?start=10",
            "error parsing date range: only one of start and end provided: must provide both or neither",
        ),
        ("/api/v2/search/tags?scope=foo", "invalid scope: foo"),
        (
            "/api/v2/search/tag/app.user.id/values",
            "please provide a valid tagName: failed to parse identifier app.user.id: parse error at line 1, col 2: unknown identifier: app",
        ),
        ("/api/v2/search/tag//values", "please provide a non-empty tagName"),
        (
            "/api/metrics/query_range?q={}|rate()&start=1700000000&end=1700000360&step=35ms",
            "step of 35ms is too small, minimum step for given range is 36ms",
        ),
        ("/api/metrics/query?q={}", "not a metrics query"),
        ("/api/metrics/query_range?q={}|rate()&step=x", "cannot parse \"x\" to a valid duration"),
        ("/api/metrics/query_range?q={}|rate()&start=20&end=10", "end must be greater than start"),
        (
            "/api/metrics/query_range?q={}|rate()&start=1&end=10802",
            "metrics query time range exceeds the maximum allowed duration of 3h0m0s",
        ),
    ] {
        check(&api, path, 400, body).await;
    }
    let answer = api.get("/api/search?q={").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("invalid TraceQL query: parse error at line 1, col "));
}

#[tokio::test]
async fn what_is_not_built_is_told_by_name() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    check(&api, "/api/metrics/summary", 404, "metrics summary not supported").await;
    let diff = Request::post("/api/v2/traces/diff").body(Body::empty()).unwrap();
    assert_eq!(api.request(diff).await.status, 501);
    assert_eq!(api.get("/api/v2/traces/diff").await.status, 405);
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    assert_eq!(api.get("/api/nope").await.status, 404);
    let answer = api.get("/api/v2/search/tag/span.a").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (404, "404 page not found\n"));
}

#[tokio::test]
async fn tenants_are_checked_first() {
    let tenancy = Tenancy::by_header(true);
    let api = Api::new(Setup { tenancy, blocks: &[], ..Setup::default() }).await;
    check(&api, "/api/search?q={", 401, "no org id\n").await;
    for (tenant, body) in
        [("a/b", "tenant ID 'a/b' contains unsupported character '/'"), ("a|", "no org id")]
    {
        let answer = api.get_as("/api/search?q={}", "X-Scope-OrgID", tenant).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (400, body));
    }
}

#[tokio::test]
async fn full_queue_refuses_new_queries() {
    let mut settings = Settings::default();
    settings.section.max_outstanding_per_tenant = 0;
    let api = Api::new(Setup { settings, ..Setup::default() }).await;
    for path in ["/api/traces/0102", "/api/search?q={}", "/api/search/tags"] {
        check(&api, path, 429, "job queue full").await;
    }
}

#[tokio::test]
async fn denied_urls_are_refused() {
    let url_deny_list = vec![regex::Regex::new("q=.*status").unwrap()];
    let settings = Settings { url_deny_list, ..Settings::default() };
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    let answer = api.get("/api/search?q={status=error}").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("Invalid request /api/search?q={status=error}. This query"));
}

#[tokio::test]
async fn denied_urls_are_refused_however_they_are_encoded() {
    let rules = ["q=\\{status=error\\}", "^/api/search/tags$", "^/api/traces/1f$"];
    let url_deny_list = rules.map(|rule| regex::Regex::new(rule).unwrap()).to_vec();
    let settings = Settings { url_deny_list, ..Settings::default() };
    let api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    for (path, status) in [
        ("/api/search?q=%7Bstatus%3Derror%7D", 400),
        ("/api/search?q={st%61tus=error}&limit=5", 400),
        ("/api/search?q={status=ok}", 200),
        ("/api/search/tags?", 400),
        ("/api/search/tags?limit=", 400),
        ("/api/search/tags?limit=5", 200),
        ("/api/traces/%31f", 400),
        ("/api/traces/%31%66?start=", 400),
    ] {
        assert_eq!(api.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn rule_for_urls_may_name_the_prefix_below_which_routes_are() {
    let rules = ["^/tempo/api/search/tags", "^/api/traces"];
    let url_deny_list = rules.map(|rule| regex::Regex::new(rule).unwrap()).to_vec();
    let settings = Settings { url_deny_list, ..Settings::default() };
    let mut api = Api::new(Setup { settings, blocks: &[], ..Setup::default() }).await;
    api.router = Router::new().nest("/tempo", api.router);
    for path in ["/tempo/api/search/tags", "/tempo/api/traces/1"] {
        let answer = api.get(path).await;
        let text = format!("Invalid request {path}. This query");
        assert_eq!(
            (answer.status.as_u16(), answer.text().starts_with(&text)),
            (400, true),
            "{path}"
        );
    }
    assert_eq!(api.get("/tempo/api/v2/search/tags").await.status, 200);
}

#[tokio::test]
async fn failing_ingester_is_asked_again_once() {
    use tonic::Status;
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    *api.recent.failures.lock() = vec![Status::unavailable("gone")];
    assert_eq!(api.get("/api/search?q={}").await.status, 200);
    *api.recent.failures.lock() = vec![Status::unavailable("gone"), Status::unavailable("gone")];
    check(&api, "/api/search?q={}", 503, "gone").await;
    *api.recent.failures.lock() = vec![Status::invalid_argument("never works")];
    check(&api, "/api/search?q={}", 400, "never works").await;
    let metrics = api.registry.encode();
    for line in [
        r#"tempo_query_frontend_queries_total{tenant="single-tenant",op="search",result="completed"} 3"#,
        r#"tempo_query_frontend_queries_within_slo_total{tenant="single-tenant",op="search",result="completed"} 2"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}
