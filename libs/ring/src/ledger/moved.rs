//! Addresses that were given to another process.
//!
//! An instance that dies without a goodbye stays in its ring until the heartbeat timeout. Its address may be another's much
//! earlier, and whoever answers there is not the instance. While both are heard of, nothing is concluded: then it is up to the
//! one that is called to say who it is. So no order of starts matters, and no clock.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{Entry, Ledger, Node};

/// The members that are heard of, by the addresses of their gRPC servers.
pub(super) struct Addresses<'ledger>(HashMap<&'ledger str, Vec<&'ledger Node>>);

impl Ledger {
    pub(super) fn addresses(&self, now: Instant) -> Addresses<'_> {
        let mut by_address: HashMap<&str, Vec<&Node>> = HashMap::new();
        for node in self.nodes.values().filter(|node| self.is_heard(node, now)) {
            let described = node.news.member.iter().map(|member| &member.description.grpc_address);
            let claimed = node.news.claims.iter().map(|claim| &claim.address);
            for address in described.chain(claimed) {
                let nodes = by_address.entry(address).or_default();
                // A member may announce its address once for each ring.
                if nodes.last().is_none_or(|last| last.id != node.id) {
                    nodes.push(node);
                }
            }
        }
        Addresses(by_address)
    }
}

impl Addresses<'_> {
    /// Whether the address of an instance is announced by another member, one that is not the same instance after a restart.
    pub(super) fn are_of_another(&self, entry: &Entry<'_>) -> bool {
        let is_another = |node: &&Node| {
            let member = node.news.member.as_ref();
            let returns = member.is_some_and(|it| it.description.returning == entry.claim.id);
            node.id.node_id != entry.node.id.node_id && !returns
        };
        let nodes = self.0.get(&*entry.claim.address);
        nodes.is_some_and(|nodes| nodes.iter().any(is_another))
    }
}
