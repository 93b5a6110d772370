//! The gRPC methods by which a Jaeger writes, without generated code, so that a message can be checked before it is
//! decoded, or passed on as its bytes: a message of megabytes can contain millions of empty tags, each of which takes a
//! hundred bytes when decoded.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::routing::any;
use bytes::{Buf as _, Bytes};
use prost::Message;
use tactus_jaeger::to_otlp::decode_written_span;
use tactus_proto::jaeger::storage::v1::{CloseWriterRequest, WriteSpanRequest, WriteSpanResponse};
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
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
            let mut server = server::<WriteSpanRequest, WriteSpanResponse>(limit);
            server.client_streaming(write, request).await
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

async fn unary<Q: Bounded, A: Message + 'static, F: Future<Output = Answer<A>>>(
    (writers, limit): Bounds,
    method: impl Fn(Arc<Writers>, Request<Q>) -> F,
    request: HttpRequest,
) -> Response<Body> {
    let call = service_fn(move |message| method(Arc::clone(&writers), message));
    server::<Q, A>(limit).unary(call, request).await
}

/// A server of calls of these messages.
fn server<Q: Bounded, A: Message + 'static>(max_message_bytes: usize) -> Grpc<BoundedCodec<Q, A>> {
    Grpc::new(BoundedCodec(PhantomData))
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .max_decoding_message_size(max_message_bytes)
}

/// A request that is read from its bytes.
trait Bounded: Send + Sized + 'static {
    /// Errors: damage, or more in it than its bytes are worth.
    fn read(message: Bytes) -> Result<Self, Status>;
}

/// As it came.
impl Bounded for Bytes {
    fn read(message: Bytes) -> Result<Self, Status> {
        Ok(message)
    }
}

impl Bounded for WriteSpanRequest {
    fn read(message: Bytes) -> Result<Self, Status> {
        let span = decode_written_span(&message)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self { span })
    }
}

impl Bounded for CloseWriterRequest {
    fn read(_: Bytes) -> Result<Self, Status> {
        Ok(Self {})
    }
}

/// Reads requests as `Q`, writes answers as `A`.
struct BoundedCodec<Q, A>(PhantomData<(Q, A)>);

impl<Q: Bounded, A: Message + 'static> Codec for BoundedCodec<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<Q: Bounded, A> Decoder for BoundedCodec<Q, A> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        Q::read(message.copy_to_bytes(message.remaining())).map(Some)
    }
}

impl<Q, A: Message> Encoder for BoundedCodec<Q, A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, message: A, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}
