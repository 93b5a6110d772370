//! What the gRPC services share: where their answers come from, and in which format.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use tactus_model::{TenantId, TraceId};
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_proto::otlp::span::SpanKind;
use tactus_query::{Frontend, partial_status};
use tactus_server::bodies::Bodies;
use tactus_server::tenancy::Tenancy;
use tonic::{Request, Response, Status};

use crate::jaeger::{JaegerQueries, Operation, OperationsQuery, kind_name};

/// Stores the spans of an OTLP `ExportTraceServiceRequest`, which is handed on as bytes, not decoded yet. Returns when
/// they are as safe as those of any receiver. Errors: as clients of OTLP see them.
pub type WriteSpans = Arc<
    dyn Fn(TenantId, Bytes) -> BoxFuture<'static, Result<ExportTraceServiceResponse, Status>>
        + Send
        + Sync,
>;

/// What every call of an archive is told: traces are kept as long as the retention says, there is no other place for them.
pub(super) const NO_ARCHIVE: &str =
    "there is no archive of traces: a longer retention keeps traces longer";

/// Why nothing can be written.
pub(super) const NO_WRITER: &str =
    "this process stores no spans: send them by OTLP to a distributor";

/// What all services answer from.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) queries: JaegerQueries,
    pub(crate) tenancy: Tenancy,
}

pub(super) type Answer<M> = Result<Response<M>, Status>;

/// The messages of a streamed answer.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Answering {
    /// The tenants of a query, and the query.
    pub(super) fn read<R>(&self, request: Request<R>) -> Result<(Vec<TenantId>, R), Status> {
        let tenants = self.tenancy.read_tenants(request.metadata().as_ref());
        let tenants = tenants.map_err(|error| error.grpc_status())?;
        Ok((tenants, request.into_inner()))
    }

    /// Memory of answers until they are sent.
    pub(super) fn memory(&self) -> &Arc<Bodies> {
        &AsRef::<Frontend>::as_ref(&self.queries).memory
    }

    /// Operations of a service, each as a message of its name and its kind, which is empty if it is unspecified.
    pub(super) async fn operations<O>(
        &self,
        tenants: &[TenantId],
        service: String,
        span_kind: String,
        shown: impl Fn(String, String) -> O,
    ) -> Result<Vec<O>, Status> {
        let query = OperationsQuery { service, span_kind };
        let found = self.queries.operations(tenants, &query).await?;
        let shown = |Operation { name, kind }| match kind {
            SpanKind::Unspecified => shown(name, String::new()),
            kind => shown(name, kind_name(kind).to_owned()),
        };
        Ok(found.into_iter().map(shown).collect())
    }
}

/// A stream of these messages; its trailers say so if something is missing.
pub(super) fn messages<M: Send + 'static>(messages: Vec<M>, partial: bool) -> Answer<Messages<M>> {
    let end = partial.then(|| Err(partial_status()));
    let all = messages.into_iter().map(Ok).chain(end);
    Ok(Response::new(Box::pin(stream::iter(all))))
}

/// The id of a trace, of 16 bytes or of the last 8 of them.
pub(super) fn trace_id(bytes: &[u8]) -> Result<TraceId, Status> {
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
