use std::path::Path;

use axum::body::Body;
use http_body_util::BodyExt;
use tactus_telemetry::metrics::Registry;
use tower::ServiceExt;

use super::*;
use crate::Settings;

fn settings(directory: &Path, file: &str) -> Settings {
    let path = directory.join("limits.yaml");
    std::fs::write(&path, file).unwrap();
    let mut config = tactus_config::Config::default();
    config.overrides.per_tenant_override_config = path.display().to_string();
    Settings::new(Arc::new(config))
}

async fn overrides(file: &str) -> (tempfile::TempDir, Arc<Overrides>) {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path(), file);
    (directory, Overrides::load(settings, &Registry::new()).await.unwrap())
}

async fn get_page(overrides: &Arc<Overrides>, path: &str, accept: &str) -> String {
    let request = ::http::Request::get(path).header(ACCEPT, accept).body(Body::empty()).unwrap();
    let response = router(Arc::clone(overrides)).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

const FILE: &str = "overrides: {a: {global: {max_bytes_per_trace: 77}}, \"*\": {}}";

#[tokio::test]
async fn pages_name_tenants_and_where_their_limits_come_from() {
    let (_directory, overrides) = overrides(FILE).await;
    let text = get_page(&overrides, "/status/overrides", "application/json").await;
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        page["tenants"][1],
        json!({"name": "a", "has_runtime_overrides": true, "has_user_configurable_overrides": false})
    );
    let text = get_page(&overrides, "/status/overrides/a", "application/json").await;
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(page["using_default_or_wildcard_runtime_overrides"], "a");
    assert_eq!(page["user_configurable_overrides"], NOT_ENABLED);
    assert!(page["runtime_overrides"].as_str().unwrap().contains("max_bytes_per_trace: 77"));
    let text = get_page(&overrides, "/status/overrides/b", "application/json").await;
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(page["using_default_or_wildcard_runtime_overrides"], "*");
}

#[tokio::test]
async fn html_is_escaped() {
    let file =
        "overrides: {a: {metrics_generator: {processor: {span_metrics: {dimensions: [\"<b>\"]}}}}}";
    let (_directory, overrides) = overrides(file).await;
    let text = get_page(&overrides, "/status/overrides/a", "text/html").await;
    assert!(text.contains("&lt;b&gt;") && !text.contains("<b>"), "{text}");
    let text = get_page(&overrides, "/status/overrides/%3Cb%3E", "text/html").await;
    assert!(text.contains("&lt;b&gt;") && !text.contains("<b>"), "{text}");
}

#[tokio::test]
async fn runtime_config_shows_defaults_only_on_request() {
    let (_directory, overrides) = overrides(FILE).await;
    let source = runtime_config(overrides);
    let all = source(ConfigView::Effective);
    assert!(all.contains("defaults:\n  ingestion:\n") && all.contains("overrides:\n"), "{all}");
    let diff = source(ConfigView::Diff);
    assert!(!diff.contains("defaults:") && diff.contains("max_bytes_per_trace: 77"), "{diff}");
    assert!(source(ConfigView::Defaults).starts_with("defaults:\n"));
}
