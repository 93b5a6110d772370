//! `jaeger.api_v3.QueryService`: traces are OTLP.

use tactus_proto::jaeger::api_v3::query_service_server::QueryService;
use tactus_proto::jaeger::api_v3::{
    DependenciesResponse, Dependency, FindTraceSummariesResponse, FindTracesRequest,
    GetDependenciesRequest, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, TraceQueryParameters,
};
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tonic::{Request, Response, Status};

use super::answering::{Answer, Answering, Messages, messages};
use super::query::{no_filter, parameters, range, required};
use super::{summaries, traces};
use crate::jaeger::{TraceFilter, parse_trace_id};

/// The service.
#[derive(Debug)]
pub(super) struct QueryV3(pub(super) Answering);

#[tonic::async_trait]
impl QueryService for QueryV3 {
    type GetTraceStream = Messages<TracesData>;
    type FindTracesStream = Messages<TracesData>;
    type FindTraceSummariesStream = Messages<FindTraceSummariesResponse>;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Answer<Self::GetTraceStream> {
        let (tenants, request) = self.0.read(request)?;
        if request.trace_id.is_empty() {
            return Err(Status::invalid_argument("uninitialized TraceID is not allowed"));
        }
        let id = parse_trace_id(&request.trace_id)?;
        let found = self.0.queries.trace(&tenants, id, request.raw_traces).await?;
        traces::otlp(self.0.memory(), &tenants, traces::one(found)).await
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTracesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request)?;
        let found = self.0.queries.find_traces(&tenants, &filter).await?;
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

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Answer<DependenciesResponse> {
        let (tenants, request) = self.0.read(request)?;
        let missing = |name| format!("{name} is required");
        let range = range(request.start_time.as_ref(), request.end_time.as_ref(), missing)?;
        if range.end <= range.start {
            return Err(Status::invalid_argument("end_time must be after start_time"));
        }
        let found = self.0.queries.dependencies(&tenants, range).await?;
        let dependencies = found.into_iter().map(|dependency| Dependency {
            parent: dependency.parent,
            child: dependency.child,
            call_count: dependency.call_count,
        });
        Ok(Response::new(DependenciesResponse { dependencies: dependencies.collect() }))
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Answer<Self::FindTraceSummariesStream> {
        let (tenants, request) = self.0.read(request)?;
        let filter = filter(request)?;
        let (summaries, partial) = summaries::find(&self.0.queries, &tenants, &filter).await?;
        let message = |summaries| FindTraceSummariesResponse { summaries };
        let summaries = summaries.into_iter().map(summaries::v3).collect();
        messages(summaries::messages_of(summaries, message), partial)
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
