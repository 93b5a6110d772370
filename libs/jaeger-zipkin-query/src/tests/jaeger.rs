//! Jaeger's HTTP API: what clients see.

mod names;
mod performance;
mod search;
mod v3;

use prost::Message as _;
use serde_json::{Value, json};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_proto::otlp::{
    AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status, any_value,
};
use tactus_proto::tactus::v1::{TagValue, TagValuesResponse};

use super::*;
use crate::jaeger::{JaegerQueries, jaeger_router};
use tactus_config::sections::query_apis::JaegerApis;

const SPAN_TRACE: &str = "00000000000000010000000000000002";
const SECOND: u64 = 1_000_000_000;

/// The time of the sample blocks, in microseconds.
const MICROS: &str = "start=1699999000000000&end=1700001000000000";

async fn api_with(setup: Setup, settings: JaegerApis) -> Api {
    let mut api = Api::new(setup).await;
    let base_path = settings.http.base_path.clone();
    let queries = JaegerQueries::new(Arc::clone(&api.frontend), settings);
    api.router = jaeger_router(queries, &base_path);
    api
}

impl Api {
    /// Service and id of the one trace in the sample blocks that has this status code.
    async fn sample_trace(&self) -> (String, String) {
        let query = "{ span.http.status_code = 500 } | select(resource.service.name)";
        let path = format!("/api/search?q={}&{RANGE}", encoded(query));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(Arc::clone(&self.frontend)).oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: Value = serde_json::from_slice(&body).unwrap();
        let trace = &json["traces"][0];
        let attributes = trace["spanSets"][0]["spans"][0]["attributes"].as_array().unwrap();
        let mut names = attributes.iter().filter(|attribute| attribute["key"] == "service.name");
        let service = &names.next().unwrap()["value"]["stringValue"];
        let id = trace["traceID"].as_str().unwrap();
        let width = if id.len() > 16 { 32 } else { 16 };
        (service.as_str().unwrap().to_owned(), format!("{id:0>width$}"))
    }
}

/// Without blocks.
async fn api() -> Api {
    api_with(Setup { blocks: &[], ..Setup::default() }, JaegerApis::default()).await
}

fn text(text: &'static str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(text.as_bytes().into())) })
}

/// The span of the documented checks.
fn check_span() -> Span {
    Span {
        trace_id: Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]),
        span_id: Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 3]),
        name: Bytes::from_static(b"op"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000 * SECOND,
        end_time_unix_nano: 1_700_000_000 * SECOND + 1_500_000,
        status: Some(Status { code: 2, ..Status::default() }),
        ..Span::default()
    }
}

fn recent_spans(api: &Api, spans: Vec<Span>) {
    let attributes =
        vec![KeyValue { key: Bytes::from_static(b"service.name"), value: text("svc") }];
    let resource_spans = vec![ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }];
    *api.recent.trace.lock() = TracesData { resource_spans }.encode_to_vec().into();
}

fn recent_values(api: &Api, values: &[&str]) {
    let value = |value: &&str| TagValue { r#type: "string".into(), value: (*value).to_owned() };
    let values = values.iter().map(value).collect();
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
}

/// The message of an answer that says what is wrong.
fn message(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert!(answer.text().ends_with('\n'));
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["errors"][0]["code"], status);
    json["errors"][0]["msg"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn trace_has_the_documented_json_for_every_form_of_its_id() {
    let api = api().await;
    recent_spans(&api, vec![check_span()]);
    let expected = [
        r#"{"data":[{"traceID":"00000000000000010000000000000002","spans":[{"traceID":"00000000000000010000000000000002","#,
        r#""spanID":"0000000000000003","operationName":"op","references":[],"startTime":1700000000000000,"duration":1500,"#,
        r#""tags":[{"key":"span.kind","type":"string","value":"server"},{"key":"otel.status_code","type":"string","value":"ERROR"},"#,
        r#"{"key":"error","type":"bool","value":true}],"logs":[],"processID":"p1","warnings":null}],"#,
        r#""processes":{"p1":{"serviceName":"svc","tags":[]}},"warnings":null,"startTime":1700000000000000,"duration":1500}],"#,
        r#""total":0,"limit":0,"offset":0,"errors":null}"#,
    ];
    for id in [SPAN_TRACE, "10000000000000002", "AAAAAAAAAAEAAAAAAAAAAg%3D%3D"] {
        let answer = api.get(&format!("/api/traces/{id}")).await;
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, &expected.concat()[..]), "{id}");
    }
    let pretty = api.get(&format!("/api/traces/{SPAN_TRACE}?prettyPrint=true")).await;
    assert!(pretty.text().starts_with("{\n    \"data\": [\n        {\n"), "{}", pretty.text());
    let plain = api.get(&format!("/api/traces/{SPAN_TRACE}?prettyPrint=false&raw=true")).await;
    assert_eq!(plain.text(), expected.concat());
}

#[tokio::test]
async fn halves_of_a_zipkin_call_share_an_id_only_if_asked_for_raw() {
    let api = api().await;
    let half = |kind| Span { kind, ..check_span() };
    recent_spans(&api, vec![half(3), half(2)]);
    let ids = async |more: &str| {
        let answer = api.get(&format!("/api/traces/{SPAN_TRACE}{more}")).await.json();
        let spans = answer["data"][0]["spans"].as_array().unwrap().clone();
        spans.iter().map(|span| span["spanID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("?raw=true").await, ["0000000000000003", "0000000000000003"]);
    assert_eq!(ids("").await, ["0000000000000003", "0000000000000001"]);
}

#[tokio::test]
async fn unknown_trace_and_bad_id_are_told_apart() {
    let api = api().await;
    let unknown = api.get("/api/traces/ff").await;
    assert_eq!(message(&unknown, 404), "trace not found");
    assert_eq!(
        unknown.text(),
        "{\"data\":null,\"total\":0,\"limit\":0,\"offset\":0,\"errors\":[{\"code\":404,\"msg\":\"trace not found\"}]}\n"
    );
    let zero = api.get(&format!("/api/traces/{}", "0".repeat(32))).await;
    assert_eq!(message(&zero, 404), "trace not found");
    for path in ["/api/traces/xyz!", "/api/traces/ff?raw=x"] {
        message(&api.get(path).await, 400);
    }
}

#[tokio::test]
async fn path_that_is_no_text_is_refused_in_the_envelope() {
    let api = api().await;
    for path in ["/api/services/%FF/operations", "/api/traces/%FF", "/api/metrics/%FF"] {
        let text = message(&api.get(path).await, 400);
        assert!(text.contains("UTF-8"), "{path}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let api = api().await;
    for path in ["/api/deep-dependencies?service=a", "/api/quality-metrics"] {
        assert!(message(&api.get(path).await, 501).ends_with("is not served"));
    }
    let post = |path: &str| Request::post(path).body(Body::empty()).unwrap();
    let archived = api.request(post("/api/archive/ff")).await;
    assert_eq!(message(&archived, 501), "archive span storage was not configured");
    message(&api.request(post("/api/archive/xyz!")).await, 400);
    for path in ["/api/none", "/api", "/api/traces/ff/none", "/api/v3/none", "/api/metrics/none"] {
        let answer = api.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn routes_lie_below_the_base_path() {
    let mut settings = JaegerApis::default();
    settings.http.base_path = "/jaeger/".to_owned();
    let api = api_with(Setup { blocks: &[], ..Setup::default() }, settings).await;
    assert_eq!(api.get("/jaeger/api/services").await.status, 200);
    assert_eq!(api.get("/jaeger/api/none").await.status, 404);
    assert_eq!(api.get("/api/services").await.status, 404);
}

#[tokio::test]
async fn tenant_is_found_as_for_every_query() {
    let setup = Setup { blocks: &[], tenancy: Tenancy::by_header(true), ..Setup::default() };
    let api = api_with(setup, JaegerApis::default()).await;
    assert_eq!(message(&api.get("/api/services").await, 401), "no org id");
    let gap = api.get_as("/api/services", "x-scope-orgid", "one||two").await;
    assert_eq!(message(&gap, 400), "no org id");
    let of_v3 = api.get("/api/v3/services").await;
    assert_eq!(
        (of_v3.status.as_u16(), of_v3.text()),
        (401, "{\"error\":{\"httpCode\":401,\"message\":\"no org id\"}}\n")
    );
    assert_eq!(api.get_as("/api/services", "x-scope-orgid", "one|two").await.status, 200);
    let requests = api.recent.values_requests.lock();
    assert!(requests.iter().any(|request| request.tenant == "two"));
}

#[tokio::test]
async fn dependencies_are_calls_between_services() {
    let api = api_with(Setup::default(), JaegerApis::default()).await;
    let ask = async |more: &str| {
        let path = format!("/api/dependencies?endTs=1700001000000&lookback=3600000{more}");
        api.get(&path).await.json()["data"].as_array().unwrap().clone()
    };
    let links = ask("").await;
    for link in &links {
        assert_ne!(link["parent"], link["child"]);
        assert!(link["callCount"].as_u64().unwrap() > 0);
    }
    let pairs: Vec<_> =
        links.iter().map(|link| (link["parent"].as_str(), link["child"].as_str())).collect();
    assert!(pairs.is_sorted(), "{pairs:?}");
    assert_eq!(ask("&service=nobody").await.len(), 0);
    message(&api.get("/api/dependencies?endTs=x").await, 400);
    message(&api.get("/api/dependencies?lookback=-1").await, 400);
}

#[tokio::test]
async fn large_trace_is_cut() {
    let settings = JaegerApis { max_trace_size: 2, ..JaegerApis::default() };
    let api = api_with(Setup { blocks: &[], ..Setup::default() }, settings).await;
    let span = |id: u8| Span { span_id: vec![id; 8].into(), ..check_span() };
    recent_spans(&api, (1..=3).map(span).collect());
    let answer = api.get(&format!("/api/traces/{SPAN_TRACE}")).await.json();
    let trace = &answer["data"][0];
    assert_eq!(trace["spans"].as_array().unwrap().len(), 2);
    assert_eq!(
        trace["warnings"],
        json!(["trace has more than 2 spans, showing first 2 spans only"])
    );
}

#[tokio::test]
async fn trace_above_the_bytes_of_its_tenant_is_cut() {
    let limits = limits_with(|limits| limits.global.max_bytes_per_trace = 150);
    let api =
        api_with(Setup { blocks: &[], limits, ..Setup::default() }, JaegerApis::default()).await;
    let span = |id: u8| Span { span_id: vec![id; 8].into(), ..check_span() };
    recent_spans(&api, (1..=9).map(span).collect());
    let answer = api.get(&format!("/api/traces/{SPAN_TRACE}")).await.json();
    let trace = &answer["data"][0];
    let shown = trace["spans"].as_array().unwrap().len();
    assert!((1..9).contains(&shown), "{shown}");
    assert_eq!(
        trace["warnings"][0],
        format!("trace has more than {shown} spans, showing first {shown} spans only")
    );
}

#[tokio::test]
async fn uploaded_file_is_shown_as_traces() {
    let api = api().await;
    let upload = async |file: String| {
        let request = Request::post("/api/transform").body(Body::from(file)).unwrap();
        api.request(request).await
    };
    let span = |trace: &str, id: &str| {
        json!({"traceId": trace, "spanId": id, "name": "op", "kind": "SPAN_KIND_SERVER",
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1_700_000_000_001_500_000_u64})
    };
    let other = "00000000000000010000000000000003";
    let spans = [span(SPAN_TRACE, "0000000000000003"), span(other, "0000000000000004")];
    let file = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let answer = upload(file.to_string()).await.json();
    let traces = answer["data"].as_array().unwrap();
    let shown: Vec<_> =
        traces.iter().map(|trace| (&trace["traceID"], &trace["duration"])).collect();
    assert_eq!(shown, [(&json!(SPAN_TRACE), &json!(1500)), (&json!(other), &json!(1500))]);
    assert_eq!(traces[0]["processes"]["p1"]["serviceName"], "missing-service-name");
    let refused = message(&upload("{".to_owned()).await, 400);
    assert!(refused.starts_with("cannot unmarshal OTLP: "), "{refused}");
    assert_eq!(upload("{}".to_owned()).await.json()["data"], json!([]));
}
