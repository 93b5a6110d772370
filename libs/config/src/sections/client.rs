//! Settings that clients of other components share: TLS, gRPC, connection pools, backoff.

use super::{millis, seconds, text};
use crate::duration::GoDuration;
use crate::field::UnitSize;
use crate::field::section;

section! {
    /// Certificates of an outgoing connection.
    ClientTls {
        tls_cert_path: String, "client certificate, PEM file";
        tls_key_path: String, "key of the client certificate, PEM file";
        tls_ca_path: String, "authorities to trust instead of the system's, PEM file";
        tls_server_name: String, "name to expect in the server's certificate";
        tls_insecure_skip_verify: bool, "do not check the server's certificate";
        tls_cipher_suites: Vec<String>, "cipher suites by Go's names";
        tls_min_version: String, "lowest TLS version, e.g. VersionTLS12";
    }

    /// Retry delays.
    Backoff {
        min_period: GoDuration = millis(100), "no effect here";
        max_period: GoDuration = seconds(10), "no effect here";
        max_retries: i64 = 10, "no effect here";
    }

    /// Settings of a gRPC client.
    GrpcClient {
        max_recv_msg_size: usize = 104_857_600, "largest message to receive, in bytes";
        max_send_msg_size: usize = 104_857_600, "largest message to send, in bytes";
        grpc_compression: String = text("snappy"), "gzip, zstd or empty; snappy is taken as empty";
        rate_limit: f64, "no effect here";
        rate_limit_burst: i64, "no effect here";
        backoff_on_ratelimits: bool, "no effect here";
        backoff_config: Backoff, "retry delays";
        initial_stream_window_size: UnitSize = default_window(), "no effect here: it is 4 MiB";
        initial_connection_window_size: UnitSize = default_window(), "no effect here: it is 16 MiB";
        tls_enabled: bool, "connect by TLS";
        connect_timeout: GoDuration = seconds(5), "time for one connection attempt";
        connect_backoff_base_delay: GoDuration = seconds(1), "no effect here";
        connect_backoff_max_delay: GoDuration = seconds(5), "no effect here";
        cluster_validation: ClientClusterValidation, "label sent with every call";
        @inline {
            tls: ClientTls, "certificates";
        }
    }

    /// The cluster label that a client sends.
    ClientClusterValidation {
        label: String, "no effect here";
    }

    /// Health checks of pooled connections.
    Pool {
        checkinterval: GoDuration = seconds(15), "no effect here";
        healthcheckenabled: bool = true, "no effect here";
        healthchecktimeout: GoDuration = seconds(1), "no effect here";
        healthcheckgraceperiod: GoDuration, "no effect here";
        maxconcurrenthealthchecks: i64, "no effect here";
    }

    /// Connections to one kind of component.
    ComponentClient {
        pool_config: Pool, "health checks";
        remote_timeout: GoDuration = seconds(5), "time for one call";
        grpc_client_config: GrpcClient, "gRPC settings";
    }
}

impl GrpcClient {
    /// The defaults of a querier's connection to a query-frontend, which differ from all others.
    pub fn querier_worker() -> Self {
        Self {
            max_send_msg_size: 16_777_216,
            backoff_config: Backoff {
                max_period: seconds(1),
                max_retries: 5,
                ..Backoff::default()
            },
            initial_stream_window_size: UnitSize::default(),
            initial_connection_window_size: UnitSize::default(),
            connect_timeout: GoDuration::ZERO,
            connect_backoff_base_delay: GoDuration::ZERO,
            connect_backoff_max_delay: GoDuration::ZERO,
            ..Self::default()
        }
    }
}

/// The largest window that HTTP/2 has without an update.
fn default_window() -> UnitSize {
    UnitSize::parse("63KiB1023B").unwrap_or_default()
}
