//! What clients are answered, and on which ports.

use std::{convert::Infallible, path::Path};

use ::http::{Request, StatusCode, header::CONTENT_TYPE};
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tactus_config::sections::sampling::SamplingFile;
use tactus_process::ShownAddresses;
use tactus_proto::jaeger::api_v2::{
    SamplingStrategyParameters, sampling_manager_client::SamplingManagerClient,
};
use tactus_server::{
    auth::{AuthSettings, Authenticator, hash_token},
    tenancy::Tenancy,
};
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::Budget;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;

use super::super::*;

const STRATEGIES: &str = r#"{
    "default_strategy": {"type": "probabilistic", "param": 0.2,
        "operation_strategies": [{"operation": "/health", "type": "probabilistic", "param": 0.1}]},
    "service_strategies": [{"service": "ServiceA", "type": "probabilistic", "param": 1},
                           {"service": "ServiceB", "type": "ratelimiting", "param": 3}]}"#;
const SERVICE_B: &str = r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":3},"operationSampling":{"defaultSamplingProbability":0.2,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}],"defaultUpperBoundTracesPerSecond":0}}"#;
const DEFAULT: &str =
    r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.001}}"#;
const OF_TENANT_A: &str =
    r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.75}}"#;

/// By the strategies above.
async fn by_file() -> Arc<Answers> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strategies.json");
    std::fs::write(&path, STRATEGIES).unwrap();
    let files = SamplingFile { path: path.display().to_string(), ..SamplingFile::default() };
    let metrics = Metrics::new(&Registry::new());
    let file = StrategyFile::load(files.clone(), metrics.clone()).await.unwrap();
    let provider = Provider::File(file);
    let strategies = Strategies::new(provider, Arc::new(|_| String::new()), &files, metrics);
    Arc::new(Answers::new(Arc::new(strategies), Tenancy::single(), None))
}

/// Tenant `a` has a file of its own.
fn by_tenant(folder: &Path, tenancy: Tenancy, auth: Option<Arc<Authenticator>>) -> Arc<Answers> {
    let path = folder.join("a.json");
    let text = r#"{"default_strategy": {"type": "probabilistic", "param": 0.75}}"#;
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let file_of = move |tenant: &TenantId| match tenant.as_str() {
        "a" => path.clone(),
        _ => String::new(),
    };
    let provider = Provider::Uniform(Arc::new(StrategySet::uniform(0.001)));
    let metrics = Metrics::new(&Registry::new());
    let files = SamplingFile::default();
    let strategies = Strategies::new(provider, Arc::new(file_of), &files, metrics);
    Arc::new(Answers::new(Arc::new(strategies), tenancy, auth))
}

async fn ask(
    answers: &Arc<Answers>,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, String, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = sampling_router(Arc::clone(answers)).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let content_type = head.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (head.status, content_type, String::from_utf8(body.to_vec()).unwrap())
}

async fn text(answers: &Arc<Answers>, path: &str, headers: &[(&str, &str)]) -> String {
    ask(answers, path, headers).await.2
}

#[tokio::test]
async fn every_path_has_its_form() {
    let answers = by_file().await;
    for path in ["/sampling?service=ServiceB", "/api/sampling?a=b&service=ServiceB"] {
        let answer = ask(&answers, path, &[]).await;
        let expected = (StatusCode::OK, "application/json".to_owned(), SERVICE_B.to_owned());
        assert_eq!(answer, expected, "{path}");
    }
    let numbers = SERVICE_B.replace("\"RATE_LIMITING\"", "1");
    assert_eq!(text(&answers, "/?service=ServiceB", &[]).await, numbers);
    assert_eq!(text(&answers, "/baggageRestrictions?service=x", &[]).await, "[]");
    let unknown = text(&answers, "/sampling?service=", &[]).await;
    assert!(unknown.starts_with(
        r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.2},"#
    ));
}

#[tokio::test]
async fn service_must_be_there_once() {
    let answers = by_file().await;
    for path in [
        "/sampling",
        "/sampling?service=a&service=b",
        "/?x=1",
        "/api/sampling",
        "/baggageRestrictions",
    ] {
        let (status, content_type, body) = ask(&answers, path, &[]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(content_type, "text/plain; charset=utf-8");
        assert_eq!(body, "'service' parameter must be provided once\n");
    }
}

#[tokio::test]
async fn client_without_a_tenant_gets_what_holds_for_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let answers = by_tenant(folder.path(), Tenancy::by_header(false), None);
    let path = "/sampling?service=s";
    assert_eq!(text(&answers, path, &[]).await, DEFAULT);
    assert_eq!(text(&answers, path, &[("x-scope-orgid", "a")]).await, OF_TENANT_A);
    assert_eq!(text(&answers, path, &[("x-scope-orgid", "b")]).await, DEFAULT);
    let (status, ..) = ask(&answers, path, &[("x-scope-orgid", "a|b")]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_a_tenants_own_is_for_those_who_may_write_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.yaml");
    let user = |name: &str, tenants: &str| {
        let token = hash_token(&format!("{name}-token"));
        format!(
            "  - {{name: {name}, token_sha256: {token}, tenants: [{tenants}], roles: [write]}}\n"
        )
    };
    std::fs::write(&users, format!("users:\n{}{}", user("one", "a"), user("two", "b"))).unwrap();
    let tenancy = Tenancy::by_header(false);
    let auth = Authenticator::load(AuthSettings::new(&users, tenancy.clone())).unwrap();
    let answers = by_tenant(folder.path(), tenancy, Some(auth));
    let path = "/sampling?service=s";
    let (one, two) = (("authorization", "Bearer one-token"), ("authorization", "Bearer two-token"));
    let named = ("x-scope-orgid", "a");
    for (headers, expected) in [
        (&[][..], DEFAULT),
        (&[named], DEFAULT),
        (&[one], OF_TENANT_A),
        (&[one, named], OF_TENANT_A),
        (&[two], DEFAULT),
        (&[two, named], DEFAULT),
        (&[("authorization", "Bearer wrong"), named], DEFAULT),
    ] {
        let (status, _, body) = ask(&answers, path, headers).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, expected), "{headers:?}");
    }
}

fn ports(yaml: &str) -> Ports {
    Ports::of(&tactus_config::from_yaml(yaml).unwrap()).unwrap()
}

#[tokio::test]
async fn both_ports_answer() {
    let ports = ports(
        "sampling: {file: , http: {endpoint: '127.0.0.1:0'}, grpc: {endpoint: '127.0.0.1:0'}}",
    );
    let (stop, shown) = (CancellationToken::new(), ShownAddresses::default());
    let memory = Bodies::unbounded();
    let opened = open(ports, by_file().await, memory, &shown, &stop).await.unwrap();
    let [http, grpc] = &opened[..] else { panic!("two ports") };
    let mut connection = tokio::net::TcpStream::connect(http.local_addr()).await.unwrap();
    let request =
        "GET /sampling?service=ServiceB HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(SERVICE_B), "{answer}");
    let url = format!("http://{}", grpc.local_addr());
    let mut client = SamplingManagerClient::connect(url).await.unwrap();
    let parameters = SamplingStrategyParameters { service_name: "ServiceB".to_owned() };
    let strategy = client.get_sampling_strategy(parameters).await.unwrap().into_inner();
    assert_eq!(tactus_sampling::to_json(&strategy, tactus_sampling::EnumForm::Text), SERVICE_B);
    drop(client);
    stop.cancel();
    for listener in opened {
        listener.stopped().await;
    }
}

#[tokio::test]
async fn request_over_grpc_is_counted_while_it_arrives() {
    let all = Budget::new(1 << 20);
    let router = service_router(by_file().await, Bodies::within(&all));
    let begin = Bytes::from([&[0_u8, 0, 0, 0x80, 0][..], &[0; 10_000]].concat());
    let begin = stream::once(async { Ok::<_, Infallible>(begin) });
    let request = Request::post("/jaeger.api_v2.SamplingManager/GetSamplingStrategy")
        .header(CONTENT_TYPE, "application/grpc")
        .body(Body::from_stream(begin.chain(stream::pending())))
        .unwrap();
    let call = tokio::spawn(router.oneshot(request));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(all.used() >= 10_000, "{}", all.used());
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(all.used(), 0);
}

#[tokio::test]
async fn taken_port_is_an_error_only_if_it_is_asked_for() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap();
    let off = ports("sampling: {http: {endpoint: ''}, grpc: {endpoint: ''}}");
    assert!(off.http.is_none() && off.grpc.is_none());
    let asked = format!("sampling: {{http: {{endpoint: '{taken}'}}, grpc: {{endpoint: ''}}}}");
    let (stop, shown) = (CancellationToken::new(), ShownAddresses::default());
    let answers = by_file().await;
    let open_port = |ports| open(ports, Arc::clone(&answers), Bodies::unbounded(), &shown, &stop);
    let error = open_port(ports(&asked)).await.unwrap_err().to_string();
    assert!(error.starts_with("sampling.http.endpoint: "), "{error}");
    let mut usual = ports(&asked);
    usual.http.iter_mut().for_each(|port| port.is_set = false);
    assert!(open_port(usual).await.unwrap().is_empty());
}

#[test]
fn usual_ports_are_at_the_host_of_the_server() {
    let addresses = |yaml: &str| {
        let Ports { http, grpc } = ports(yaml);
        [http, grpc].map(|port| port.map(|port| (port.address, port.is_set)))
    };
    let usual = |address: &str| Some((address.to_owned(), false));
    assert_eq!(addresses(""), [usual(":5778"), usual(":5779")]);
    let loopback = "server: {http_listen_address: 127.0.0.1, grpc_listen_address: '::1'}";
    assert_eq!(addresses(loopback), [usual("127.0.0.1:5778"), usual("[::1]:5779")]);
}

#[test]
fn tls_without_a_key_is_refused() {
    let yaml = "sampling: {file: , grpc: {tls: {cert_file: /none}}}";
    let error = Ports::of(&tactus_config::from_yaml(yaml).unwrap()).unwrap_err();
    let text = tactus_telemetry::error_text(&error);
    assert!(text.contains("sampling.grpc.tls"), "{text}");
}

#[test]
fn ports_without_tls_of_their_own_have_that_of_the_server() {
    let none = "{cert_file: /none, key_file: /none}";
    let refusal = |kind: &str, off: &str, tls: &str| {
        let yaml = format!(
            "server: {{{kind}_tls_config: {none}}}\nsampling: {{{kind}: {{{tls}}}, {off}: {{endpoint: ''}}}}"
        );
        let ports = Ports::of(&tactus_config::from_yaml(&yaml).unwrap());
        ports.map(drop).map_err(|error| tactus_telemetry::error_text(&error))
    };
    for (kind, off) in [("http", "grpc"), ("grpc", "http")] {
        let of_server = refusal(kind, off, "").unwrap_err();
        assert!(of_server.contains(&format!("server.{kind}_tls_config")), "{of_server}");
        assert_eq!(refusal(kind, off, "tls: {insecure: true}"), Ok(()));
    }
}
