//! What an operator can set of the query APIs, and how it follows from the configuration.

use std::time::Duration;

use tactus_config::Config;
use tactus_config::sections::query_apis::QueryGrpc;
use tactus_query::LookupSettings;

/// Settings of Jaeger's query APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JaegerSettings {
    /// What stands before the paths of the HTTP API.
    pub base_path: String,
    /// Highest number of traces that a search may ask for; 0 is no limit but that of searches.
    pub max_limit: u32,
    /// Services and operations are those of recent data, and of blocks that reach back so far.
    pub names_window: Duration,
    /// Spans of a trace that are shown at most; 0 is no limit.
    pub max_spans_per_trace: usize,
    /// Longest time by which spans are moved to make up for clocks that differ; zero moves none.
    pub max_clock_skew_adjust: Duration,
    /// How whole traces are fetched.
    pub lookup: LookupSettings,
}

impl Default for JaegerSettings {
    fn default() -> Self {
        Self {
            base_path: "/".to_owned(),
            max_limit: 10_000,
            names_window: Duration::from_secs(48 * 3600),
            max_spans_per_trace: 0,
            max_clock_skew_adjust: Duration::ZERO,
            lookup: LookupSettings::default(),
        }
    }
}

impl JaegerSettings {
    pub(crate) fn from_config(config: &Config) -> Self {
        let jaeger = &config.query_frontend.jaeger;
        Self {
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
}

/// Settings of Zipkin's query API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipkinSettings {
    /// Highest number of traces that a search may ask for; 0 is no limit but that of searches.
    pub max_limit: u32,
    /// Names are those of recent data, and of blocks that reach back so far.
    pub names_window: Duration,
    /// How whole traces are fetched.
    pub lookup: LookupSettings,
}

impl Default for ZipkinSettings {
    fn default() -> Self {
        Self {
            max_limit: 10_000,
            names_window: Duration::from_secs(48 * 3600),
            lookup: LookupSettings::default(),
        }
    }
}

impl ZipkinSettings {
    pub(crate) fn from_config(config: &Config) -> Self {
        let zipkin = &config.query_frontend.zipkin;
        Self {
            max_limit: zipkin.max_limit,
            names_window: zipkin.names_window.as_std(),
            lookup: LookupSettings {
                concurrent_traces: zipkin.concurrent_traces,
                max_answer_bytes: zipkin.max_answer_bytes,
            },
        }
    }
}

/// Questions are short: a larger one could hold very many empty messages.
const MAX_QUESTION_BYTES: usize = 1 << 20;

/// Sizes of messages, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// Largest message of a client.
    pub(crate) received: usize,
    /// Largest message to a client.
    pub(crate) sent: usize,
}

impl MessageLimits {
    /// Of a gRPC port.
    pub(crate) fn from_config(config: &Config, limits: &QueryGrpc) -> Self {
        let mebibytes = usize::try_from(limits.max_recv_msg_size_mib).unwrap_or(usize::MAX);
        Self {
            received: if mebibytes == 0 { 4 << 20 } else { mebibytes.saturating_mul(1 << 20) },
            sent: config.server.grpc_server_max_send_msg_size,
        }
    }

    /// The limits of services that are asked and store nothing.
    pub(crate) fn of_questions(self) -> Self {
        Self { received: self.received.min(MAX_QUESTION_BYTES), ..self }
    }
}
