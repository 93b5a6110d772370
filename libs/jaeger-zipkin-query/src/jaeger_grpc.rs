//! Jaeger's query APIs over gRPC, and what a Jaeger asks of its storage.
//!
//! - Query port: `jaeger.api_v2.QueryService`, `jaeger.api_v3.QueryService`.
//! - Storage ports: `jaeger.storage.v1` and `.v2`, and OTLP, by which the second generation writes.
//!
//! Queries are those of [`crate::jaeger`]; here they are read from messages and answered in messages. Answers are
//! streamed in messages that clients take: ten spans of Jaeger's model, or about [`chunks::MESSAGE_BYTES`] of OTLP.
//! A storage is asked for spans as they are stored: the Jaeger in front makes them easy to read.

mod api_v2;
mod api_v3;
mod archive;
mod bounded;
mod chunks;
mod export;
mod query;
mod storage_v1;
mod storage_v2;
mod summaries;
mod times;
mod traces;
mod writers;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use tactus_model::{TenantId, TraceId};
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
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_proto::otlp::span::SpanKind;
use tactus_query::{error_status, partial_status};
use tactus_server::tenancy::Tenancy;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::{Request, Response, Status};

use crate::jaeger::{JaegerError, JaegerQueries, kind_name};

use archive::Archive;
use bounded::{ArchiveWriter, SpanWriter, StreamingSpanWriter};
use export::ExportService;
use storage_v1::StorageV1;
use storage_v2::StorageV2;
use writers::Writers;

/// Stores the spans of an OTLP `ExportTraceServiceRequest`, which is handed on as bytes, not decoded yet. Returns when
/// they are as safe as those of any receiver. Errors: as clients of OTLP see them.
pub type WriteSpans = Arc<
    dyn Fn(TenantId, Bytes) -> BoxFuture<'static, Result<ExportTraceServiceResponse, Status>>
        + Send
        + Sync,
>;

/// Why nothing can be written.
const NO_WRITER: &str = "this process stores no spans: send them by OTLP to a distributor";

/// Sizes of messages, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// Largest message of a client.
    pub(crate) received: usize,
    /// Largest message to a client.
    pub(crate) sent: usize,
}

/// What all services answer from.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) queries: JaegerQueries,
    pub(crate) tenancy: Tenancy,
}

type Answer<M> = Result<Response<M>, Status>;

/// The messages of a streamed answer.
type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Answering {
    /// The tenants of a query, and the query.
    fn read<R>(&self, request: Request<R>) -> Result<(Vec<TenantId>, R), Status> {
        let tenants = self.tenancy.read_tenants(request.metadata().as_ref());
        let tenants = tenants.map_err(|error| error.grpc_status())?;
        Ok((tenants, request.into_inner()))
    }
}

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

impl MessageLimits {
    /// The limits of services that are asked and store nothing.
    fn of_questions(self) -> Self {
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
    let (tenancy, questions) = (answering.tenancy.clone(), limits.of_questions());
    let export = ExportService::new(tenancy.clone(), write.clone(), limits.received);
    let writers = Writers { tenancy, write };
    let (v1, v2) = (Arc::new(StorageV1(answering.clone())), Arc::new(StorageV2(answering)));
    let writers = Arc::new(writers);
    Arc::new(move |routes| {
        let capabilities = PluginCapabilitiesServer::from_arc(Arc::clone(&writers));
        let dependencies = DependenciesReaderPluginServer::from_arc(Arc::clone(&v1));
        let one = SpanWriter { writers: Arc::clone(&writers), limits };
        let streamed = StreamingSpanWriter { writers: Arc::clone(&writers), limits };
        routes
            .add_service(limited!(SpanReaderPluginServer::from_arc(Arc::clone(&v1)), questions))
            .add_service(limited!(dependencies, questions))
            .add_service(limited!(capabilities, questions))
            .add_service(one)
            .add_service(streamed)
            .add_service(limited!(ArchiveSpanReaderPluginServer::new(Archive), questions))
            .add_service(ArchiveWriter)
            .add_service(limited!(TraceReaderServer::from_arc(Arc::clone(&v2)), questions))
            .add_service(limited!(DependencyReaderServer::from_arc(Arc::clone(&v2)), questions))
            .add_service(limited!(CapabilitiesServer::from_arc(Arc::clone(&v2)), questions))
            .add_service(export.clone());
    })
}

/// The kind of an operation's spans, by Jaeger's name of it: empty if it is unspecified.
fn span_kind(kind: SpanKind) -> String {
    match kind {
        SpanKind::Unspecified => String::new(),
        kind => kind_name(kind).to_owned(),
    }
}

/// The status of a query that fails.
fn refuse(error: JaegerError) -> Status {
    match error {
        JaegerError::Query(error) => error_status(&error),
        error => error.into(),
    }
}

/// A stream of these messages; its trailers say so if something is missing.
fn messages<M: Send + 'static>(messages: Vec<M>, partial: bool) -> Answer<Messages<M>> {
    let end = partial.then(|| Err(partial_status()));
    let all = messages.into_iter().map(Ok).chain(end);
    Ok(Response::new(Box::pin(stream::iter(all))))
}

/// The id of a trace, of 16 bytes or of the last 8 of them.
fn trace_id(bytes: &[u8]) -> Result<TraceId, Status> {
    let mut id = [0; 16];
    match bytes.len() {
        16 => id.copy_from_slice(bytes),
        8 => id[8..].copy_from_slice(bytes),
        0 => {}
        _ => return Err(Status::invalid_argument("invalid length for TraceID")),
    }
    if id == [0; 16] {
        return Err(Status::invalid_argument("uninitialized TraceID is not allowed"));
    }
    Ok(TraceId(id))
}
