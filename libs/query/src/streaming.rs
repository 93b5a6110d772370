//! The gRPC service `tempopb.StreamingQuerier`: queries that show results before they are done.
//!
//! A query runs the same code as over HTTP, and reports its state on the way ([`crate::progress`]). All messages but
//! the last hold differences: traces, names and values that are new or changed, series of intervals whose jobs are all
//! done, and the work so far (`metrics`, cumulative). The last message is the complete answer, the same as over HTTP,
//! in packets of bounded size.
//!
//! A query runs in a task of its own, so that a slow client does not delay its jobs. At most one difference waits for
//! the client, in addition to the message that is being sent. The task ends when the client leaves.

mod events;
mod service;
mod tags;

use std::sync::Arc;

use tactus_proto::tempopb::streaming_querier_server::StreamingQuerierServer;
use tonic::codec::CompressionEncoding;

use crate::frontend::Frontend;
pub(crate) use events::{EventCall, range_json};
pub use service::Streaming;

/// The streaming service of this frontend, with the limits of its settings.
pub fn streaming_service(frontend: Arc<Frontend>) -> StreamingQuerierServer<Streaming> {
    let settings = frontend.settings.streaming;
    StreamingQuerierServer::new(Streaming::new(frontend))
        .max_decoding_message_size(settings.max_request_bytes)
        .max_encoding_message_size(settings.max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
}
