//! What a Jaeger of the first generation reads from its storage.

use bytes::Bytes;
use tactus_proto::jaeger::storage::v1::{
    FindTraceIDsRequest, FindTraceIDsResponse, FindTracesRequest, GetDependenciesRequest,
    GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk, TraceQueryParameters,
    dependencies_reader_plugin_server::DependenciesReaderPlugin,
    span_reader_plugin_server::SpanReaderPlugin,
};
use tonic::{Request, Response};

use super::api_v2::{link, names};
use super::query::{Parameters, range, required};
use super::{Answer, Answering, Messages, refuse, trace_id, traces};
use crate::jaeger::OperationsQuery;

/// The reading services.
#[derive(Debug)]
pub(super) struct StorageV1(pub(super) Answering);

#[tonic::async_trait]
impl SpanReaderPlugin for StorageV1 {
    type GetTraceStream = Messages<SpansResponseChunk>;
    type FindTracesStream = Messages<SpansResponseChunk>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let (tenants, request) = self.0.read(request)?;
        let id = trace_id(&request.trace_id)?;
        let found = self.0.queries.trace(&tenants, id, true).await.map_err(refuse)?;
        let partial = traces::is_partial(&found);
        traces::model(vec![found], partial, |spans| SpansResponseChunk { spans })
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

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = parameters(required(request.query)?).filter()?;
        let found = self.0.queries.find_traces(&tenants, &filter).await.map_err(refuse)?;
        traces::model(found.traces, found.partial, |spans| SpansResponseChunk { spans })
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Answer<FindTraceIDsResponse> {
        let (tenants, request) = self.0.read(request)?;
        let filter = parameters(required(request.query)?).filter()?;
        let found = self.0.queries.find_trace_ids(&tenants, &filter).await.map_err(refuse)?;
        let ids = found.traces.iter().map(|trace| Bytes::copy_from_slice(&trace.id.0));
        Ok(Response::new(FindTraceIDsResponse { trace_ids: ids.collect() }))
    }
}

#[tonic::async_trait]
impl DependenciesReaderPlugin for StorageV1 {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let (tenants, request) = self.0.read(request)?;
        let missing = |name| format!("{name} is required");
        let range = range(request.start_time.as_ref(), request.end_time.as_ref(), missing)?;
        let found = self.0.queries.dependencies(&tenants, range).await.map_err(refuse)?;
        let dependencies = found.into_iter().map(link).collect();
        Ok(Response::new(GetDependenciesResponse { dependencies }))
    }
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
        limit: query.num_traces,
        raw: true,
    }
}
