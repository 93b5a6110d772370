//! Ports with TLS.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tactus_tls::{ALPN_HTTP, ClientAuth, ClientTls, ClientTlsSettings, Pem, ServerTlsSettings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::testing::{client, get, http2_client, read, socket};

struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap());
        let (issuer, directory) = (issuer.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(directory.path().join("ca"), issuer.pem()).unwrap();
        let authority = Self { directory, issuer };
        authority.sign();
        authority
    }

    fn sign(&self) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path("certificate"), certificate.pem()).unwrap();
        std::fs::write(self.path("key"), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn pem(&self, name: &str) -> Pem {
        Pem::file(name, self.path(name))
    }

    fn listener(&self, client_auth: ClientAuth) -> ListenerSettings {
        let settings = ServerTlsSettings {
            client_auth,
            client_ca: client_auth.verifies().then(|| self.pem("ca")),
            alpn: ALPN_HTTP.map(str::to_owned).to_vec(),
            reload_interval: Duration::ZERO,
            ..ServerTlsSettings::new("test", self.pem("certificate"), self.pem("key"))
        };
        let tls = Some(ServerTls::load(settings).unwrap());
        ListenerSettings { tls, ..ListenerSettings::default() }
    }

    fn client(&self, alpn: &str, with_certificate: bool) -> Arc<ClientTls> {
        ClientTls::load(ClientTlsSettings {
            ca: Some(self.pem("ca")),
            certificate: with_certificate.then(|| self.pem("certificate")),
            key: with_certificate.then(|| self.pem("key")),
            alpn: vec![alpn.to_owned()],
            ..ClientTlsSettings::new("test")
        })
        .unwrap()
    }
}

/// A port that answers with what it knows of the connection.
async fn port(settings: ListenerSettings) -> BoundListener {
    let service = service_fn(|request: Request<ReceivedBody>| async move {
        let info = request.extensions().get::<ConnectionInfo>().unwrap();
        let text = format!(
            "{:?} {} {}",
            request.version(),
            info.is_encrypted,
            info.has_verified_certificate
        );
        Ok::<_, Infallible>(Response::new(text))
    });
    serve(socket().await, settings, service, CancellationToken::new()).unwrap()
}

async fn connect(port: &BoundListener, tls: &ClientTls) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(port.local_addr()).await?;
    tls.connect("localhost", stream).await
}

async fn ask(port: &BoundListener, tls: &ClientTls) -> io::Result<String> {
    let stream = connect(port, tls).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let response = if is_http2 {
        let connected = http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = connected.map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(get("https://localhost/")).await
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(get("/")).await
    };
    Ok(read(response.map_err(io::Error::other)?).await.2)
}

#[tokio::test]
async fn encrypted_port_speaks_the_version_that_the_client_wants() {
    let authority = Authority::new();
    let port = port(authority.listener(ClientAuth::None)).await;
    for (alpn, answer) in [("h2", "HTTP/2.0 true false"), ("http/1.1", "HTTP/1.1 true false")] {
        assert_eq!(ask(&port, &authority.client(alpn, false)).await.unwrap(), answer);
    }
    assert!(ask(&port, &authority.client("spdy", false)).await.is_err());
    assert!(ask(&port, &Authority::new().client("h2", false)).await.is_err());
}

#[tokio::test]
async fn client_certificate_is_known_to_handlers() {
    let authority = Authority::new();
    let port = port(authority.listener(ClientAuth::VerifyIfGiven)).await;
    let known = ask(&port, &authority.client("h2", true)).await.unwrap();
    assert_eq!(known, "HTTP/2.0 true true");
    let unknown = ask(&port, &authority.client("h2", false)).await.unwrap();
    assert_eq!(unknown, "HTTP/2.0 true false");
}

#[tokio::test]
async fn connections_outlive_a_renewal_of_the_certificate() {
    let authority = Authority::new();
    let port = port(authority.listener(ClientAuth::None)).await;
    let client = authority.client("http/1.1", false);
    let mut old = connect(&port, &client).await.unwrap();
    authority.sign();
    let new = connect(&port, &client).await.unwrap();
    let certificate =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert_ne!(certificate(&old), certificate(&new));
    old.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    old.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("HTTP/1.0 true false"), "{answer}");
}

#[tokio::test]
async fn header_of_a_balancer_comes_before_the_handshake_or_not_at_all() {
    let authority = Authority::new();
    let settings =
        ListenerSettings { proxy_protocol: true, ..authority.listener(ClientAuth::None) };
    let port = port(settings).await;
    let tls = authority.client("http/1.1", false);
    for header in [b"".as_slice(), b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"] {
        let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
        stream.write_all(header).await.unwrap();
        let mut stream = tls.connect("localhost", stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("HTTP/1.0 true false"), "{answer}");
    }
    let url = format!("http://{}/", port.local_addr());
    let (status, _, body) = read(client().request(get(&url)).await.unwrap()).await;
    assert_eq!(status, 400);
    assert!(body.starts_with("this port speaks TLS"), "{body}");
}

#[tokio::test]
async fn client_that_does_not_finish_the_handshake_is_cut() {
    let authority = Authority::new();
    let settings = ListenerSettings {
        handshake_timeout: Duration::from_millis(20),
        ..authority.listener(ClientAuth::None)
    };
    let port = port(settings).await;
    for start in [b"".as_slice(), b"\x16\x03\x01"] {
        let mut stream = TcpStream::connect(port.local_addr()).await.unwrap();
        stream.write_all(start).await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}

#[tokio::test]
async fn handshake_in_progress_does_not_hold_up_shutdown() {
    let authority = Authority::new();
    let shutdown = CancellationToken::new();
    let service = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let settings = authority.listener(ClientAuth::None);
    let port = serve(socket().await, settings, service, shutdown.clone()).unwrap();
    let _silent = TcpStream::connect(port.local_addr()).await.unwrap();
    tokio::task::yield_now().await;
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), port.stopped()).await.unwrap();
}

#[tokio::test]
async fn client_without_encryption_is_told_that_the_port_has_tls() {
    let authority = Authority::new();
    for protocols in [Protocols::Both, Protocols::Http2] {
        let settings = ListenerSettings { protocols, ..authority.listener(ClientAuth::None) };
        let port = port(settings).await;
        let url = format!("http://{}/", port.local_addr());
        let text = "this port speaks TLS: connect with https, or turn TLS on in the client\n";
        for client in [client(), http2_client()] {
            let (status, _, body) = read(client.request(get(&url)).await.unwrap()).await;
            assert_eq!((status, body.as_str()), (400, text));
        }
        let call = Request::post(&url).header("content-type", "application/grpc");
        let call = call.body(Full::default()).unwrap();
        let (status, headers, _) = read(http2_client().request(call).await.unwrap()).await;
        assert_eq!((status, headers["grpc-status"].to_str().unwrap()), (200, "14"));
        // Those who encrypt are not in its way.
        let answer = ask(&port, &authority.client("h2", false)).await.unwrap();
        assert_eq!(answer, "HTTP/2.0 true false");
    }
}

#[tokio::test]
async fn bytes_of_neither_protocol_end_an_encrypted_connection() {
    let authority = Authority::new();
    let port = port(authority.listener(ClientAuth::None)).await;
    let mut connection = TcpStream::connect(port.local_addr()).await.unwrap();
    connection.write_all(&[0x80; 64]).await.unwrap();
    let mut answer = Vec::new();
    // An alert, or nothing.
    let _reset = connection.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn client_that_is_refused_is_counted() {
    let authority = Authority::new();
    let port = port(authority.listener(ClientAuth::RequireAndVerify)).await;
    assert!(ask(&port, &authority.client("h2", false)).await.is_err());
    let text = tactus_telemetry::metrics::Registry::global().encode();
    let series = r#"tactus_server_tls_handshake_failures_total{reason="no_certificate"}"#;
    assert!(text.contains(series), "{text}");
}
