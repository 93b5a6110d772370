//! The answer of `GET /api/service-graph`.

use std::collections::BTreeMap;

use serde::Serialize;
use tactus_api::{Error, Result};

use super::{ConnectionType, Edge, GraphWindow, Latency, ServiceGraph};

const SECOND: f64 = 1e9;

#[derive(Serialize)]
struct Response<'g> {
    nodes: Vec<Node<'g>>,
    edges: Vec<EdgeJson<'g>>,
    partial: bool,
}

/// A service, or what stands for one.
#[derive(Serialize)]
struct Node<'g> {
    service: &'g str,
    #[serde(rename = "type")]
    node_type: NodeType,
    /// Calls of this service.
    incoming: Rates,
    /// Calls by it.
    outgoing: Rates,
}

/// What is known of a node; where edges disagree, the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum NodeType {
    /// Known by what others say of it only.
    Virtual,
    /// Likewise, and a database.
    Database,
    /// Has spans of its own.
    Service,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EdgeJson<'g> {
    client: &'g str,
    server: &'g str,
    connection_type: &'static str,
    #[serde(flatten)]
    rates: Rates,
    client_latency: Option<Latency>,
    server_latency: Option<Latency>,
}

/// How many calls, and how many of them failed.
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rates {
    calls: f64,
    errors: f64,
    /// Per second.
    request_rate: f64,
    /// Share of the calls.
    error_rate: f64,
}

impl Rates {
    /// Adds the calls of an edge, made within this many seconds.
    fn add(&mut self, edge: &Edge, seconds: f64) {
        self.calls += edge.calls;
        self.errors += edge.errors;
        self.request_rate = self.calls / seconds;
        self.error_rate = if self.calls > 0.0 { self.errors / self.calls } else { 0.0 };
    }
}

/// Writes the graph of a window, as nodes and edges.
/// Errors: [`Error::Internal`] for a number that JSON has not.
pub(crate) fn response_json(graph: &ServiceGraph, window: GraphWindow) -> Result<Vec<u8>> {
    let nanos = window.end_unix_nanos.saturating_sub(window.start_unix_nanos);
    let seconds = nanos as f64 / SECOND;
    let edges = graph.edges.iter().map(|edge| {
        let mut rates = Rates::default();
        rates.add(edge, seconds);
        EdgeJson {
            client: &edge.client,
            server: &edge.server,
            connection_type: edge.connection_type.text(),
            rates,
            client_latency: edge.client_latency,
            server_latency: edge.server_latency,
        }
    });
    let response = Response {
        nodes: nodes(&graph.edges, seconds).into_values().collect(),
        edges: edges.collect(),
        partial: graph.partial,
    };
    serde_json::to_vec(&response).map_err(|error| Error::Internal(error.to_string()))
}

/// The nodes between edges, by name.
fn nodes(edges: &[Edge], seconds: f64) -> BTreeMap<&str, Node<'_>> {
    let mut nodes = BTreeMap::new();
    for edge in edges {
        let (client_type, server_type) = match edge.connection_type {
            ConnectionType::Direct | ConnectionType::MessagingSystem => {
                (NodeType::Service, NodeType::Service)
            }
            ConnectionType::Database => (NodeType::Service, NodeType::Database),
            ConnectionType::VirtualClient => (NodeType::Virtual, NodeType::Service),
            ConnectionType::VirtualServer => (NodeType::Service, NodeType::Virtual),
        };
        node(&mut nodes, &edge.client, client_type).outgoing.add(edge, seconds);
        node(&mut nodes, &edge.server, server_type).incoming.add(edge, seconds);
    }
    nodes
}

fn node<'n, 'e>(
    nodes: &'n mut BTreeMap<&'e str, Node<'e>>,
    service: &'e str,
    node_type: NodeType,
) -> &'n mut Node<'e> {
    let (incoming, outgoing) = Default::default();
    let node = nodes.entry(service).or_insert(Node { service, node_type, incoming, outgoing });
    node.node_type = node.node_type.max(node_type);
    node
}
