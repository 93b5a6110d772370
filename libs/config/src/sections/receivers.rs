//! `distributor.receivers`: the ports spans come in by.
//!
//! A receiver without an endpoint listens on every interface, because containers need that; only
//! the start without a configuration stays on loopback.

use super::{minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::UnitSize;
use crate::field::{Field, Opaque, Reader, Row, Secret, Section, section};
use crate::yaml::{Node, Value};
use std::collections::BTreeMap;

/// All receivers by their full name (`otlp`, `otlp/second`), one map a type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receivers {
    /// OTLP over gRPC and HTTP.
    pub otlp: BTreeMap<String, OtlpReceiver>,
    /// Jaeger's protocols.
    pub jaeger: BTreeMap<String, JaegerReceiver>,
    /// Zipkin over HTTP.
    pub zipkin: BTreeMap<String, ZipkinReceiver>,
    /// Files of OTLP in JSON.
    pub otlpjsonfile: BTreeMap<String, OtlpJsonFileReceiver>,
    /// Kafka topics: refused, whatever is said of them.
    pub kafka: BTreeMap<String, Opaque>,
    /// Accepted for old files, never started.
    pub opencensus: BTreeMap<String, Opaque>,
    /// The file names no receiver, so that these are the usual ones.
    pub by_default: bool,
}

impl Receivers {
    /// True when the file names no receiver at all.
    pub fn is_empty(&self) -> bool {
        self.otlp.is_empty()
            && self.jaeger.is_empty()
            && self.zipkin.is_empty()
            && self.otlpjsonfile.is_empty()
            && self.kafka.is_empty()
    }
}

impl ZipkinReceiver {
    /// The listener, in whichever form it is given.
    pub fn listener(&self) -> &ReceiverHttp {
        self.protocols.http.as_ref().map_or(&self.server, |http| &http.server)
    }
}

/// A receiver without the protocols that are off: with nothing after the colon they would be on.
fn shown<T: Field>(receiver: &T) -> Value {
    let mut shown = receiver.show();
    if let Value::Map(keys) = &mut shown {
        for (key, value) in keys {
            if key.as_str() == "protocols"
                && let Value::Map(protocols) = value
            {
                protocols.retain(|(_, protocol)| *protocol != Value::Null);
            }
        }
    }
    shown
}

impl Section for Receivers {
    fn read_entry(&mut self, key: &str, node: &Node, reader: &mut Reader) -> bool {
        fn insert<T: Field + Default>(
            map: &mut BTreeMap<String, T>,
            key: &str,
            node: &Node,
            reader: &mut Reader,
        ) -> bool {
            // Null is a receiver with all defaults, so the entry exists either way.
            reader.entry(key, node, map.entry(key.to_owned()).or_default());
            true
        }
        match key.split('/').next().unwrap_or(key) {
            "otlp" => insert(&mut self.otlp, key, node, reader),
            "jaeger" => insert(&mut self.jaeger, key, node, reader),
            "zipkin" => insert(&mut self.zipkin, key, node, reader),
            "otlpjsonfile" => insert(&mut self.otlpjsonfile, key, node, reader),
            "kafka" => insert(&mut self.kafka, key, node, reader),
            "opencensus" => insert(&mut self.opencensus, key, node, reader),
            _ => false,
        }
    }

    fn show_entries(&self, out: &mut Vec<(String, Value)>) {
        fn add<T: Field>(map: &BTreeMap<String, T>, out: &mut Vec<(String, Value)>) {
            out.extend(map.iter().map(|(name, receiver)| (name.clone(), shown(receiver))));
        }
        add(&self.otlp, out);
        add(&self.jaeger, out);
        add(&self.zipkin, out);
        add(&self.otlpjsonfile, out);
        add(&self.kafka, out);
        add(&self.opencensus, out);
    }

    fn outline_entries(&self, path: &str, rows: &mut Vec<Row>) {
        let at = |name: &str| format!("{path}.{name}");
        OtlpReceiver::default().outline(&at("otlp"), "", rows);
        JaegerReceiver::default().outline(&at("jaeger"), "", rows);
        ZipkinReceiver::default().outline(&at("zipkin"), "", rows);
        OtlpJsonFileReceiver::default().outline(&at("otlpjsonfile"), "", rows);
        Opaque::default().outline(&at("kafka"), "refused: nothing is read from Kafka", rows);
    }
}

section! {
    /// An OTLP receiver.
    OtlpReceiver {
        protocols: OtlpProtocols, "the protocols to serve; one at least";
    }

    /// The protocols of an OTLP receiver: a protocol that is named is on, with null for defaults.
    OtlpProtocols {
        grpc: Option<OtlpGrpc>, "OTLP over gRPC";
        http: Option<OtlpHttp>, "OTLP over HTTP";
    }

    /// OTLP over gRPC.
    OtlpGrpc {
        @inline {
            server: ReceiverGrpc = ReceiverGrpc { endpoint: text(":4317"), read_buffer_size: 524_288, ..ReceiverGrpc::default() }, "the listener";
        }
    }

    /// OTLP over HTTP.
    OtlpHttp {
        traces_url_path: String = text("/v1/traces"), "path for traces";
        metrics_url_path: String = text("/v1/metrics"), "no effect here";
        logs_url_path: String = text("/v1/logs"), "no effect here";
        @inline {
            server: ReceiverHttp = http_at(":4318"), "the listener";
        }
    }

    /// A Jaeger receiver.
    JaegerReceiver {
        protocols: JaegerProtocols, "the protocols to serve; one at least";
        remote_sampling: Opaque, "no effect here";
    }

    /// The protocols of a Jaeger receiver.
    JaegerProtocols {
        grpc: Option<JaegerGrpc>, "Jaeger's model over gRPC";
        thrift_http: Option<JaegerThriftHttp>, "Thrift over HTTP";
        thrift_binary: Option<JaegerThriftBinary>, "Thrift binary over UDP";
        thrift_compact: Option<JaegerThriftCompact>, "Thrift compact over UDP";
        thrift_compact_legacy: Option<JaegerThriftCompactLegacy>, "Zipkin's Thrift over UDP, of old clients of Jaeger";
    }

    /// Jaeger over gRPC.
    JaegerGrpc {
        @inline {
            server: ReceiverGrpc = ReceiverGrpc { endpoint: text(":14250"), ..ReceiverGrpc::default() }, "the listener";
        }
    }

    /// Jaeger Thrift over HTTP.
    JaegerThriftHttp {
        @inline {
            server: ReceiverHttp = http_at(":14268"), "the listener";
        }
    }

    /// Jaeger Thrift binary over UDP.
    JaegerThriftBinary {
        endpoint: String = text(":6832"), "address to listen on";
        @inline {
            udp: ReceiverUdp, "queues and buffers";
        }
    }

    /// Jaeger Thrift compact over UDP.
    JaegerThriftCompact {
        endpoint: String = text(":6831"), "address to listen on";
        @inline {
            udp: ReceiverUdp, "queues and buffers";
        }
    }

    /// Zipkin's Thrift over UDP, of old clients of Jaeger.
    JaegerThriftCompactLegacy {
        endpoint: String = text(":5775"), "address to listen on";
        @inline {
            udp: ReceiverUdp, "queues and buffers";
        }
    }

    /// Queues and buffers of a UDP listener, and whose its packets are.
    ReceiverUdp {
        tenant: String, "tenant of all packets, which name none; with multitenancy or authentication and no tenant here all are dropped";
        queue_size: i64 = 1_000, "packets that wait";
        max_packet_size: i64 = 65_000, "largest packet, in bytes; larger ones are dropped";
        workers: i64 = 10, "packets decoded at a time";
        socket_buffer_size: i64, "kernel buffer, in bytes; 0 is the system's";
    }

    /// A Zipkin receiver.
    ZipkinReceiver {
        parse_string_tags: bool, "guess numbers and booleans in tags";
        protocols: ZipkinProtocols, "the newer form of the same";
        @inline {
            server: ReceiverHttp = http_at(":9411"), "the listener, unless protocols.http is there";
        }
    }

    /// The protocols of a Zipkin receiver.
    ZipkinProtocols {
        http: Option<ZipkinHttp>, "Zipkin over HTTP";
    }

    /// Zipkin over HTTP.
    ZipkinHttp {
        @inline {
            server: ReceiverHttp = http_at(":9411"), "the listener";
        }
    }

    /// Spans from files: lines of OTLP in JSON.
    OtlpJsonFileReceiver {
        include: Vec<String>, "files to read: paths with *, ? and **";
        exclude: Vec<String>, "files not to read";
        start_at: String = text("end"), "where to begin in files that are there at the start: beginning or end";
        poll_interval: GoDuration = super::millis(200), "interval at which files are checked for new lines";
        replay_file: bool, "read all files again and again; a test aid";
        max_log_size: UnitSize = UnitSize::parse("1MiB").unwrap_or_default(), "longer lines are skipped";
        tenant: String, "tenant of all spans; must be set with multitenancy";
    }

    /// A gRPC listener of a receiver.
    ReceiverGrpc {
        endpoint: String, "address to listen on";
        transport: String = text("tcp"), "only tcp, or tcp4 and tcp6, which mean the same here";
        tls: Option<ReceiverTls>, "TLS; off when absent";
        max_recv_msg_size_mib: u64, "largest message, in MiB; 0 is 4";
        max_concurrent_streams: u32, "calls of one connection at a time; 0 is 1 000";
        max_connections: u32, "connections at a time, further ones wait; 0 is 10 000";
        read_buffer_size: i64, "no effect here";
        write_buffer_size: i64, "no effect here";
        keepalive: Option<GrpcKeepalive>, "connection ages and pings";
        include_metadata: bool, "no effect here";
        auth: Opaque, "refused: callers are asked who they are by auth.enabled, on all ports";
        middlewares: Opaque, "no effect here";
    }

    /// Keepalive of a receiver's gRPC listener.
    GrpcKeepalive {
        server_parameters: Option<KeepaliveParameters>, "ages and pings";
        enforcement_policy: Option<KeepalivePolicy>, "no effect here";
    }

    /// Ages and pings of connections; zero leaves a limit off.
    KeepaliveParameters {
        max_connection_idle: GoDuration, "a connection that is idle for longer is closed";
        max_connection_age: GoDuration, "age of a connection at which the client is asked to reconnect";
        max_connection_age_grace: GoDuration, "time for calls of an aged connection";
        time: GoDuration, "silence after which a client is pinged";
        timeout: GoDuration, "close when the ping stays unanswered";
    }

    /// What keepalive clients may do.
    KeepalivePolicy {
        min_time: GoDuration, "no effect here";
        permit_without_stream: bool, "no effect here";
    }

    /// An HTTP listener of a receiver.
    ReceiverHttp {
        endpoint: String, "address to listen on";
        transport: String = text("tcp"), "only tcp, or tcp4 and tcp6, which mean the same here";
        tls: Option<ReceiverTls>, "TLS; off when absent";
        cors: Option<Cors>, "browsers that may send";
        max_request_body_size: u64, "largest body, in bytes; 0 is 20 MiB";
        include_metadata: bool, "no effect here";
        response_headers: BTreeMap<String, Secret>, "headers to add to answers";
        compression_algorithms: Vec<String>, "content encodings to accept, \"\" for bodies without one; an empty list is all";
        max_connections: u32, "connections at a time, further ones wait; 0 is 10 000";
        read_timeout: GoDuration, "time to read a request; 0 is a minute";
        read_header_timeout: GoDuration = minutes(1), "time to read the headers";
        write_timeout: GoDuration = seconds(30), "time to answer";
        idle_timeout: GoDuration = minutes(1), "time a kept-alive connection may idle";
        keep_alives_enabled: bool = true, "no effect here";
        auth: Opaque, "refused: callers are asked who they are by auth.enabled, on all ports";
        middlewares: Opaque, "no effect here";
    }

    /// Cross-origin rules.
    Cors {
        allowed_origins: Vec<String>, "origins; `*` matches any text";
        allowed_headers: Vec<String>, "headers beyond the safe ones";
        max_age: i64, "seconds a browser may keep the answer";
    }

    /// TLS of a receiver.
    ReceiverTls {
        cert_file: String, "certificate chain, PEM file";
        key_file: String, "private key, PEM file";
        ca_file: String, "no effect here: client_ca_file names the authorities of clients";
        client_ca_file: String, "authorities that sign client certificates, PEM file";
        client_ca_file_reload: bool, "no effect here: changed files are always read again";
        cert_pem: Secret, "certificate chain, PEM text";
        key_pem: Secret, "private key, PEM text";
        ca_pem: Secret, "no effect here: client_ca_file names the authorities of clients";
        include_system_ca_certs_pool: bool, "no effect here";
        min_version: String = text("1.2"), "lowest version, 1.0 to 1.3";
        max_version: String, "highest version; empty is the newest";
        cipher_suites: Vec<String>, "cipher suites by Go's names";
        curve_preferences: Vec<String>, "no effect here";
        reload_interval: GoDuration, "interval at which files are checked for changes; 0 is 10 seconds";
    }

    /// TLS of a port that has that of the `server` section unless it says otherwise.
    PortTls {
        insecure: bool, "plain text, whatever the server section has; no effect beside a certificate";
        @inline {
            own: ReceiverTls, "certificates";
        }
    }
}

impl PortTls {
    /// Whether plain text is wanted.
    pub fn is_plain(&self) -> bool {
        self.insecure && self.own == ReceiverTls::default()
    }
}

fn http_at(endpoint: &str) -> ReceiverHttp {
    ReceiverHttp { endpoint: text(endpoint), ..ReceiverHttp::default() }
}
