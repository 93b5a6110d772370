//! Zipkin's dependencies: which service calls which.

use std::collections::BTreeMap;

use serde::Serialize;
use tactus_query::{ConnectionType, Edge, GraphWindow, ServiceGraph, offload};

use super::params::dependencies_window;
use super::{Answered, Call};
use crate::call::{Answer, MANY_EDGES};

/// The client of calls from outside of which nothing is known.
const UNKNOWN_CLIENT: &str = "user";

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    parent: String,
    child: String,
    call_count: u64,
    error_count: u64,
}

pub(super) async fn dependencies(call: Call) -> Answered {
    let window = dependencies_window(&call.params())?;
    // The start of a graph's window is exclusive.
    let window = GraphWindow {
        start_unix_nanos: window.start.saturating_sub(1),
        end_unix_nanos: window.end,
    };
    let graph = call.frontend().service_graph(&call.tenants, window, None).await?;
    let ServiceGraph { edges, partial } = graph;
    let answer = offload(edges.len() > MANY_EDGES, move || Answer::json(&links(edges)));
    Ok(answer.await??.partial(partial))
}

/// By parent, then child. Services that call themselves are left out; databases and other peers are in.
fn links(edges: Vec<Edge>) -> Vec<Link> {
    let mut links: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for edge in edges {
        let is_unknown =
            edge.connection_type == ConnectionType::VirtualClient && edge.client == UNKNOWN_CLIENT;
        let (calls, errors) = (edge.call_count(), edge.error_count());
        let (parent, child) = (edge.client.to_lowercase(), edge.server.to_lowercase());
        if parent == child || is_unknown {
            continue;
        }
        let link = links.entry((parent, child)).or_default();
        *link = (link.0.saturating_add(calls), link.1.saturating_add(errors));
    }
    let link = |((parent, child), (call_count, error_count))| Link {
        parent,
        child,
        call_count,
        error_count,
    };
    links.into_iter().map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(client: &str, server: &str, connection_type: ConnectionType, calls: f64) -> Edge {
        Edge {
            client: client.to_owned(),
            server: server.to_owned(),
            connection_type,
            calls,
            errors: 1.0,
            client_latency: None,
            server_latency: None,
        }
    }

    #[test]
    fn edges_of_a_pair_are_one_link_whatever_the_case() {
        let edges = vec![
            edge("b", "c", ConnectionType::Database, 1.0),
            edge("A", "b", ConnectionType::Direct, 3.0),
            edge("a", "B", ConnectionType::MessagingSystem, 2.0),
            edge("a", "a", ConnectionType::Direct, 2.0),
            edge("user", "a", ConnectionType::VirtualClient, 2.0),
            edge("user", "a", ConnectionType::Direct, 2.0),
        ];
        let link = |parent: &str, child: &str, call_count, error_count| Link {
            parent: parent.to_owned(),
            child: child.to_owned(),
            call_count,
            error_count,
        };
        let expected = [link("a", "b", 5, 2), link("b", "c", 1, 1), link("user", "a", 2, 1)];
        assert_eq!(links(edges), expected);
    }
}
