//! The service graph: what clients see.

use serde_json::{Value, json};

use super::doubles::{parts, response};
use super::*;
use crate::{ConnectionType, Edge};

async fn api() -> Api {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    *api.recent.series.lock() = response(parts());
    api
}

#[tokio::test]
async fn graph_has_nodes_and_edges() {
    let api = api().await;
    let answer = api.get(&format!("/api/service-graph?{MINUTES}")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let graph = answer.json();
    let edge = |client: &str, server: &str| -> Value {
        let edges = graph["edges"].as_array().unwrap().iter();
        let mut found = edges.filter(|edge| edge["client"] == client && edge["server"] == server);
        found.next().unwrap().clone()
    };
    // Of 120 s.
    let latency = |power: i32| {
        let bound = f64::from(power).exp2() / 1e9;
        json!({"p50": bound * 0.5f64.sqrt(), "p99": bound, "p90": bound})
    };
    let cart = edge("shop", "cart");
    assert_eq!((&cart["calls"], &cart["errors"]), (&json!(60.0), &json!(6.0)));
    assert_eq!((&cart["requestRate"], &cart["errorRate"]), (&json!(0.5), &json!(0.1)));
    for (name, power) in [("clientLatency", 30), ("serverLatency", 29)] {
        let (p50, p99) = (&cart[name]["p50"], &cart[name]["p99"]);
        let expected = latency(power);
        let close = |one: &Value, other: &Value| {
            (one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < 1e-9
        };
        assert!(close(p50, &expected["p50"]), "{name} {p50}");
        assert!(p99.as_f64() <= expected["p99"].as_f64(), "{name} {p99}");
    }
    assert_eq!(edge("cart", "pg")["connectionType"], "database");
    assert_eq!(edge("shop", "mail")["connectionType"], "messaging_system");
    assert_eq!(edge("user", "shop")["connectionType"], "virtual_node");
    assert_eq!(edge("shop", "stripe")["clientLatency"], Value::Null);
    let nodes: Vec<(&str, &str, f64, f64)> = graph["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let calls = |side: &str| node[side]["calls"].as_f64().unwrap();
            let text = |key: &str| node[key].as_str().unwrap();
            (text("service"), text("type"), calls("incoming"), calls("outgoing"))
        })
        .collect();
    assert_eq!(
        nodes,
        [
            ("cart", "service", 60.0, 12.0),
            ("mail", "service", 1.0, 0.0),
            ("pg", "database", 12.0, 0.0),
            ("shop", "service", 2.0, 64.0),
            ("stripe", "virtual", 3.0, 0.0),
            ("user", "virtual", 0.0, 2.0),
        ]
    );
    assert_eq!(graph["partial"], json!(false));
}

#[tokio::test]
async fn filter_and_its_hints_go_into_the_query() {
    let api = api().await;
    for (filter, expected) in [
        ("", "{ true } | service_graph()"),
        (
            "{ .a = 1 } >> { status = error }",
            "({ .a = 1 }) >> ({ status = error }) | service_graph()",
        ),
        ("{ } with(adjusted=true, job_size=5)", "{ true } | service_graph() with(adjusted=true)"),
    ] {
        let path = format!("/api/service-graph?{MINUTES}&q={}", encoded(filter));
        assert_eq!(api.get(&path).await.status, 200, "{filter}");
        let request = api.recent.metrics_requests.lock().pop().unwrap();
        assert_eq!(request.query, expected);
        assert_eq!((request.intervals, request.exemplars), (1, 0));
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let api = api().await;
    for (params, text) in [
        (
            "q=%7B",
            "invalid TraceQL query: parse error at line 1, col 2: syntax error: unexpected $end",
        ),
        ("q=%7B%7D%7Crate()", "the filter of a service graph has no metrics function"),
        ("start=20&end=10", "end must be greater than start"),
        ("since=x", "could not parse 'since' parameter"),
    ] {
        let answer = api.get(&format!("/api/service-graph?{params}")).await;
        assert_eq!(answer.status, 400, "{params}");
        assert!(answer.text().starts_with(text), "{params}: {}", answer.text());
    }
}

#[tokio::test]
async fn window_may_be_longer_than_that_of_a_metrics_query() {
    let api = api().await;
    let answer = api.get("/api/service-graph?start=1700000000&end=1702592000").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn counts_are_whole_numbers_where_asked_for() {
    let edge = Edge {
        client: "a".to_owned(),
        server: "b".to_owned(),
        connection_type: ConnectionType::Direct,
        calls: 3.6,
        errors: 0.2,
        client_latency: None,
        server_latency: None,
    };
    assert_eq!((edge.call_count(), edge.error_count()), (4, 0));
    let between: Vec<bool> = [
        ConnectionType::Direct,
        ConnectionType::MessagingSystem,
        ConnectionType::Database,
        ConnectionType::VirtualClient,
        ConnectionType::VirtualServer,
    ]
    .map(ConnectionType::is_between_services)
    .into();
    assert_eq!(between, [true, true, false, false, false]);
}
