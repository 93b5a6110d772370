//! What the gRPC services share: where their answers come from, and in which format.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use tactus_model::{TenantId, TraceId};
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_proto::otlp::span::SpanKind;
use tactus_query::{FoundId, Listed, partial_status};
use tactus_server::tenancy::Tenancy;
use tonic::{Request, Response, Status};

use super::traces::TracesToSend;
use crate::jaeger::{
    Dependency, FoundTraces, JaegerQueries, Operation, OperationsQuery, TimeRange, TraceFilter,
    kind_name,
};

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

    /// The trace that a request asks for: `asked` reads its id, and whether it is wanted as it is stored.
    pub(super) async fn trace<R>(
        &self,
        request: Request<R>,
        asked: impl FnOnce(R) -> Result<(TraceId, bool), Status>,
    ) -> Result<TracesToSend, Status> {
        let (tenants, request) = self.read(request)?;
        let (id, raw) = asked(request)?;
        let found = self.queries.trace(&tenants, id, raw).await?;
        Ok(self.to_send(tenants, found))
    }

    /// The traces of the ids that `asked` reads from a request, as they are stored.
    pub(super) async fn traces<R>(
        &self,
        request: Request<R>,
        asked: impl FnOnce(R) -> Result<Vec<TraceId>, Status>,
    ) -> Result<TracesToSend, Status> {
        let (tenants, request) = self.read(request)?;
        let found = self.queries.traces(&tenants, &asked(request)?, true).await?;
        Ok(self.to_send(tenants, found))
    }

    /// The traces that match the filter of a request.
    pub(super) async fn find_traces<R>(
        &self,
        request: Request<R>,
        filter: impl FnOnce(R) -> Result<TraceFilter, Status>,
    ) -> Result<TracesToSend, Status> {
        let (tenants, request) = self.read(request)?;
        let found = self.queries.find_traces(&tenants, &filter(request)?).await?;
        Ok(self.to_send(tenants, found))
    }

    /// The ids of the traces that match the filter of a request.
    pub(super) async fn find_trace_ids<R>(
        &self,
        request: Request<R>,
        filter: impl FnOnce(R) -> Result<TraceFilter, Status>,
    ) -> Result<Listed<Vec<FoundId>>, Status> {
        let (tenants, request) = self.read(request)?;
        let found = self.queries.find_trace_ids(&tenants, &filter(request)?).await?;
        Ok(Listed { list: found.traces, partial: found.partial })
    }

    /// The names of all services, as adjusted traces show them.
    pub(super) async fn services<R>(
        &self,
        request: Request<R>,
    ) -> Result<Listed<Vec<String>>, Status> {
        let (tenants, _) = self.read(request)?;
        Ok(self.queries.services(&tenants).await?)
    }

    /// The names of all services, as traces that are read from a storage have them.
    pub(super) async fn stored_services<R>(
        &self,
        request: Request<R>,
    ) -> Result<Listed<Vec<String>>, Status> {
        let (tenants, _) = self.read(request)?;
        Ok(self.queries.services_in_model(&tenants).await?)
    }

    /// Operations of a service, each as a message of its name and its kind, which is empty if it is unspecified.
    pub(super) async fn operations<R, O>(
        &self,
        request: Request<R>,
        query: impl FnOnce(R) -> OperationsQuery,
        shown: impl Fn(String, String) -> O,
    ) -> Result<Listed<Vec<O>>, Status> {
        let (tenants, request) = self.read(request)?;
        let found = self.queries.operations(&tenants, &query(request)).await?;
        let shown = |Operation { name, kind }| match kind {
            SpanKind::Unspecified => shown(name, String::new()),
            kind => shown(name, kind_name(kind).to_owned()),
        };
        Ok(found.map(|list| list.into_iter().map(shown).collect()))
    }

    /// Who calls whom in the range of a request, each as a message.
    pub(super) async fn dependencies<R, D>(
        &self,
        request: Request<R>,
        range: impl FnOnce(R) -> Result<TimeRange, Status>,
        shown: impl Fn(Dependency) -> D,
    ) -> Result<Listed<Vec<D>>, Status> {
        let (tenants, request) = self.read(request)?;
        let found = self.queries.dependencies(&tenants, range(request)?).await?;
        Ok(found.map(|list| list.into_iter().map(shown).collect()))
    }

    fn to_send(&self, tenants: Vec<TenantId>, found: FoundTraces) -> TracesToSend {
        TracesToSend { queries: self.queries.clone(), tenants, found }
    }
}

/// The message of a list; its metadata say so if something is missing.
pub(super) fn answer<L, M>(found: Listed<L>, message: impl FnOnce(L) -> M) -> Answer<M> {
    let mut response = Response::new(message(found.list));
    if found.partial {
        *response.metadata_mut() = partial_status().metadata().clone();
    }
    Ok(response)
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
