use std::net::SocketAddr;

use prost::Message;
use tactus_proto::otlp::ExportTraceServiceRequest;
use tactus_telemetry::metrics::Registry;
use tokio::sync::Semaphore;

use super::*;
use crate::sink::PushOutcome;
use crate::testing::{ONE_SPAN, ONE_SPAN_THRIFT, Recorder, bytes, metrics};

const COMPACT: &str = "82810009656d697442617463681c1c180373766300191c160416021606160018026f702502168080f2818389850616b817192c18097370616e2e6b696e64150018067365727665720018056572726f7215043100000000";
const ZIPKIN: &str = "8221000f656d69745a69706b696e4261746368191c160428026f701606292c168080f28183898506180273721c15828080f00f14a07e1803737663000016b897f28183898506180273731c15828080f00f14a07e18037376630000291c180b687474702e6d6574686f641803474554150c1c15828080f00f14a07e1803737663000012168080f2818389850616b81716020000";

fn strict() -> Bytes {
    bytes(&format!("8001000400000009656d69744261746368000000000c0001{ONE_SPAN_THRIFT}00"))
}

/// A port, a client of it, and what it counts.
struct Port {
    client: UdpSocket,
    address: SocketAddr,
    registry: Registry,
    shutdown: CancellationToken,
    listener: BoundListener,
}

async fn port(settings: JaegerUdpSettings, sink: Arc<dyn TraceSink>) -> Port {
    let (registry, metrics) = metrics();
    let shutdown = CancellationToken::new();
    let listener = serve_jaeger_udp(settings, sink, &metrics, shutdown.clone()).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    Port { client, address, registry, shutdown, listener }
}

fn settings(port: AgentPort) -> JaegerUdpSettings {
    JaegerUdpSettings::at("127.0.0.1:0", port)
}

impl Port {
    async fn send(&self, packet: &[u8]) {
        self.client.send_to(packet, self.address).await.unwrap();
    }

    /// Stops the port, so that everything sent has been dealt with, and returns its metrics.
    async fn stop(self) -> String {
        self.shutdown.cancel();
        self.listener.stopped().await;
        self.registry.encode()
    }
}

fn dropped(text: &str, transport: &str, reason: &str) -> u64 {
    let labels = format!(
        r#"{{receiver="jaeger/jaeger_receiver",transport="{transport}",reason="{reason}"}} "#
    );
    let line = format!("tactus_receiver_dropped_packets_total{labels}");
    let value = text.lines().find_map(|found| found.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

fn spans(text: &str, which: &str, transport: &str) -> u64 {
    let line = format!(
        r#"tempo_receiver_{which}_spans{{receiver="jaeger/jaeger_receiver",transport="{transport}"}} "#
    );
    let value = text.lines().find_map(|found| found.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn every_port_takes_both_protocols_and_both_calls() {
    let expected = ExportTraceServiceRequest::decode(ONE_SPAN).unwrap();
    for (agent_port, transport) in [
        (AgentPort::Compact, "udp_thrift_compact"),
        (AgentPort::Binary, "udp_thrift_binary"),
        (AgentPort::Zipkin, "udp_thrift_compact"),
    ] {
        let sink = Recorder::accepting();
        let port = port(settings(agent_port), sink.clone()).await;
        for packet in [bytes(COMPACT), strict(), bytes(ZIPKIN)] {
            port.send(&packet).await;
        }
        let text = port.stop().await;
        assert_eq!(spans(&text, "accepted", transport), 3);
        let requests: Vec<_> = sink
            .bodies()
            .into_iter()
            .map(|body| ExportTraceServiceRequest::decode(body).unwrap())
            .collect();
        assert_eq!(requests.iter().filter(|request| **request == expected).count(), 2);
        assert_eq!(requests.len(), 3);
        assert_eq!(sink.pushes.lock()[0].0, "single-tenant");
    }
}

#[tokio::test]
async fn packets_of_no_use_are_counted_by_cause() {
    let sink = Recorder::accepting();
    let port = port(settings(AgentPort::Compact), sink.clone()).await;
    for packet in ["", "7b7d", "82210003616263", "82210009656d6974426174636800"] {
        port.send(&bytes(packet)).await;
    }
    let compact = bytes(COMPACT);
    port.send(&compact[..40]).await;
    // A batch without spans is nothing to push, and no loss.
    port.send(&bytes("82810009656d697442617463681c1c180373766300190c0000")).await;
    let text = port.stop().await;
    let count = |reason| dropped(&text, "udp_thrift_compact", reason);
    assert_eq!(count("unknown_protocol"), 1);
    assert_eq!(count("unknown_method"), 1);
    assert_eq!(count("malformed"), 3);
    assert_eq!(sink.bodies().len(), 0);
    assert_eq!(spans(&text, "refused", "udp_thrift_compact"), 0);
}

#[tokio::test]
async fn packet_over_the_limit_is_counted_as_truncated() {
    let compact = bytes(COMPACT);
    let settings =
        JaegerUdpSettings { max_packet_bytes: compact.len(), ..settings(AgentPort::Compact) };
    let sink = Recorder::accepting();
    let port = port(settings, sink.clone()).await;
    port.send(&[&compact[..], &[0]].concat()).await;
    port.send(&[&compact[..], &[0; 1000]].concat()).await;
    port.send(&compact).await;
    let text = port.stop().await;
    assert_eq!(dropped(&text, "udp_thrift_compact", "truncated"), 2);
    assert_eq!(sink.bodies().len(), 1);
}

#[tokio::test]
async fn without_a_tenant_packets_are_refused() {
    let settings = JaegerUdpSettings { tenant: None, ..settings(AgentPort::Binary) };
    let sink = Recorder::accepting();
    let port = port(settings, sink.clone()).await;
    port.send(&bytes(COMPACT)).await;
    let text = port.stop().await;
    assert_eq!(dropped(&text, "udp_thrift_binary", "no_tenant"), 1);
    assert_eq!(sink.bodies().len(), 0);
}

#[tokio::test]
async fn packets_are_of_the_tenant_of_the_port() {
    let tenant = Some(TenantId::parse("acme").unwrap());
    let sink = Recorder::accepting();
    let port =
        port(JaegerUdpSettings { tenant, ..settings(AgentPort::Compact) }, sink.clone()).await;
    port.send(&bytes(COMPACT)).await;
    port.stop().await;
    assert_eq!(sink.pushes.lock()[0].0, "acme");
}

#[tokio::test]
async fn spans_that_are_not_stored_are_counted() {
    let retry_after = Duration::ZERO;
    let message = String::new();
    for (error, reason) in [
        (PushError::Invalid(message.clone()), "invalid"),
        (PushError::RateLimited { message: message.clone(), retry_after }, "rate_limited"),
        (PushError::Unavailable { message, retry_after }, "not_stored"),
    ] {
        let port = port(settings(AgentPort::Compact), Recorder::new(Err(error))).await;
        port.send(&bytes(COMPACT)).await;
        let text = port.stop().await;
        assert_eq!(dropped(&text, "udp_thrift_compact", reason), 1);
        assert_eq!(spans(&text, "refused", "udp_thrift_compact"), 1);
    }
}

/// A sink that lets pushes through one by one.
struct Gate {
    entered: Semaphore,
    open: Semaphore,
}

#[async_trait::async_trait]
impl TraceSink for Gate {
    async fn push(&self, _: TenantId, _: Bytes) -> Result<PushOutcome, PushError> {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        Ok(PushOutcome { accepted_spans: 1, ..PushOutcome::default() })
    }
}

#[tokio::test]
async fn full_queue_drops_and_what_waits_is_pushed_at_the_end() {
    let sink = Arc::new(Gate { entered: Semaphore::new(0), open: Semaphore::new(0) });
    let settings = JaegerUdpSettings { queue_size: 2, workers: 1, ..settings(AgentPort::Compact) };
    let port = port(settings, sink.clone()).await;
    let packet = bytes(COMPACT);
    port.send(&packet).await;
    // The worker is busy from here on; two packets fit into the queue, two do not.
    sink.entered.acquire().await.unwrap().forget();
    for _ in 0..4 {
        port.send(&packet).await;
    }
    let full = async {
        while dropped(&port.registry.encode(), "udp_thrift_compact", "queue_full") < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), full).await.unwrap();
    sink.open.add_permits(3);
    let text = port.stop().await;
    assert_eq!(spans(&text, "accepted", "udp_thrift_compact"), 3);
    assert_eq!(dropped(&text, "udp_thrift_compact", "queue_full"), 2);
}

#[tokio::test]
async fn end_does_not_wait_for_ever() {
    let sink = Arc::new(Gate { entered: Semaphore::new(0), open: Semaphore::new(0) });
    let settings = JaegerUdpSettings {
        drain_timeout: Duration::from_millis(20),
        ..settings(AgentPort::Compact)
    };
    let port = port(settings, sink.clone()).await;
    port.send(&bytes(COMPACT)).await;
    sink.entered.acquire().await.unwrap().forget();
    let text = port.stop().await;
    assert_eq!(spans(&text, "accepted", "udp_thrift_compact"), 0);
}

#[tokio::test]
async fn port_that_is_taken_is_an_error_with_its_address() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = JaegerUdpSettings { address: address.clone(), ..settings(AgentPort::Compact) };
    let stop = CancellationToken::new();
    let error =
        serve_jaeger_udp(settings, Recorder::accepting(), &metrics().1, stop).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn size_of_the_kernels_buffer_is_set() {
    let settings = JaegerUdpSettings {
        socket_buffer_bytes: 50_000,
        address: ":0".to_owned(),
        ..settings(AgentPort::Compact)
    };
    let sink = Recorder::accepting();
    let port = port(settings, sink.clone()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], port.address.port()));
    port.client.send_to(&bytes(COMPACT), address).await.unwrap();
    port.stop().await;
    assert_eq!(sink.bodies().len(), 1);
}
