//! Traces of this program itself, sent as OTLP to the endpoint that the environment names.
//!
//! Off unless one of `OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is
//! set. Otherwise spans of level debug, as [`request_span!`] and [`client_span!`] create them, cost one comparison.
//!
//! Some fields of a span are not attributes: `otel.name` is its name, `otel.kind` its kind (`server`, `client`,
//! `producer`, `consumer`), `otel.status_code = "ERROR"` its status, `traceparent` the caller's header, and `ingest`
//! marks a request that brings spans.
//!
//! Spans about receiving spans must not multiply. So the exporter's requests say "not sampled", and of requests with
//! spans whose sender does not say "sampled", one in [`INGEST_SHARE`] begins a trace. Even if a collector sends our own
//! spans back to us, each batch causes less than one further batch.

mod context;
mod export;
mod layer;
mod sampler;
mod settings;

use tokio::sync::mpsc;

use crate::metrics::Registry;

pub use context::{TRACEPARENT, TraceId, traceparent};
pub use export::Exporter;
pub use layer::TraceLayer;
pub use sampler::Sampler;
pub use settings::{Protocol, Settings, SettingsError};

/// The layer for [`init_logging_and_tracing`](crate::init_logging_and_tracing), and the exporter that must run beside.
pub fn start(settings: Settings, registry: &Registry) -> (TraceLayer, Exporter) {
    let (sender, receiver) = mpsc::channel(settings.queue_spans);
    let dropped = registry.counter_vec(
        "tactus_self_tracing_dropped_spans_total",
        "Own spans that were not sent.",
        ["reason"],
    );
    let layer = TraceLayer::new(sender, dropped.with(["queue_full"]), settings.sampler);
    (layer, Exporter::new(settings, receiver, dropped.with(["not_accepted"]), registry))
}

/// The span of a request that comes in. `$traceparent` is the caller's header, an `Option<&str>`; further fields
/// follow. Nothing is evaluated while self-tracing is off.
///
/// ```
/// let span = tactus_telemetry::request_span!("GET /ready", None::<&str>, "http.route" = "/ready");
/// span.in_scope(|| ());
/// ```
#[macro_export]
macro_rules! request_span {
    ($name:expr, $traceparent:expr $(, $($field:tt)*)?) => {
        $crate::__tracing::debug_span!(
            target: "tactus::requests", "request", otel.name = $name, otel.kind = "server",
            traceparent = $traceparent, otel.status_code = $crate::__tracing::field::Empty,
            $($($field)*)?
        )
    };
}

/// The span of a call to another service.
///
/// ```
/// let span = tactus_telemetry::client_span!("push", peer = "ingester-1:9095");
/// span.in_scope(|| ());
/// ```
#[macro_export]
macro_rules! client_span {
    ($name:expr $(, $($field:tt)*)?) => {
        $crate::__tracing::debug_span!(
            target: "tactus::calls", "call", otel.name = $name, otel.kind = "client",
            otel.status_code = $crate::__tracing::field::Empty, $($($field)*)?
        )
    };
}

/// The span of a piece of work within this process, such as a job or a flush.
///
/// ```
/// let span = tactus_telemetry::work_span!("flush", tenant = "acme");
/// span.in_scope(|| ());
/// ```
#[macro_export]
macro_rules! work_span {
    ($name:expr $(, $($field:tt)*)?) => {
        $crate::__tracing::debug_span!(
            target: "tactus::work", "work", otel.name = $name,
            otel.status_code = $crate::__tracing::field::Empty, $($($field)*)?
        )
    };
}

#[cfg(test)]
mod tests;
