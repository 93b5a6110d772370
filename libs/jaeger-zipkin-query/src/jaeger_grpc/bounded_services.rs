//! Hand-written gRPC services, so that a message can be checked before it is decoded, or passed on as its bytes: a
//! message of megabytes can contain millions of empty tags, each of which takes a hundred bytes when decoded.

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
use tactus_proto::otlp::ExportTraceServiceResponse;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::{Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::answering::{Answer, NO_ARCHIVE};
use super::writers::Writers;

/// A service of which `M` knows the methods.
pub(super) struct BoundedService<M> {
    call: Call,
    max_message_bytes: usize,
    methods: PhantomData<fn() -> M>,
}

/// A call that is being answered.
type Answered = BoxFuture<'static, http::Response<Body>>;

/// The methods of a service.
pub(super) trait Methods: 'static {
    const SERVICE: &'static str;

    /// Answers a call of the method of this name; `None`: there is none.
    fn answer(
        call: Call,
        method: &str,
        max_message_bytes: usize,
        request: http::Request<Body>,
    ) -> Option<Answered>;
}

impl<M> BoundedService<M> {
    /// A service over these writers, with messages of this many bytes at most.
    pub(super) fn new((writers, max_message_bytes): (&Arc<Writers>, usize)) -> Self {
        Self { call: Call(Arc::clone(writers)), max_message_bytes, methods: PhantomData }
    }
}

impl<M> Clone for BoundedService<M> {
    fn clone(&self) -> Self {
        Self::new((&self.call.0, self.max_message_bytes))
    }
}

impl<M: Methods> NamedService for BoundedService<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M: Methods> Service<http::Request<Body>> for BoundedService<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let method = path.get(1..).and_then(|path| path.split_once('/'));
        let (_, method) = method.unwrap_or_default();
        let answer = M::answer(self.call.clone(), method, self.max_message_bytes, request);
        Box::pin(async move {
            Ok(match answer {
                Some(answer) => answer.await,
                None => Status::unimplemented(format!("unknown method {path}")).into_http(),
            })
        })
    }
}

/// `SpanWriterPlugin` of Jaeger's storage.
pub(super) struct SpanWriter;

impl Methods for SpanWriter {
    const SERVICE: &'static str = "jaeger.storage.v1.SpanWriterPlugin";

    fn answer(
        call: Call,
        method: &str,
        limit: usize,
        request: http::Request<Body>,
    ) -> Option<Answered> {
        match method {
            "WriteSpan" => Some(unary::<WriteSpanRequest>(call, limit, request)),
            "Close" => Some(unary::<CloseWriterRequest>(call, limit, request)),
            _ => None,
        }
    }
}

/// `StreamingSpanWriterPlugin` of Jaeger's storage.
pub(super) struct StreamingSpanWriter;

impl Methods for StreamingSpanWriter {
    const SERVICE: &'static str = "jaeger.storage.v1.StreamingSpanWriterPlugin";

    fn answer(
        call: Call,
        method: &str,
        limit: usize,
        request: http::Request<Body>,
    ) -> Option<Answered> {
        (method == "WriteSpanStream").then(|| -> Answered {
            Box::pin(async move {
                let mut server = server::<WriteSpanRequest, WriteSpanResponse>(limit);
                server.client_streaming(call, request).await
            })
        })
    }
}

/// `ArchiveSpanWriterPlugin` of Jaeger's storage: refuses, whatever it is sent.
pub(super) struct ArchiveWriter;

impl Methods for ArchiveWriter {
    const SERVICE: &'static str = "jaeger.storage.v1.ArchiveSpanWriterPlugin";

    fn answer(_: Call, method: &str, _: usize, _: http::Request<Body>) -> Option<Answered> {
        (method == "WriteArchiveSpan").then(|| -> Answered {
            Box::pin(async { Status::unimplemented(NO_ARCHIVE).into_http() })
        })
    }
}

/// `TraceService` of OTLP, by which a Jaeger of the second generation writes.
pub(super) struct Export;

impl Methods for Export {
    const SERVICE: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";

    fn answer(
        call: Call,
        method: &str,
        limit: usize,
        request: http::Request<Body>,
    ) -> Option<Answered> {
        (method == "Export").then(|| unary::<Bytes>(call, limit, request))
    }
}

/// One call of a method.
#[derive(Clone)]
pub(super) struct Call(Arc<Writers>);

fn unary<Q: Bounded>(call: Call, max_message_bytes: usize, request: http::Request<Body>) -> Answered
where
    Call: UnaryService<Q, Response: Message + 'static, Future: Send>,
{
    Box::pin(async move {
        let mut server = server::<Q, <Call as UnaryService<Q>>::Response>(max_message_bytes);
        server.unary(call, request).await
    })
}

/// A server of calls of these messages.
fn server<Q: Bounded, A: Message + 'static>(max_message_bytes: usize) -> Grpc<BoundedCodec<Q, A>> {
    Grpc::new(BoundedCodec(PhantomData))
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .max_decoding_message_size(max_message_bytes)
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

impl UnaryService<Bytes> for Call {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<'static, Answer<ExportTraceServiceResponse>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let writers = Arc::clone(&self.0);
        Box::pin(async move { writers.export(request).await })
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
