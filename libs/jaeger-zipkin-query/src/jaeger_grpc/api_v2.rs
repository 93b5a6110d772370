//! `jaeger.api_v2.QueryService`, what clients of Jaeger's first generation ask.

use tactus_proto::jaeger::api_v2::query_service_server::QueryService;
use tactus_proto::jaeger::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest,
    GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse,
    GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk,
    TraceQueryParameters,
};
use tonic::{Request, Status};

use super::answering::{Answer, Answering, Messages, NO_ARCHIVE, answer, trace_id};
use super::query::{parameters, range, required};
use crate::jaeger::{Dependency, OperationsQuery, TraceFilter};

/// The service.
#[derive(Debug)]
pub(super) struct QueryV2(pub(super) Answering);

#[tonic::async_trait]
impl QueryService for QueryV2 {
    type GetTraceStream = Messages<SpansResponseChunk>;
    type FindTracesStream = Messages<SpansResponseChunk>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let asked =
            |request: GetTraceRequest| Ok((trace_id(&request.trace_id)?, request.raw_traces));
        let found = self.0.trace(request, asked).await?;
        found.model_messages(|spans| SpansResponseChunk { spans }).await
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
        let found = self.0.find_traces(request, |request| filter(request.query)).await?;
        found.model_messages(|spans| SpansResponseChunk { spans }).await
    }

    async fn get_services(
        &self,
        request: Request<GetServicesRequest>,
    ) -> Answer<GetServicesResponse> {
        let services = self.0.services(request).await?;
        answer(services, |services| GetServicesResponse { services })
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Answer<GetOperationsResponse> {
        let query =
            |GetOperationsRequest { service, span_kind }| OperationsQuery { service, span_kind };
        let shown = |name, span_kind| Operation { name, span_kind };
        let operations = self.0.operations(request, query, shown).await?;
        answer(operations, |operations| {
            let mut operation_names: Vec<_> = operations.iter().map(|o| o.name.clone()).collect();
            operation_names.dedup();
            GetOperationsResponse { operation_names, operations }
        })
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let missing = |_: &str| "StartTime and EndTime must be initialized.".to_owned();
        let range = |request: GetDependenciesRequest| {
            range(request.start_time.as_ref(), request.end_time.as_ref(), missing)
        };
        let dependencies = self.0.dependencies(request, range, link).await?;
        answer(dependencies, |dependencies| GetDependenciesResponse { dependencies })
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
