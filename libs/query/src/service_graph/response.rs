//! The answer of `GET /api/service-graph`.

use serde::Serialize;
use tactus_api::{Error, Result};

use super::nodes::{Calls, Node, nodes};
use super::{Edge, GraphWindow, Latency, ServiceGraph};

const SECOND: f64 = 1e9;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'g> {
    nodes: Vec<NodeJson<'g>>,
    edges: Vec<EdgeJson<'g>>,
    partial: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeJson<'g> {
    service: &'g str,
    r#type: &'static str,
    incoming: RatesJson,
    outgoing: RatesJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EdgeJson<'g> {
    client: &'g str,
    server: &'g str,
    connection_type: &'static str,
    #[serde(flatten)]
    rates: RatesJson,
    client_latency: Option<LatencyJson>,
    server_latency: Option<LatencyJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RatesJson {
    calls: f64,
    errors: f64,
    /// Per second.
    request_rate: f64,
    /// Share of the calls.
    error_rate: f64,
}

/// Seconds.
#[derive(Serialize)]
struct LatencyJson {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// Writes the graph of a window, as nodes and edges.
/// Errors: [`Error::Internal`] for a number that JSON has not.
pub(crate) fn response_json(graph: &ServiceGraph, window: GraphWindow) -> Result<Vec<u8>> {
    let nanos = window.end_unix_nanos.saturating_sub(window.start_unix_nanos);
    let seconds = nanos as f64 / SECOND;
    let rates = |calls: Calls| RatesJson {
        calls: calls.calls,
        errors: calls.errors,
        request_rate: calls.calls / seconds,
        error_rate: if calls.calls > 0.0 { calls.errors / calls.calls } else { 0.0 },
    };
    let node = |(service, node): (_, Node)| NodeJson {
        service,
        r#type: node.node_type.text(),
        incoming: rates(node.incoming),
        outgoing: rates(node.outgoing),
    };
    let edges = graph
        .edges
        .iter()
        .map(|edge| edge_json(edge, rates(Calls { calls: edge.calls, errors: edge.errors })));
    let response = Response {
        nodes: nodes(&graph.edges).into_iter().map(node).collect(),
        edges: edges.collect(),
        partial: graph.partial,
    };
    serde_json::to_vec(&response).map_err(|error| Error::Internal(error.to_string()))
}

fn edge_json(edge: &Edge, rates: RatesJson) -> EdgeJson<'_> {
    let latency = |Latency { p50, p90, p99 }| LatencyJson { p50, p90, p99 };
    EdgeJson {
        client: &edge.client,
        server: &edge.server,
        connection_type: edge.connection_type.text(),
        rates,
        client_latency: edge.client_latency.map(latency),
        server_latency: edge.server_latency.map(latency),
    }
}
