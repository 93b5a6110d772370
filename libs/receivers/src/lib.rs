//! Receivers: ports on which spans arrive.
//!
//! - [`otlp_http`]: OTLP over HTTP, protobuf and JSON.
//! - [`otlp_grpc`]: OTLP over gRPC.
//!
//! A receiver does not decode spans. It reads and decompresses a request, finds its tenant, and
//! hands the bytes of the OTLP export request to a [`TraceSink`]; what is not OTLP protobuf (JSON)
//! is turned into it first. Errors of the sink become the answers that each protocol prescribes.
#![warn(missing_docs)]

mod body;
pub mod compression;
pub mod cors;
mod metrics;
pub mod otlp_grpc;
pub mod otlp_http;
pub mod otlp_json;
mod refusal;
mod sink;
#[cfg(test)]
mod testing;

pub use metrics::ReceiverMetrics;
pub use sink::{PushError, PushOutcome, TraceSink};
