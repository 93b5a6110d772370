//! Storage API v2, which Jaeger 2 uses to read from its storage. Traces are OTLP.

use bytes::Bytes;
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

use super::answering::{Answer, Answering, Messages, answer, trace_id};
use super::query::{is_required, no_filter, parameters, range, required};
use super::summaries;
use super::times::timestamp;
use crate::jaeger::{OperationsQuery, TraceFilter};

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
        let ids = |request: GetTracesRequest| {
            request.query.iter().map(|params| trace_id(&params.trace_id)).collect()
        };
        self.0.traces(request, ids).await?.otlp_messages().await
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
        answer(operations, |operations| GetOperationsResponse { operations })
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        self.0.find_traces(request, |request| filter(request.query)).await?.otlp_messages().await
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Answer<FindTraceIDsResponse> {
        let found = self.0.find_trace_ids(request, |request| filter(request.query)).await?;
        answer(found, |traces| {
            let ids = traces.iter().map(|trace| FoundTraceId {
                trace_id: Bytes::copy_from_slice(&trace.id.0),
                start: Some(timestamp(trace.start)),
                end: Some(timestamp(trace.end)),
            });
            FindTraceIDsResponse { trace_ids: ids.collect() }
        })
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTraceSummariesStream> {
        let filter = |request: FindTracesRequest| filter(request.query);
        let message = |summaries| FindTraceSummariesResponse { summaries };
        summaries::find(&self.0, request, filter, summaries::storage, message).await
    }
}

#[tonic::async_trait]
impl DependencyReader for StorageV2 {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<GetDependenciesResponse> {
        let range = |request: GetDependenciesRequest| {
            range(request.start_time.as_ref(), request.end_time.as_ref(), is_required)
        };
        let dependencies = self.0.dependencies(request, range, |dependency| Dependency {
            parent: dependency.parent,
            child: dependency.child,
            call_count: dependency.call_count,
            source: String::new(),
        });
        answer(dependencies.await?, |dependencies| GetDependenciesResponse { dependencies })
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
