//! What a Jaeger in front reads.

use std::sync::atomic::Ordering;

use tactus_proto::jaeger::storage::v1::dependencies_reader_plugin_client::DependenciesReaderPluginClient;
use tactus_proto::jaeger::storage::v1::span_reader_plugin_client::SpanReaderPluginClient;
use tactus_proto::jaeger::storage::v2::capabilities_client::CapabilitiesClient;
use tactus_proto::jaeger::storage::v2::dependency_reader_client::DependencyReaderClient;
use tactus_proto::jaeger::storage::v2::trace_reader_client::TraceReaderClient;
use tactus_proto::jaeger::storage::{v1, v2};

use super::*;

fn query_v1() -> v1::TraceQueryParameters {
    v1::TraceQueryParameters {
        start_time_min: at(1_699_999_000),
        start_time_max: at(1_700_001_000),
        ..Default::default()
    }
}

fn query_v2() -> v2::TraceQueryParameters {
    v2::TraceQueryParameters {
        start_time_min: at(1_699_999_000),
        start_time_max: at(1_700_001_000),
        ..Default::default()
    }
}

fn attribute(key: &str, value: v2::any_value::Value) -> v2::KeyValue {
    v2::KeyValue { key: key.to_owned(), value: Some(v2::AnyValue { value: Some(value) }) }
}

#[tokio::test]
async fn first_generation_reads_traces_and_ids() {
    let api = Api::new(Setup::default()).await;
    let mut client = SpanReaderPluginClient::new(connect(&api).await);
    let request = v1::GetTraceRequest { trace_id: sample_id(), ..Default::default() };
    let chunks = collect(client.get_trace(request).await).await;
    let spans: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.spans).collect();
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.process.is_some() && span.process_id.is_empty()));
    let unknown =
        v1::GetTraceRequest { trace_id: Bytes::from_static(&[1; 16]), ..Default::default() };
    assert_eq!(client.get_trace(unknown).await.unwrap_err().code(), Code::NotFound);
    let query = v1::TraceQueryParameters {
        tags: [("customer".to_owned(), "cust-1".to_owned())].into(),
        num_traces: 5,
        ..query_v1()
    };
    let request = v1::FindTraceIDsRequest { query: Some(query.clone()) };
    let ids = client.find_trace_i_ds(request).await.unwrap().into_inner().trace_ids;
    assert_eq!(ids.len(), 5);
    let request = v1::FindTracesRequest { query: Some(query) };
    let chunks = collect(client.find_traces(request).await).await;
    let mut found: Vec<_> = chunks.iter().map(|chunk| chunk.spans[0].trace_id.clone()).collect();
    found.dedup();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn first_generation_reads_names_and_dependencies() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let channel = connect(&api).await;
    let mut client = SpanReaderPluginClient::new(channel.clone());
    // Of spans without a service, and with an empty one.
    for recent in [&["5", "a"][..], &["", "5", "a"]] {
        *api.recent.values.lock() = values(recent);
        let services = client.get_services(v1::GetServicesRequest {}).await.unwrap().into_inner();
        assert_eq!(services.services, ["5", "OTLPResourceNoServiceName", "a"]);
        let mut client = TraceReaderClient::new(channel.clone());
        let services = client.get_services(v2::GetServicesRequest {}).await.unwrap().into_inner();
        assert_eq!(services.services, ["5", "OTLPResourceNoServiceName", "a"]);
    }
    *api.recent.values.lock() = values(&["a"]);
    let request =
        v1::GetOperationsRequest { service: "svc".to_owned(), span_kind: "client".to_owned() };
    let found = client.get_operations(request).await.unwrap().into_inner();
    assert_eq!((found.operation_names[0].as_str(), found.operations.len()), ("a", 1));
    assert_eq!(found.operations[0].span_kind, "client");
    let mut client = DependenciesReaderPluginClient::new(channel);
    let request = v1::GetDependenciesRequest { start_time: at(1), end_time: at(2) };
    let found = client.get_dependencies(request).await.unwrap().into_inner();
    assert!(found.dependencies.is_empty());
}

#[tokio::test]
async fn list_that_lacks_something_says_so_in_its_metadata() {
    fn check<M>(answer: Result<tonic::Response<M>, Status>, is_partial: bool) {
        let found = answer.unwrap().metadata().get("x-tactus-partial").cloned();
        assert_eq!(found.is_some_and(|mark| mark == "true"), is_partial);
    }
    for is_partial in [false, true] {
        let api = Api::new(Setup { blocks: &[V4, V5], ..Setup::default() }).await;
        if is_partial {
            api.cut_data(V4);
            api.recent.partial.store(true, Ordering::Relaxed);
        }
        let channel = connect(&api).await;
        let (service, span_kind) = ("svc".to_owned(), "client".to_owned());
        let (start_time, end_time) = (at(1_699_999_000), at(1_700_001_000));

        let mut client = ClientV2::new(channel.clone());
        check(client.get_services(api_v2::GetServicesRequest {}).await, is_partial);
        let operations =
            api_v2::GetOperationsRequest { service: service.clone(), span_kind: span_kind.clone() };
        check(client.get_operations(operations).await, is_partial);
        let dependencies = api_v2::GetDependenciesRequest { start_time, end_time };
        check(client.get_dependencies(dependencies).await, is_partial);

        let mut client = ClientV3::new(channel.clone());
        check(client.get_services(api_v3::GetServicesRequest {}).await, is_partial);
        let operations =
            api_v3::GetOperationsRequest { service: service.clone(), span_kind: span_kind.clone() };
        check(client.get_operations(operations).await, is_partial);
        let dependencies = api_v3::GetDependenciesRequest { start_time, end_time };
        check(client.get_dependencies(dependencies).await, is_partial);

        let mut client = SpanReaderPluginClient::new(channel.clone());
        check(client.get_services(v1::GetServicesRequest {}).await, is_partial);
        let operations =
            v1::GetOperationsRequest { service: service.clone(), span_kind: span_kind.clone() };
        check(client.get_operations(operations).await, is_partial);
        let ids = v1::FindTraceIDsRequest { query: Some(query_v1()) };
        check(client.find_trace_i_ds(ids).await, is_partial);
        let mut client = DependenciesReaderPluginClient::new(channel.clone());
        let dependencies = v1::GetDependenciesRequest { start_time, end_time };
        check(client.get_dependencies(dependencies).await, is_partial);

        let mut client = TraceReaderClient::new(channel.clone());
        check(client.get_services(v2::GetServicesRequest {}).await, is_partial);
        let operations = v2::GetOperationsRequest { service, span_kind };
        check(client.get_operations(operations).await, is_partial);
        let ids = v2::FindTraceIDsRequest { query: Some(query_v2()) };
        check(client.find_trace_i_ds(ids).await, is_partial);
        let mut client = DependencyReaderClient::new(channel);
        let dependencies = v2::GetDependenciesRequest { start_time, end_time };
        check(client.get_dependencies(dependencies).await, is_partial);
    }
}

#[tokio::test]
async fn second_generation_reads_several_traces_and_those_that_exist() {
    let api = Api::new(Setup::default()).await;
    let mut client = TraceReaderClient::new(connect(&api).await);
    let of = |trace_id| v2::GetTraceParams { trace_id, ..Default::default() };
    let query = vec![of(sample_id()), of(Bytes::from_static(&[1; 16]))];
    let messages = collect(client.get_traces(v2::GetTracesRequest { query }).await).await;
    assert_eq!((messages.len(), messages[0].resource_spans.len()), (1, 2));
    let wrong = v2::GetTracesRequest { query: vec![of(Bytes::from_static(b"x"))] };
    assert_eq!(client.get_traces(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn second_generation_searches_by_typed_attributes() {
    let api = Api::new(Setup::default()).await;
    let mut client = TraceReaderClient::new(connect(&api).await);
    use v2::any_value::Value;
    for (attribute, expected) in [
        (attribute("http.status_code", Value::IntValue(500)), 1),
        (attribute("customer", Value::StringValue("cust-1".to_owned())), 12),
        (attribute("error", Value::BoolValue(true)), 1),
    ] {
        let query = v2::TraceQueryParameters { attributes: vec![attribute], ..query_v2() };
        let request = v2::FindTracesRequest { query: Some(query.clone()) };
        let messages = collect(client.find_traces(request.clone()).await).await;
        assert_eq!(messages.len(), expected, "{query:?}");
        let summaries = collect(client.find_trace_summaries(request).await).await;
        assert_eq!(summaries[0].summaries.len(), expected);
        let request = v2::FindTraceIDsRequest { query: Some(query) };
        let ids = client.find_trace_i_ds(request).await.unwrap().into_inner().trace_ids;
        assert_eq!(ids.len(), expected);
        assert!(ids.iter().all(|id| id.trace_id.len() == 16 && id.start.is_some()));
    }
    let bytes = attribute("key", Value::BytesValue(Bytes::from_static(b"x")));
    let query = v2::TraceQueryParameters { attributes: vec![bytes], ..query_v2() };
    let refused = client.find_traces(v2::FindTracesRequest { query: Some(query) }).await;
    let (code, text) = refusal(refused.unwrap_err());
    assert!(code == Code::InvalidArgument && text.starts_with("query.attributes: key: "), "{text}");
}

#[tokio::test]
async fn second_generation_learns_what_searches_can() {
    let api = Api::new(Setup { blocks: &[], ..Setup::default() }).await;
    let channel = connect(&api).await;
    let mut client = CapabilitiesClient::new(channel.clone());
    let found = client.get_capabilities(v2::GetCapabilitiesRequest {}).await.unwrap().into_inner();
    let search = found.search.unwrap();
    assert!(search.without_service_name && search.same_span_conjunction);
    assert_eq!(search.filter, None);
    let mut client = DependencyReaderClient::new(channel);
    let request = v2::GetDependenciesRequest { start_time: at(1), end_time: at(2) };
    let found = client.get_dependencies(request).await.unwrap().into_inner();
    assert!(found.dependencies.is_empty());
}
