//! Storage API v2, which Jaeger 2 uses to read from its storage. Traces are OTLP.

use bytes::Bytes;
use tactus_model::TraceId;
use tactus_proto::jaeger::storage::v2::any_value::Value;
use tactus_proto::jaeger::storage::v2::{
    Dependency, FindTraceIDsRequest, FindTraceIDsResponse, FindTraceSummariesResponse,
    FindTracesRequest, FoundTraceId, GetCapabilitiesRequest, GetCapabilitiesResponse,
    GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse,
    GetServicesRequest, GetServicesResponse, GetTracesRequest, KeyValue, Operation,
    SearchCapabilities, TraceQueryParameters, capabilities_server::Capabilities,
    dependency_reader_server::DependencyReader, trace_reader_server::TraceReader,
};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tonic::{Request, Response, Status};

use super::answering::{Answer, Answering, Messages, messages, trace_id};
use super::query::{no_filter, parameters, range, required};
use super::times::timestamp;
use super::{summaries, traces};
use crate::jaeger::TraceFilter;

/// The reading services.
#[derive(Debug)]
pub(super) struct StorageV2(pub(super) Answering);

#[tonic::async_trait]
impl TraceReader for StorageV2 {
    type GetTracesStream = Messages<TracesData>;
    type FindTracesStream = Messages<TracesData>;
    type FindTraceSummariesStream = Messages<FindTraceSummariesResponse>;

    /// Traces that do not exist are left out: who asks sees which ones came.
    async fn get_traces(
        &self,
        request: Request<GetTracesRequest>,
    ) -> Answer<Self::GetTracesStream> {
        let (tenants, request) = self.0.read(request)?;
        let ids: Result<Vec<TraceId>, Status> =
            request.query.iter().map(|params| trace_id(&params.trace_id)).collect();
        let found = self.0.queries.traces(&tenants, &ids?, true).await?;
        traces::otlp(self.0.memory(), &tenants, found).await
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
        Ok(Response::new(GetOperationsResponse { operations }))
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request.query)?;
        let found = self.0.queries.find_traces(&tenants, &filter).await?;
        traces::otlp(self.0.memory(), &tenants, found).await
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Answer<FindTraceIDsResponse> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request.query)?;
        let found = self.0.queries.find_trace_ids(&tenants, &filter).await?;
        let ids = found.traces.iter().map(|trace| FoundTraceId {
            trace_id: Bytes::copy_from_slice(&trace.id.0),
            start: Some(timestamp(trace.start)),
            end: Some(timestamp(trace.end)),
        });
        Ok(Response::new(FindTraceIDsResponse { trace_ids: ids.collect() }))
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTraceSummariesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request.query)?;
        let (summaries, partial) = summaries::find(&self.0.queries, &tenants, &filter).await?;
        let message = |summaries| FindTraceSummariesResponse { summaries };
        let summaries = summaries.into_iter().map(summaries::storage).collect();
        messages(summaries::messages_of(summaries, message), partial)
    }
}

#[tonic::async_trait]
impl DependencyReader for StorageV2 {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let (tenants, request) = self.0.read(request)?;
        let missing = |name| format!("{name} is required");
        let range = range(request.start_time.as_ref(), request.end_time.as_ref(), missing)?;
        let found = self.0.queries.dependencies(&tenants, range).await?;
        let dependencies = found.into_iter().map(|dependency| Dependency {
            parent: dependency.parent,
            child: dependency.child,
            call_count: dependency.call_count,
            source: String::new(),
        });
        Ok(Response::new(GetDependenciesResponse { dependencies: dependencies.collect() }))
    }
}

#[tonic::async_trait]
impl Capabilities for StorageV2 {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Answer<GetCapabilitiesResponse> {
        let search = SearchCapabilities {
            without_service_name: true,
            same_span_conjunction: true,
            filter: None,
        };
        Ok(Response::new(GetCapabilitiesResponse { search: Some(search) }))
    }
}

fn filter(query: Option<TraceQueryParameters>) -> Result<TraceFilter, Status> {
    let query = required(query)?;
    no_filter(&query.filter)?;
    let tags: Result<Vec<_>, Status> = query.attributes.into_iter().map(tag).collect();
    parameters!(query, tags?, search_depth, true).filter()
}

/// An attribute as text, as searches know them.
fn tag(KeyValue { key, value }: KeyValue) -> Result<(String, String), Status> {
    let text = match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_)) => {
            let text = format!(
                "query.attributes: {key}: only text, numbers and booleans are searched for"
            );
            return Err(Status::invalid_argument(text));
        }
    };
    Ok((key, text))
}
