//! The telemetry of a service: log lines on stderr, metrics for Prometheus and, if configured, its own traces.
//!
//! ```
//! use std::sync::LazyLock;
//! use tactus_telemetry::metrics::{CounterVec, Registry};
//!
//! static SPANS: LazyLock<CounterVec<1>> = LazyLock::new(|| {
//!     Registry::global().counter_vec("tempo_distributor_spans_received_total", "Spans received.", ["tenant"])
//! });
//! SPANS.with(["acme"]).inc_by(3);
//! assert!(Registry::global().encode().contains("tempo_distributor_spans_received_total{tenant=\"acme\"} 3\n"));
//! ```
#![warn(missing_docs)]

pub mod logging;
pub mod metrics;
pub mod self_tracing;
mod shown;

pub use logging::{
    LogFormat, LogLevel, LoggingError, flush_log, init_logging, init_logging_and_tracing,
    log_level, set_log_level,
};
pub use shown::{error_text, html_escaped};

/// For the expansion of [`log_limited!`] only.
#[doc(hidden)]
pub use tracing as __tracing;
