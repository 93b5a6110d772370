//! The gRPC service `tempopb.StreamingQuerier`: queries that show what they found before they are done.
//!
//! A query runs as over HTTP and by the same code; with it goes something that is told of its state after each answer to
//! a job. When the last message is some time ago and the client took it, a difference is sent: traces, names and values
//! that are new or changed, series where all jobs are done, and how far the query is (`metrics`, cumulative). The last
//! message of a stream is the complete answer, the same as over HTTP, in packets of bounded size.
//!
//! A query runs in a task of its own, so that a client that reads slowly does not hold its jobs up; what waits for the
//! client is one difference and what is being sent. The task ends when the client leaves.

mod events;
mod metrics;
mod outlet;
mod packets;
mod pending;
mod search;
mod service;
mod tags;
mod weight;

use std::sync::Arc;

use tactus_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use tonic::codec::CompressionEncoding;

use crate::frontend::Frontend;
pub(crate) use events::{EventCall, range_json};
pub(crate) use metrics::MetricsProgress;
pub use outlet::{Answers, partial, status};
pub(crate) use search::SearchProgress;
pub use service::Streaming;
pub(crate) use weight::TEXT_TIMES;

/// The streaming service over this frontend, with the limits of its settings.
pub fn streaming_service(frontend: Arc<Frontend>) -> StreamingQuerierServer<Streaming> {
    let settings = frontend.settings.streaming;
    StreamingQuerierServer::new(Streaming::new(frontend))
        .max_decoding_message_size(settings.max_request_bytes)
        .max_encoding_message_size(settings.max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
}
