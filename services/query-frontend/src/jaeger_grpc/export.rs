//! `TraceService/Export` of OTLP, by which a Jaeger of the second generation writes.
//!
//! By hand and not by the generated service, so that a request is handed on as the bytes that came.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use prost::Message as _;
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_server::tenancy::Tenancy;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::{Answer, NO_WRITER, WriteSpans};

/// The one method.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The service.
#[derive(Clone)]
pub(super) struct ExportService {
    call: Export,
    max_message_bytes: usize,
}

/// One call of the method.
#[derive(Clone)]
struct Export {
    tenancy: Tenancy,
    write: Option<WriteSpans>,
}

impl ExportService {
    pub(super) fn new(
        tenancy: Tenancy,
        write: Option<WriteSpans>,
        max_message_bytes: usize,
    ) -> Self {
        Self { call: Export { tenancy, write }, max_message_bytes }
    }
}

impl NamedService for ExportService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for ExportService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { call, max_message_bytes } = self.clone();
        Box::pin(async move {
            if request.uri().path() != EXPORT {
                let text = format!("unknown method {}", request.uri().path());
                return Ok(Status::unimplemented(text).into_http());
            }
            let mut grpc = Grpc::new(Undecoded)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .max_decoding_message_size(max_message_bytes);
            Ok(grpc.unary(call, request).await)
        })
    }
}

impl UnaryService<Bytes> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<'static, Answer<ExportTraceServiceResponse>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self { tenancy, write } = self.clone();
        Box::pin(async move {
            let write = write.ok_or_else(|| Status::unimplemented(NO_WRITER))?;
            let (metadata, _, message) = request.into_parts();
            if message.is_empty() {
                // No spans: success, whoever asks.
                return Ok(Response::new(ExportTraceServiceResponse::default()));
            }
            let tenant = tenancy.write_tenant(metadata.as_ref());
            let tenant = tenant.map_err(|error| error.grpc_status())?;
            write(tenant, message).await.map(Response::new)
        })
    }
}

/// Requests as they came.
struct Undecoded;

impl Codec for Undecoded {
    type Encode = ExportTraceServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Undecoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

impl Encoder for Undecoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(
        &mut self,
        message: ExportTraceServiceResponse,
        into: &mut EncodeBuf<'_>,
    ) -> Result<(), Status> {
        message.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}
