//! Connections to other members: one each, kept open, dropped when idle.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::hello::{Hello, HelloError, Purpose, RECEIPT, read_status, send_hello};
use super::network::Connection;
use super::proof::Link;
use super::{Secret, TransportSettings, Wire, proof};

/// Messages that wait for one peer; more are dropped.
const PEER_QUEUE: usize = 16;

/// What is known about addresses that were connected to.
#[derive(Default)]
pub(crate) struct Reachability {
    failed: Mutex<HashSet<SocketAddr>>,
    pub(crate) changed: Notify,
}

impl Reachability {
    /// Whether the last attempt to reach `address` failed.
    pub(crate) fn is_unreachable(&self, address: &SocketAddr) -> bool {
        self.failed.lock().contains(address)
    }

    fn reached(&self, address: SocketAddr) {
        self.failed.lock().remove(&address);
    }

    /// Tells whether this is news.
    fn failed(&self, address: SocketAddr, most: usize) -> bool {
        let mut failed = self.failed.lock();
        if failed.len() >= most {
            failed.clear();
        }
        let new = failed.insert(address);
        drop(failed);
        self.changed.notify_waiters();
        new
    }
}

/// The connections that this member made.
pub(super) struct Peers {
    wire: Arc<Wire>,
    stop: CancellationToken,
    peers: HashMap<SocketAddr, Peer>,
}

struct Peer {
    queue: mpsc::Sender<Vec<u8>>,
    used: Instant,
}

impl Peers {
    pub(super) fn new(wire: Arc<Wire>, stop: CancellationToken) -> Self {
        Self { wire, stop, peers: HashMap::new() }
    }

    /// Puts a message into the queue of a peer. Never waits: a message too many is dropped, as
    /// the next round of gossip says it again.
    pub(super) fn send(&mut self, to: SocketAddr, message: Vec<u8>) {
        let now = Instant::now();
        let message = match self.peers.get_mut(&to) {
            None => message,
            Some(peer) => {
                peer.used = now;
                match peer.queue.try_send(message) {
                    Ok(()) => return,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        self.wire.counters.dropped.inc();
                        return;
                    }
                    Err(mpsc::error::TrySendError::Closed(message)) => message,
                }
            }
        };
        self.make_room();
        let (queue, messages) = mpsc::channel(PEER_QUEUE);
        // The queue is new and empty.
        let _ = queue.try_send(message);
        self.peers.insert(to, Peer { queue, used: now });
        let (wire, stop) = (Arc::clone(&self.wire), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = run(&wire, to, messages) => {}
            }
        });
    }

    fn make_room(&mut self) {
        self.peers.retain(|_, peer| !peer.queue.is_closed());
        while self.peers.len() >= self.wire.settings.max_connections.max(1) {
            let Some(oldest) = self.peers.iter().min_by_key(|(_, peer)| peer.used) else { return };
            let oldest = *oldest.0;
            self.peers.remove(&oldest);
        }
    }
}

/// Sends the messages of a queue until the peer fails, the queue is dropped or idle.
async fn run(wire: &Wire, to: SocketAddr, mut messages: mpsc::Receiver<Vec<u8>>) {
    let settings = &wire.settings;
    let mut open: Option<Link> = None;
    while let Ok(Some(message)) = timeout(settings.idle_timeout, messages.recv()).await {
        // A connection that was kept may be of a former start of the peer: one more try.
        if let Some(mut kept) = open.take()
            && deliver(wire, &mut kept, &message).await
        {
            open = Some(kept);
            continue;
        }
        let mut fresh = match dial(wire, to, Purpose::Gossip).await {
            Ok(connection) => connection,
            Err(error) => return refused(wire, to, &error),
        };
        wire.reachability.reached(to);
        if !deliver(wire, &mut fresh, &message).await {
            tracing::debug!(peer = %to, "gossip connection broke");
            wire.reachability.failed(to, settings.max_connections);
            return;
        }
        open = Some(fresh);
    }
    if let Some(mut link) = open {
        let _ = timeout(settings.write_timeout, link.stream.shutdown()).await;
    }
}

/// Writes a message and waits for the receipt, without which a connection to a host that is gone
/// would swallow messages for minutes.
async fn deliver(wire: &Wire, link: &mut Link, message: &[u8]) -> bool {
    let exchange = async {
        link.stream.write_u32(message.len() as u32).await?;
        link.write(message).await?;
        link.stream.read_u8().await
    };
    let delivered = matches!(timeout(wire.settings.write_timeout, exchange).await, Ok(Ok(RECEIPT)));
    if delivered {
        wire.counters.sent.inc();
        wire.counters.sent_bytes.inc_by(message.len() as u64);
    }
    delivered
}

/// A connection that was greeted and welcomed.
pub(super) async fn dial(
    wire: &Wire,
    to: SocketAddr,
    purpose: Purpose,
) -> Result<Link, HelloError> {
    let secret = wire.settings.secret.as_ref();
    match greet(wire, to, purpose, secret).await {
        // The peer has another secret, or none. That is no matter if this member demands no proof.
        Err(HelloError::Secretless | HelloError::Stranger)
            if secret.is_some() && !wire.settings.demands_proof =>
        {
            greet(wire, to, purpose, None).await
        }
        greeted => greeted,
    }
}

/// Connects and greets; with a secret, both sides prove to know it.
async fn greet(
    wire: &Wire,
    to: SocketAddr,
    purpose: Purpose,
    secret: Option<&Secret>,
) -> Result<Link, HelloError> {
    let TransportSettings { connect_timeout, .. } = wire.settings;
    let connection = limited(connect_timeout, wire.network.connect(to)).await?;
    let greet = async {
        let mut connection: Connection = match &wire.settings.client_tls {
            None => connection,
            Some(tls) => Box::new(tls.connect(&to.ip().to_string(), connection).await?),
        };
        let challenge = secret.map(|_| proof::challenge()).transpose()?;
        let label = wire.settings.label.clone();
        let hello = Hello { purpose, label, from: wire.advertised, challenge };
        send_hello(&mut *connection, &hello).await?;
        read_status(&mut *connection).await?;
        proof::dialled(connection, &hello, secret).await
    };
    match timeout(wire.settings.stream_timeout, greet).await {
        Ok(greeted) => greeted,
        Err(_) => Err(HelloError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

async fn limited<T>(
    limit: Duration,
    future: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Logs why a peer is of no use, once until it is reached again.
fn refused(wire: &Wire, to: SocketAddr, error: &HelloError) {
    let new = wire.reachability.failed(to, wire.settings.max_connections);
    match error {
        HelloError::Io(error) => tracing::debug!(peer = %to, %error, "gossip peer not reached"),
        error if new => tracing::warn!(
            peer = %to,
            %error,
            "this address cannot be gossiped with: check memberlist.join_members, \
             memberlist.cluster_label, TLS and auth.internal_token_file; a Tempo memberlist is not understood"
        ),
        error => tracing::debug!(peer = %to, %error, "gossip peer refused"),
    }
}
