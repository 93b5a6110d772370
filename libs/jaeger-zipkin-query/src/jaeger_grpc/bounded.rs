//! Calls whose messages are looked at before they are decoded, by hand and not by generated services: a message of
//! megabytes can hold millions of empty tags, each of which takes a hundred bytes once it is decoded.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use prost::Message;
use tactus_jaeger::to_otlp::decode_written_span;
use tactus_proto::jaeger::storage::v1::{
    CloseWriterRequest, CloseWriterResponse, WriteSpanRequest, WriteSpanResponse,
};
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::{Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::archive::NO_ARCHIVE;
use super::writers::Writers;
use super::{Answer, MessageLimits};

/// A request that is read from its bytes.
pub(super) trait Bounded: Send + Sized + 'static {
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
pub(super) struct BoundedCodec<Q, A>(PhantomData<(Q, A)>);

impl<Q, A> Default for BoundedCodec<Q, A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q: Bounded, A: Message + 'static> Codec for BoundedCodec<Q, A> {
    type Encode = A;
    type Decode = Q;
    type Encoder = BoundedCodec<Q, A>;
    type Decoder = BoundedCodec<Q, A>;

    fn encoder(&mut self) -> Self::Encoder {
        Self::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self::default()
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

/// A server of calls of these messages.
pub(super) fn server<Q: Bounded, A: Message + 'static>(
    max_message_bytes: usize,
) -> Grpc<BoundedCodec<Q, A>> {
    Grpc::new(BoundedCodec::default())
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .max_decoding_message_size(max_message_bytes)
}

/// The status of a method that is not there.
pub(super) fn unknown_method(path: &str) -> http::Response<Body> {
    Status::unimplemented(format!("unknown method {path}")).into_http()
}

/// `SpanWriterPlugin` of Jaeger's storage.
#[derive(Clone)]
pub(super) struct SpanWriter {
    pub(super) writers: Arc<Writers>,
    pub(super) limits: MessageLimits,
}

/// `StreamingSpanWriterPlugin` of Jaeger's storage.
#[derive(Clone)]
pub(super) struct StreamingSpanWriter {
    pub(super) writers: Arc<Writers>,
    pub(super) limits: MessageLimits,
}

impl NamedService for SpanWriter {
    const NAME: &'static str = "jaeger.storage.v1.SpanWriterPlugin";
}

impl NamedService for StreamingSpanWriter {
    const NAME: &'static str = "jaeger.storage.v1.StreamingSpanWriterPlugin";
}

/// `ArchiveSpanWriterPlugin` of Jaeger's storage: refuses, whatever it is sent.
#[derive(Clone)]
pub(super) struct ArchiveWriter;

impl NamedService for ArchiveWriter {
    const NAME: &'static str = "jaeger.storage.v1.ArchiveSpanWriterPlugin";
}

impl Service<http::Request<Body>> for ArchiveWriter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(match request.uri().path() {
            "/jaeger.storage.v1.ArchiveSpanWriterPlugin/WriteArchiveSpan" => {
                Status::unimplemented(NO_ARCHIVE).into_http()
            }
            path => unknown_method(path),
        }))
    }
}

/// One call of a method.
#[derive(Clone)]
struct Call(Arc<Writers>);

impl Service<http::Request<Body>> for SpanWriter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (call, limit) = (Call(Arc::clone(&self.writers)), self.limits.received);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/jaeger.storage.v1.SpanWriterPlugin/WriteSpan" => {
                    server::<WriteSpanRequest, WriteSpanResponse>(limit).unary(call, request).await
                }
                "/jaeger.storage.v1.SpanWriterPlugin/Close" => {
                    server::<CloseWriterRequest, CloseWriterResponse>(limit)
                        .unary(call, request)
                        .await
                }
                path => unknown_method(path),
            })
        })
    }
}

impl Service<http::Request<Body>> for StreamingSpanWriter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (call, limit) = (Call(Arc::clone(&self.writers)), self.limits.received);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/jaeger.storage.v1.StreamingSpanWriterPlugin/WriteSpanStream" => {
                    let mut server = server::<WriteSpanRequest, WriteSpanResponse>(limit);
                    server.client_streaming(call, request).await
                }
                path => unknown_method(path),
            })
        })
    }
}

impl UnaryService<WriteSpanRequest> for Call {
    type Response = WriteSpanResponse;
    type Future = BoxFuture<'static, Answer<WriteSpanResponse>>;

    fn call(&mut self, request: Request<WriteSpanRequest>) -> Self::Future {
        let writers = Arc::clone(&self.0);
        Box::pin(async move { writers.write_span(request).await })
    }
}

impl UnaryService<CloseWriterRequest> for Call {
    type Response = CloseWriterResponse;
    type Future = BoxFuture<'static, Answer<CloseWriterResponse>>;

    fn call(&mut self, _: Request<CloseWriterRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(CloseWriterResponse {})) })
    }
}

impl ClientStreamingService<WriteSpanRequest> for Call {
    type Response = WriteSpanResponse;
    type Future = BoxFuture<'static, Answer<WriteSpanResponse>>;

    fn call(&mut self, request: Request<Streaming<WriteSpanRequest>>) -> Self::Future {
        let writers = Arc::clone(&self.0);
        Box::pin(async move { writers.write_span_stream(request).await })
    }
}
