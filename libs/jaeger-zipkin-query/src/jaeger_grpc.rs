//! Jaeger's query APIs over gRPC, and its storage APIs.
//!
//! - Query port: `jaeger.api_v2.QueryService`, `jaeger.api_v3.QueryService`.
//! - Storage ports: `jaeger.storage.v1` and `.v2`, and OTLP, which Jaeger 2 uses to write.
//!
//! The queries are those of [`crate::jaeger`]; this module converts them from and to messages. Answers are streamed in
//! messages of a size that clients accept: ten spans of Jaeger's model, or about [`MESSAGE_BYTES`](crate::chunks::MESSAGE_BYTES) of OTLP. The
//! storage APIs return spans as they are stored, because the Jaeger in front of them makes them easier to read.

mod answering;
mod api_v2;
mod api_v3;
mod bounded_services;
mod query;
mod storage_v1;
mod storage_v2;
mod summaries;
mod times;
mod traces;
mod writers;

use std::sync::Arc;

use tactus_config::Config;
use tactus_config::sections::query_apis::QueryGrpc;
use tactus_process::AddGrpc;
use tactus_proto::jaeger::api_v2::query_service_server::QueryServiceServer as ApiV2Server;
use tactus_proto::jaeger::api_v3::query_service_server::QueryServiceServer as ApiV3Server;
use tactus_proto::jaeger::storage::v1::{
    archive_span_reader_plugin_server::ArchiveSpanReaderPluginServer,
    dependencies_reader_plugin_server::DependenciesReaderPluginServer,
    plugin_capabilities_server::PluginCapabilitiesServer,
    span_reader_plugin_server::SpanReaderPluginServer,
};
use tactus_proto::jaeger::storage::v2::{
    capabilities_server::CapabilitiesServer, dependency_reader_server::DependencyReaderServer,
    trace_reader_server::TraceReaderServer,
};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use storage_v1::StorageV1;
use storage_v2::StorageV2;
use writers::Writers;

pub(crate) use answering::Answering;
pub use answering::WriteSpans;

/// Sets the limits of a generated service, and the encodings that it takes.
macro_rules! limited {
    ($server:expr, $limits:expr) => {
        $server
            .max_decoding_message_size($limits.received)
            .max_encoding_message_size($limits.sent)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
    };
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

/// The services of the query port.
pub(crate) fn query_services(answering: Answering, limits: MessageLimits) -> AddGrpc {
    let limits = limits.of_questions();
    let v2 = limited!(ApiV2Server::new(api_v2::QueryV2(answering.clone())), limits);
    let v3 = limited!(ApiV3Server::new(api_v3::QueryV3(answering)), limits);
    Arc::new(move |routes| {
        routes.add_service(v2.clone());
        routes.add_service(v3.clone());
    })
}

/// The services of a storage port. `write`: where spans go; `None`: they are refused.
pub(crate) fn storage_services(
    answering: Answering,
    write: Option<WriteSpans>,
    limits: MessageLimits,
) -> AddGrpc {
    let questions = limits.of_questions();
    let writers = Arc::new(Writers { tenancy: answering.tenancy.clone(), write });
    let (v1, v2) = (Arc::new(StorageV1(answering.clone())), Arc::new(StorageV2(answering)));
    Arc::new(move |routes| {
        let capabilities = PluginCapabilitiesServer::from_arc(Arc::clone(&writers));
        let dependencies = DependenciesReaderPluginServer::from_arc(Arc::clone(&v1));
        routes
            .add_service(limited!(SpanReaderPluginServer::from_arc(Arc::clone(&v1)), questions))
            .add_service(limited!(dependencies, questions))
            .add_service(limited!(capabilities, questions))
            .add_service(limited!(
                ArchiveSpanReaderPluginServer::from_arc(Arc::clone(&v1)),
                questions
            ))
            .add_service(limited!(TraceReaderServer::from_arc(Arc::clone(&v2)), questions))
            .add_service(limited!(DependencyReaderServer::from_arc(Arc::clone(&v2)), questions))
            .add_service(limited!(CapabilitiesServer::from_arc(Arc::clone(&v2)), questions));
        let others = std::mem::take(routes).routes().into_axum_router();
        *routes = others.merge(bounded_services::routes(&writers, limits.received)).into();
    })
}
