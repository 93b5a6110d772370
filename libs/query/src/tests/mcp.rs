//! Tools for language models, over the sample blocks.

use serde_json::{Value, json};
use tactus_model::TenantId;

use super::*;
use crate::mcp_router;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The time of the sample blocks.
const START: &str = "2023-11-14T21:56:40Z";
const END: &str = "2023-11-14T22:30:00Z";

async fn with_mcp(setup: Setup) -> Api {
    let mut api = Api::new(setup).await;
    api.router = api.router.merge(mcp_router(Arc::clone(&api.frontend), &api.registry));
    api
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/api/mcp").header("content-type", "application/json").body(body.into()).unwrap()
}

async fn ask(api: &Api, method: &str, params: Value) -> Value {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = api.request(post(message.to_string())).await.json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
    answer
}

async fn call(api: &Api, tool: &str, arguments: Value) -> Value {
    ask(api, "tools/call", json!({ "name": tool, "arguments": arguments })).await["result"].clone()
}

/// The text of a tool that succeeds, and its type.
async fn found(api: &Api, tool: &str, arguments: Value) -> (String, String) {
    let result = call(api, tool, arguments).await;
    assert_eq!(result["isError"], false, "{result}");
    assert_eq!(result["_meta"]["version"], "1");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&result["content"][0]["text"]), text(&result["_meta"]["type"]))
}

async fn failure(api: &Api, tool: &str, arguments: Value) -> String {
    let result = call(api, tool, arguments).await;
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tools_answer_as_the_routes_do() {
    let api = with_mcp(Setup::default()).await;
    let query = "{ status = error }";
    let arguments = json!({ "query": query, "start": START, "end": END });
    let (text, kind) = found(&api, "traceql-search", arguments).await;
    let search = api.get(&format!("/api/search?q={}&{RANGE}", encoded(query))).await;
    let traces = |text: &str| serde_json::from_str::<Value>(text).unwrap()["traces"].clone();
    assert_eq!((traces(&text), kind.as_str()), (traces(search.text()), "search-results"));
    assert!(!traces(&text).as_array().unwrap().is_empty());
    let seconds =
        json!({ "query": "{ status = error }", "start": 1_699_999_000, "end": "1700001000" });
    let (by_seconds, _) = found(&api, "traceql-search", seconds).await;
    assert_eq!(traces(&by_seconds), traces(&text));

    let query = "{ } | count_over_time()";
    let arguments = json!({ "query": query, "start": START, "end": END });
    for (tool, path, expected) in [
        ("traceql-metrics-instant", "query", "metrics-instant"),
        ("traceql-metrics-range", "query_range", "metrics-range"),
    ] {
        let (text, kind) = found(&api, tool, arguments.clone()).await;
        let route = format!("/api/metrics/{path}?q={}&{RANGE}", encoded(query));
        let series = |text: &str| serde_json::from_str::<Value>(text).unwrap()["series"].clone();
        let route = api.get(&route).await;
        assert_eq!((series(&text), kind.as_str()), (series(route.text()), expected));
        assert!(!series(&text).as_array().unwrap().is_empty());
    }

    let (text, kind) = found(&api, "get-trace", json!({ "trace_id": TRACE })).await;
    let trace: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&trace["trace"]["traceId"], kind.as_str()), (&json!(TRACE), "trace"));
    let counted = api.registry.encode();
    assert!(
        counted.contains("tempo_query_frontend_mcp_calls_total{tool=\"traceql-search\"} 2"),
        "{counted}"
    );
}

#[tokio::test]
async fn names_and_values_are_those_of_the_last_hour() {
    let api = with_mcp(Setup::default()).await;
    let (text, kind) = found(&api, "get-attribute-names", json!({ "scope": "span" })).await;
    assert_eq!(kind, "attribute-names");
    assert!(text.starts_with(r#"{"scopes":["#), "{text}");
    let arguments = json!({ "name": "status", "filter-query": "{ kind = server }" });
    let (text, kind) = found(&api, "get-attribute-values", arguments).await;
    assert_eq!(kind, "attribute-values");
    assert!(text.starts_with(r#"{"tagValues":{"keyword":["error","ok","unset"]"#), "{text}");
    let odd = json!({ "name": "span.\"a b/+%41\"" });
    assert!(found(&api, "get-attribute-values", odd).await.0.starts_with(r#"{"tagValues":{"#));
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let api = with_mcp(Setup::default()).await;
    for (tool, arguments, expected) in [
        ("traceql-search", json!({}), "argument query: is required"),
        ("traceql-search", json!({ "query": 5 }), "argument query: expected a string"),
        (
            "traceql-search",
            json!({ "query": "{ x = 1 }" }),
            "argument query: invalid TraceQL query: parse error at line 1, col 3: unknown identifier: x (the tool docs-traceql describes the language)",
        ),
        (
            "traceql-metrics-range",
            json!({ "query": "{}|rate()", "end": "now" }),
            "argument end: expected a time as 2026-01-31T12:00:00Z or Unix seconds, not \"now\"",
        ),
        (
            "traceql-search",
            json!({ "query": "{} | rate()" }),
            "this is a TraceQL metrics query: use the tool traceql-metrics-instant or traceql-metrics-range instead",
        ),
        (
            "traceql-metrics-instant",
            json!({ "query": "{ }" }),
            "this is a TraceQL search: use the tool traceql-search instead, or end the query in a metrics function such as | rate()",
        ),
        ("get-trace", json!({}), "argument trace_id: is required"),
        (
            "get-trace",
            json!({ "trace_id": "../x" }),
            "argument trace_id: trace IDs can only contain hex characters: invalid character '.' at position 1",
        ),
        (
            "get-attribute-names",
            json!({ "scope": "all" }),
            "argument scope: expected one of span, resource, event, link, instrumentation, intrinsic, not \"all\"",
        ),
        ("docs-traceql", json!({}), "argument name: is required"),
    ] {
        assert_eq!(failure(&api, tool, arguments.clone()).await, expected, "{tool} {arguments}");
    }
    let values = failure(&api, "get-attribute-values", json!({ "name": "foo bar" })).await;
    assert!(values.starts_with("argument name: please provide a valid tagName"), "{values}");
    let filter = json!({ "name": "name", "filter-query": "{" });
    let filter = failure(&api, "get-attribute-values", filter).await;
    assert!(filter.starts_with("argument filter-query: invalid TraceQL query: "), "{filter}");
}

#[tokio::test]
async fn answer_of_a_route_that_fails_is_an_error_of_the_tool() {
    let limits = limits_with(|limits| limits.read.max_inspected_bytes = 5);
    let api = with_mcp(Setup { limits, ..Setup::default() }).await;
    let text = failure(&api, "get-trace", json!({ "trace_id": TRACE })).await;
    let expected =
        "tool failed with http status code 422 and reason the query inspected more than 5 bytes";
    assert!(text.starts_with(expected), "{text}");
    let query = format!("{{ name = \"{}\" }}", "ü".repeat(30_000));
    let long = failure(&api, "traceql-search", json!({ "query": query })).await;
    assert_eq!(long, "tool failed with http status code 414 and reason the arguments are too long");
}

#[tokio::test]
async fn protocol_has_the_documented_answers() {
    let api = with_mcp(Setup::default()).await;
    for (asked, expected) in [
        (json!("2025-06-18"), "2025-06-18"),
        (json!("2024-11-05"), "2024-11-05"),
        (json!("2031-01-01"), "2025-06-18"),
        (json!(null), "2025-06-18"),
    ] {
        let answer = ask(&api, "initialize", json!({ "protocolVersion": asked })).await;
        let result = &answer["result"];
        assert_eq!(result["protocolVersion"], expected);
        assert_eq!(result["serverInfo"], json!({ "name": "tempo", "version": "0.1.0" }));
    }
    assert_eq!(ask(&api, "ping", json!({})).await["result"], json!({}));
    let templates = ask(&api, "resources/templates/list", json!({})).await;
    assert_eq!(templates["result"], json!({ "resourceTemplates": [] }));
    let tools = ask(&api, "tools/list", json!({})).await;
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 7);
    for tool in tools {
        let hints = &tool["annotations"];
        assert_eq!(
            (&hints["readOnlyHint"], &hints["openWorldHint"]),
            (&json!(true), &json!(false))
        );
        let schema = &tool["inputSchema"];
        for name in schema["required"].as_array().unwrap() {
            assert!(schema["properties"][name.as_str().unwrap()].is_object(), "{tool}");
        }
    }
    let uri = "docs://traceql/metrics";
    let read = ask(&api, "resources/read", json!({ "uri": uri })).await;
    let (text, kind) = found(&api, "docs-traceql", json!({ "name": "metrics" })).await;
    assert_eq!(
        (&read["result"]["contents"][0]["text"], kind),
        (&json!(text), "documentation".into())
    );
    for (method, params, code) in [
        ("prompts/list", json!({}), -32601),
        ("tools/call", json!({ "name": "x" }), -32602),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({ "name": "get-trace", "arguments": [] }), -32602),
        ("resources/read", json!({ "uri": "docs://traceql/x" }), -32602),
    ] {
        let answer = ask(&api, method, params).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}

#[tokio::test]
async fn messages_are_checked_before_they_are_answered() {
    let api = with_mcp(Setup { blocks: &[], ..Setup::default() }).await;
    for (body, status, code) in [("{", 400, -32700), ("[]", 400, -32600), ("{}", 400, -32600)] {
        let answer = api.request(post(body)).await;
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status.as_u16(), &error["error"]["code"]), (status, &json!(code)));
        assert_eq!(error["id"], Value::Null);
    }
    let notification = r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#;
    let accepted = api.request(post(notification)).await;
    assert_eq!((accepted.status.as_u16(), accepted.text()), (202, ""));
    let large = api.request(post(vec![b' '; (1 << 20) + 1])).await;
    assert_eq!((large.status.as_u16(), large.text()), (413, "http: request body too large"));
    let mut request = post(notification);
    request.headers_mut().insert("mcp-protocol-version", "1".parse().unwrap());
    assert_eq!(api.request(request).await.status, 400);
    let other = api.request(Request::get("/api/mcp").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (other.status.as_u16(), &other.headers["allow"]),
        (405, &"POST,DELETE".parse().unwrap())
    );
}

#[tokio::test]
async fn delete_tells_that_there_is_a_server() {
    let settings = Settings {
        url_deny_list: vec![regex::Regex::new("denied").unwrap()],
        ..Settings::default()
    };
    let tenancy = Tenancy::by_header(true);
    let api = with_mcp(Setup { blocks: &[], settings, tenancy, ..Setup::default() }).await;
    for (url, tenant, status) in
        [("/api/mcp", "a", 200), ("/api/mcp", "", 401), ("/api/mcp?denied", "a", 400)]
    {
        let request = Request::delete(url).header("x-scope-orgid", tenant).body(Body::empty());
        let answer = api.request(request.unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{url} {tenant}");
        assert_eq!(answer.text().is_empty(), status == 200, "{url} {tenant}");
    }
}

#[tokio::test]
async fn tenant_of_the_caller_is_the_tenant_of_the_query() {
    let setup = Setup { tenancy: Tenancy::by_header(true), ..Setup::default() };
    let api = with_mcp(setup).await;
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let refused = api.request(post(message)).await;
    assert_eq!((refused.status.as_u16(), refused.text()), (401, "no org id\n"));
    let trace = json!({ "name": "get-trace", "arguments": { "trace_id": TRACE } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": trace });
    for (tenant, is_found) in [(TenantId::single().as_str(), true), ("other", false)] {
        let mut request = post(message.to_string());
        request.headers_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        let answer = api.request(request).await;
        assert_eq!(answer.text().contains("services"), is_found, "{}", answer.text());
    }
}

#[tokio::test]
async fn routes_on_the_deny_list_are_denied_to_tools() {
    let settings = Settings {
        url_deny_list: vec![regex::Regex::new("^/tempo/api/v2/traces/").unwrap()],
        ..Settings::default()
    };
    let mut api = with_mcp(Setup { settings, ..Setup::default() }).await;
    let trace = json!({ "trace_id": TRACE });
    assert!(found(&api, "get-trace", trace.clone()).await.0.contains(TRACE));
    api.router = axum::Router::new().nest("/tempo", api.router);
    let call = json!({ "name": "get-trace", "arguments": trace });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call });
    let mut request = post(message.to_string());
    *request.uri_mut() = "/tempo/api/mcp".parse().unwrap();
    let answer = api.request(request).await.json();
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with(
            "tool failed with http status code 400 and reason Invalid request /tempo/api/v2/traces/"
        ),
        "{text}"
    );
}
