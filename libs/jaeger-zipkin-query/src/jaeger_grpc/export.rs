//! `TraceService/Export` of OTLP, by which a Jaeger of the second generation writes.
//!
//! By hand and not by the generated service, so that a request is handed on as the bytes that came.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_server::tenancy::Tenancy;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::bounded::{server, unknown_method};
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
                return Ok(unknown_method(request.uri().path()));
            }
            let mut server = server::<Bytes, ExportTraceServiceResponse>(max_message_bytes);
            Ok(server.unary(call, request).await)
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
