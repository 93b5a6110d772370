//! Metrics of membership.

use std::sync::Arc;

use tactus_telemetry::metrics::{Counter, Gauge, GaugeVec, Registry};

use crate::instance::{Instance, State};

/// Messages of the gossip.
#[derive(Clone)]
pub(crate) struct WireCounters {
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) invalid: Counter,
    pub(crate) dropped: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
}

impl WireCounters {
    /// Counters that nobody reads.
    pub(crate) fn unregistered() -> Self {
        Self::new(&Registry::new())
    }

    pub(crate) fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help);
        Self {
            received: counter(
                "tempo_memberlist_client_received_broadcasts_total",
                "Gossip messages received.",
            ),
            received_bytes: counter(
                "tempo_memberlist_client_received_broadcasts_bytes_total",
                "Bytes of gossip messages received.",
            ),
            invalid: counter(
                "tempo_memberlist_client_received_broadcasts_invalid_total",
                "Gossip connections refused because their bytes make no sense here.",
            ),
            dropped: counter(
                "tempo_memberlist_client_messages_to_broadcast_dropped_total",
                "Gossip messages and connections dropped because there were too many.",
            ),
            sent: counter("tempo_memberlist_client_state_pushes_total", "Gossip messages sent."),
            sent_bytes: counter(
                "tempo_memberlist_client_state_pushes_bytes_total",
                "Bytes of gossip messages sent.",
            ),
        }
    }
}

/// Sizes of the cluster and of its rings.
pub(crate) struct Metrics {
    members: Gauge,
    health: Gauge,
    stores: Gauge,
    ring_members: GaugeVec<2>,
    ring_tokens: GaugeVec<1>,
    tokens_owned: GaugeVec<1>,
}

const UNHEALTHY: &str = "Unhealthy";
const STATES: [State; 4] = [State::Active, State::Leaving, State::Pending, State::Joining];

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Arc<Self> {
        let _ = registry.gauge("gauge_memberlist_health_score", "Health of the gossip; 0 is good.");
        Arc::new(Self {
            members: registry.gauge(
                "tempo_memberlist_client_cluster_members_count",
                "Members of the cluster that are alive.",
            ),
            health: registry.gauge(
                "tempo_memberlist_client_cluster_node_health_score",
                "Health of this member; 0 is good.",
            ),
            stores: registry
                .gauge("tempo_memberlist_client_kv_store_count", "Rings kept by gossip."),
            ring_members: registry.gauge_vec(
                "tempo_ring_members",
                "Members of a ring by state.",
                ["name", "state"],
            ),
            ring_tokens: registry.gauge_vec(
                "tempo_ring_tokens_total",
                "Tokens in a ring.",
                ["name"],
            ),
            tokens_owned: registry.gauge_vec(
                "tempo_ring_member_tokens_owned",
                "Tokens of this member.",
                ["name"],
            ),
        })
    }

    pub(crate) fn cluster(&self, alive: usize, rings: usize, joined: bool) {
        self.members.set(alive as f64);
        self.stores.set(rings as f64);
        self.health.set(if joined { 0.0 } else { 1.0 });
    }

    pub(crate) fn ring(&self, name: &str, instances: &[Arc<Instance>], tokens: usize) {
        let count = |keep: &dyn Fn(State, bool) -> bool| {
            let kept = instances.iter().filter(|found| keep(found.state, found.alive));
            kept.count() as f64
        };
        self.ring_members.with([name, UNHEALTHY]).set(count(&|_, alive| !alive));
        for state in STATES {
            let of_state = count(&|found, alive| alive && found == state);
            self.ring_members.with([name, state.name()]).set(of_state);
        }
        self.ring_tokens.with([name]).set(tokens as f64);
    }

    pub(crate) fn owned(&self, name: &str, tokens: u32) {
        self.tokens_owned.with([name]).set(f64::from(tokens));
    }
}
