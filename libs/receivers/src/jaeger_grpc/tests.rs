use prost::Message;
use tactus_proto::grpc::health::v1::health_check_response::ServingStatus;
use tactus_proto::grpc::health::v1::{HealthCheckRequest, health_client::HealthClient};
use tactus_proto::jaeger::api_v2::collector_service_client::CollectorServiceClient;
use tactus_proto::jaeger::api_v2::{
    PostSpansRequest, PostSpansResponse, SamplingStrategyParameters, SamplingStrategyResponse,
    sampling_manager_client::SamplingManagerClient,
    sampling_manager_server::{SamplingManager, SamplingManagerServer},
};
use tactus_proto::otlp::ExportTraceServiceRequest;
use tactus_server::tenancy::Tenancy;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::*;
use crate::grpc_receiver::grpc_port_at;
use crate::sink::PushError;
use crate::testing::{ONE_SPAN, Recorder, bytes, metrics};

const MESSAGE: &str = "0a5b0a520a1000000000000000010000000000000002120800000000000000031a026f70280132060880e2cfaa063a0410e0c65b42130a097370616e2e6b696e641a06736572766572420b0a056572726f721001200112050a03737663";

fn one_span() -> PostSpansRequest {
    PostSpansRequest::decode(bytes(MESSAGE)).unwrap()
}

fn default_settings() -> PortSettings {
    grpc_port_at(":14250")
}

async fn port(settings: PortSettings, sink: Arc<Recorder>) -> Channel {
    let settings = PortSettings { address: "127.0.0.1:0".to_owned(), ..settings };
    let shutdown = CancellationToken::new();
    let listener = serve_jaeger_grpc(settings, sink, &metrics().1, shutdown).await.unwrap();
    let url = format!("http://{}", listener.local_addr());
    Channel::from_shared(url).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn posted_spans_are_handed_on_as_otlp() {
    let sink = Recorder::accepting();
    let client = CollectorServiceClient::new(port(default_settings(), sink.clone()).await);
    let mut gzip = client.clone().send_compressed(CompressionEncoding::Gzip);
    for client in [&mut client.clone(), &mut gzip] {
        let response = client.post_spans(one_span()).await.unwrap();
        assert_eq!(*response.get_ref(), PostSpansResponse {});
    }
    let expected = ExportTraceServiceRequest::decode(ONE_SPAN).unwrap();
    for body in sink.bodies() {
        assert_eq!(ExportTraceServiceRequest::decode(body).unwrap(), expected);
    }
    assert_eq!(sink.bodies().len(), 2);
}

#[tokio::test]
async fn request_without_spans_succeeds_without_the_sink() {
    let sink = Recorder::accepting();
    let settings = PortSettings { tenancy: Tenancy::by_header(false), ..default_settings() };
    let mut client = CollectorServiceClient::new(port(settings, sink.clone()).await);
    let mut request = one_span();
    request.batch.as_mut().unwrap().spans.clear();
    client.post_spans(request).await.unwrap();
    client.post_spans(PostSpansRequest::default()).await.unwrap();
    assert_eq!(sink.bodies().len(), 0);
}

#[tokio::test]
async fn id_of_a_wrong_length_cannot_be_decoded() {
    let channel = port(default_settings(), Recorder::accepting()).await;
    let mut request = one_span();
    request.batch.as_mut().unwrap().spans[0].span_id = bytes("03");
    let status = CollectorServiceClient::new(channel).post_spans(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let text = "grpc: error unmarshalling request: invalid length for SpanID: 1 bytes";
    assert_eq!(status.message(), text);
}

#[tokio::test]
async fn missing_tenant_and_sink_errors_have_their_codes() {
    let settings = PortSettings { tenancy: Tenancy::by_header(false), ..default_settings() };
    let sink = Recorder::new(Err(PushError::Invalid("why".to_owned())));
    let mut client = CollectorServiceClient::new(port(settings, sink).await);
    let status = client.post_spans(one_span()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "no org id"));
    let mut request = Request::new(one_span());
    request.metadata_mut().insert("x-scope-orgid", "acme".parse().unwrap());
    let status = client.post_spans(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "why"));
}

struct Never;

#[tonic::async_trait]
impl SamplingManager for Never {
    async fn get_sampling_strategy(
        &self,
        request: Request<SamplingStrategyParameters>,
    ) -> Result<Response<SamplingStrategyResponse>, Status> {
        Err(Status::not_found(request.into_inner().service_name))
    }
}

#[tokio::test]
async fn port_carries_other_services() {
    let others = Routes::new(SamplingManagerServer::new(Never)).into_axum_router();
    let settings = PortSettings { others: Some(others), ..default_settings() };
    let sink = Recorder::accepting();
    let channel = port(settings, sink.clone()).await;
    let parameters = SamplingStrategyParameters { service_name: "svc".to_owned() };
    let mut sampling = SamplingManagerClient::new(channel.clone());
    let status = sampling.get_sampling_strategy(parameters).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "svc"));
    CollectorServiceClient::new(channel).post_spans(one_span()).await.unwrap();
    assert_eq!(sink.bodies().len(), 1);
}

#[tokio::test]
async fn health_is_told_beside_the_other_services() {
    let others = Routes::new(SamplingManagerServer::new(Never)).into_axum_router();
    let settings = PortSettings { others: Some(others), ..default_settings() };
    let mut health = HealthClient::new(port(settings, Recorder::accepting()).await);
    for service in ["", "jaeger.api_v2.CollectorService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}
