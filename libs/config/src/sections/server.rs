//! `server` and `internal_server`: the listeners of the process; `auth`: who may do what there, which Tempo has not.

use super::{hours, list, seconds, text};
use crate::duration::GoDuration;
use crate::field::{Secret, section};

section! {
    /// The HTTP and gRPC listeners.
    Server {
        http_listen_address: String, "address of the HTTP listener; empty means every interface";
        http_listen_port: u16 = 3200, "port of the HTTP listener; 0 picks a free one";
        http_listen_network: String = text("tcp"), "no effect here: the address decides between IPv4 and IPv6";
        http_listen_conn_limit: i64, "most connections at a time on the HTTP port; no port has more than three eighths of the files that the process may open, and 0 or less is that";
        grpc_listen_address: String, "address of the gRPC listener; empty means every interface";
        grpc_listen_port: u16 = 9095, "port of the gRPC listener; 0 picks a free one";
        grpc_listen_network: String = text("tcp"), "no effect here: the address decides between IPv4 and IPv6";
        internal_grpc_listen_address: String, "address of the gRPC listener for the services of the cluster, if it has a port of its own; empty means that of grpc_listen_address";
        internal_grpc_listen_port: u16, "separate port for calls between Tactus processes, which members advertise; 0 is grpc_listen_port";
        grpc_listen_conn_limit: i64, "most connections at a time on the gRPC port; no port has more than three eighths of the files that the process may open, and 0 or less is that";
        max_inflight_bytes: u64, "memory for requests, answers and running queries together, at all ports but those of receivers; a request counts from its first byte, an answer until it is sent; queries use half of it at most; a sixteenth is reserved for each port, but not for answers of 1 MiB and more; beyond the limit requests get 503; 0 takes a tenth of the memory, 256 MiB at most";
        max_connection_bytes: u64 = 67_108_864, "memory for buffers of all connections: unfinished request heads and unsent parts of answers; beyond the limit the connection is closed that holds most without progress (bytes times time), one that holds less than 8 KiB only if those together hold most; the same amount again is for the flow-control windows of HTTP/2, which shrink as connections are added; and again for open requests, which count as 8 KiB each: beyond that the connection is closed that has most of those that do not end; the port for calls between services has limits of its own, as large; 0 is no limit";
        proxy_protocol_enabled: bool, "accept the PROXY protocol, version 1 or 2, on both listeners; a connection without its header is taken as direct";
        tls_cipher_suites: Vec<String>, "cipher suites of both listeners, by Go's names";
        tls_reload_interval: GoDuration = seconds(10), "interval at which certificate files are checked for changes";
        tls_handshake_timeout: GoDuration = seconds(10), "time for the TLS handshake";
        tls_min_version: String, "lowest TLS version of both listeners, e.g. VersionTLS12";
        http_tls_config: ServerTls, "TLS of the HTTP listener";
        grpc_tls_config: ServerTls, "TLS of the gRPC listener";
        http_server_read_timeout: GoDuration = seconds(30), "time to read a whole request";
        http_server_read_header_timeout: GoDuration, "time to read the headers; 0 takes the read timeout";
        http_server_write_timeout: GoDuration = seconds(30), "time to answer; bounds every query";
        http_server_idle_timeout: GoDuration = seconds(120), "time a kept-alive connection may idle";
        http_server_max_header_bytes: usize = 131_072, "largest request head of both listeners, in bytes; one of HTTP/1 is measured after each read, so that less than twice as much may pass";
        http_path_prefix: String, "no effect here";
        http_log_closed_connections_without_response_enabled: bool, "no effect here";
        grpc_server_max_recv_msg_size: usize = 16_777_216, "largest gRPC message to receive, in bytes";
        grpc_server_max_send_msg_size: usize = 16_777_216, "largest gRPC message to send, in bytes";
        grpc_server_max_concurrent_streams: u32 = 100, "streams of one connection; 0 is no limit";
        grpc_server_max_connection_idle: GoDuration = GoDuration::INFINITE, "a connection that is idle for longer is closed";
        grpc_server_max_connection_age: GoDuration = GoDuration::INFINITE, "age of a connection at which the client is asked to reconnect";
        grpc_server_max_connection_age_grace: GoDuration = GoDuration::INFINITE, "time for calls of an aged connection";
        grpc_server_keepalive_time: GoDuration = hours(2), "silence after which a client is pinged";
        grpc_server_keepalive_timeout: GoDuration = seconds(20), "close when the ping stays unanswered";
        grpc_server_min_time_between_pings: GoDuration = seconds(10), "no effect here";
        grpc_server_ping_without_stream_allowed: bool = true, "no effect here";
        grpc_server_num_workers: i64, "no effect here";
        grpc_server_stats_tracking_enabled: bool = true, "no effect here";
        grpc_server_recv_buffer_pools_enabled: bool, "no effect here";
        grpc_server_read_buffer_size: i64 = 32_768, "no effect here";
        grpc_server_write_buffer_size: i64 = 32_768, "no effect here";
        grpc_collect_max_streams_by_conn: bool = true, "no effect here";
        graceful_shutdown_timeout: GoDuration = seconds(30), "time for open requests at shutdown";
        log_level: String = text("info"), "debug, info, warn or error";
        log_format: String = text("logfmt"), "logfmt or json";
        log_source_ips_enabled: bool, "lines about requests have addresses of the client as sourceIPs: what a header tells, and the address of the connection";
        log_source_ips_full: bool, "all addresses that the header tells, instead of the first";
        log_source_ips_header: String, "header with the address of the client, together with log_source_ips_regex; empty takes Forwarded, X-Real-IP or X-Forwarded-For, the first that is there";
        log_source_ips_regex: String, "regular expression for the address in the value of log_source_ips_header: its first group, or all that matches";
        log_request_headers: bool, "lines about requests have the headers, but never those whose names speak of secrets: Authorization, cookies, tokens, keys, passwords";
        log_request_at_info_level_enabled: bool, "a line of the log for each request to these HTTP and gRPC ports at level info, not debug";
        log_request_exclude_headers_list: Vec<String>, "further headers that log_request_headers leaves out";
        trace_request_headers: bool, "no effect here";
        trace_request_exclude_headers_list: Vec<String>, "no effect here";
        create_new_traces: bool, "no effect here";
        register_instrumentation: bool = true, "no effect here: /metrics is always served";
        report_grpc_codes_in_instrumentation_label_enabled: bool, "no effect here";
        compatible_version: String = text("2.10.8"), "version of Tempo that clients are told: Grafana switches features on by it";
        cluster_validation: ClusterValidation, "refuse calls meant for another cluster";
    }

    /// TLS of one listener: on when a certificate and a key are given.
    ServerTls {
        cert_file: String, "certificate chain, PEM file; re-read when it changes";
        key_file: String, "private key, PEM file";
        client_ca_file: String, "authorities that sign client certificates, PEM file";
        cert: String, "certificate chain, PEM text";
        key: Secret, "private key, PEM text";
        client_ca: String, "authorities that sign client certificates, PEM text";
        client_auth_type: String, "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";
    }

    /// Cluster label checks on incoming calls.
    ClusterValidation {
        label: String, "no effect here";
        additional_labels: Vec<String>, "no effect here";
        grpc: ClusterValidationGrpc, "checks on gRPC";
        http: ClusterValidationHttp, "checks on HTTP";
    }

    /// Cluster label checks on gRPC.
    ClusterValidationGrpc {
        enabled: bool, "no effect here";
        soft_validation: bool, "no effect here";
    }

    /// Cluster label checks on HTTP.
    ClusterValidationHttp {
        enabled: bool, "no effect here";
        soft_validation: bool, "no effect here";
        excluded_paths: Vec<String>, "no effect here";
        excluded_user_agents: Vec<String>, "no effect here";
    }

    /// A second HTTP listener with `/ready` and `/metrics` only.
    InternalServer {
        enable: bool, "start the internal listener";
        @inline {
            server: Server = internal_defaults(), "the same keys as the server section";
        }
    }
}

fn internal_defaults() -> Server {
    Server {
        http_listen_port: 3101,
        grpc_listen_port: 0,
        grpc_listen_network: String::new(),
        grpc_server_max_recv_msg_size: 0,
        grpc_server_max_send_msg_size: 0,
        grpc_server_max_concurrent_streams: 0,
        grpc_server_max_connection_idle: GoDuration::ZERO,
        grpc_server_max_connection_age: GoDuration::ZERO,
        grpc_server_max_connection_age_grace: GoDuration::ZERO,
        grpc_server_keepalive_time: GoDuration::ZERO,
        grpc_server_keepalive_timeout: GoDuration::ZERO,
        grpc_server_min_time_between_pings: GoDuration::ZERO,
        grpc_server_ping_without_stream_allowed: false,
        ..Server::default()
    }
}

impl Server {
    /// Address and port of the gRPC listener for services of the cluster; `None` if they come to that for everyone.
    pub fn internal_grpc(&self) -> Option<(&str, u16)> {
        let (own, shared) = (&self.internal_grpc_listen_address, &self.grpc_listen_address);
        let address = if own.is_empty() { shared } else { own };
        (self.internal_grpc_listen_port != 0)
            .then_some((address.as_str(), self.internal_grpc_listen_port))
    }

    /// The port by which services of the cluster call each other.
    pub fn cluster_port(&self) -> u16 {
        self.internal_grpc().map_or(self.grpc_listen_port, |(_, port)| port)
    }
}

impl ServerTls {
    /// True when a certificate and a key are both given, as file or text: TLS is on.
    pub fn enabled(&self) -> bool {
        self.has_certificate() && self.has_key()
    }

    pub(crate) fn has_certificate(&self) -> bool {
        !self.cert_file.is_empty() || !self.cert.is_empty()
    }

    pub(crate) fn has_key(&self) -> bool {
        !self.key_file.is_empty() || !self.key.is_empty()
    }

    /// True when something is wanted of the certificates of clients.
    pub(crate) fn wants_certificates(&self) -> bool {
        let has_authorities = !self.client_ca_file.is_empty() || !self.client_ca.is_empty();
        has_authorities || !matches!(self.client_auth_type.as_str(), "" | "NoClientCert")
    }
}

section! {
    /// Built-in authentication.
    Auth {
        enabled: bool, "ask callers who they are: for queries, receivers, operations and calls between services";
        users_file: String, "file of callers with the hashes of their secrets, their tenants and roles; re-read when it changes";
        internal_token_file: String, "file with the token that services of the cluster show each other, also while enabled is false; empty asks for a client certificate that grpc_tls_config verifies";
        allow_open_gossip: bool, "let everyone who reaches the gossip port take part in the cluster: gossip demands no proof of internal_token_file, and needs no certificates";
        public_paths: Vec<String> = list(&["/ready"]), "HTTP paths that stay open to everyone; a final * matches any rest";
        reload_interval: GoDuration = seconds(10), "interval at which files are checked for changes";
    }
}
