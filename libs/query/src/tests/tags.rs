//! Tag names and values.

use serde_json::json;
use tactus_proto::tactus::v1::{
    TagScope, TagValue, TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};

use super::*;
use tactus_traceql::eval::INTRINSIC_TAGS;

#[tokio::test]
async fn intrinsics_are_listed_when_asked_for() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let v2 = api.get("/api/v2/search/tags?scope=intrinsic").await.json();
    assert_eq!(v2["scopes"], json!([{"name": "intrinsic", "tags": INTRINSIC_TAGS}]));
    let all = api.get("/api/v2/search/tags").await.json();
    assert_eq!(all["scopes"], v2["scopes"]);
    assert_eq!(v2["metrics"], json!({}), "nobody was asked");
    let v1 = api.get("/api/search/tags?scope=intrinsic").await.json();
    assert_eq!(v1["tagNames"], json!(INTRINSIC_TAGS));
    let work = r#""metrics":{"totalJobs":1,"completedJobs":1}"#;
    let none = api.get("/api/search/tags").await;
    assert_eq!(none.text(), format!(r#"{{"tagNames":[],{work}}}"#));
    let event = api.get("/api/v2/search/tags?scope=event").await;
    assert_eq!(event.text(), format!(r#"{{"scopes":[],{work}}}"#));
}

#[tokio::test]
async fn tags_of_blocks_and_recent_data_are_merged() {
    let api = Api::new(Setup::default()).await;
    let recent_tags = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let scopes = vec![TagScope { name: "link".into(), tags }];
        *api.recent.tags.lock() = TagsResponse { scopes, ..TagsResponse::default() };
    };
    let get = async |more: &str| {
        let json = api.get(&format!("/api/v2/search/tags?scope=link&{more}")).await.json();
        assert_eq!(json["scopes"].as_array().unwrap().len(), 1);
        assert_eq!(json["scopes"][0]["name"], "link");
        json["scopes"][0]["tags"].clone()
    };
    assert_eq!(get(RANGE).await, json!(["link.attr"]));
    // Recent data belongs to any range: it may be of any age.
    recent_tags(&["a.recent"]);
    assert_eq!(get(RANGE).await, json!(["a.recent", "link.attr"]));
    assert_eq!(get("since=168h").await, json!(["a.recent"]));
    recent_tags(&["link.attr", "a.recent"]);
    assert_eq!(get(RANGE).await, json!(["a.recent", "link.attr"]));
    recent_tags(&["a.recent"]);
    assert_eq!(get(&format!("{RANGE}&limit=1")).await, json!(["a.recent"]));
    let expected = TagsRequest {
        tenant: TENANT.into(),
        scope: "link".into(),
        start: 1_699_999_000,
        end: 1_700_001_000,
        max_bytes: 1_000_000,
        stored_block_ids: stored_ids(&[V4]),
        ..TagsRequest::default()
    };
    let requests = api.recent.tags_requests.lock();
    assert_eq!(requests.len(), 5);
    assert_eq!(requests[0], expected);
    assert_eq!(requests[4], expected);
}

#[tokio::test]
async fn query_without_a_time_looks_a_quarter_of_an_hour_back_if_the_setting_is_zero() {
    let mut settings = Settings::default();
    for (setting, seconds) in [(Duration::from_secs(60), 60), (Duration::ZERO, 900)] {
        settings.section.search.query_backend_after = setting.into();
        let api = Api::new(Setup { settings: settings.clone(), ..Setup::default() }).await;
        api.get("/api/v2/search/tags?scope=link").await.json();
        let request = api.recent.tags_requests.lock()[0].clone();
        // Both ends are rounded outwards.
        assert!((seconds..=seconds + 1).contains(&(request.end - request.start)), "{request:?}");
    }
}

#[tokio::test]
async fn tags_of_all_scopes_are_listed_in_fixed_order() {
    let api = Api::new(Setup::default()).await;
    let v2 = api.get(&format!("/api/v2/search/tags?{RANGE}")).await.json();
    let scopes: Vec<_> =
        v2["scopes"].as_array().unwrap().iter().map(|scope| &scope["name"]).collect();
    assert_eq!(scopes, ["resource", "span", "event", "link", "instrumentation", "intrinsic"]);
    let v1 = api.get(&format!("/api/search/tags?{RANGE}")).await.json();
    let names = v1["tagNames"].as_array().unwrap();
    assert!(names.iter().any(|name| name == "service.name"));
    assert!(names.iter().all(|name| name != "nestedSetLeft" && name != "span:duration"));
    let filtered = api
        .get(&format!(
            "/api/v2/search/tags?scope=span&q={{resource.service.name=%22svc-1%22}}&{RANGE}"
        ))
        .await
        .json();
    let tags = filtered["scopes"][0]["tags"].as_array().unwrap();
    assert!(tags.contains(&json!("customer")) && !tags.contains(&json!("double")), "{tags:?}");
}

#[tokio::test]
async fn values_are_typed_in_v2_and_plain_in_v1() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    let get =
        async |path: &str| api.get(&format!("{path}?{RANGE}")).await.json()["tagValues"].clone();
    assert_eq!(
        get("/api/v2/search/tag/span.http.status_code/values").await,
        json!([{"type": "int", "value": "500"}, {"type": "string", "value": "not-an-int"}])
    );
    assert_eq!(get("/api/search/tag/http.status_code/values").await, json!(["500", "not-an-int"]));
    assert_eq!(get("/api/search/tag/exception.message/values").await, json!(["kaboom"]));
    assert_eq!(get("/api/search/tag/status/values").await, json!([]));
    assert_eq!(get("/api/search/tag/status.code/values").await, json!(["error", "ok", "unset"]));
    assert_eq!(
        get("/api/v2/search/tag/event.exception.message/values").await,
        json!([{"type": "string", "value": "kaboom"}])
    );
    assert_eq!(
        get("/api/v2/search/tag/status/values").await,
        json!([
            {"type": "keyword", "value": "error"},
            {"type": "keyword", "value": "ok"},
            {"type": "keyword", "value": "unset"}
        ])
    );
    let none = api.get("/api/v2/search/tag/duration/values").await;
    assert_eq!(none.text(), r#"{"tagValues":[],"metrics":{}}"#);
}

#[tokio::test]
async fn values_respect_filter_and_limits() {
    let limits = limits_with(|limits| limits.read.max_bytes_per_tag_values_query = 25);
    let api = Api::new(Setup { limits, ..Setup::default() }).await;
    let value = |value: &str| TagValue { r#type: "string".into(), value: value.into() };
    let get = async |more: &str| {
        let path = format!("/api/v2/search/tag/span.region/values?{more}");
        let json = api.get(&path).await.json();
        let values = json["tagValues"].as_array().unwrap().iter();
        values.map(|value| value["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let filter = "q={name=%22GET%20/api%22}";
    assert_eq!(get(&format!("{filter}&{RANGE}")).await, ["us-east-1"]);
    let values = vec![value("us-east-1"), value("eu")];
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
    // The ingester, too, is asked for values that pass the filter; this one does not look.
    assert_eq!(get(&format!("{filter}&{RANGE}")).await, ["eu", "us-east-1"]);
    let expected = TagValuesRequest {
        tenant: TENANT.into(),
        tag: "span.region".into(),
        start: 1_699_999_000,
        end: 1_700_001_000,
        query: r#"{name="GET /api"}"#.into(),
        max_bytes: 25,
        stored_block_ids: stored_ids(&[V4]),
        ..TagValuesRequest::default()
    };
    let requests = std::mem::take(&mut *api.recent.values_requests.lock());
    assert_eq!(requests, [expected.clone(), expected]);
    assert_eq!(get("q={span.region=%22mars%22}").await, ["mars"]);
    assert_eq!(get("limit=1").await, ["us-east-1"]);
    assert_eq!(get("").await, ["eu", "us-east-1"]);
    *api.recent.values.lock() = TagValuesResponse {
        values: vec![value("us-east-1"), value("europe")],
        ..Default::default()
    };
    assert_eq!(get("").await, ["us-east-1"]);
}

#[tokio::test]
async fn values_that_differ_in_type_only_count_once_in_v1() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let value = |of: &str, value: &str| TagValue { r#type: of.into(), value: value.into() };
    let values = vec![value("int", "500"), value("string", "500"), value("string", "x")];
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
    let v1 = api.get("/api/search/tag/a/values?limit=2").await.json();
    assert_eq!(v1["tagValues"], json!(["500", "x"]));
    let v2 = api.get("/api/v2/search/tag/.a/values?limit=2").await.json();
    assert_eq!(v2["tagValues"].as_array().unwrap().len(), 2);
    // A job that stopped at two typed values would never get to the third.
    let requests = std::mem::take(&mut *api.recent.values_requests.lock());
    let asked = |request: &TagValuesRequest| (request.max_values, request.texts_only);
    assert_eq!(requests.iter().map(asked).collect::<Vec<_>>(), [(2, true), (2, false)]);
}

#[tokio::test]
async fn types_count_toward_the_limit_of_bytes_in_v2_only() {
    let limits = limits_with(|limits| limits.read.max_bytes_per_tag_values_query = 12);
    let api = Api::new(Setup { blocks: &[], limits, ..Setup::default() }).await;
    let value = |value: &str| TagValue { r#type: "string".into(), value: value.into() };
    let values = vec![value("a"), value("bcd")];
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
    let v1 = api.get("/api/search/tag/a/values").await.json();
    assert_eq!(v1["tagValues"], json!(["a", "bcd"]));
    let v2 = api.get("/api/v2/search/tag/.a/values").await.json();
    assert_eq!(v2["tagValues"], json!([{"type": "string", "value": "a"}]));
}

#[tokio::test]
async fn tags_and_values_of_the_future_are_none() {
    let api = Api::new(Setup::default()).await;
    for (path, text) in [
        ("/api/search/tags?", r#"{"tagNames":[],"metrics":{}}"#),
        ("/api/v2/search/tags?scope=link&", r#"{"scopes":[],"metrics":{}}"#),
        ("/api/search/tag/customer/values?", r#"{"tagValues":[],"metrics":{}}"#),
        ("/api/v2/search/tag/span.customer/values?", r#"{"tagValues":[],"metrics":{}}"#),
    ] {
        assert_eq!(api.get(&format!("{path}{FUTURE}")).await.text(), text, "{path}");
    }
    assert!(api.recent.tags_requests.lock().is_empty());
    assert!(api.recent.values_requests.lock().is_empty());
}

#[tokio::test]
async fn range_that_ends_before_it_starts_is_refused() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    for path in [
        "/api/search/tags",
        "/api/v2/search/tags",
        "/api/search/tag/a/values",
        "/api/v2/search/tag/span.a/values",
    ] {
        let answer = api.get(&format!("{path}?start=20&end=10")).await;
        let text = "http parameter start must be before end. received start=20 end=10";
        assert_eq!((answer.status.as_u16(), answer.text()), (400, text), "{path}");
    }
}

#[tokio::test]
async fn values_that_need_no_data_respect_the_limit() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let v1 = api.get("/api/search/tag/status.code/values?limit=2").await.json();
    assert_eq!(v1["tagValues"], json!(["error", "ok"]));
    let v2 = api.get("/api/v2/search/tag/kind/values?limit=1").await.json();
    assert_eq!(v2["tagValues"], json!([{"type": "keyword", "value": "client"}]));
}

#[tokio::test]
async fn too_many_alternatives_in_a_filter_are_refused() {
    let settings = Settings { max_condition_groups_per_tag_query: 2, ..Settings::default() };
    let api = Api::new(Setup { settings, ..Setup::default() }).await;
    let filter = "q={span.a=1||span.a=2||span.a=3}";
    for path in ["/api/v2/search/tags", "/api/v2/search/tag/span.b/values"] {
        let answer = api.get(&format!("{path}?{filter}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (
                400,
                "maximum condition groups reached (limit: 2). Reduce the number of OR conditions in the query"
            )
        );
    }
}
