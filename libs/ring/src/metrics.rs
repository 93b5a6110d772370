//! Metrics of membership.

use std::sync::Arc;

use tactus_telemetry::metrics::{Counter, Gauge, GaugeVec, Registry};

use crate::instance::{Instance, State};

tactus_telemetry::metrics! {
    /// Messages of the gossip.
    #[derive(Clone)]
    pub(crate) struct WireCounters {
        pub(crate) received: Counter = "tempo_memberlist_client_received_broadcasts_total", "Gossip messages received.";
        pub(crate) received_bytes: Counter = "tempo_memberlist_client_received_broadcasts_bytes_total",
            "Bytes of gossip messages received.";
        pub(crate) invalid: Counter = "tempo_memberlist_client_received_broadcasts_invalid_total",
            "Gossip connections refused because their bytes make no sense here.";
        pub(crate) dropped: Counter = "tempo_memberlist_client_messages_to_broadcast_dropped_total",
            "Gossip messages and connections dropped because there were too many.";
        pub(crate) sent: Counter = "tempo_memberlist_client_state_pushes_total", "Gossip messages sent.";
        pub(crate) sent_bytes: Counter = "tempo_memberlist_client_state_pushes_bytes_total", "Bytes of gossip messages sent.";
    }
}

impl WireCounters {
    /// Counters that are not registered.
    pub(crate) fn unregistered() -> Self {
        Self::register(&Registry::new())
    }
}

tactus_telemetry::metrics! {
    /// Sizes of the cluster and of its rings.
    pub(crate) struct Metrics {
        members: Gauge = "tempo_memberlist_client_cluster_members_count", "Members of the cluster that are alive.";
        health: Gauge = "tempo_memberlist_client_cluster_node_health_score", "Health of this member; 0 is good.";
        stores: Gauge = "tempo_memberlist_client_kv_store_count", "Rings kept by gossip.";
        ring_members: GaugeVec<2> = "tempo_ring_members", "Members of a ring by state.", ["name", "state"];
        ring_tokens: GaugeVec<1> = "tempo_ring_tokens_total", "Tokens in a ring.", ["name"];
        tokens_owned: GaugeVec<1> = "tempo_ring_member_tokens_owned", "Tokens of this member.", ["name"];
    }
}

const UNHEALTHY: &str = "Unhealthy";
const STATES: [State; 4] = [State::Active, State::Leaving, State::Pending, State::Joining];

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Arc<Self> {
        let _ = registry.gauge("gauge_memberlist_health_score", "Health of the gossip; 0 is good.");
        Arc::new(Self::register(registry))
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
