//! Credentials, headers and TLS as receivers see them.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tactus_config::Secret;
use tactus_config::sections::remote_write::{Authorization, BasicAuth, HttpHeader, OAuth2};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use super::receiver::Receiver;
use super::*;

/// Value of this header of the last request.
pub(super) fn last(receiver: &Receiver, name: &str) -> Option<String> {
    let requests = receiver.requests();
    let value = requests.last()?.headers.get(name)?;
    Some(value.to_str().unwrap().to_owned())
}

/// The authorization header with such a configuration.
async fn authorization(change: impl FnOnce(&mut Config)) -> Option<String> {
    let receiver = Receiver::start().await;
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    process.collect(1_000, 1);
    process.flush().await;
    last(&receiver, "authorization")
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_sent_as_configured() {
    let basic = BasicAuth {
        username: "user".to_owned(),
        password: Secret::new("secret"),
        ..BasicAuth::default()
    };
    let sent = authorization(|config| config.basic_auth = Some(basic)).await;
    assert_eq!(sent.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    let sent = authorization(|config| config.bearer_token = Secret::new("abc")).await;
    assert_eq!(sent.as_deref(), Some("Bearer abc"));
    let token = Authorization {
        type_: "Token".to_owned(),
        credentials: Secret::new("abc"),
        ..Authorization::default()
    };
    let sent = authorization(|config| config.authorization = Some(token)).await;
    assert_eq!(sent.as_deref(), Some("Token abc"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_a_file_are_read_again() {
    let receiver = Receiver::start().await;
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let change = |config: &mut Config| {
        config.bearer_token_file = path("token");
        let header = HttpHeader { files: vec![path("header")], ..HttpHeader::default() };
        config.http_headers = [("X-From-File".to_owned(), header)].into();
    };
    std::fs::write(path("header"), "h\n").unwrap();
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    // Not there yet: tried again until it is.
    process.collect(1_000, 1);
    eventually("another try", || {
        let text = process.registry.encode();
        text.contains("prometheus_remote_storage_samples_retried_total{")
    })
    .await;
    for (time_ms, token) in [(1_000, "one\n"), (2_000, "two")] {
        // At once, as who replaces secrets does.
        std::fs::write(path("token.new"), token).unwrap();
        std::fs::rename(path("token.new"), path("token")).unwrap();
        process.collect(time_ms, 1);
        let arrived = || receiver.samples("calls_0_total").iter().any(|(at, _)| *at == time_ms);
        eventually("it arrives", arrived).await;
        let expected = format!("Bearer {}", token.trim());
        assert_eq!(last(&receiver, "authorization"), Some(expected));
        assert_eq!(last(&receiver, "x-from-file").as_deref(), Some("h"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_tenant_go_over_those_of_the_remote() {
    let receiver = Receiver::start().await;
    let change = |config: &mut Config| {
        config.headers = [
            ("x-both".to_owned(), Secret::new("remote")),
            ("x-remote".to_owned(), Secret::new("remote")),
        ]
        .into();
        config.bearer_token = Secret::new("remote");
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    let own = |name: &str, value: &str| [(name.to_owned(), Secret::new(value))].into();
    for (time_ms, headers) in [
        (1_000, BTreeMap::new()),
        (2_000, own("X-Both", "tenant")),
        (3_000, own("x-scope-orgid", "fixed")),
        (4_000, own("Authorization", "Bearer tenant")),
    ] {
        process.handle().set_headers(&headers).unwrap();
        process.collect(time_ms, 1);
        let sent = || process.handle().is_drained();
        eventually("it is sent", sent).await;
    }
    let refused = process.handle().set_headers(&own("Content-Type", "x"));
    assert!(matches!(refused, Err(Reason::ReservedHeader(_))));
    let requests = receiver.requests();
    let values = |name: &str| -> Vec<String> {
        let value = |request: &super::receiver::Request| {
            let all = request.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            all.collect::<Vec<_>>().join("+")
        };
        requests.iter().map(value).collect()
    };
    assert_eq!(values("x-both"), ["remote", "tenant", "remote", "remote"]);
    assert_eq!(values("x-remote"), ["remote"; 4]);
    assert_eq!(values("x-scope-orgid"), ["team-a", "team-a", "fixed", "team-a"]);
    let bearer = ["Bearer remote", "Bearer remote", "Bearer remote", "Bearer tenant"];
    assert_eq!(values("authorization"), bearer);
    let failed = "tempo_metrics_generator_storage_remote_write_update_failed_total";
    assert!(process.shows(failed, "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_is_not_named_where_that_is_off_or_there_is_only_one() {
    for (single, add) in [(true, true), (false, false)] {
        let receiver = Receiver::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut storage = storage(dir.path(), quick(|_| (), &receiver));
        storage.remote_write_add_org_id_header = add;
        let remote = RemoteWrite::open(&storage, &Registry::new()).unwrap();
        let id = if single { TenantId::single() } else { tenant() };
        let handle = remote.tenant(&id, &BTreeMap::new(), 0).unwrap();
        let mut collection = handle.begin(1_000);
        let series = Series { reference: 1, labels: &[], name: "up", le: None };
        collection.float(&series, 1_000, 1.0);
        collection.commit().unwrap();
        remote.flush(Duration::from_secs(20)).await;
        assert_eq!(receiver.requests().len(), 1);
        assert_eq!(last(&receiver, "x-scope-orgid"), None);
    }
}

/// Authorization header and body of a request.
type Asked = (Option<String>, String);

#[derive(Clone, Default)]
struct TokenServer {
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Knows credentials in the body only.
async fn token(
    State(server): State<TokenServer>,
    headers: HeaderMap,
    body: String,
) -> Result<String, StatusCode> {
    let header = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let refused = header.is_some();
    let mut asked = server.asked.lock();
    asked.push((header, body));
    match refused {
        true => Err(StatusCode::UNAUTHORIZED),
        false => Ok(r#"{"access_token":"t1","token_type":"bearer","expires_in":3600}"#.to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth2_token_is_asked_for_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token_url = format!("http://{}/token", listener.local_addr().unwrap());
    let server = TokenServer::default();
    let router = Router::new().route("/token", post(token)).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let receiver = Receiver::start().await;
    let change = |config: &mut Config| {
        config.oauth2 = Some(OAuth2 {
            client_id: "id".to_owned(),
            client_secret: Secret::new("a b"),
            scopes: vec!["x".to_owned(), "y".to_owned()],
            endpoint_params: [("audience".to_owned(), Secret::new("z"))].into(),
            token_url,
            ..OAuth2::default()
        });
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(change, &receiver));
    for time_ms in [1_000, 2_000] {
        process.collect(time_ms, 1);
        eventually("it is sent", || process.handle().is_drained()).await;
        assert_eq!(last(&receiver, "authorization").as_deref(), Some("Bearer t1"));
    }
    let asked = server.asked.lock().clone();
    let [(header, first), (None, second)] = &asked[..] else { panic!("{asked:?}") };
    // As forms are encoded: "id:a+b".
    assert_eq!(header.as_deref(), Some("Basic aWQ6YSti"));
    assert_eq!(first, "grant_type=client_credentials&scope=x+y&audience=z");
    assert_eq!(second, &format!("{first}&client_id=id&client_secret=a+b"));
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust us goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// TLS of a server whose certificate has this name, and the authority to trust.
fn server_tls(name: &str) -> (ServerConfig, String) {
    let key = || KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, key()).unwrap();
    let (own, parameters) = (key(), CertificateParams::new(vec![name.to_owned()]).unwrap());
    let certificate = parameters.signed_by(&own, &authority).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())),
    )
    .unwrap();
    (server, authority.pem())
}

/// A receiver whose certificate has this name, its address, and the authority to trust.
pub(super) async fn secure(name: &str) -> (Receiver, std::net::SocketAddr, String) {
    let (server, authority) = server_tls(name);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(server)) };
    let receiver = Receiver::serve(listener, format!("https://{address}/write"));
    (receiver, address, authority)
}

#[tokio::test(flavor = "multi_thread")]
async fn receiver_is_checked_by_its_authority_and_name() {
    let name = "metrics.internal".to_owned();
    let (receiver, address, authority) = secure(&name).await;
    let trusting = |server_name: String| {
        let ca = authority.clone();
        move |config: &mut Config| {
            config.tls_config.ca = ca;
            config.tls_config.server_name = server_name;
        }
    };
    let remotes = quick(trusting(name), &receiver);
    let process = Process::start(tempfile::tempdir().unwrap(), remotes);
    process.collect(1_000, 1);
    process.flush().await;
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0)]);
    assert_eq!(last(&receiver, "host"), Some(address.to_string()));
    let remotes = quick(trusting("other.internal".to_owned()), &receiver);
    let process = Process::start(tempfile::tempdir().unwrap(), remotes);
    process.collect(2_000, 1);
    let retried = "prometheus_remote_storage_samples_retried_total{";
    eventually("it is refused", || process.registry.encode().contains(retried)).await;
    process.remote.flush(Duration::ZERO).await;
    assert_eq!(receiver.samples("calls_0_total").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn connection_of_http2_that_hangs_is_asked_for_a_sign_of_life() {
    const PREFACE_BYTES: usize = 24;
    const PING: u8 = 6;
    let (mut server, ca) = server_tls("127.0.0.1");
    server.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/write", tcp.local_addr().unwrap());
    let remote_timeout = PromDuration::hours(1);
    let mut config = Config { url, enable_http2: true, remote_timeout, ..Config::default() };
    config.tls_config.ca = ca;
    let process = Process::start(tempfile::tempdir().unwrap(), vec![config]);
    process.collect(1_000, 1);
    let (stream, _) = tcp.accept().await.unwrap();
    let mut connection = TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap();
    connection.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.expect("a ping before the end of the connection");
        if head[3] == PING {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        connection.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
}
