//! `jaeger.api_v2.QueryService`, what clients of Jaeger's first generation ask.

use tactus_proto::jaeger::api_v2::query_service_server::QueryService;
use tactus_proto::jaeger::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest,
    GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse,
    GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk,
    TraceQueryParameters,
};
use tonic::{Request, Response, Status};

use super::answering::{Answer, Answering, Messages, NO_ARCHIVE, trace_id};
use super::query::{parameters, range, required};
use super::traces;
use crate::jaeger::{Dependency, TraceFilter};

/// The service.
#[derive(Debug)]
pub(super) struct QueryV2(pub(super) Answering);

#[tonic::async_trait]
impl QueryService for QueryV2 {
    type GetTraceStream = Messages<SpansResponseChunk>;
    type FindTracesStream = Messages<SpansResponseChunk>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let (tenants, request) = self.0.read(request)?;
        let id = trace_id(&request.trace_id)?;
        let found = self.0.queries.trace(&tenants, id, request.raw_traces).await?;
        traces::model(self.0.memory(), &tenants, traces::one(found), |spans| SpansResponseChunk {
            spans,
        })
        .await
    }

    async fn archive_trace(
        &self,
        request: Request<ArchiveTraceRequest>,
    ) -> Answer<ArchiveTraceResponse> {
        let (_, request) = self.0.read(request)?;
        trace_id(&request.trace_id)?;
        Err(Status::unimplemented(NO_ARCHIVE))
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request.query)?;
        let found = self.0.queries.find_traces(&tenants, &filter).await?;
        traces::model(self.0.memory(), &tenants, found, |spans| SpansResponseChunk { spans }).await
    }

    async fn get_services(
        &self,
        request: Request<GetServicesRequest>,
    ) -> Answer<GetServicesResponse> {
        let (tenants, _) = self.0.read(request)?;
        let services = self.0.queries.services(&tenants).await?;
        Ok(Response::new(GetServicesResponse { services }))
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Answer<GetOperationsResponse> {
        let (tenants, GetOperationsRequest { service, span_kind }) = self.0.read(request)?;
        let shown = |name, span_kind| Operation { name, span_kind };
        let operations = self.0.operations(&tenants, service, span_kind, shown).await?;
        let mut operation_names: Vec<_> = operations.iter().map(|o| o.name.clone()).collect();
        operation_names.dedup();
        Ok(Response::new(GetOperationsResponse { operation_names, operations }))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let (tenants, request) = self.0.read(request)?;
        let missing = |_| "StartTime and EndTime must be initialized.".to_owned();
        let range = range(request.start_time.as_ref(), request.end_time.as_ref(), missing)?;
        let found = self.0.queries.dependencies(&tenants, range).await?;
        let dependencies = found.into_iter().map(link).collect();
        Ok(Response::new(GetDependenciesResponse { dependencies }))
    }
}

/// A dependency of Jaeger's model.
pub(super) fn link(dependency: Dependency) -> DependencyLink {
    let Dependency { parent, child, call_count } = dependency;
    DependencyLink { parent, child, call_count, source: String::new() }
}

fn filter(query: Option<TraceQueryParameters>) -> Result<TraceFilter, Status> {
    let query = required(query)?;
    parameters!(query, query.tags.into_iter().collect(), search_depth, query.raw_traces).filter()
}
