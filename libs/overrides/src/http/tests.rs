use std::path::Path;

use axum::body::Body;
use http_body_util::BodyExt;
use tactus_storage::{Bucket, BucketSettings};
use tactus_telemetry::metrics::Registry;
use tower::ServiceExt;

use super::*;
use crate::Settings;
use crate::overrides::LimitsCheck;

struct Rig {
    _directory: tempfile::TempDir,
    overrides: Arc<Overrides>,
    router: Router,
}

fn settings(directory: &Path, yaml: &str, file: &str) -> Settings {
    let path = directory.join("limits.yaml");
    std::fs::write(&path, file).unwrap();
    let mut config = tactus_config::from_yaml(yaml).unwrap();
    config.overrides.per_tenant_override_config = path.display().to_string();
    let bucket = Bucket::open(&BucketSettings::Local { path: directory.join("bucket") }).unwrap();
    Settings { bucket: Some(bucket), ..Settings::new(Arc::new(config)) }
}

struct Answer {
    status: u16,
    version: String,
    text: String,
}

/// All methods.
fn both_routers(overrides: &Arc<Overrides>, tenancy: Tenancy) -> Router {
    let read = read_router(Arc::clone(overrides), tenancy.clone());
    read.merge(change_router(Arc::clone(overrides), tenancy))
}

impl Rig {
    async fn new(yaml: &str, file: &str) -> Self {
        Self::checked(yaml, file, Arc::new(|_| Ok(()))).await
    }

    async fn checked(yaml: &str, file: &str, fits: LimitsCheck) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { fits, ..settings(directory.path(), yaml, file) };
        let overrides = Overrides::load(settings, &Registry::new()).await.unwrap();
        let router = both_routers(&overrides, Tenancy::by_header(false));
        Self { _directory: directory, overrides, router }
    }

    async fn ask(&self, method: &str, query: &str, version: Option<&str>, body: &str) -> Answer {
        self.ask_as("a", method, query, version, body).await
    }

    async fn ask_as(
        &self,
        tenant: &str,
        method: &str,
        query: &str,
        version: Option<&str>,
        body: &str,
    ) -> Answer {
        let mut request = ::http::Request::builder()
            .method(method)
            .uri(format!("/api/overrides{query}"))
            .header("X-Scope-OrgID", tenant);
        if let Some(version) = version {
            request = request.header(IF_MATCH, version);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let version = response.headers().get(ETAG).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status, version: version.unwrap_or_default(), text }
    }

    fn forwarders(&self) -> Vec<String> {
        self.overrides.of_name("a").forwarders.clone()
    }
}

const FORWARDERS: &str = "distributor: {forwarders: [{name: f, backend: otlpgrpc}]}\n";

#[tokio::test]
async fn what_the_services_cannot_use_is_refused() {
    let check: LimitsCheck = Arc::new(|limits| match limits.forwarders.is_empty() {
        true => Ok(()),
        false => Err("nobody forwards".to_owned()),
    });
    let rig = Rig::checked(FORWARDERS, "", check).await;
    let answer = rig.ask("POST", "", Some("0"), r#"{"forwarders":["f"]}"#).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, "nobody forwards\n"));
    assert_eq!(rig.ask("GET", "", None, "").await.status, 404);
    let answer = rig.ask("POST", "", Some("0"), r#"{"forwarders":[]}"#).await;
    assert_eq!(answer.status, 200);
    let answer = rig.ask("PATCH", "", None, r#"{"forwarders":["f"]}"#).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, "nobody forwards\n"));
}

#[tokio::test]
async fn what_does_not_go_with_limits_of_the_operator_is_refused() {
    let check: LimitsCheck = Arc::new(|limits| {
        let generator = &limits.metrics_generator;
        match !generator.processors.is_empty() && generator.disable_collection {
            true => Err("either or".to_owned()),
            false => Ok(()),
        }
    });
    let file = "overrides: {a: {metrics_generator: {processors: [span-metrics]}}}";
    let rig = Rig::checked("{}", file, Arc::clone(&check)).await;
    let body = r#"{"metrics_generator":{"disable_collection":true}}"#;
    let answer = rig.ask("POST", "", Some("0"), body).await;
    assert_eq!((answer.status, answer.text.as_str()), (400, "either or\n"));
    assert_eq!(rig.ask_as("b", "POST", "", Some("0"), body).await.status, 200);
}

#[tokio::test]
async fn document_is_created_read_replaced_and_deleted_by_version() {
    let rig = Rig::new(FORWARDERS, "").await;
    let answer = rig.ask("GET", "", None, "").await;
    assert_eq!((answer.status, answer.text.as_str()), (404, ""));
    assert_eq!(rig.ask("GET", "?scope=merged", None, "").await.status, 404);
    let body = r#"{"forwarders":["f"]}"#;
    let answer = rig.ask("POST", "", None, body).await;
    assert_eq!((answer.status, answer.text.as_str()), (428, "must specify If-Match header\n"));
    let created = rig.ask("POST", "", Some("0"), body).await;
    assert_eq!(created.status, 200, "{}", created.text);
    assert_eq!(rig.forwarders(), ["f"]);
    let again = rig.ask("POST", "", Some("0"), body).await;
    assert_eq!((again.status, again.text.as_str()), (412, "version does not match\n"));
    let read = rig.ask("GET", "", None, "").await;
    assert_eq!((read.status, &read.version), (200, &created.version));
    assert!(read.text.starts_with("{\"forwarders\":[\"f\"],\"cost_attribution\":{}"));
    let replaced = rig.ask("POST", "", Some(&created.version), "{}").await;
    assert_eq!(replaced.status, 200);
    assert_eq!(rig.forwarders(), Vec::<String>::new());
    assert_eq!(rig.ask("DELETE", "", None, "").await.status, 428);
    assert_eq!(rig.ask("DELETE", "", Some(&created.version), "").await.status, 412);
    assert_eq!(rig.ask("DELETE", "", Some(&replaced.version), "").await.status, 200);
    assert_eq!(rig.ask("DELETE", "", Some(&replaced.version), "").await.status, 404);
    assert_eq!(rig.ask("GET", "", None, "").await.status, 404);
}

#[tokio::test]
async fn bad_requests_are_told_why() {
    let rig = Rig::new("", "").await;
    let buckets = r#"{"metrics_generator":{"processor":{"service_graphs":{"histogram_buckets":[0.1,"invalid"]}}}}"#;
    for (method, query, body, reason) in [
        ("POST", "", "{\"nope\":1}", "unknown field \"nope\""),
        ("POST", "", buckets, "invalid type"),
        ("POST", "", "{\"forwarders\":[\"x\"]}", "forwarder \"x\" is not a known forwarder"),
        (
            "POST",
            "?skip-conflicting-overrides-check=maybe",
            "{}",
            "could not parse skip-conflicting-overrides-check, must be a boolean value",
        ),
        ("PATCH", "", "null", "invalid type"),
        ("PATCH", "", "{\"nope\":1}", "unknown field \"nope\""),
        ("GET", "?scope=x", "", "unknown scope \"x\", valid options are api and merged"),
    ] {
        let answer = rig.ask(method, query, Some("0"), body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert!(answer.text.contains(reason), "{}", answer.text);
    }
}

#[tokio::test]
async fn document_that_is_too_large_is_refused_before_it_is_parsed() {
    let rig = Rig::new("", "").await;
    let body = format!("{{\"nope\":[{}]}}", "[0],".repeat(100_000));
    for method in ["POST", "PATCH"] {
        let answer = rig.ask(method, "", Some("0"), &body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.text, "overrides of more than 262144 bytes\n");
    }
    let names = |count: u32| (0..count).map(|name| format!("\"{name:0100}\"")).collect::<Vec<_>>();
    let dimensions = |count| {
        let names = names(count).join(",");
        format!(
            r#"{{"metrics_generator":{{"processor":{{"span_metrics":{{"dimensions":[{names}]}}}}}}}}"#
        )
    };
    assert_eq!(rig.ask("PATCH", "", None, &dimensions(2000)).await.status, 200);
    // What is there and what is added are too large together.
    let excluded = names(2000).join(",");
    let more = format!(
        r#"{{"metrics_generator":{{"processor":{{"span_metrics":{{"target_info_excluded_dimensions":[{excluded}]}}}}}}}}"#
    );
    let answer = rig.ask("PATCH", "", None, &more).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (400, "overrides of more than 262144 bytes\n")
    );
}

#[tokio::test]
async fn all_tenants_together_set_no_more_than_there_is_room_for() {
    let yaml = "overrides: {user_configurable_overrides: {max_bytes: 45000}}";
    let rig = Rig::new(yaml, "").await;
    let mut versions = Vec::new();
    for number in 0..10 {
        let answer = rig.ask_as(&format!("t{number}"), "POST", "", Some("0"), "{}").await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.text);
        versions.push(answer.version);
    }
    let full = "tenants have set as much as they may (limit: overrides.user_configurable_overrides.max_bytes)\n";
    let answer = rig.ask("POST", "", Some("0"), "{}").await;
    assert_eq!((answer.status, answer.text.as_str()), (429, full));
    let large = format!(
        r#"{{"metrics_generator":{{"processor":{{"span_metrics":{{"dimensions":["{}"]}}}}}}}}"#,
        "x".repeat(4000)
    );
    assert_eq!(rig.ask_as("t0", "PATCH", "", None, &large).await.status, 429);
    assert_eq!(rig.ask_as("t0", "PATCH", "", None, "{}").await.status, 200, "it has that already");
    // What is in the bucket all the same has no effect beyond it.
    let store = rig.overrides.store.as_ref().unwrap();
    for number in 10..20 {
        store.write(&format!("t{number}"), UserLimits::default(), None).await.unwrap();
    }
    let found = store.read_all(&Default::default(), 45_000, &rig.overrides.metrics).await.unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!(rig.ask_as("t1", "DELETE", "", Some(&versions[1]), "").await.status, 200);
    assert_eq!(rig.ask("POST", "", Some("0"), "{}").await.status, 200);
}

#[tokio::test]
async fn requests_at_the_same_time_share_the_room_there_is() {
    let yaml = "overrides: {user_configurable_overrides: {max_bytes: 45000}}";
    let rig = Rig::new(yaml, "").await;
    let posts = (0..40).map(|number| {
        let (rig, tenant) = (&rig, format!("t{number:02}"));
        let method = if number % 2 == 0 { "POST" } else { "PATCH" };
        async move { (rig.ask_as(&tenant, method, "", Some("0"), "{}").await.status, tenant) }
    });
    let answers = futures_util::future::join_all(posts).await;
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((count(200), count(429)), (10, 30));
    // Whoever was told that limits are set has them after each round of reading.
    let set: Vec<&str> = answers.iter().filter(|it| it.0 == 200).map(|it| &*it.1).collect();
    let store = rig.overrides.store.as_ref().unwrap();
    let found = store.read_all(&Default::default(), 45_000, &rig.overrides.metrics).await.unwrap();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), set);
}

#[tokio::test]
async fn each_round_of_reading_leaves_out_the_same_tenants() {
    let rig = Rig::new("", "").await;
    let store = rig.overrides.store.as_ref().unwrap();
    let names = |prefix: &str| (0..20).map(|it| format!("{prefix}{it:02}")).collect::<Vec<_>>();
    for tenant in names("t") {
        store.write(&tenant, UserLimits::default(), None).await.unwrap();
    }
    let read =
        async |before: &_| store.read_all(before, 45_000, &rig.overrides.metrics).await.unwrap();
    let first = read(&Default::default()).await;
    assert!(first.keys().eq(&names("t")[..10]), "{:?}", first.keys());
    for _ in 0..10 {
        assert_eq!(read(&Default::default()).await, first);
    }
    // Those whose names come first do not take the place of those who have limits.
    for tenant in names("a") {
        store.write(&tenant, UserLimits::default(), None).await.unwrap();
    }
    assert_eq!(read(&first).await, first);
}

#[tokio::test]
async fn patch_changes_what_it_names() {
    let rig = Rig::new(FORWARDERS, "").await;
    let answer =
        rig.ask("PATCH", "", None, r#"{"metrics_generator":{"disable_collection":true}}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = rig.ask("PATCH", "", None, r#"{"forwarders":["f"]}"#).await;
    assert!(answer.text.contains("\"forwarders\":[\"f\"]"));
    assert!(answer.text.contains("\"disable_collection\":true"));
    let answer = rig.ask("PATCH", "", None, r#"{"forwarders":null}"#).await;
    assert!(!answer.text.contains("forwarders"), "{}", answer.text);
    assert_eq!(rig.ask("GET", "", None, "").await.version, answer.version);
    assert!(rig.overrides.of_name("a").metrics_generator.disable_collection);
}

#[tokio::test]
async fn merged_scope_shows_the_file_below() {
    let file = "overrides: {a: {metrics_generator: {processors: [span-metrics]}}}";
    let rig = Rig::new("", file).await;
    let body = r#"{"metrics_generator":{"processors":["service-graphs"]}}"#;
    assert_eq!(rig.ask("POST", "", Some("0"), body).await.status, 200);
    let merged = rig.ask("GET", "?scope=merged", None, "").await.text;
    assert!(merged.contains("\"processors\":[\"span-metrics\",\"service-graphs\"]"), "{merged}");
    let own = rig.ask("GET", "?scope=api", None, "").await.text;
    assert_eq!(rig.ask("GET", "?scope=&scope=x", None, "").await.text, own);
    assert!(own.contains("\"processors\":[\"service-graphs\"]"), "{own}");
}

#[tokio::test]
async fn what_the_operator_set_is_refused_if_asked_to() {
    let yaml = "overrides: {user_configurable_overrides: {api: {check_for_conflicting_runtime_overrides: true}}}";
    let file = "overrides: {a: {metrics_generator: {processors: [span-metrics]}}}";
    let rig = Rig::new(yaml, file).await;
    let answer = rig.ask("POST", "", Some("0"), "{}").await;
    assert_eq!((answer.status, answer.text.trim_end()), (400, CONFLICT));
    let skipped = "?skip-conflicting-overrides-check=true";
    assert_eq!(rig.ask("POST", skipped, Some("0"), "{}").await.status, 200);
}

#[tokio::test]
async fn switched_off_api_has_no_route() {
    let settings = Settings::new(Arc::new(tactus_config::Config::default()));
    let overrides = Overrides::load(settings, &Registry::new()).await.unwrap();
    let request = ::http::Request::get("/api/overrides").body(Body::empty()).unwrap();
    let response = both_routers(&overrides, Tenancy::single()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 404);
}
