use super::*;
use crate::server::ServerTls;
use crate::testing::{Authority, handshake};

#[tokio::test]
async fn server_that_is_not_trusted_is_refused() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.sign("server");
    ours.sign_until("expired", 2001);
    let server = ServerTls::load(ours.server("server")).unwrap();
    let good = ClientTls::load(ours.client()).unwrap();
    assert!(handshake(&server, &good).await.is_ok());
    let expired = ServerTls::load(ours.server("expired")).unwrap();
    assert!(handshake(&expired, &good).await.is_err());
    let stranger = ClientTls::load(other.client()).unwrap();
    assert!(handshake(&server, &stranger).await.is_err());
    let elsewhere = ClientTlsSettings { server_name: "elsewhere".into(), ..ours.client() };
    assert!(handshake(&server, &ClientTls::load(elsewhere).unwrap()).await.is_err());
    let careless = ClientTlsSettings { insecure_skip_verify: true, ..other.client() };
    assert!(handshake(&expired, &ClientTls::load(careless).unwrap()).await.is_ok());
}

#[tokio::test]
async fn certificate_that_is_its_own_authority_is_trusted_only_if_it_is_named() {
    let ours = Authority::new("ours");
    for (name, year) in [("own", 2100), ("expired", 2001), ("other", 2100)] {
        ours.sign_itself_until(name, year);
    }
    let trusting = |name: &str| {
        let ca = Some(Pem::file("c.tls_ca_path", ours.path(&format!("{name}.pem"))));
        ClientTlsSettings { ca, ..ours.client() }
    };
    for (served, settings, is_taken) in [
        ("own", trusting("own"), true),
        ("own", trusting("other"), false),
        ("own", ours.client(), false),
        ("own", ClientTlsSettings { server_name: "elsewhere".into(), ..trusting("own") }, false),
        ("expired", trusting("expired"), false),
    ] {
        let server = ServerTls::load(ours.server(served)).unwrap();
        let client = ClientTls::load(settings.clone()).unwrap();
        assert_eq!(handshake(&server, &client).await.is_ok(), is_taken, "{served} {settings:?}");
    }
}

#[tokio::test]
async fn changed_authority_is_trusted_without_a_restart() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    other.sign("server");
    let server = ServerTls::load(other.server("server")).unwrap();
    let client = ClientTls::load(ours.client()).unwrap();
    assert!(handshake(&server, &client).await.is_err());
    std::fs::copy(other.path("ca.pem"), ours.path("ca.pem")).unwrap();
    assert!(handshake(&server, &client).await.is_ok());
}

#[test]
fn half_a_client_certificate_is_refused_as_go_does() {
    let ca = Authority::new("ca");
    ca.sign("client");
    let error = |settings| ClientTls::load(settings).unwrap_err().to_string();
    let no_key = ClientTlsSettings { key: None, ..ca.client_with("client") };
    assert_eq!(error(no_key), "c: certificate given but no key configured");
    let no_certificate = ClientTlsSettings { certificate: None, ..ca.client_with("client") };
    assert_eq!(error(no_certificate), "c: key given but no certificate configured");
    let name = ClientTlsSettings { server_name: "a b".into(), ..ca.client() };
    assert_eq!(error(name), r#"c: tls_server_name: "a b" is no host name or address"#);
    let missing = ca.client_with("missing");
    assert!(error(missing).starts_with("c.tls_cert_path: /"));
}

#[test]
fn server_name_is_the_configured_one_or_the_host() {
    let ca = Authority::new("ca");
    let of = |name: &str, host: &str| {
        let settings = ClientTlsSettings { server_name: name.to_owned(), ..ca.client() };
        let name = ClientTls::load(settings).unwrap().server_name(host).unwrap();
        name.to_str().into_owned()
    };
    assert_eq!(of("", "ingester-0"), "ingester-0");
    assert_eq!(of("", "127.0.0.1"), "127.0.0.1");
    assert_eq!(of("", "[::1]"), "::1");
    assert_eq!(of("tactus", "127.0.0.1"), "tactus");
}
