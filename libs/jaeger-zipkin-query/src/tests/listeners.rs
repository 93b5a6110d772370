//! The ports of the query APIs.

use std::net::SocketAddr;

use axum::routing::get;
use tactus_config::from_yaml;
use tactus_process::memory::PortMemory;
use tactus_process::{Error, ReadyCheck, ShownAddresses};
use tactus_proto::grpc::health::v1::health_check_response::ServingStatus;
use tactus_proto::grpc::health::v1::health_client::HealthClient;
use tactus_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tactus_proto::jaeger::api_v3;
use tactus_proto::jaeger::api_v3::query_service_client::QueryServiceClient;
use tactus_proto::jaeger::storage::v2;
use tactus_proto::jaeger::storage::v2::trace_reader_client::TraceReaderClient;
use tactus_proto::otlp::ExportTraceServiceRequest;
use tactus_proto::otlp::trace_service_client::TraceServiceClient;
use tactus_server::auth::{AuthSettings, Authenticator, hash_token};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use tonic::{Code, Request as GrpcRequest};

use super::*;
use crate::jaeger::JaegerQueries;
use crate::jaeger_grpc::Answering;
use crate::listeners::{Listening, PortLimits, Served, open, ports};
use tactus_config::sections::query_apis::JaegerApis;

/// All ports of the query APIs, on free ports of loopback.
const ALL: &str = "
query_frontend:
  jaeger:
    http: {endpoint: '127.0.0.1:0'}
    grpc: {endpoint: '127.0.0.1:0'}
    storage: {endpoint: '127.0.0.1:0'}
    remote_storage: {endpoint: '127.0.0.1:0'}
    admin: {endpoint: '127.0.0.1:0'}
  zipkin: {endpoint: '127.0.0.1:0'}
";

fn served(api: &Api, ready: ReadyCheck) -> Served {
    let frontend = Arc::clone(&api.frontend);
    let tenancy = frontend.tenancy.clone();
    let queries = JaegerQueries::new(frontend, JaegerApis::default());
    Served {
        jaeger: Router::new().route("/trace/api/name", get(|| async { "jaeger" })),
        jaeger_pages: Router::new(),
        answering: Answering { queries, tenancy },
        write: None,
        zipkin: Router::new().route("/api/name", get(|| async { "zipkin" })),
        zipkin_pages: Router::new().route("/ui/", get(|| async { "pages" })),
        ready,
    }
}

async fn open_with(
    api: &Api,
    yaml: &str,
    authenticator: Option<&Arc<Authenticator>>,
) -> Result<Listening, Error> {
    let ports = ports(&from_yaml(yaml).unwrap()).unwrap();
    let served = served(api, Arc::new(|| Ok(())));
    open(ports, served, authenticator, &ShownAddresses::default(), &limits()).await
}

fn limits() -> PortLimits {
    PortLimits { memory: PortMemory::new(1 << 30), request_timeout: None }
}

fn addresses(listening: &Listening) -> Vec<SocketAddr> {
    listening.bound.iter().map(|bound| bound.local_addr()).collect()
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// The status and the body of a GET.
async fn fetch(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

async fn api() -> Api {
    Api::new(Setup { blocks: &[], ..Setup::default() }).await
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[tokio::test]
async fn every_port_serves_its_api() {
    let listening = open_with(&api().await, ALL, None).await.unwrap();
    let found = addresses(&listening);
    let [jaeger, query, storage, remote, zipkin, admin] = found[..] else { panic!("{found:?}") };
    assert_eq!(fetch(jaeger, "/trace/api/name", "").await, ok("jaeger"));
    let not_found = (404, "404 page not found\n".to_owned());
    assert_eq!(fetch(jaeger, "/api/name", "").await, not_found);
    assert_eq!(fetch(zipkin, "/api/name", "").await, ok("zipkin"));
    assert_eq!(fetch(zipkin, "/api/name/", "").await.0, 301);
    assert_eq!(fetch(zipkin, "/ui/", "").await, ok("pages"));
    let health = r#"{"status":"Server available"}"#;
    assert_eq!(fetch(admin, "/", "").await, ok(health));
    let (status, metrics) = fetch(admin, "/metrics", "").await;
    // Counted as the same route of the main port, below a prefix there.
    assert!(status == 200 && metrics.contains("route=\"jaeger_trace_api_name\""), "{metrics}");
    let mut client = QueryServiceClient::new(connect(query).await);
    client.get_services(api_v3::GetServicesRequest {}).await.unwrap();
    for address in [storage, remote] {
        let channel = connect(address).await;
        let mut client = TraceReaderClient::new(channel.clone());
        client.get_services(v2::GetServicesRequest {}).await.unwrap();
        let mut client = QueryServiceClient::new(channel);
        let other = client.get_services(api_v3::GetServicesRequest {}).await.unwrap_err();
        assert_eq!(other.code(), Code::Unimplemented);
    }
    listening.stop().await;
    assert!(TcpStream::connect(jaeger).await.is_err());
}

#[tokio::test]
async fn health_is_known_by_the_names_of_the_services() {
    let listening = open_with(&api().await, ALL, None).await.unwrap();
    let found = addresses(&listening);
    for (address, names) in [
        (
            found[1],
            &[
                "",
                "jaeger.api_v2.QueryService",
                "jaeger.api_v3.QueryService",
                "jaeger.api_v2.metrics.MetricsQueryService",
            ][..],
        ),
        (
            found[2],
            &[
                "",
                "jaeger.storage.v1.SpanReaderPlugin",
                "jaeger.storage.v2.TraceReader",
                "jaeger.storage.v2.DependencyReader",
                "jaeger.storage.v2.TraceWriter",
            ][..],
        ),
    ] {
        let mut client = HealthClient::new(connect(address).await);
        for name in names {
            let request = HealthCheckRequest { service: (*name).to_owned() };
            let HealthCheckResponse { status } = client.check(request).await.unwrap().into_inner();
            assert_eq!(status, i32::from(ServingStatus::Serving), "{name}");
        }
        let other = HealthCheckRequest { service: "other".to_owned() };
        assert_eq!(client.check(other).await.unwrap_err().code(), Code::NotFound);
    }
    listening.stop().await;
}

#[tokio::test]
async fn process_that_is_not_ready_has_no_health() {
    let api = api().await;
    let ready: ReadyCheck = Arc::new(|| Err("not yet".to_owned()));
    let ports = ports(&from_yaml(ALL).unwrap()).unwrap();
    let served = served(&api, ready);
    let listening = open(ports, served, None, &ShownAddresses::default(), &limits()).await.unwrap();
    let answer = fetch(addresses(&listening)[5], "/", "").await;
    assert_eq!(answer, (503, r#"{"status":"Server not available"}"#.to_owned()));
    listening.stop().await;
}

#[tokio::test]
async fn taken_port_that_is_asked_for_is_an_error_that_names_the_key() {
    let api = api().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap();
    let asked = format!("query_frontend: {{jaeger: {{http: {{endpoint: '{taken}'}}}}}}");
    let error = open_with(&api, &asked, None).await.unwrap_err();
    let text = tactus_telemetry::error_text(&error);
    assert!(text.starts_with("query_frontend.jaeger.http.endpoint: listen on"), "{text}");
}

/// Tokens `reads` and `writes` of the tenant `acme`.
fn authenticator(directory: &Path) -> Arc<Authenticator> {
    let file = directory.join("users.yaml");
    let entry = |name: &str, role: &str| {
        format!(
            "  - name: {name}\n    token_sha256: {}\n    tenants: [acme]\n    roles: [{role}]\n",
            hash_token(name)
        )
    };
    let text = format!("users:\n{}{}", entry("reads", "read"), entry("writes", "write"));
    fs::write(&file, text).unwrap();
    Authenticator::load(AuthSettings::new(file, Tenancy::by_header(true))).unwrap()
}

#[tokio::test]
async fn ports_ask_for_credentials_where_authentication_is_on() {
    let setup = Setup { tenancy: Tenancy::by_header(true), blocks: &[], ..Setup::default() };
    let api = Api::new(setup).await;
    let users = tempfile::tempdir().unwrap();
    let authenticator = authenticator(users.path());
    let listening = open_with(&api, ALL, Some(&authenticator)).await.unwrap();
    let found = addresses(&listening);
    for address in [found[0], found[4]] {
        let path = if address == found[0] { "/trace/api/name" } else { "/api/name" };
        assert_eq!(fetch(address, path, "").await.0, 401);
        assert_eq!(fetch(address, path, "authorization: Bearer reads\r\n").await.0, 200);
        assert_eq!(fetch(address, path, "authorization: Bearer writes\r\n").await.0, 403);
    }
    assert_eq!(fetch(found[5], "/", "").await.0, 200);
    assert_eq!(fetch(found[5], "/metrics", "").await.0, 401);

    fn with<M>(message: M, key: &'static str, value: &str) -> GrpcRequest<M> {
        let mut request = GrpcRequest::new(message);
        request.metadata_mut().insert(key, value.parse().unwrap());
        request
    }
    let mut client = QueryServiceClient::new(connect(found[1]).await);
    let services = || api_v3::GetServicesRequest {};
    let nobody = client.get_services(services()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let reader = with(services(), "authorization", "Bearer reads");
    client.get_services(reader).await.unwrap();

    let channel = connect(found[2]).await;
    let mut client = TraceReaderClient::new(channel.clone());
    let services = || v2::GetServicesRequest {};
    let nobody = client.get_services(services()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let writer = client.get_services(with(services(), "bearer.token", "writes")).await;
    assert_eq!(writer.unwrap_err().code(), Code::PermissionDenied);
    client.get_services(with(services(), "bearer.token", "reads")).await.unwrap();
    let mut other = with(services(), "bearer.token", "reads");
    other.metadata_mut().insert("x-tenant", "other".parse().unwrap());
    assert_eq!(client.get_services(other).await.unwrap_err().code(), Code::PermissionDenied);
    let mut client = TraceServiceClient::new(channel);
    let export = ExportTraceServiceRequest::default;
    let reader = client.export(with(export(), "bearer.token", "reads")).await.unwrap_err();
    assert_eq!(reader.code(), Code::PermissionDenied);
    let writer = client.export(with(export(), "bearer.token", "writes")).await.unwrap_err();
    // May write, and this process stores no spans.
    assert_eq!(writer.code(), Code::Unimplemented);
    listening.stop().await;
}

#[tokio::test]
async fn storage_knows_the_tenant_by_three_keys() {
    let setup = Setup { tenancy: Tenancy::by_header(true), blocks: &[], ..Setup::default() };
    let api = Api::new(setup).await;
    let listening = open_with(&api, ALL, None).await.unwrap();
    let mut client = TraceReaderClient::new(connect(addresses(&listening)[2]).await);
    for key in ["x-scope-orgid", "x-tenant", "bearer.token"] {
        api.recent.values_requests.lock().clear();
        let mut request = GrpcRequest::new(v2::GetServicesRequest {});
        request.metadata_mut().insert(key, "acme".parse().unwrap());
        client.get_services(request).await.unwrap();
        assert!(api.recent.values_requests.lock().iter().all(|asked| asked.tenant == "acme"));
        assert!(!api.recent.values_requests.lock().is_empty());
    }
    let missing = client.get_services(v2::GetServicesRequest {}).await.unwrap_err();
    assert_eq!(missing.code(), Code::Unauthenticated);
    listening.stop().await;
}
