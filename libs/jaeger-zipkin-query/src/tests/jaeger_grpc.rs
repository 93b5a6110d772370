//! Jaeger's gRPC services over a connection.

mod storage;
mod writers;

use std::net::SocketAddr;

use prost_types::Timestamp;
use tactus_proto::jaeger::api_v2::query_service_client::QueryServiceClient as ClientV2;
use tactus_proto::jaeger::api_v3::query_service_client::QueryServiceClient as ClientV3;
use tactus_proto::jaeger::{api_v2, api_v3};
use tactus_proto::tactus::v1::{TagValue, TagValuesResponse};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::RoutesBuilder;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status, Streaming};

use super::*;
use crate::WriteSpans;
use crate::jaeger::JaegerQueries;
use crate::jaeger_grpc::MessageLimits;
use crate::jaeger_grpc::{Answering, query_services, storage_services};
use tactus_config::sections::query_apis::JaegerApis;

const SAMPLE: &str = "0af7651916cd43dd8448eb211c80319c";
const LIMITS: MessageLimits = MessageLimits { received: 4 << 20, sent: 16 << 20 };

fn answering(api: &Api) -> Answering {
    let frontend = Arc::clone(&api.frontend);
    let tenancy = frontend.tenancy.clone();
    Answering { queries: JaegerQueries::new(frontend, JaegerApis::default()), tenancy }
}

/// Serves all services on one port. `write`: where written spans go.
async fn serve(api: &Api, write: Option<WriteSpans>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut routes = RoutesBuilder::default();
    query_services(answering(api), LIMITS)(&mut routes);
    storage_services(answering(api), write, LIMITS)(&mut routes);
    let server = Server::builder().add_routes(routes.routes());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn connect(api: &Api) -> Channel {
    let address = serve(api, None).await;
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn collect<M>(answer: Result<tonic::Response<Streaming<M>>, Status>) -> Vec<M> {
    let mut stream = answer.unwrap().into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        messages.push(message);
    }
    messages
}

fn sample_id() -> Bytes {
    Bytes::copy_from_slice(&tactus_model::TraceId::from_hex(SAMPLE).unwrap().0)
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn query_v2() -> api_v2::TraceQueryParameters {
    api_v2::TraceQueryParameters {
        start_time_min: at(1_699_999_000),
        start_time_max: at(1_700_001_000),
        ..Default::default()
    }
}

fn query_v3() -> api_v3::TraceQueryParameters {
    api_v3::TraceQueryParameters {
        start_time_min: at(1_699_999_000),
        start_time_max: at(1_700_001_000),
        ..Default::default()
    }
}

fn find_v3(query: api_v3::TraceQueryParameters) -> api_v3::FindTracesRequest {
    api_v3::FindTracesRequest { query: Some(query) }
}

fn refusal(status: Status) -> (Code, String) {
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn trace_of_v2_comes_as_spans_with_their_process() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV2::new(connect(&api).await);
    let request = api_v2::GetTraceRequest { trace_id: sample_id(), ..Default::default() };
    let chunks = collect(client.get_trace(request).await).await;
    let spans: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.spans).collect();
    assert_eq!((chunks.len(), spans.len()), (1, 4));
    for span in spans {
        assert_eq!(span.trace_id, sample_id());
        assert!(span.process.as_ref().is_some_and(|process| !process.service_name.is_empty()));
        assert!(span.process_id.is_empty());
    }
}

#[tokio::test]
async fn trace_that_cannot_be_answered_has_the_statuses_of_jaeger() {
    let api = Api::new(Setup::default()).await;
    let channel = connect(&api).await;
    let mut client = ClientV2::new(channel.clone());
    let of = |trace_id: &'static [u8]| api_v2::GetTraceRequest {
        trace_id: Bytes::from_static(trace_id),
        ..Default::default()
    };
    let uninitialized = (Code::InvalidArgument, "uninitialized TraceID is not allowed".to_owned());
    let not_found = (Code::NotFound, "trace not found".to_owned());
    let length = (Code::InvalidArgument, "invalid length for TraceID".to_owned());
    for (id, expected) in [
        (&b""[..], &uninitialized),
        (&[0; 16], &uninitialized),
        (&[1; 15], &length),
        (&[1; 16], &not_found),
        (&[1; 8], &not_found),
    ] {
        assert_eq!(&refusal(client.get_trace(of(id)).await.unwrap_err()), expected, "{id:?}");
    }
    let archive = api_v2::ArchiveTraceRequest { trace_id: sample_id(), ..Default::default() };
    let archive = client.archive_trace(archive).await.unwrap_err();
    assert_eq!(archive.code(), Code::Unimplemented);
    let missing = client.find_traces(api_v2::FindTracesRequest { query: None }).await;
    let missing_query = (Code::InvalidArgument, "missing query".to_owned());
    assert_eq!(refusal(missing.unwrap_err()), missing_query);
    let request = api_v2::GetDependenciesRequest::default();
    assert_eq!(
        refusal(client.get_dependencies(request).await.unwrap_err()),
        (Code::InvalidArgument, "StartTime and EndTime must be initialized.".to_owned())
    );

    let mut client = ClientV3::new(channel);
    let of = |trace_id: &str| api_v3::GetTraceRequest {
        trace_id: trace_id.to_owned(),
        ..Default::default()
    };
    assert_eq!(refusal(client.get_trace(of("")).await.unwrap_err()), uninitialized);
    for absent in ["ff", "00000000000000000000000000000000"] {
        let error = client.get_trace(of(absent)).await.unwrap_err();
        assert_eq!(refusal(error), not_found, "{absent}");
    }
    let wrong = client.get_trace(of("xyz!")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn search_of_v2_finds_traces_by_tens_of_spans() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV2::new(connect(&api).await);
    let query = api_v2::TraceQueryParameters {
        tags: [("customer".to_owned(), "cust-1".to_owned())].into(),
        ..query_v2()
    };
    let request = api_v2::FindTracesRequest { query: Some(query) };
    let chunks = collect(client.find_traces(request).await).await;
    let mut traces: Vec<_> = Vec::new();
    for chunk in &chunks {
        assert!((1..=10).contains(&chunk.spans.len()));
        let id = chunk.spans[0].trace_id.clone();
        assert!(chunk.spans.iter().all(|span| span.trace_id == id));
        traces.push(id);
    }
    traces.dedup();
    let found = traces.len();
    traces.sort();
    traces.dedup();
    assert_eq!((found, traces.len()), (12, 12));
    let two = api_v2::TraceQueryParameters { search_depth: 2, ..query_v2() };
    let chunks =
        collect(client.find_traces(api_v2::FindTracesRequest { query: Some(two) }).await).await;
    let traces = chunks.iter().map(|chunk| chunk.spans[0].trace_id.clone());
    assert_eq!(traces.collect::<std::collections::HashSet<_>>().len(), 2);
}

/// What recent data have as values of any tag.
fn values(values: &[&str]) -> TagValuesResponse {
    let value = |value: &&str| TagValue { value: (*value).to_owned(), ..TagValue::default() };
    TagValuesResponse { values: values.iter().map(value).collect(), ..Default::default() }
}

#[tokio::test]
async fn services_and_operations_are_named() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let channel = connect(&api).await;
    let (mut v2, mut v3) = (ClientV2::new(channel.clone()), ClientV3::new(channel));
    let services = v3.get_services(api_v3::GetServicesRequest {}).await.unwrap().into_inner();
    assert!(services.services.is_empty());
    *api.recent.values.lock() = values(&["PUT /", "GET /"]);
    let services = v2.get_services(api_v2::GetServicesRequest {}).await.unwrap().into_inner();
    // Recent data have them as kinds of spans without a service, too.
    assert_eq!(services.services, ["GET /", "PUT /", "missing-service-name"]);
    let request =
        api_v2::GetOperationsRequest { service: "svc".to_owned(), span_kind: "server".to_owned() };
    let found = v2.get_operations(request).await.unwrap().into_inner();
    assert_eq!(found.operation_names, ["GET /", "PUT /"]);
    let kinds: Vec<_> = found.operations.iter().map(|found| found.span_kind.as_str()).collect();
    assert_eq!(kinds, ["server", "server"]);
    // The kinds that there are, and the names.
    *api.recent.values.lock() = values(&["client", "unspecified"]);
    let request =
        api_v3::GetOperationsRequest { service: "svc".to_owned(), span_kind: String::new() };
    let found = v3.get_operations(request).await.unwrap().into_inner().operations;
    let found: Vec<_> =
        found.iter().map(|found| (found.name.as_str(), found.span_kind.as_str())).collect();
    let expected =
        [("client", ""), ("client", "client"), ("unspecified", ""), ("unspecified", "client")];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn traces_of_v3_are_otlp() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV3::new(connect(&api).await);
    let request = api_v3::GetTraceRequest {
        trace_id: SAMPLE.to_owned(),
        raw_traces: true,
        ..Default::default()
    };
    let messages = collect(client.get_trace(request).await).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].resource_spans.len(), 2);
    let messages = collect(client.find_traces(find_v3(query_v3())).await).await;
    assert_eq!(messages.len(), 64);
}

#[tokio::test]
async fn search_of_v3_wants_times_and_no_filter() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV3::new(connect(&api).await);
    let open = api_v3::TraceQueryParameters { start_time_min: None, ..query_v3() };
    let filtered =
        api_v3::TraceQueryParameters { filter: Bytes::from_static(b"\x0a\x02eq"), ..query_v3() };
    for (query, text) in [
        (None, "missing query"),
        (Some(open), "start time min and max are required parameters"),
        (Some(filtered), "query.filter is not supported: use attributes, or search with TraceQL"),
    ] {
        let request = api_v3::FindTracesRequest { query };
        let expected = (Code::InvalidArgument, text.to_owned());
        let found = client.find_traces(request.clone()).await.unwrap_err();
        assert_eq!(refusal(found), expected);
        let found = client.find_trace_summaries(request).await.unwrap_err();
        assert_eq!(refusal(found), expected);
    }
}

#[tokio::test]
async fn summaries_tell_of_each_trace() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV3::new(connect(&api).await);
    let query =
        api_v3::TraceQueryParameters { operation_name: "GET /api".to_owned(), ..query_v3() };
    let messages = collect(client.find_trace_summaries(find_v3(query)).await).await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    let [summary] = message.summaries.as_slice() else { panic!("{message:?}") };
    assert_eq!(summary.trace_id, SAMPLE);
    assert_eq!(summary.root_operation_name, "GET /api");
    assert_eq!((summary.span_count, summary.error_span_count), (4, 1));
    assert_eq!(summary.min_start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(summary.services.iter().map(|service| service.span_count).sum::<i32>(), 4);
}

#[tokio::test]
async fn dependencies_want_a_range() {
    let api = Api::new(Setup::default()).await;
    let mut client = ClientV3::new(connect(&api).await);
    for (start, end, text) in [
        (None, at(2), "start_time is required"),
        (at(1), None, "end_time is required"),
        (at(2), at(2), "end_time must be after start_time"),
    ] {
        let request = api_v3::GetDependenciesRequest { start_time: start, end_time: end };
        let found = client.get_dependencies(request).await.unwrap_err();
        assert_eq!(refusal(found), (Code::InvalidArgument, text.to_owned()));
    }
}

#[tokio::test]
async fn damaged_block_is_told_in_the_trailers() {
    let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
    api.cut_data(V4);
    let mut client = ClientV3::new(connect(&api).await);
    let answer = client.find_traces(find_v3(query_v3())).await;
    let mut stream = answer.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    let trailers = stream.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-tactus-partial").unwrap(), "true");
}

#[tokio::test]
async fn tenant_is_that_of_the_metadata() {
    let setup = Setup { tenancy: Tenancy::by_header(true), blocks: &[], ..Setup::default() };
    let api = Api::new(setup).await;
    let mut client = ClientV3::new(connect(&api).await);
    let missing = client.get_services(api_v3::GetServicesRequest {}).await.unwrap_err();
    assert_eq!(refusal(missing), (Code::Unauthenticated, "no org id".to_owned()));
    let mut request = tonic::Request::new(api_v3::GetServicesRequest {});
    request.metadata_mut().insert("x-scope-orgid", "b|a".parse().unwrap());
    client.get_services(request).await.unwrap();
    let mut tenants: Vec<_> =
        api.recent.values_requests.lock().iter().map(|asked| asked.tenant.clone()).collect();
    tenants.sort();
    tenants.dedup();
    assert_eq!(tenants, ["a", "b"]);
}
