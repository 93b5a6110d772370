//! `jaeger.api_v2.QueryService`, what clients of Jaeger's first generation ask.

use tactus_proto::jaeger::api_v2::query_service_server::QueryService;
use tactus_proto::jaeger::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest,
    GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse,
    GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk,
    TraceQueryParameters,
};
use tonic::{Request, Response, Status};

use super::archive::NO_ARCHIVE;
use super::query::{Parameters, range, required};
use super::{Answer, Answering, Messages, refuse, trace_id, traces};
use crate::jaeger::{Dependency, OperationsQuery};

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
        let found = self.0.queries.trace(&tenants, id, request.raw_traces).await.map_err(refuse)?;
        let partial = traces::is_partial(&found);
        traces::model(vec![found], partial, |spans| SpansResponseChunk { spans })
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
        let filter = parameters(required(request.query)?).filter()?;
        let found = self.0.queries.find_traces(&tenants, &filter).await.map_err(refuse)?;
        traces::model(found.traces, found.partial, |spans| SpansResponseChunk { spans })
    }

    async fn get_services(
        &self,
        request: Request<GetServicesRequest>,
    ) -> Answer<GetServicesResponse> {
        let (tenants, _) = self.0.read(request)?;
        let services = self.0.queries.services(&tenants).await.map_err(refuse)?;
        Ok(Response::new(GetServicesResponse { services }))
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Answer<GetOperationsResponse> {
        let (tenants, GetOperationsRequest { service, span_kind }) = self.0.read(request)?;
        let query = OperationsQuery { service, span_kind };
        let found = self.0.queries.operations(&tenants, &query).await.map_err(refuse)?;
        let operation_names = names(&found);
        let operations = found.into_iter().map(|operation| Operation {
            span_kind: super::span_kind(operation.kind),
            name: operation.name,
        });
        let operations = operations.collect();
        Ok(Response::new(GetOperationsResponse { operation_names, operations }))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let (tenants, request) = self.0.read(request)?;
        let missing = |_| "StartTime and EndTime must be initialized.".to_owned();
        let range = range(request.start_time.as_ref(), request.end_time.as_ref(), missing)?;
        let found = self.0.queries.dependencies(&tenants, range).await.map_err(refuse)?;
        let dependencies = found.into_iter().map(link).collect();
        Ok(Response::new(GetDependenciesResponse { dependencies }))
    }
}

/// The names of operations that are sorted by name, each once.
pub(super) fn names(operations: &[crate::jaeger::Operation]) -> Vec<String> {
    let mut names: Vec<_> = operations.iter().map(|operation| operation.name.clone()).collect();
    names.dedup();
    names
}

/// A dependency of Jaeger's model.
pub(super) fn link(dependency: Dependency) -> DependencyLink {
    let Dependency { parent, child, call_count } = dependency;
    DependencyLink { parent, child, call_count, source: String::new() }
}

fn parameters(query: TraceQueryParameters) -> Parameters {
    Parameters {
        service: query.service_name,
        operation: query.operation_name,
        tags: query.tags.into_iter().collect(),
        start: query.start_time_min,
        end: query.start_time_max,
        shortest: query.duration_min,
        longest: query.duration_max,
        limit: query.search_depth,
        raw: query.raw_traces,
    }
}
