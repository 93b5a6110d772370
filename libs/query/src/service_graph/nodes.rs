//! The services of a graph, and what goes in and out of them.

use std::collections::BTreeMap;

use super::{ConnectionType, Edge};

/// A service, or what stands for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    pub(super) node_type: NodeType,
    /// Calls of this service.
    pub(super) incoming: Calls,
    /// Calls by it.
    pub(super) outgoing: Calls,
}

tactus_model::words! {
    /// What is known of a node; where edges disagree, the later one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(super) enum NodeType {
        /// Known by what others say of it only.
        Virtual = "virtual",
        /// Likewise, and a database.
        Database = "database",
        /// Has spans of its own.
        Service = "service",
    }
}

/// How many calls, and how many of them failed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Calls {
    pub(super) calls: f64,
    pub(super) errors: f64,
}

/// The nodes between edges, by name.
pub(super) fn nodes(edges: &[Edge]) -> BTreeMap<&str, Node> {
    let mut nodes: BTreeMap<&str, Node> = BTreeMap::new();
    for edge in edges {
        let (client_type, server_type) = match edge.connection_type {
            ConnectionType::Direct | ConnectionType::MessagingSystem => {
                (NodeType::Service, NodeType::Service)
            }
            ConnectionType::Database => (NodeType::Service, NodeType::Database),
            ConnectionType::VirtualClient => (NodeType::Virtual, NodeType::Service),
            ConnectionType::VirtualServer => (NodeType::Service, NodeType::Virtual),
        };
        node(&mut nodes, &edge.client, client_type).outgoing.add(edge);
        node(&mut nodes, &edge.server, server_type).incoming.add(edge);
    }
    nodes
}

fn node<'n, 'e>(
    nodes: &'n mut BTreeMap<&'e str, Node>,
    name: &'e str,
    node_type: NodeType,
) -> &'n mut Node {
    let new = Node { node_type, incoming: Calls::default(), outgoing: Calls::default() };
    let node = nodes.entry(name).or_insert(new);
    node.node_type = node.node_type.max(node_type);
    node
}

impl Calls {
    fn add(&mut self, edge: &Edge) {
        self.calls += edge.calls;
        self.errors += edge.errors;
    }
}
