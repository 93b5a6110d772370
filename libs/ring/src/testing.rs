//! Members on loopback for tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::{
    GossipSettings, Lifecycler, LifecyclerSettings, Membership, MembershipSettings, Ring,
    RingSettings, Seed, SelfDescription, WatchSettings,
};

/// A member that takes part in one ring.
pub(crate) struct Node {
    pub(crate) membership: Membership,
    pub(crate) ring: Arc<Ring>,
    pub(crate) lifecycler: Lifecycler,
}

pub(crate) const SUSPECT: Duration = Duration::from_millis(1500);

pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Gossips quickly on a free port of loopback.
pub(crate) fn settings(name: &str, seeds: &[SocketAddr]) -> MembershipSettings {
    let mut gossip = GossipSettings::new(any_port(), Ipv4Addr::LOCALHOST.into());
    gossip.interval = Duration::from_millis(30);
    gossip.rejoin_interval = Duration::from_millis(200);
    gossip.join_backoff = (Duration::from_millis(50), Duration::from_millis(200));
    gossip.leave_timeout = Duration::from_secs(10);
    gossip.join = seeds.iter().map(|seed| Seed::parse(&seed.to_string(), 7946).unwrap()).collect();
    let description = SelfDescription {
        targets: vec!["ingester".to_owned()],
        http_address: format!("{name}:3200"),
        grpc_address: format!("{name}:9095"),
        ..SelfDescription::default()
    };
    MembershipSettings {
        gossip: Some(gossip),
        suspect_after: SUSPECT,
        registry: None,
        ..MembershipSettings::alone(name, description)
    }
}

pub(crate) fn watch_settings() -> WatchSettings {
    let ring = RingSettings { replication_factor: 3, ..RingSettings::new("ingester") };
    WatchSettings { heartbeat_timeout: SUSPECT, forget_after: None, ..WatchSettings::new(ring) }
}

pub(crate) fn place(id: &str) -> LifecyclerSettings {
    LifecyclerSettings {
        min_ready_duration: Duration::ZERO,
        ..LifecyclerSettings::new(id, &format!("{id}:9095"))
    }
}

impl Node {
    pub(crate) async fn start(id: &str, seeds: &[SocketAddr]) -> Self {
        Self::start_with(settings(id, seeds), watch_settings(), place(id)).await
    }

    pub(crate) async fn start_with(
        settings: MembershipSettings,
        watch: WatchSettings,
        place: LifecyclerSettings,
    ) -> Self {
        let membership = Membership::start(settings).await.unwrap();
        let ring = membership.watch(watch).await;
        let lifecycler = membership.enter(&ring, place);
        lifecycler.shown().await;
        Self { membership, ring, lifecycler }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.membership.gossip_address().unwrap()
    }

    /// `id:STATE` of each instance, with `!` if it is not alive.
    pub(crate) fn shown(&self) -> Vec<String> {
        let view = self.ring.view();
        let show = |found: &Arc<crate::Instance>| {
            format!("{}:{}{}", found.id, found.state, if found.alive { "" } else { "!" })
        };
        view.instances().iter().map(show).collect()
    }

    pub(crate) async fn shows(&self, expected: &[&str]) {
        let what =
            || format!("{} shows {:?}, not {expected:?}", self.membership.name(), self.shown());
        until(what, || self.shown() == expected).await;
    }
}

/// `count` nodes `a`, `b`, … that all know each other.
pub(crate) async fn cluster(count: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for id in ["a", "b", "c", "d", "e"].into_iter().take(count) {
        let seeds: Vec<SocketAddr> = nodes.iter().take(1).map(Node::address).collect();
        nodes.push(Node::start(id, &seeds).await);
    }
    for node in &nodes {
        let members = || format!("{:?}", node.membership.members());
        until(members, || node.membership.members().len() == count).await;
        let all_active = || {
            let view = node.ring.view();
            view.instances().len() == count && view.healthy_count(crate::Operation::Write) == count
        };
        until(|| format!("{:?}", node.shown()), all_active).await;
    }
    nodes
}

/// Waits for a condition, at most half a minute.
pub(crate) async fn until(what: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain: {}", what());
}
