//! Connections from other members.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use chitchat::{ChitchatMessage, Serializable as _};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Wire;
use super::hello::{Hello, HelloError, Purpose, RECEIPT, Status, read_hello, send_status};
use super::message::Own;
use super::network::{Connection, Listener};
use super::proof::Link;
use super::{message, probe, proof};

/// Most addresses remembered so that a foreign client is logged once.
const MAX_FOREIGN: usize = 256;
/// Members send no longer messages: chitchat fills 64 KiB.
const USUAL_BYTES: u32 = 66 << 10;
/// How many longer messages are read at a time.
const LARGE_AT_ONCE: usize = 8;
/// Pause after a failed accept, so that a process without file descriptors does not spin.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

pub(super) type Inbox = mpsc::Sender<(SocketAddr, ChitchatMessage)>;

/// Accepts until stopped.
pub(super) async fn run(
    wire: Arc<Wire>,
    listener: Arc<dyn Listener>,
    inbox: Inbox,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(wire.settings.max_connections.max(1)));
    let foreign = Arc::new(Mutex::new(HashSet::new()));
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (connection, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "gossip connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            wire.counters.dropped.inc();
            tracing::debug!(peer = %from, "too many gossip connections, one refused");
            continue;
        };
        let (wire, inbox, stop) = (Arc::clone(&wire), inbox.clone(), stop.clone());
        let (foreign, large) = (Arc::clone(&foreign), Arc::clone(&large));
        tokio::spawn(async move {
            let served = tokio::select! {
                () = stop.cancelled() => Ok(()),
                served = serve(&wire, connection, inbox, &large) => served,
            };
            if let Err(error) = served {
                wire.counters.invalid.inc();
                report(&foreign, from.ip(), &error);
            }
            drop(place);
        });
    }
}

async fn serve(
    wire: &Wire,
    connection: Connection,
    inbox: Inbox,
    large: &Semaphore,
) -> Result<(), HelloError> {
    let greeted = timeout(wire.settings.stream_timeout, greet(wire, connection)).await;
    let Ok(greeted) = greeted else {
        return Err(HelloError::Io(io::ErrorKind::TimedOut.into()));
    };
    let (mut link, hello) = greeted?;
    match hello.purpose {
        Purpose::Gossip => receive(wire, link, hello.from, inbox, large).await,
        Purpose::Probe => {
            let limit = wire.settings.stream_timeout;
            let answered = timeout(limit, probe::answer(&wire.known, &mut link)).await;
            answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Into::into)
        }
    }
}

async fn greet(wire: &Wire, connection: Connection) -> Result<(Link, Hello), HelloError> {
    let mut connection: Connection = match &wire.settings.server_tls {
        None => connection,
        Some(tls) => Box::new(tls.accept(connection).await?),
    };
    let hello = match read_hello(&mut *connection).await {
        Ok(hello) => hello,
        Err(error @ HelloError::Version(_)) => {
            send_status(&mut *connection, Status::OtherVersion).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if hello.label != wire.settings.label && !wire.settings.any_label {
        send_status(&mut *connection, Status::OtherLabel).await?;
        return Err(HelloError::Label);
    }
    let secret = match &hello.challenge {
        Some(_) => wire.settings.secret.as_ref(),
        None => wire.settings.demanded_secret(),
    };
    if hello.challenge.is_some() != secret.is_some() {
        send_status(&mut *connection, Status::Secretless).await?;
        return Err(HelloError::Secretless);
    }
    send_status(&mut *connection, Status::Welcome).await?;
    Ok((proof::accepted(connection, &hello, secret).await?, hello))
}

/// Hands on the messages of a connection. Waits while the inbox is full: the peer's queue then
/// fills and drops.
async fn receive(
    wire: &Wire,
    mut link: Link,
    from: SocketAddr,
    inbox: Inbox,
    large: &Semaphore,
) -> Result<(), HelloError> {
    let own_id = wire.own.serialize_to_vec();
    // Twice the peer's own limit: it is the peer who closes an idle connection.
    let idle = wire.settings.idle_timeout * 2;
    loop {
        let Ok(length) = timeout(idle, link.stream.read_u32()).await else { return Ok(()) };
        let Ok(length) = length else { return Ok(()) };
        if length as usize > wire.settings.max_message_bytes {
            return Err(HelloError::Message);
        }
        let limit = wire.settings.stream_timeout;
        let arrival = async {
            let place = match length > USUAL_BYTES {
                true => Some(large.acquire().await.map_err(io::Error::other)?),
                false => None,
            };
            let mut bytes = vec![0; length as usize];
            link.read(&mut bytes).await?;
            Ok::<_, io::Error>((bytes, place))
        };
        let (bytes, place) = match timeout(limit, arrival).await {
            Ok(Ok(arrived)) => arrived,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(HelloError::Stranger);
            }
            _ => return Ok(()),
        };
        wire.counters.received.inc();
        wire.counters.received_bytes.inc_by(u64::from(length));
        // What is decoded takes more: that of few waits.
        let Ok(seat) = inbox.reserve().await else {
            let _ = link.stream.shutdown().await;
            return Ok(());
        };
        let version = wire.known.version(&wire.own.node_id, wire.own.generation_id);
        let own = Own { id: &own_id, version };
        let decoded = message::decode(&bytes, wire.settings.max_message_bytes, own);
        let (mut message, content) = decoded.ok_or(HelloError::Message)?;
        // The others must go on to be heard.
        let left_out = wire.room.admit(content).ok_or(HelloError::NoRoom)?;
        if !left_out.is_empty() {
            let members = left_out.len();
            tactus_telemetry::log_limited!(
                warn,
                peer = %from,
                members,
                "there is no room for more members, some are ignored"
            );
            message = message::without(&bytes, &left_out).ok_or(HelloError::Message)?;
        }
        drop((bytes, place));
        seat.send((from, message));
        match timeout(wire.settings.write_timeout, send_receipt(&mut link.stream)).await {
            Ok(Ok(())) => {}
            _ => return Ok(()),
        }
    }
}

async fn send_receipt(connection: &mut Connection) -> io::Result<()> {
    connection.write_u8(RECEIPT).await?;
    connection.flush().await
}

/// Logs what came to the port that is not ours, once for each address.
fn report(foreign: &Mutex<HashSet<IpAddr>>, from: IpAddr, error: &HelloError) {
    // A probe of a load balancer connects and closes.
    if matches!(error, HelloError::Silent | HelloError::Io(_)) {
        tracing::debug!(peer = %from, %error, "gossip connection without a greeting");
        return;
    }
    let mut seen = foreign.lock();
    if seen.len() >= MAX_FOREIGN {
        seen.clear();
    }
    if !seen.insert(from) {
        return;
    }
    drop(seen);
    match error {
        HelloError::Foreign { bytes } => tracing::warn!(
            peer = %from,
            first_byte = bytes.last().copied().unwrap_or_default(),
            "bytes on the gossip port are not Tactus gossip: does a Tempo memberlist, or another \
             client, point at it?"
        ),
        error => tracing::warn!(peer = %from, %error, "gossip connection refused"),
    }
}
