//! Gossip over TCP, with TLS if wanted: messages of chitchat in frames of our own.
//!
//! Each member connects to those it speaks to and only sends; what it hears comes on connections
//! that the others made. Nothing here waits for a peer: a message that cannot be sent at once is
//! dropped, because the next round repeats it.

mod accept;
mod hello;
mod message;
mod network;
mod peers;
mod probe;
mod proof;
mod room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatId, ChitchatMessage, Serializable};
use parking_lot::Mutex;
use tactus_tls::{ClientTls, ServerTls};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::hello::Purpose;
pub use self::network::{Connection, Listener, Network, Stream, Tcp};
use self::peers::Peers;
pub(crate) use self::peers::Reachability;
pub(crate) use self::probe::Known;
pub use self::proof::Secret;
pub(crate) use self::room::Room;
use crate::metrics::WireCounters;

/// Limits and security of gossip connections.
#[derive(Clone)]
pub struct TransportSettings {
    /// Members with another label are kept out; at most 255 bytes.
    pub label: String,
    /// Admit members with any label.
    pub any_label: bool,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for TLS and greeting, and for the rest of a message that began to arrive.
    pub stream_timeout: Duration,
    /// Time to write a message and to hear that it arrived.
    pub write_timeout: Duration,
    /// A connection without messages for this long is closed.
    pub idle_timeout: Duration,
    /// Most connections, in each direction.
    pub max_connections: usize,
    /// Messages received that wait to be worked on.
    pub inbox: usize,
    /// Largest message; decompressed it may be four times as large.
    pub max_message_bytes: usize,
    /// Certificates of the gossip port; none is plain TCP.
    pub server_tls: Option<Arc<ServerTls>>,
    /// How other members are connected to; none is plain TCP.
    pub client_tls: Option<Arc<ClientTls>>,
    /// The secret of the cluster, which this member proves to know.
    pub secret: Option<Secret>,
    /// Admit only members that prove to know the secret. Without it the secret is proven to those who demand that.
    pub demands_proof: bool,
}

impl TransportSettings {
    /// The secret that others must have; without one, everyone who reaches the port is admitted.
    pub fn demanded_secret(&self) -> Option<&Secret> {
        self.secret.as_ref().filter(|_| self.demands_proof)
    }
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            label: String::new(),
            any_label: false,
            connect_timeout: Duration::from_secs(2),
            stream_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            max_connections: 1024,
            inbox: 64,
            max_message_bytes: 1 << 20,
            server_tls: None,
            client_tls: None,
            secret: None,
            demands_proof: true,
        }
    }
}

/// Entry points for fuzz targets: what arrives on a connection. Not a public interface.
#[doc(hidden)]
pub mod fuzzing {
    use crate::news::News;

    /// A greeting, and the answer to one.
    pub async fn greeting(bytes: &[u8]) -> (bool, bool) {
        let (mut hello, mut status) = (bytes, bytes);
        let is_hello = super::hello::read_hello(&mut hello).await.is_ok();
        (is_hello, super::hello::read_status(&mut status).await.is_ok())
    }

    /// A message of the largest size by default.
    pub fn message(bytes: &[u8]) -> Option<chitchat::ChitchatMessage> {
        let limit = super::TransportSettings::default().max_message_bytes;
        let own = super::message::Own { id: &[], version: 0 };
        super::message::decode(bytes, limit, own).map(|(message, _)| message)
    }

    /// A value of a member's news.
    pub fn news(key: &str, value: &str) {
        for claim in News::read(std::iter::once((key, value))).claims {
            claim.tokens.resolve();
        }
    }
}

/// What all connections of a member share.
pub(crate) struct Wire {
    pub(crate) settings: TransportSettings,
    pub(crate) network: Arc<dyn Network>,
    /// The address of this member for others.
    pub(crate) advertised: SocketAddr,
    pub(crate) own: ChitchatId,
    pub(crate) known: Known,
    pub(crate) room: Room,
    pub(crate) reachability: Reachability,
    pub(crate) counters: WireCounters,
}

impl Wire {
    /// Version of the news of `name` (of its start number `start`) that the member at `to` shows.
    /// Errors: it is not reached, or refuses.
    pub(crate) async fn probe(
        &self,
        to: SocketAddr,
        name: &str,
        start: u64,
    ) -> Result<u64, String> {
        let limit = self.settings.stream_timeout;
        let mut connection =
            peers::dial(self, to, Purpose::Probe).await.map_err(|error| error.to_string())?;
        let asked = tokio::time::timeout(limit, probe::ask(&mut connection, name, start)).await;
        match asked {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

/// Gives chitchat its socket. The ports are listened on before, so that their errors are seen.
pub(crate) struct GossipTransport {
    pub(crate) wire: Arc<Wire>,
    pub(crate) listeners: Mutex<Vec<Arc<dyn Listener>>>,
}

#[async_trait]
impl Transport for GossipTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let stop = CancellationToken::new();
        let (inbox, received) = mpsc::channel(self.wire.settings.inbox.max(1));
        for listener in self.listeners.lock().drain(..) {
            let (wire, inbox, stop) = (Arc::clone(&self.wire), inbox.clone(), stop.clone());
            tokio::spawn(accept::run(wire, listener, inbox, stop));
        }
        Ok(Box::new(GossipSocket {
            peers: Peers::new(Arc::clone(&self.wire), stop.clone()),
            received,
            _inbox: inbox,
            _stop: stop.drop_guard(),
        }))
    }
}

struct GossipSocket {
    peers: Peers,
    received: mpsc::Receiver<(SocketAddr, ChitchatMessage)>,
    /// Keeps the channel open while nobody is connected.
    _inbox: accept::Inbox,
    /// Ends all connections and listeners.
    _stop: DropGuard,
}

#[async_trait]
impl Socket for GossipSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.peers.send(to, message.serialize_to_vec());
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        let received = self.received.recv().await;
        received.ok_or_else(|| anyhow::anyhow!("the gossip port is closed"))
    }
}
