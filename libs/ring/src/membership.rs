//! Takes part in a cluster: finds the other members and the rings that they form.

pub(crate) mod confirm;
mod join;
mod recall;
mod refresh;
pub(crate) mod shared;

#[cfg(test)]
mod stranger_tests;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::confirm::Confirmed;
use self::recall::Memory;
pub use self::shared::Member;
use self::shared::{Gossip, Shared, Watched};
use crate::error::{Error, Result};
use crate::ledger::Patience;
use crate::lifecycle::Lifecycler;
use crate::metrics::{Metrics, WireCounters};
use crate::news::MemberNews;
use crate::record::Record;
use crate::ring::Ring;
use crate::settings::{GossipSettings, LifecyclerSettings, MembershipSettings, WatchSettings};
use crate::transport::{GossipTransport, Known, Listener, Reachability, Room, Wire};

/// A member that died is remembered for this long; newcomers are told for half of it. Each start of a process is a member of
/// its own, and there is room for some hundred ([`Room`]), which must be enough for processes that start over and over again.
const DEAD_MEMBER_RETENTION: Duration = Duration::from_secs(3600);
/// A member that was silent for less than this is told which values of others were deleted; after that, all that they say.
const DELETED_VALUE_RETENTION: Duration = Duration::from_secs(5400);

/// This process's participation in the cluster. Clones share it. When the last one is dropped without
/// [`Membership::shutdown`], the process stops its gossip without announcing that it leaves.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl Membership {
    /// Starts to listen, joins, and waits for the first announcements of others.
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
                let counters =
                    registry.map_or_else(WireCounters::unregistered, WireCounters::register);
                let (id, gossip) = open(gossip, name, started, counters).await?;
                (id, Some(gossip))
            }
        };
        let patience = Patience {
            suspect_after: settings.suspect_after,
            remember: settings.remember_forgotten,
        };
        let clock = Arc::clone(&settings.clock);
        let news = MemberNews { description: settings.description.clone(), left: false };
        let record = Arc::new(Record::new(clock, patience, news));
        let memory = settings.ring_file.clone().map(|file| {
            let (mut ledger, mut own) = (record.ledger.lock(), record.own.lock());
            Arc::new(Memory::load(file, &mut ledger, &mut own))
        });
        if let Some(memory) = &memory {
            tokio::spawn(Arc::clone(memory).keep(stop.clone()));
        }
        let shared = Arc::new(Shared {
            id,
            record,
            memory,
            has_joined: AtomicBool::new(false),
            rings: Mutex::default(),
            members: watch::Sender::new(Arc::default()),
            gossip,
            refreshing: tokio::sync::Mutex::default(),
            metrics: registry.map(Metrics::new),
            stop,
            stopped: watch::Sender::new(None),
            contested: AtomicBool::new(false),
            settings,
        });
        shared.refresh().await;
        let interval = shared.gossip_settings().map_or(Duration::from_secs(1), |at| at.interval);
        let refreshing = tokio::spawn(refresh::run(Arc::clone(&shared), interval));
        let stopped = shared.stopped.clone();
        tokio::spawn(async move {
            if refreshing.await.is_err_and(|error| error.is_panic()) {
                tracing::error!("rings are not kept up to date any more");
                stopped.send_replace(Some("rings are not kept up to date any more".to_owned()));
            }
        });
        if shared.gossip.is_some() {
            shared.watch_gossip().await;
            join::first(&shared).await?;
            shared.has_joined.store(true, Ordering::Relaxed);
            shared.refresh().await;
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
            let record = Arc::downgrade(&self.shared.record);
            let ring = Arc::new(Ring::watched(settings.ring.clone(), &settings.key, record));
            rings.push(Watched { settings, ring: Arc::clone(&ring) });
            ring
        };
        self.shared.refresh().await;
        ring
    }

    /// Takes part in `ring`, which must be one that this membership watches. A process has one
    /// place in each ring. The instance begins as pending and goes on by itself, in tasks of the
    /// runtime that this is called in.
    pub fn enter(&self, ring: &Arc<Ring>, settings: LifecyclerSettings) -> Lifecycler {
        Lifecycler::start(Arc::clone(&self.shared), Arc::clone(ring), settings)
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

    /// The address of this process for gossip; `None` for a process alone.
    pub fn gossip_address(&self) -> Option<SocketAddr> {
        self.shared.gossip.as_ref().map(|gossip| gossip.wire.advertised)
    }

    /// Waits until the gossip fails for good, and returns the reason. The process should then stop, because it no longer
    /// learns of changes.
    pub async fn failed(&self) -> Error {
        let mut stopped = self.shared.stopped.subscribe();
        let reason = match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "membership is gone".to_owned(),
        };
        Error::Stopped(reason)
    }

    /// Announces that this process leaves, waits (for at most the leave timeout) until others have seen it, and stops.
    pub async fn shutdown(&self) {
        self.shared.record.own.lock().member.left = true;
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
    let id = ChitchatId::new(name, started, advertised);
    let wire = Arc::new(Wire {
        settings: settings.transport.clone(),
        network: Arc::clone(&settings.network),
        advertised,
        own: id.clone(),
        known: Known::default(),
        room: Room::default(),
        reachability: Reachability::default(),
        counters,
    });
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
            dead_node_grace_period: DEAD_MEMBER_RETENTION,
            ..FailureDetectorConfig::default()
        },
        marked_for_deletion_grace_period: DELETED_VALUE_RETENTION,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let transport = GossipTransport { wire: Arc::clone(&wire), listeners: Mutex::new(listeners) };
    let spawned = spawn_chitchat(config, Vec::new(), &transport).await;
    let handle = spawned.map_err(|error| Error::Stopped(error.to_string()))?;
    tracing::info!(member = %id.node_id, %advertised, "gossip started");
    Ok((id, Gossip { handle, wire }))
}

/// Differs from call to call; not for secrets.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
