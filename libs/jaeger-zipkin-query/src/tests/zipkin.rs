//! Zipkin's query API: what clients see.

use serde_json::{Value, json};
use tactus_proto::tactus::v1::{TagScope, TagValue, TagValuesResponse, TagsResponse};
use tactus_zipkin::{DecodeOptions, Format, decode};

use super::*;
use crate::zipkin::zipkin_router;
use tactus_config::GoDuration;
use tactus_config::sections::query_apis::ZipkinApi;

/// The time of the sample blocks.
const MILLIS: &str = "endTs=1700001000000&lookback=2000000&limit=1000";
const SAMPLE: &str = "0af7651916cd43dd8448eb211c80319c";

const SPAN: &str = r#"[{"traceId":"5982fe77008310cc80f1da5e10147519","parentId":"90394f6bcffb5d13","id":"67fae42571535f60","kind":"CLIENT","name":"get /m","timestamp":1516781775726000,"duration":26000,"localEndpoint":{"serviceName":"api","ipv4":"10.0.0.1","port":8080},"remoteEndpoint":{"serviceName":"db"},"tags":{"error":"timeout","n":"1"},"annotations":[{"timestamp":1516781775726100,"value":"retry"}]}]"#;

async fn api_with(setup: Setup, settings: ZipkinApi) -> Api {
    let mut api = Api::new(setup).await;
    api.router = zipkin_router(Arc::clone(&api.frontend), settings);
    api
}

async fn api() -> Api {
    api_with(Setup::default(), ZipkinApi::default()).await
}

/// Without blocks, and with the span as it would be stored.
async fn api_of_the_span() -> Api {
    let setup = Setup { blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    let body = Bytes::from_static(SPAN.as_bytes());
    let (_, request) = decode(Format::JsonV2, &body, &DecodeOptions::default()).unwrap();
    *api.recent.trace.lock() = request;
    api
}

fn recent_values(api: &Api, values: &[&str]) {
    let value = |value: &&str| TagValue { r#type: "string".into(), value: (*value).to_owned() };
    let values = values.iter().map(value).collect();
    *api.recent.values.lock() = TagValuesResponse { values, ..TagValuesResponse::default() };
}

#[tokio::test]
async fn trace_is_shown_as_it_was_sent() {
    let api = api_of_the_span().await;
    let id = "5982fe77008310cc80f1da5e10147519";
    let answer = api.get(&format!("/api/v2/trace/{id}")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let mut expected: Value = serde_json::from_str(SPAN).unwrap();
    expected[0]["tags"]["otel.status_code"] = "STATUS_CODE_ERROR".into();
    assert_eq!(answer.json(), expected);
    assert!(
        answer.text().starts_with(r#"[{"timestamp":1516781775726000,"duration":26000,"traceId""#)
    );
    let below = api.get(&format!("/zipkin/api/v2/trace/{id}")).await;
    assert_eq!(below.body, answer.body);
}

#[tokio::test]
async fn halves_of_a_call_keep_the_id_that_they_share() {
    let setup = Setup { blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    let sent = r#"[
        {"timestamp":1,"duration":9,"traceId":"000000000000000a","id":"000000000000000b","kind":"CLIENT","localEndpoint":{"serviceName":"web"}},
        {"timestamp":2,"duration":7,"traceId":"000000000000000a","id":"000000000000000b","kind":"SERVER","shared":true,"localEndpoint":{"serviceName":"db"}},
        {"timestamp":3,"traceId":"000000000000000a","id":"000000000000000c","parentId":"000000000000000b","kind":"SERVER","localEndpoint":{"serviceName":"other"}}
    ]"#;
    let body = Bytes::from_static(sent.as_bytes());
    let (_, request) = decode(Format::JsonV2, &body, &DecodeOptions::default()).unwrap();
    *api.recent.trace.lock() = request;
    let sent: Value = serde_json::from_str(sent).unwrap();
    let mut shown = api.get("/api/v2/trace/a").await.json();
    shown.as_array_mut().unwrap().sort_by_key(|span| span["timestamp"].as_u64());
    assert_eq!(shown, sent);
}

#[tokio::test]
async fn absent_and_impossible_traces_have_their_texts() {
    let api = api().await;
    let absent = api.get("/api/v2/trace/42").await;
    assert_eq!((absent.status.as_u16(), absent.text()), (404, "42 not found"));
    let wrong = api.get("/api/v2/trace/xyz").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().starts_with("xyz should be"), "{}", wrong.text());
}

#[tokio::test]
async fn traces_of_blocks_are_found_by_service_whatever_the_case() {
    let api = api().await;
    let all = api.get(&format!("/api/v2/traces?{MILLIS}")).await.json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 64);
    let sample = all.iter().find(|trace| trace[0]["traceId"] == SAMPLE).unwrap();
    let service = sample[0]["localEndpoint"]["serviceName"].as_str().unwrap();
    let count = async |query: &str| {
        let found = api.get(&format!("/api/v2/traces?{MILLIS}&{query}")).await.json();
        found.as_array().unwrap().len()
    };
    let of_service = count(&format!("serviceName={service}")).await;
    assert!(of_service > 0 && of_service < 64);
    assert_eq!(count(&format!("serviceName={}", service.to_uppercase())).await, of_service);
    assert_eq!(count("serviceName=nobody").await, 0);
    assert_eq!(count("minDuration=0").await, 64);
    assert_eq!(count("minDuration=999999999999").await, 0);
    let errors = count("annotationQuery=error").await;
    assert!(errors > 0 && errors < 64);
    assert_eq!(count("annotationQuery=otel.status_code%3DSTATUS_CODE_ERROR").await, errors);
    // A window that ends before.
    let early = api.get("/api/v2/traces?endTs=1699990000000&lookback=1000").await;
    assert_eq!(early.json(), json!([]));
    let two = api.get("/api/v2/traces?endTs=1700001000000&lookback=2000000&limit=2").await;
    assert_eq!(two.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_span_that_is_shown_is_found_by_what_it_shows() {
    let api = api().await;
    let all = api.get(&format!("/api/v2/traces?{MILLIS}")).await.json();
    let spans = all.as_array().unwrap().iter().flat_map(|trace| trace.as_array().unwrap());
    for (number, span) in spans.enumerate().step_by(7) {
        let name = encoded(span["name"].as_str().unwrap());
        let service = encoded(span["localEndpoint"]["serviceName"].as_str().unwrap());
        let duration = span["duration"].as_u64().unwrap_or(0);
        let mut query = format!(
            "{MILLIS}&serviceName={service}&spanName={name}&minDuration={duration}&maxDuration={duration}"
        );
        let mut conditions = Vec::new();
        let texts = span["tags"].as_object().into_iter().flatten().filter_map(|(key, value)| {
            let value = value.as_str().unwrap();
            // Arrays, objects and links are texts only here.
            let is_text = value.contains(['[', '{']) || key.starts_with("otlp.link.");
            (!is_text).then(|| format!("{key}={value}"))
        });
        let texts: Vec<_> = texts.collect();
        if !texts.is_empty() {
            conditions.push(texts[number % texts.len()].clone());
        }
        let annotations = span["annotations"].as_array().into_iter().flatten();
        let names = annotations.map(|annotation| annotation["value"].as_str().unwrap());
        conditions.extend(names.map(|name| name.split('|').next().unwrap().to_owned()));
        query.push_str(&format!("&annotationQuery={}", encoded(&conditions.join(" and "))));
        let found = api.get(&format!("/api/v2/traces?{query}")).await.json();
        let mut found = found.as_array().unwrap().iter();
        let is_found = found.any(|trace| trace[0]["traceId"] == span["traceId"]);
        assert!(is_found, "{conditions:?} {span}");
    }
}

#[tokio::test]
async fn limits_of_a_search_hold() {
    let mut settings = Settings::default();
    settings.section.search.max_result_limit = 5;
    let setup = Setup { settings, ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    let answer = api.get("/api/v2/traces?limit=6").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (400, "limit 6 exceeds max limit 5"));
    let many = api.get("/api/v2/traceMany?traceIds=1,2,3,4,5,6").await;
    assert_eq!((many.status.as_u16(), many.text()), (400, "limit 6 exceeds max limit 5"));
    assert_eq!(api.get("/api/v2/traces?limit=0").await.status, 400);
    let most = api.get("/api/v2/traces?limit=99999999999").await;
    assert!(most.text().starts_with("limit should be"), "{}", most.text());
    // A week in whole milliseconds is a week, although the last of them has nanoseconds.
    let week = "/api/v2/traces?endTs=1700604800000&lookback=604800000&limit=5";
    assert_eq!(api.get(week).await.status, 200);
    let longer = api.get("/api/v2/traces?endTs=1700604800000&lookback=604801000&limit=5").await;
    assert!(longer.text().starts_with("range specified"), "{}", longer.text());
}

#[tokio::test]
async fn several_traces_are_read_by_their_ids() {
    let api = api().await;
    let found = api.get(&format!("/api/v2/traceMany?traceIds={SAMPLE},463ac35c9f6413ad,42")).await;
    let found = found.json();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(
        (&found[0][0]["traceId"], &found[1][0]["traceId"]),
        (&json!(SAMPLE), &json!("463ac35c9f6413ad"))
    );
    for query in ["", "traceIds=", "traceIds=1", "traceIds=1,1"] {
        assert_eq!(api.get(&format!("/api/v2/traceMany?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn names_are_in_lower_case_and_kept_once_there_are_many() {
    let setup = Setup { blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    recent_values(&api, &["b", "A", "a"]);
    let services = api.get("/api/v2/services").await;
    // Recent data have them as kinds of spans without a service, too.
    assert_eq!(services.json(), json!(["a", "b", "otlpresourcenoservicename"]));
    assert!(!services.headers.contains_key("cache-control"));
    recent_values(&api, &["b", "A", "C", "d"]);
    let names = json!(["a", "b", "c", "d"]);
    for (path, expected) in [
        ("/api/v2/services", &json!(["a", "b", "c", "d", "otlpresourcenoservicename"])),
        ("/api/v2/spans?serviceName=A", &names),
        ("/api/v2/remoteServices?serviceName=A", &names),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.json(), *expected, "{path}");
        assert_eq!(answer.headers["cache-control"], "max-age=300, must-revalidate", "{path}");
    }
    let values = api.get("/api/v2/autocompleteValues?key=env").await;
    assert_eq!(values.json(), json!(["A", "C", "b", "d"]));
    let requests = api.recent.values_requests.lock();
    let tags: Vec<_> = requests.iter().map(|request| request.tag.as_str()).collect();
    for tag in ["resource.service.name", "name", "span.peer.service", "span.env"] {
        assert!(tags.contains(&tag), "{tag}");
    }
    assert!(requests.iter().any(|request| request.query == "{ resource.service.name =~ `(?i)A` }"));
}

#[tokio::test]
async fn names_of_blocks_are_listed() {
    let names_window = GoDuration::hours(30 * 365 * 24);
    let settings = ZipkinApi { names_window, ..ZipkinApi::default() };
    let mut of_queries = Settings::default();
    of_queries.section.search.max_duration = GoDuration::ZERO;
    let api = api_with(Setup { settings: of_queries, ..Setup::default() }, settings).await;
    let services = api.get("/api/v2/services").await.json();
    let service = services[0].as_str().unwrap();
    let spans = api.get(&format!("/api/v2/spans?serviceName={}", encoded(service))).await.json();
    assert!(!spans.as_array().unwrap().is_empty());
    let keys = api.get("/api/v2/autocompleteKeys").await.json();
    assert!(keys.as_array().unwrap().len() > 3);
}

#[tokio::test]
async fn keys_that_nobody_can_ask_for_are_not_listed() {
    let setup = Setup { blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    let keys = ["", "env", "limit", "minDuration", "peer.service", "serviceName", "tagQuery"];
    let scope = TagScope { name: "span".into(), tags: keys.map(str::to_owned).to_vec() };
    *api.recent.tags.lock() = TagsResponse { scopes: vec![scope], ..TagsResponse::default() };
    let listed = api.get("/api/v2/autocompleteKeys").await;
    assert_eq!(listed.json(), json!(["env", "limit"]));
}

#[tokio::test]
async fn names_without_a_service_are_refused() {
    let api = api().await;
    for path in ["spans", "remoteServices"] {
        let answer = api.get(&format!("/api/v2/{path}")).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.text(), "serviceName parameter is required");
    }
    assert_eq!(api.get("/api/v2/autocompleteValues").await.text(), "key parameter is required");
    assert_eq!(api.get("/api/v2/dependencies").await.text(), "endTs parameter is required");
}

#[tokio::test]
async fn dependencies_are_those_of_the_service_graph() {
    let setup = Setup { blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    *api.recent.series.lock() = super::doubles::response(super::doubles::parts());
    let answer = api.get("/api/v2/dependencies?endTs=1700000160000&lookback=120000").await;
    let expected = json!([
        {"parent": "cart", "child": "pg", "callCount": 12, "errorCount": 0},
        {"parent": "shop", "child": "cart", "callCount": 60, "errorCount": 6},
        {"parent": "shop", "child": "mail", "callCount": 1, "errorCount": 0},
        {"parent": "shop", "child": "stripe", "callCount": 3, "errorCount": 0},
    ]);
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn tenant_is_asked_for_and_its_data_shown() {
    let setup = Setup { tenancy: Tenancy::by_header(false), blocks: &[], ..Setup::default() };
    let api = api_with(setup, ZipkinApi::default()).await;
    let answer = api.get("/api/v2/services").await;
    assert_eq!(answer.status, 401);
    let answer = api.get_as("/api/v2/services", "x-scope-orgid", "acme").await;
    assert_eq!(answer.json(), json!([]));
    assert!(api.recent.values_requests.lock().iter().all(|request| request.tenant == "acme"));
}

#[tokio::test]
async fn interface_finds_its_settings() {
    let api = api().await;
    for path in ["/config.json", "/zipkin/config.json"] {
        let config = api.get(path).await.json();
        assert_eq!((&config["searchEnabled"], &config["queryLimit"]), (&json!(true), &json!(10)));
    }
    assert_eq!(api.get("/health").await.json()["status"], "UP");
    assert_eq!(api.get("/api/v2/other").await.status, 404);
}
