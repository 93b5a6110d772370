//! Storage API v1, which Jaeger 1 uses to read from its storage.

use bytes::Bytes;
use tactus_proto::jaeger::storage::v1::{
    FindTraceIDsRequest, FindTraceIDsResponse, FindTracesRequest, GetDependenciesRequest,
    GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk, TraceQueryParameters,
    archive_span_reader_plugin_server::ArchiveSpanReaderPlugin,
    dependencies_reader_plugin_server::DependenciesReaderPlugin,
    span_reader_plugin_server::SpanReaderPlugin,
};
use tonic::{Request, Status};

use super::answering::{Answer, Answering, Messages, NO_ARCHIVE, answer, trace_id};
use super::api_v2::link;
use super::query::{is_required, parameters, range, required};
use crate::jaeger::{OperationsQuery, TraceFilter};

/// The reading services.
#[derive(Debug)]
pub(super) struct StorageV1(pub(super) Answering);

#[tonic::async_trait]
impl SpanReaderPlugin for StorageV1 {
    type GetTraceStream = Messages<SpansResponseChunk>;
    type FindTracesStream = Messages<SpansResponseChunk>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let asked = |request: GetTraceRequest| Ok((trace_id(&request.trace_id)?, true));
        let found = self.0.trace(request, asked).await?;
        found.model_messages(|spans| SpansResponseChunk { spans }).await
    }

    async fn get_services(
        &self,
        request: Request<GetServicesRequest>,
    ) -> Answer<GetServicesResponse> {
        let services = self.0.stored_services(request).await?;
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

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        let found = self.0.find_traces(request, |request| filter(request.query)).await?;
        found.model_messages(|spans| SpansResponseChunk { spans }).await
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Answer<FindTraceIDsResponse> {
        let found = self.0.find_trace_ids(request, |request| filter(request.query)).await?;
        answer(found, |traces| {
            let ids = traces.iter().map(|trace| Bytes::copy_from_slice(&trace.id.0));
            FindTraceIDsResponse { trace_ids: ids.collect() }
        })
    }
}

#[tonic::async_trait]
impl DependenciesReaderPlugin for StorageV1 {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let range = |request: GetDependenciesRequest| {
            range(request.start_time.as_ref(), request.end_time.as_ref(), is_required)
        };
        let dependencies = self.0.dependencies(request, range, link).await?;
        answer(dependencies, |dependencies| GetDependenciesResponse { dependencies })
    }
}

#[tonic::async_trait]
impl ArchiveSpanReaderPlugin for StorageV1 {
    type GetArchiveTraceStream = Messages<SpansResponseChunk>;

    async fn get_archive_trace(
        &self,
        _: Request<GetTraceRequest>,
    ) -> Answer<Self::GetArchiveTraceStream> {
        Err(Status::unimplemented(NO_ARCHIVE))
    }
}

fn filter(query: Option<TraceQueryParameters>) -> Result<TraceFilter, Status> {
    let query = required(query)?;
    parameters!(query, query.tags.into_iter().collect(), num_traces, true).filter()
}
