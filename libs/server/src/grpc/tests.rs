use futures_util::StreamExt;
use tactus_proto::grpc::health::v1::HealthCheckRequest;
use tactus_proto::grpc::health::v1::health_check_response::ServingStatus;
use tactus_proto::grpc::health::v1::health_client::HealthClient;
use tactus_telemetry::metrics::Registry;
use tokio::sync::watch;
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::*;
use crate::health::health_service;
use crate::testing::socket;

/// A gRPC port with the health service only.
struct Port {
    channel: Channel,
    serving: watch::Sender<bool>,
    registry: Registry,
    listener: BoundListener,
    shutdown: CancellationToken,
}

async fn port() -> Port {
    let (serving, watched) = watch::channel(true);
    let registry = Registry::new();
    let metrics = RequestMetrics::register(&registry);
    let router = router(Routes::new(health_service(watched)), metrics);
    let shutdown = CancellationToken::new();
    let listener =
        serve_grpc(socket().await, ListenerSettings::default(), router, shutdown.clone())
            .expect("a bound socket");
    let url = format!("http://{}", listener.local_addr());
    let channel = Channel::from_shared(url).expect("a valid url").connect_lazy();
    Port { channel, serving, registry, listener, shutdown }
}

fn whole_process() -> HealthCheckRequest {
    HealthCheckRequest::default()
}

#[tokio::test]
async fn health_follows_the_state_of_the_process() {
    let port = port().await;
    let mut client = HealthClient::new(port.channel.clone());
    let now = client.check(whole_process()).await.unwrap().into_inner();
    assert_eq!(now.status(), ServingStatus::Serving);
    let mut updates = client.watch(whole_process()).await.unwrap().into_inner();
    assert_eq!(updates.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    port.serving.send(false).unwrap();
    assert_eq!(updates.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let now = client.check(whole_process()).await.unwrap().into_inner();
    assert_eq!(now.status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn health_of_an_unknown_service_is_not_found() {
    let mut client = HealthClient::new(port().await.channel);
    let unknown = HealthCheckRequest { service: "x".to_owned() };
    assert_eq!(client.check(unknown.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut updates = client.watch(unknown).await.unwrap().into_inner();
    assert_eq!(updates.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

#[tokio::test]
async fn message_above_the_limit_has_the_status_of_grpc() {
    let port = port().await;
    let mut client = HealthClient::new(port.channel.clone());
    let large = HealthCheckRequest { service: "x".repeat(4 << 10) };
    let status = client.check(large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let text = "grpc: received message larger than max (4099 vs. 4096)";
    assert_eq!(status.message(), text);
}

#[tokio::test]
async fn calls_are_measured_by_method_and_unknown_ones_share_a_label() {
    let port = port().await;
    let mut client = HealthClient::new(port.channel.clone());
    client.check(whole_process()).await.unwrap();
    client.check(HealthCheckRequest { service: "x".to_owned() }).await.unwrap_err();
    for path in ["/grpc.health.v1.Health/Nothing", "/no.Service/Nothing"] {
        let mut grpc = Grpc::new(port.channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let path = ::http::uri::PathAndQuery::from_static(path);
        let result = grpc.unary(tonic::Request::new(whole_process()), path, codec).await;
        assert_eq!(result.unwrap_err().code(), Code::Unimplemented);
    }
    port.shutdown.cancel();
    port.listener.stopped().await;
    let text = port.registry.encode();
    for series in [
        r#"route="/grpc.health.v1.Health/Check",status_code="success",ws="false"} 1"#,
        r#"route="/grpc.health.v1.Health/Check",status_code="error",ws="false"} 1"#,
        r#"route="other",status_code="error",ws="false"} 2"#,
    ] {
        let line = format!("tempo_request_duration_seconds_count{{method=\"gRPC\",{series}\n");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn open_stream_that_its_client_leaves_is_measured_as_cancelled() {
    let port = port().await;
    let mut client = HealthClient::new(port.channel.clone());
    let updates = client.watch(whole_process()).await.unwrap();
    drop(updates);
    drop(client);
    let Port { channel, registry, listener, shutdown, .. } = port;
    drop(channel);
    shutdown.cancel();
    listener.stopped().await;
    let cancelled = r#"route="/grpc.health.v1.Health/Watch",status_code="cancel""#;
    assert!(registry.encode().contains(cancelled), "{}", registry.encode());
}

async fn refuse(_: Request<Body>, _: Next) -> Response {
    Status::unauthenticated("who are you?").into_http()
}

#[tokio::test]
async fn calls_that_are_refused_before_a_service_sees_them_are_measured_and_share_a_label() {
    let registry = Registry::new();
    let services = services(Routes::new(health_service(watch::channel(true).1)));
    let guarded = services.layer(middleware::from_fn(refuse));
    let app = observed(guarded, RequestMetrics::register(&registry));
    for path in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/X", "/no.Service/X"] {
        let call = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(crate::testing::ask(&app, call).await.1["grpc-status"], "16");
    }
    let text = registry.encode();
    let series = r#"{method="gRPC",route="other",status_code="error",ws="false"} 3"#;
    assert!(text.contains(&format!("tempo_request_duration_seconds_count{series}\n")), "{text}");
    assert!(!text.contains("/Check") && !text.contains("/X"), "{text}");
}
