//! Jaeger's Thrift over UDP, as clients send it to an agent.
//!
//! Each packet is one call, and no call is answered. So a packet that cannot be used is only counted, by cause. One
//! task reads the socket and queues packets; workers decode and push. The queue is short and bounded: spans of senders
//! that are too fast are dropped and counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::{BufMut, Bytes, BytesMut};
use tactus_jaeger::agent::call_to_otlp;
use tactus_jaeger::thrift::ThriftError;
use tactus_jaeger::to_otlp::ModelError;
use tactus_model::TenantId;
use tactus_server::listener::BoundListener;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::{DropReason, DroppedPackets, ReceiverMetrics, SpanCounters};
use crate::sink::{PushError, TraceSink, push_traced};

/// Packets are read into blocks of this size, one after the other.
const BLOCK_BYTES: usize = 256 << 10;

/// Pause after a failed read, so that a socket that is broken costs no core.
const RETRY_DELAY: Duration = Duration::from_millis(200);

tactus_model::words! {
    /// Which of the agent's ports it is. All take both calls in both protocols.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AgentPort: name {
        /// 6831.
        Compact = "Jaeger Thrift compact UDP",
        /// 6832.
        Binary = "Jaeger Thrift binary UDP",
        /// 5775, of clients that still send Zipkin's model.
        Zipkin = "Jaeger Zipkin Thrift UDP",
    }
}

impl AgentPort {
    fn transport(self) -> &'static str {
        match self {
            Self::Compact | Self::Zipkin => "udp_thrift_compact",
            Self::Binary => "udp_thrift_binary",
        }
    }
}

/// How a UDP port behaves.
#[derive(Debug, Clone)]
pub struct JaegerUdpSettings {
    /// `host:port`; an empty host means all interfaces.
    pub address: String,
    /// Which port it is.
    pub port: AgentPort,
    /// The tenant of all packets, which name none. `None`: every packet is refused.
    pub tenant: Option<TenantId>,
    /// Packets that wait for a worker.
    pub queue_size: usize,
    /// Largest packet, in bytes; larger ones are dropped.
    pub max_packet_bytes: usize,
    /// Packets decoded and pushed at a time.
    pub workers: usize,
    /// The kernel's buffer of the socket, in bytes; 0: its default.
    pub socket_buffer_bytes: usize,
    /// How long packets that wait may take after shutdown began.
    pub drain_timeout: Duration,
}

impl JaegerUdpSettings {
    /// The defaults of a port.
    pub fn at(address: &str, port: AgentPort) -> Self {
        Self {
            address: address.to_owned(),
            port,
            tenant: Some(TenantId::single()),
            queue_size: 1_000,
            max_packet_bytes: 65_000,
            workers: 10,
            socket_buffer_bytes: 0,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Binds the port and serves it until `shutdown`; packets that wait by then are still pushed.
///
/// Errors: the address cannot be bound, or the kernel refuses the size of the buffer.
pub async fn serve_jaeger_udp(
    settings: JaegerUdpSettings,
    sink: Arc<dyn TraceSink>,
    metrics: &ReceiverMetrics,
    shutdown: CancellationToken,
) -> io::Result<BoundListener> {
    let socket = bind(&settings.address).await?;
    if settings.socket_buffer_bytes > 0 {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, settings.socket_buffer_bytes)?;
    }
    let address = socket.local_addr()?;
    let port = settings.port;
    tracing::info!(%address, "{} receiver listens", port.name());
    let receiver = Arc::new(Receiver {
        sink,
        counters: metrics.of("jaeger", port.transport()),
        dropped: metrics.dropped_packets("jaeger", port.transport()),
    });
    let task = tokio::spawn(serve(socket, settings, receiver, shutdown));
    Ok(BoundListener::of_task(address, task))
}

/// As the listener of the HTTP ports binds.
async fn bind(address: &str) -> io::Result<UdpSocket> {
    let with_address =
        |error: io::Error| io::Error::new(error.kind(), format!("listen on {address}: {error}"));
    let Some(port) = address.strip_prefix(':') else {
        return UdpSocket::bind(address).await.map_err(with_address);
    };
    match UdpSocket::bind(format!("[::]:{port}")).await {
        Ok(socket) => Ok(socket),
        // Kernels without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            UdpSocket::bind(format!("0.0.0.0:{port}")).await.map_err(with_address)
        }
        Err(error) => Err(with_address(error)),
    }
}

/// A packet and whose it is.
type Packet = (TenantId, Bytes);

async fn serve(
    socket: UdpSocket,
    settings: JaegerUdpSettings,
    receiver: Arc<Receiver>,
    shutdown: CancellationToken,
) {
    let (sender, packets) = mpsc::channel(settings.queue_size.max(1));
    let packets = Arc::new(Mutex::new(packets));
    let mut workers = JoinSet::new();
    for _ in 0..settings.workers.max(1) {
        workers.spawn(work(Arc::clone(&receiver), Arc::clone(&packets)));
    }
    let queue = Queue {
        tenant: settings.tenant,
        max_packet_bytes: settings.max_packet_bytes,
        dropped: receiver.dropped.clone(),
        packets: sender,
    };
    let mut intake = Intake { socket, queue, block: BytesMut::new() };
    loop {
        let read = tokio::select! {
            () = shutdown.cancelled() => break,
            read = intake.read() => read,
        };
        if let Err(error) = read {
            tracing::warn!(%error, "reading packets failed");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
    intake.finish();
    let drained = async { while workers.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.drain_timeout, drained).await.is_err() {
        tracing::warn!("packets dropped at the end of the drain timeout");
        workers.shutdown().await;
    }
}

/// Reads the socket and queues.
struct Intake {
    socket: UdpSocket,
    queue: Queue,
    /// Room for packets; those that were read are cut off its front.
    block: BytesMut,
}

impl Intake {
    /// Waits for a packet and queues it. Cancel safe.
    async fn read(&mut self) -> io::Result<()> {
        // One byte more than a packet may have, by which longer ones are told.
        let limit = self.queue.max_packet_bytes.saturating_add(1);
        if self.block.capacity() - self.block.len() < limit {
            self.block = BytesMut::with_capacity(limit.max(BLOCK_BYTES));
        }
        self.socket.recv_buf(&mut (&mut self.block).limit(limit)).await?;
        self.queue.add(self.block.split().freeze());
        Ok(())
    }

    /// Queues what the kernel holds already, and no more.
    fn finish(self) {
        // Not by way of the runtime, which may not have heard yet that there is something.
        let Ok(socket) = self.socket.into_std() else { return };
        let mut packet = vec![0; self.queue.max_packet_bytes.saturating_add(1)];
        for _ in 0..self.queue.packets.max_capacity() {
            let Ok(length) = socket.recv(&mut packet) else { return };
            self.queue.add(Bytes::copy_from_slice(packet.get(..length).unwrap_or_default()));
        }
    }
}

/// What every packet has to pass before a worker looks at it.
struct Queue {
    tenant: Option<TenantId>,
    max_packet_bytes: usize,
    dropped: DroppedPackets,
    packets: mpsc::Sender<Packet>,
}

impl Queue {
    fn add(&self, packet: Bytes) {
        if packet.len() > self.max_packet_bytes {
            return self.dropped.count(DropReason::Truncated);
        }
        let Some(tenant) = &self.tenant else {
            return self.dropped.count(DropReason::NoTenant);
        };
        match self.packets.try_send((tenant.clone(), packet)) {
            Ok(()) => {}
            // Workers end only after this queue.
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.dropped.count(DropReason::QueueFull);
            }
        }
    }
}

/// Pushes packets until the queue has ended.
async fn work(receiver: Arc<Receiver>, packets: Arc<Mutex<mpsc::Receiver<Packet>>>) {
    loop {
        // The lock is held while waiting for a packet, not while it is pushed.
        let next = packets.lock().await.recv().await;
        let Some((tenant, packet)) = next else { return };
        receiver.take(tenant, packet).await;
    }
}

struct Receiver {
    sink: Arc<dyn TraceSink>,
    counters: SpanCounters,
    dropped: DroppedPackets,
}

impl Receiver {
    async fn take(&self, tenant: TenantId, packet: Bytes) {
        let request = match export_request(packet) {
            Ok(request) if request.is_empty() => return,
            Ok(request) => request,
            Err((reason, error)) => {
                tracing::debug!(error, "a packet was dropped");
                return self.dropped.count(reason);
            }
        };
        let (sink, no_headers) = (self.sink.as_ref(), HeaderMap::new());
        let result = push_traced(sink, "jaeger_udp", &no_headers, tenant, request.clone()).await;
        self.counters.count(&result, &request, || 0).await;
        if let Err(error) = result {
            tracing::debug!(%error, "the spans of a packet were not stored");
            self.dropped.count(match error {
                PushError::Malformed(_) | PushError::Invalid(_) => DropReason::Invalid,
                PushError::RateLimited { .. } => DropReason::RateLimited,
                PushError::Unavailable { .. } | PushError::Internal(_) => DropReason::NotStored,
            });
        }
    }
}

/// The export request of a packet; no bytes if it holds no span.
fn export_request(packet: Bytes) -> Result<Bytes, (DropReason, String)> {
    call_to_otlp(packet).map_err(|error| {
        let reason = match &error {
            ModelError::Thrift(ThriftError::NoMessage(_)) => DropReason::UnknownProtocol,
            ModelError::Thrift(ThriftError::UnknownMethod(_)) => DropReason::UnknownMethod,
            _ => DropReason::Malformed,
        };
        (reason, error.to_string())
    })
}

#[cfg(test)]
mod tests;
