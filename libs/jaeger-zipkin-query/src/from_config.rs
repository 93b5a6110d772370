//! The settings of the query APIs, from the configuration.

use tactus_config::Config;
use tactus_config::sections::query_apis::QueryGrpc;
use tactus_query::LookupSettings;

use crate::jaeger::JaegerSettings;
use crate::jaeger_grpc::MessageLimits;
use crate::zipkin::ZipkinSettings;

/// Jaeger's query APIs.
pub(crate) fn jaeger(config: &Config) -> JaegerSettings {
    let jaeger = &config.query_frontend.jaeger;
    JaegerSettings {
        base_path: jaeger.http.base_path.clone(),
        max_limit: jaeger.max_limit,
        names_window: jaeger.names_window.as_std(),
        max_spans_per_trace: jaeger.max_trace_size,
        max_clock_skew_adjust: jaeger.max_clock_skew_adjust.as_std(),
        lookup: LookupSettings {
            concurrent_traces: jaeger.concurrent_traces,
            max_answer_bytes: jaeger.max_answer_bytes,
        },
    }
}

/// Zipkin's query API.
pub(crate) fn zipkin(config: &Config) -> ZipkinSettings {
    let zipkin = &config.query_frontend.zipkin;
    ZipkinSettings {
        max_limit: zipkin.max_limit,
        names_window: zipkin.names_window.as_std(),
        lookup: LookupSettings {
            concurrent_traces: zipkin.concurrent_traces,
            max_answer_bytes: zipkin.max_answer_bytes,
        },
    }
}

/// Sizes of the messages of a gRPC port.
pub(crate) fn message_limits(config: &Config, limits: &QueryGrpc) -> MessageLimits {
    let mebibytes = usize::try_from(limits.max_recv_msg_size_mib).unwrap_or(usize::MAX);
    MessageLimits {
        received: if mebibytes == 0 { 4 << 20 } else { mebibytes.saturating_mul(1 << 20) },
        sent: config.server.grpc_server_max_send_msg_size,
    }
}
