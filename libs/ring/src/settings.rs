//! Settings of membership.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tactus_telemetry::metrics::Registry;

use crate::news::SelfDescription;
use crate::seeds::Seed;
use crate::transport::{Network, Tcp, TransportSettings};

/// Time as the operating system tells it. It is used for registration times and to number the
/// starts of a process, never to judge the age of anything.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The system's clock: time since 1970.
pub(crate) fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// How a process takes part in a cluster.
#[derive(Clone)]
pub struct MembershipSettings {
    /// Name of this process among the members; unique unless `random_name`.
    pub name: String,
    /// Add a random part to the name: several processes of one host may share it.
    pub random_name: bool,
    /// What others are told.
    pub description: SelfDescription,
    /// Gossip; `None` is a process alone, without a port.
    pub gossip: Option<GossipSettings>,
    /// A member silent for this long is suspect: it is no longer listed among the members, and may
    /// be forgotten by hand. About 10 gossip intervals.
    pub suspect_after: Duration,
    /// Forgotten instances are remembered for this long at least.
    pub remember_forgotten: Duration,
    /// Remember the instances of a ring over restarts.
    pub ring_file: Option<RingFile>,
    /// Where the metrics go.
    pub registry: Option<&'static Registry>,
    /// Tells the time.
    pub clock: Clock,
}

impl MembershipSettings {
    /// A process without other members.
    pub fn alone(name: &str, description: SelfDescription) -> Self {
        Self {
            name: name.to_owned(),
            random_name: false,
            description,
            gossip: None,
            suspect_after: Duration::from_secs(10),
            remember_forgotten: Duration::from_secs(5 * 60),
            ring_file: None,
            registry: Some(Registry::global()),
            clock: system_clock(),
        }
    }
}

/// A file that remembers the instances of a ring.
#[derive(Clone, Debug)]
pub struct RingFile {
    /// Name of the ring in gossip.
    pub ring: String,
    /// Name of this process's instance of it.
    pub id: String,
    /// Path of the file; its directory need not be there.
    pub path: PathBuf,
}

/// How a member gossips.
#[derive(Clone)]
pub struct GossipSettings {
    /// Addresses to listen on; at least one. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Address that others are told; see [`detect_address`](crate::detect_address).
    pub advertise_ip: IpAddr,
    /// Port that others are told; `None` is the one listened on.
    pub advertise_port: Option<u16>,
    /// Members to join by.
    pub join: Vec<Seed>,
    /// Time between rounds.
    pub interval: Duration,
    /// Seeds are resolved, and those not in the cluster told of it, this often.
    pub rejoin_interval: Duration,
    /// First and longest delay between attempts to join while alone.
    pub join_backoff: (Duration, Duration),
    /// Fail at start unless this many others were reached in the first seconds.
    pub abort_unless_reached: Option<usize>,
    /// Fail when this many attempts to join found nobody, unless another member was found before.
    pub abort_after_attempts: Option<u32>,
    /// Longest wait for others to see a goodbye.
    pub leave_timeout: Duration,
    /// Limits and security of the connections.
    pub transport: TransportSettings,
    /// The network; TCP but in simulations.
    pub network: Arc<dyn Network>,
}

impl GossipSettings {
    /// Listening on `listen`, told to others as `advertise_ip` and the same port, with the
    /// defaults of the configuration.
    pub fn new(listen: SocketAddr, advertise_ip: IpAddr) -> Self {
        Self {
            listen: vec![listen],
            advertise_ip,
            advertise_port: None,
            join: Vec::new(),
            interval: Duration::from_secs(1),
            rejoin_interval: Duration::from_secs(30),
            join_backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            abort_unless_reached: None,
            abort_after_attempts: None,
            leave_timeout: Duration::from_secs(20),
            transport: TransportSettings::default(),
            network: Arc::new(Tcp),
        }
    }
}

/// The name of a ring, and how it places keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Name on pages and metrics, e.g. `ingester`.
    pub name: String,
    /// Copies of each key; at least 1.
    pub replication_factor: usize,
    /// Put the copies into different zones.
    pub zone_awareness: bool,
    /// Zones whose instances are left out.
    pub excluded_zones: Vec<String>,
}

impl RingSettings {
    /// One copy, no zones.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            replication_factor: 1,
            zone_awareness: false,
            excluded_zones: Vec::new(),
        }
    }
}

/// How a ring is watched.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    /// How the ring places keys.
    pub ring: RingSettings,
    /// Name of the ring in gossip, e.g. `collectors/ring`.
    pub key: String,
    /// An instance silent for this long is unhealthy; 0 never expires.
    pub heartbeat_timeout: Duration,
    /// An instance silent for this long is forgotten; `None` is never.
    pub forget_after: Option<Duration>,
    /// Forget nothing while more than this many are unhealthy at once; `None` is no such limit.
    pub forget_at_most: Option<usize>,
    /// Members that are about to enter (`SelfDescription::returning`) are pending instances before they do.
    pub awaits_returning: bool,
}

impl WatchSettings {
    /// Watches `ring` under its own name; an instance silent for a minute is unhealthy, and
    /// forgotten after two.
    pub fn new(ring: RingSettings) -> Self {
        let key = format!("collectors/{}", ring.name);
        let heartbeat_timeout = Duration::from_secs(60);
        Self {
            ring,
            key,
            heartbeat_timeout,
            forget_after: Some(heartbeat_timeout * 2),
            forget_at_most: None,
            awaits_returning: false,
        }
    }
}

/// How this process takes part in a ring.
#[derive(Clone, Debug)]
pub struct LifecyclerSettings {
    /// Name of the instance, unique in the ring.
    pub id: String,
    /// `host:port` of its gRPC server.
    pub address: String,
    /// Availability zone; may be empty.
    pub zone: String,
    /// Tokens to own.
    pub num_tokens: u32,
    /// File that keeps the tokens over restarts.
    pub tokens_file: Option<PathBuf>,
    /// Wait before tokens are drawn.
    pub join_after: Duration,
    /// Ready at the earliest this long after everything else is.
    pub min_ready_duration: Duration,
    /// Ready only once all instances of the ring are active and healthy.
    pub check_ring_health: bool,
    /// An instance silent for this long is unhealthy for that check; 0 never expires.
    pub heartbeat_timeout: Duration,
    /// Leave the ring at stop; otherwise stay in it as leaving.
    pub unregister: bool,
    /// Sleep before the ring is left.
    pub final_sleep: Duration,
}

impl LifecyclerSettings {
    /// An instance with the defaults of the configuration.
    pub fn new(id: &str, address: &str) -> Self {
        Self {
            id: id.to_owned(),
            address: address.to_owned(),
            zone: String::new(),
            num_tokens: 128,
            tokens_file: None,
            join_after: Duration::ZERO,
            min_ready_duration: Duration::from_secs(15),
            check_ring_health: true,
            heartbeat_timeout: Duration::from_secs(60),
            unregister: true,
            final_sleep: Duration::ZERO,
        }
    }
}
