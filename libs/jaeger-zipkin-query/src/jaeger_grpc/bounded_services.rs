//! The gRPC methods by which a Jaeger writes, without generated code, so that a message can be checked before it is
//! decoded, or passed on as its bytes: a message of megabytes can contain millions of empty tags, each of which takes a
//! hundred bytes when decoded.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::routing::any;
use bytes::Bytes;
use prost::Message;
use tactus_proto::codec::RawRequests;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codegen::http::Response;
use tonic::server::Grpc;
use tonic::{Request, Status};
use tower::service_fn;

use super::answering::{Answer, NO_ARCHIVE};
use super::writers::Writers;

/// The services whose methods [`answer`] knows. The last is that of OTLP, by which a Jaeger of the second generation
/// writes.
const SERVICES: [&str; 4] = [
    "jaeger.storage.v1.SpanWriterPlugin",
    "jaeger.storage.v1.StreamingSpanWriterPlugin",
    "jaeger.storage.v1.ArchiveSpanWriterPlugin",
    "opentelemetry.proto.collector.trace.v1.TraceService",
];

/// The writers, and the largest message that they take, in bytes.
type Bounds = (Arc<Writers>, usize);

/// The routes of the services that write, with messages of `max_message_bytes` at most.
pub(super) fn routes(writers: &Arc<Writers>, max_message_bytes: usize) -> Router {
    let mut routes = Router::new();
    for service in SERVICES {
        // Metrics know the service by this form of the route.
        routes = routes.route(&format!("/{service}/{{*rest}}"), any(answer));
    }
    routes.with_state((Arc::clone(writers), max_message_bytes))
}

async fn answer(State(bounds): State<Bounds>, request: HttpRequest) -> Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/jaeger.storage.v1.SpanWriterPlugin/WriteSpan" => {
            unary(bounds, Writers::write_span, request).await
        }
        "/jaeger.storage.v1.SpanWriterPlugin/Close" => unary(bounds, Writers::close, request).await,
        "/jaeger.storage.v1.StreamingSpanWriterPlugin/WriteSpanStream" => {
            let (writers, limit) = bounds;
            let write = service_fn(move |spans| Arc::clone(&writers).write_span_stream(spans));
            server(limit).client_streaming(write, request).await
        }
        "/jaeger.storage.v1.ArchiveSpanWriterPlugin/WriteArchiveSpan" => {
            Status::unimplemented(NO_ARCHIVE).into_http()
        }
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            unary(bounds, Writers::export, request).await
        }
        _ => Status::unimplemented(format!("unknown method {path}")).into_http(),
    }
}

async fn unary<A: Message + 'static, F: Future<Output = Answer<A>>>(
    (writers, limit): Bounds,
    method: impl Fn(Arc<Writers>, Request<Bytes>) -> F,
    request: HttpRequest,
) -> Response<Body> {
    let call = service_fn(move |message| method(Arc::clone(&writers), message));
    server(limit).unary(call, request).await
}

/// A server of calls that answers with such messages.
fn server<A: Message + 'static>(max_message_bytes: usize) -> Grpc<RawRequests<A>> {
    Grpc::new(RawRequests::default())
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .max_decoding_message_size(max_message_bytes)
}
