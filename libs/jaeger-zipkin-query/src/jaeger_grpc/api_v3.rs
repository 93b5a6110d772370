//! `jaeger.api_v3.QueryService`: traces are OTLP.

use tactus_proto::jaeger::api_v3::query_service_server::QueryService;
use tactus_proto::jaeger::api_v3::{
    DependenciesResponse, Dependency, FindTraceSummariesResponse, FindTracesRequest,
    GetDependenciesRequest, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, TraceQueryParameters,
};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tonic::{Request, Status};

use super::answering::{Answer, Answering, Messages, answer};
use super::query::{is_required, no_filter, parameters, range, required};
use super::summaries;
use crate::jaeger::{OperationsQuery, TimeRange, TraceFilter, parse_trace_id};

/// The service.
#[derive(Debug)]
pub(super) struct QueryV3(pub(super) Answering);

#[tonic::async_trait]
impl QueryService for QueryV3 {
    type GetTraceStream = Messages<TracesData>;
    type FindTracesStream = Messages<TracesData>;
    type FindTraceSummariesStream = Messages<FindTraceSummariesResponse>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let found = self.0.trace(request, |request| {
            if request.trace_id.is_empty() {
                return Err(Status::invalid_argument("uninitialized TraceID is not allowed"));
            }
            Ok((parse_trace_id(&request.trace_id)?, request.raw_traces))
        });
        found.await?.otlp_messages().await
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        self.0.find_traces(request, filter).await?.otlp_messages().await
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
        answer(operations, |operations| GetOperationsResponse { operations })
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<DependenciesResponse> {
        let dependencies =
            self.0.dependencies(request, dependency_range, |dependency| Dependency {
                parent: dependency.parent,
                child: dependency.child,
                call_count: dependency.call_count,
            });
        answer(dependencies.await?, |dependencies| DependenciesResponse { dependencies })
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTraceSummariesStream> {
        let message = |summaries| FindTraceSummariesResponse { summaries };
        summaries::find(&self.0, request, filter, summaries::v3, message).await
    }
}

fn filter(request: FindTracesRequest) -> Result<TraceFilter, Status> {
    let query: TraceQueryParameters = required(request.query)?;
    no_filter(&query.filter)?;
    if query.start_time_min.is_none() || query.start_time_max.is_none() {
        return Err(Status::invalid_argument("start time min and max are required parameters"));
    }
    parameters!(query, query.attributes.into_iter().collect(), search_depth, query.raw_traces)
        .filter()
}

fn dependency_range(request: GetDependenciesRequest) -> Result<TimeRange, Status> {
    let range = range(request.start_time.as_ref(), request.end_time.as_ref(), is_required)?;
    if range.end <= range.start {
        return Err(Status::invalid_argument("end_time must be after start_time"));
    }
    Ok(range)
}
