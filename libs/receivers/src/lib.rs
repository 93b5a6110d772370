//! Receivers: ports on which spans arrive.
//!
//! - [`otlp_http`]: OTLP over HTTP, protobuf and JSON.
//! - [`otlp_grpc`]: OTLP over gRPC.
//! - [`otlp_file`]: OTLP from files.
//! - [`jaeger_grpc`], [`jaeger_http`], [`jaeger_udp`]: what Jaeger's clients and agents send.
//! - [`zipkin_http`]: Zipkin's spans, both versions of its model.
//!
//! A receiver does not decode spans. It reads and decompresses a request, finds its tenant, and
//! hands the bytes of the OTLP export request to a [`TraceSink`]; what is not OTLP protobuf is
//! turned into it first. Errors of the sink become the answers that each protocol prescribes.
#![warn(missing_docs)]

mod batch_http;
mod body;
pub mod compression;
pub mod cors;
pub mod grpc_receiver;
pub mod http_receiver;
pub mod jaeger_grpc;
pub mod jaeger_http;
pub mod jaeger_udp;
mod metrics;
pub mod otlp_file;
pub mod otlp_grpc;
pub mod otlp_http;
mod port;
mod refusal;
mod sink;
#[cfg(test)]
mod testing;
pub mod zipkin_http;

pub use metrics::ReceiverMetrics;
pub use port::PortSettings;
pub use sink::{PushError, PushOutcome, TraceSink};
