//! `query_frontend.jaeger` and `query_frontend.zipkin`: query APIs on the ports that their clients know.
//!
//! An address that the file does not set is the usual port at the host of the `server` section. Several processes on
//! one machine would all want that port, so that it being taken is an error only for an address that is set.

use super::{hours, text};
use crate::duration::GoDuration;
use crate::field::section;
use crate::sections::receivers::PortTls;

section! {
    /// Jaeger's query APIs.
    JaegerApis {
        http: JaegerQueryHttp, "the HTTP API of Jaeger's query service, for its UI";
        grpc: JaegerQueryGrpc, "the gRPC API of Jaeger's query service";
        storage: JaegerStorage, "storage for a Jaeger in front, where tempo-query was";
        remote_storage: JaegerRemoteStorage, "the same on a second port, where Jaeger's remote storage was";
        admin: JaegerAdmin, "health and metrics, where Jaeger's collector had them";
        max_limit: u32 = 10_000, "traces that a search may ask for; 0 is query_frontend.search.max_result_limit";
        names_window: GoDuration = hours(48), "services and operations are those of recent data, and of blocks that reach back so far";
        max_trace_size: usize, "spans of a trace to show at most; 0 is no limit";
        max_clock_skew_adjust: GoDuration, "longest time by which spans are moved where clocks differ; 0 moves none";
        @inline {
            lookup: TraceLookups, "how whole traces are fetched";
        }
    }

    /// How whole traces are fetched.
    TraceLookups {
        concurrent_traces: usize = 8, "traces of one answer that are fetched at a time";
        max_answer_bytes: u64 = 134_217_728, "memory of the traces of one answer; further traces are left out; 0 is no limit";
    }

    /// The HTTP API of Jaeger's query service.
    JaegerQueryHttp {
        endpoint: Option<String>, "address to listen on; unset is port 16686 at server.http_listen_address, empty is off";
        base_path: String = text("/"), "prefix of the paths of the API";
        tls: Option<PortTls>, "TLS; that of server.http_tls_config when absent";
    }

    /// The gRPC API of Jaeger's query service.
    JaegerQueryGrpc {
        endpoint: Option<String>, "address to listen on; unset is port 16685 at server.grpc_listen_address, empty is off";
        @inline {
            limits: QueryGrpc, "the listener";
        }
    }

    /// Storage for a Jaeger in front.
    JaegerStorage {
        endpoint: Option<String>, "address to listen on; unset is port 7777 at server.grpc_listen_address, empty is off";
        @inline {
            limits: QueryGrpc, "the listener";
        }
    }

    /// A second port with the same services.
    JaegerRemoteStorage {
        endpoint: Option<String>, "address to listen on, as 0.0.0.0:17271; unset or empty is off";
        @inline {
            limits: QueryGrpc, "the listener";
        }
    }

    /// What the gRPC listeners have in common.
    QueryGrpc {
        tls: Option<PortTls>, "TLS; that of server.grpc_tls_config when absent";
        max_recv_msg_size_mib: u64, "largest message of a client, in MiB; 0 is 4";
        max_concurrent_streams: u32, "calls of one connection at a time; 0 is server.grpc_server_max_concurrent_streams";
    }

    /// Health and metrics.
    JaegerAdmin {
        endpoint: Option<String>, "address to listen on, as 0.0.0.0:14269; unset or empty is off";
        tls: Option<PortTls>, "TLS; that of server.http_tls_config when absent";
    }

    /// Zipkin's query API. A Zipkin receiver in the same process has it on its own port.
    ZipkinApi {
        endpoint: Option<String>, "address to listen on; unset is port 9411 at server.http_listen_address, unless the process has a Zipkin receiver; empty is off";
        tls: Option<PortTls>, "TLS; that of server.http_tls_config when absent";
        max_limit: u32 = 10_000, "traces that a search may ask for; 0 is query_frontend.search.max_result_limit";
        names_window: GoDuration = hours(48), "services, spans and tags are those of recent data, and of blocks that reach back so far";
        @inline {
            lookup: TraceLookups, "how whole traces are fetched";
        }
    }
}
