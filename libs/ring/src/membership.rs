//! Takes part in a cluster: who else is there, which rings they form.

mod confirm;
mod join;
mod refresh;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::confirm::Confirmed;
use crate::error::{Error, Result};
use crate::ledger::{Ledger, Patience};
use crate::lifecycle::Lifecycler;
use crate::metrics::{Metrics, WireCounters};
use crate::news::{Claim, MemberNews, Tombstone};
use crate::ring::Ring;
use crate::settings::{GossipSettings, LifecyclerSettings, MembershipSettings, WatchSettings};
use crate::transport::{GossipTransport, Known, Listener, Reachability, Wire};

/// A process of the cluster that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name among the members.
    pub name: String,
    /// Targets that it runs.
    pub targets: Vec<String>,
    /// `host:port` of its HTTP server.
    pub http_address: String,
    /// `host:port` of its gRPC server.
    pub grpc_address: String,
    /// Where it gossips.
    pub gossip_address: SocketAddr,
    /// Availability zone; may be empty.
    pub zone: String,
    /// Version of the program.
    pub version: String,
    /// Whether it is this process.
    pub is_self: bool,
}

/// The part that a process takes in its cluster. Clones are the same one; when the last is dropped
/// without [`Membership::shutdown`], it falls silent without a goodbye.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

pub(crate) struct Shared {
    pub(crate) settings: MembershipSettings,
    pub(crate) id: ChitchatId,
    /// What this process says; the gossip is made to say the same at each refresh.
    own: Mutex<Own>,
    ledger: Mutex<Ledger>,
    rings: Mutex<Vec<Watched>>,
    members: watch::Sender<Arc<Vec<Member>>>,
    /// Something changed that views, or others, must be told.
    dirty: Notify,
    gossip: Option<Gossip>,
    /// One refresh at a time: an older picture must not replace a newer one.
    refreshing: tokio::sync::Mutex<()>,
    metrics: Option<Arc<Metrics>>,
    stop: CancellationToken,
    stopped: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Own {
    member: MemberNews,
    /// By key.
    claims: BTreeMap<String, Claim>,
    tombstones: BTreeMap<String, Tombstone>,
}

struct Gossip {
    handle: ChitchatHandle,
    wire: Arc<Wire>,
}

#[derive(Clone)]
struct Watched {
    settings: WatchSettings,
    ring: Arc<Ring>,
}

impl Membership {
    /// Starts to listen, joins, and waits a moment for the news of others.
    ///
    /// Errors: a port that is taken; settings that cannot work; the join, only if the settings say
    /// that it must not fail. Otherwise a process that finds nobody is a cluster of one, and goes
    /// on looking for others.
    pub async fn start(settings: MembershipSettings) -> Result<Self> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let started = (settings.clock)().as_nanos() as u64;
        let mut name = settings.name.clone();
        if settings.random_name {
            name = format!("{name}-{:08x}", random() as u32);
        }
        let registry = settings.registry;
        let (id, gossip) = match &settings.gossip {
            None => (ChitchatId::new(name, started, ([127, 0, 0, 1], 0).into()), None),
            Some(gossip) => {
                let counters = registry.map_or_else(WireCounters::unregistered, WireCounters::new);
                let (id, gossip) = open(gossip, name, started, counters).await?;
                (id, Some(gossip))
            }
        };
        let patience = Patience {
            suspect_after: settings.suspect_after,
            remember: settings.remember_forgotten,
        };
        let own = Own { member: describe(&settings), ..Own::default() };
        let shared = Arc::new(Shared {
            id,
            own: Mutex::new(own),
            ledger: Mutex::new(Ledger::new(patience)),
            rings: Mutex::default(),
            members: watch::Sender::new(Arc::default()),
            dirty: Notify::new(),
            gossip,
            refreshing: tokio::sync::Mutex::default(),
            metrics: registry.map(Metrics::new),
            stop,
            stopped: watch::Sender::new(None),
            settings,
        });
        shared.refresh().await;
        let interval = shared.gossip_settings().map_or(Duration::from_secs(1), |at| at.interval);
        tokio::spawn(refresh::run(Arc::clone(&shared), interval));
        if shared.gossip.is_some() {
            shared.watch_gossip().await;
            join::first(&shared).await?;
            tokio::spawn(join::run(Arc::clone(&shared)));
        }
        Ok(Self { shared, _stop: Arc::new(guard) })
    }

    /// Watches a ring, whether or not this process takes part in it. A ring watched already (by
    /// its key) is given again, with its first settings.
    pub async fn watch(&self, settings: WatchSettings) -> Arc<Ring> {
        let ring = {
            let mut rings = self.shared.rings.lock();
            if let Some(watched) = rings.iter().find(|at| at.settings.key == settings.key) {
                return Arc::clone(&watched.ring);
            }
            let shared = Arc::downgrade(&self.shared);
            let ring = Arc::new(Ring::watched(settings.ring.clone(), &settings.key, shared));
            rings.push(Watched { settings, ring: Arc::clone(&ring) });
            ring
        };
        self.shared.refresh().await;
        ring
    }

    /// Takes part in `ring`, which must be one that this membership watches. A process has one
    /// place in each ring. The instance begins as pending and goes on by itself.
    pub async fn enter(&self, ring: &Arc<Ring>, settings: LifecyclerSettings) -> Lifecycler {
        Lifecycler::start(Arc::clone(&self.shared), Arc::clone(ring), settings).await
    }

    /// Processes that are alive, this one included, by name.
    pub fn members(&self) -> Arc<Vec<Member>> {
        self.shared.members.borrow().clone()
    }

    /// The members, and when they change.
    pub fn member_changes(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.shared.members.subscribe()
    }

    /// Name of this process among the members.
    pub fn name(&self) -> &str {
        &self.shared.id.node_id
    }

    /// Where others gossip with this process; `None` for a process alone.
    pub fn gossip_address(&self) -> Option<SocketAddr> {
        self.shared.gossip.as_ref().map(|gossip| gossip.wire.advertised)
    }

    /// Waits until the gossip fails for good, and tells why. A process should then stop: it no
    /// longer hears of changes.
    pub async fn failed(&self) -> Error {
        let mut stopped = self.shared.stopped.subscribe();
        let reason = match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "membership is gone".to_owned(),
        };
        Error::Stopped(reason)
    }

    /// Says goodbye, waits (for at most the leave timeout) until others have seen it, and stops.
    pub async fn shutdown(&self) {
        self.shared.own.lock().member.left = true;
        self.shared.confirm().await;
        self.shared.stop.cancel();
        if let Some(gossip) = &self.shared.gossip {
            let _ = gossip.handle.initiate_shutdown();
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    fn gossip_settings(&self) -> Option<&GossipSettings> {
        self.settings.gossip.as_ref()
    }

    /// Refreshes as soon as news arrive, and notices if the gossip ends.
    async fn watch_gossip(self: &Arc<Self>) {
        let Some(gossip) = &self.gossip else { return };
        let weak = Arc::downgrade(self);
        let listener = gossip.handle.chitchat().lock().await.subscribe_event("", move |_| {
            if let Some(shared) = weak.upgrade() {
                shared.dirty.notify_one();
            }
        });
        listener.forever();
        let (ended, shared) = (gossip.handle.termination_watcher(), Arc::downgrade(self));
        tokio::spawn(async move {
            let ended = ended.await;
            let Some(shared) = shared.upgrade().filter(|at| !at.stop.is_cancelled()) else {
                return;
            };
            let reason = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
            tracing::error!(reason, "gossip stopped, this process hears of no more changes");
            shared.stopped.send_replace(Some(reason));
        });
    }

    /// Changes what this process says about its place in a ring; the change is gossiped at once.
    pub(crate) fn claim(&self, key: &str, change: impl FnOnce(&mut Claim)) {
        if let Some(claim) = self.own.lock().claims.get_mut(key) {
            change(claim);
        }
        self.dirty.notify_one();
    }

    pub(crate) fn insert_claim(&self, claim: Claim) {
        self.own.lock().claims.insert(claim.key(), claim);
        self.dirty.notify_one();
    }

    pub(crate) fn own_claim(&self, key: &str) -> Option<Claim> {
        self.own.lock().claims.get(key).cloned()
    }

    pub(crate) fn with_ledger<T>(&self, look: impl FnOnce(&Ledger, Instant) -> T) -> T {
        look(&self.ledger.lock(), Instant::now())
    }

    /// Declares the instance `id` of a ring void; false if it is not in the ring.
    pub(crate) fn forget(&self, ring: &str, id: &str) -> bool {
        let now = Instant::now();
        let tombstone = {
            let mut ledger = self.ledger.lock();
            let Some(tombstone) = ledger.entries(ring, now).get(id).map(|at| at.tombstone()) else {
                return false;
            };
            ledger.forget(now, &tombstone);
            tombstone
        };
        tracing::info!(ring, instance = id, "instance forgotten by hand");
        self.own.lock().tombstones.insert(tombstone.key(), tombstone);
        self.dirty.notify_one();
        true
    }

    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(crate) fn unix_seconds(&self) -> i64 {
        (self.settings.clock)().as_secs() as i64
    }

    /// A number for a new claim.
    pub(crate) fn incarnation(&self) -> u64 {
        (self.settings.clock)().as_nanos() as u64
    }
}

async fn open(
    settings: &GossipSettings,
    name: String,
    started: u64,
    counters: WireCounters,
) -> Result<(ChitchatId, Gossip)> {
    if settings.transport.label.len() > 255 {
        return Err(Error::Settings("memberlist.cluster_label: longer than 255 bytes".to_owned()));
    }
    let mut listeners: Vec<Arc<dyn Listener>> = Vec::new();
    for address in &settings.listen {
        let listening = settings.network.listen(*address).await;
        let failed = |source| Error::Listen { address: address.to_string(), source };
        listeners.push(Arc::from(listening.map_err(failed)?));
    }
    let Some(first) = listeners.first() else {
        return Err(Error::Settings("memberlist.bind_addr: no address to listen on".to_owned()));
    };
    let failed = |source| Error::Listen { address: "the gossip port".to_owned(), source };
    let port = first.local_address().map_err(failed)?.port();
    let advertised =
        SocketAddr::new(settings.advertise_ip, settings.advertise_port.unwrap_or(port));
    let wire = Arc::new(Wire {
        settings: settings.transport.clone(),
        network: Arc::clone(&settings.network),
        advertised,
        known: Known::default(),
        reachability: Reachability::default(),
        counters,
    });
    let id = ChitchatId::new(name, started, advertised);
    let config = ChitchatConfig {
        chitchat_id: id.clone(),
        // Labels are compared when a connection is made.
        cluster_id: "tactus".to_owned(),
        gossip_interval: settings.interval,
        listen_addr: advertised,
        // Seeds are resolved and told by the join task.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            sampling_window_size: 100,
            max_interval: settings.interval * 10,
            initial_interval: settings.interval * 2,
            dead_node_grace_period: settings.dead_member_retention,
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: settings.dead_member_retention / 4,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let transport = GossipTransport { wire: Arc::clone(&wire), listeners: Mutex::new(listeners) };
    let spawned = spawn_chitchat(config, Vec::new(), &transport).await;
    let handle = spawned.map_err(|error| Error::Stopped(error.to_string()))?;
    tracing::info!(member = %id.node_id, %advertised, "gossip started");
    Ok((id, Gossip { handle, wire }))
}

fn describe(settings: &MembershipSettings) -> MemberNews {
    let description = settings.description.clone();
    MemberNews {
        targets: description.targets,
        http: description.http_address,
        grpc: description.grpc_address,
        zone: description.zone,
        version: description.version,
        left: false,
    }
}

/// Differs from call to call; not for secrets.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
