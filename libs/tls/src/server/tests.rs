use super::*;
use crate::client::ClientTls;
use crate::client::ClientTlsSettings;
use crate::testing::{Authority, handshake, text};

fn mutual(ca: &Authority, client_auth: ClientAuth) -> Arc<ServerTls> {
    let client_ca = client_auth.verifies().then(|| ca.ca());
    ServerTls::load(ServerTlsSettings { client_ca, client_auth, ..ca.server("server") }).unwrap()
}

#[tokio::test]
async fn client_certificates_are_wanted_as_each_mode_says() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.sign("server");
    ours.sign("client");
    other.sign("client");
    let none = ClientTls::load(ours.client()).unwrap();
    let known = ClientTls::load(ours.client_with("client")).unwrap();
    let stranger =
        ClientTls::load(ClientTlsSettings { ca: Some(ours.ca()), ..other.client_with("client") })
            .unwrap();
    // For each kind of client: whether it is served, and whether it counts as verified.
    let (served, verified, refused) = (Some(false), Some(true), None);
    for (mode, expected) in [
        (ClientAuth::None, [served, served, served]),
        (ClientAuth::Request, [served, served, served]),
        (ClientAuth::RequireAny, [refused, served, served]),
        (ClientAuth::VerifyIfGiven, [served, verified, refused]),
        (ClientAuth::RequireAndVerify, [refused, verified, refused]),
    ] {
        let server = mutual(&ours, mode);
        for (client, expected) in [&none, &known, &stranger].into_iter().zip(expected) {
            let found = handshake(&server, client).await.ok().map(|found| found.verified);
            assert_eq!(found, expected, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn renewed_certificate_is_used_and_a_broken_one_keeps_the_old() {
    let ca = Authority::new("ca");
    ca.sign("server");
    let server = ServerTls::load(ca.server("server")).unwrap();
    let client = ClientTls::load(ca.client()).unwrap();
    let first = handshake(&server, &client).await.unwrap().certificate;
    assert_eq!(handshake(&server, &client).await.unwrap().certificate, first);
    ca.sign("server");
    let second = handshake(&server, &client).await.unwrap().certificate;
    assert_ne!(second, first);
    // A key that does not belong to the certificate: halfway through a renewal.
    ca.sign("next");
    std::fs::copy(ca.path("next.pem"), ca.path("server.pem")).unwrap();
    assert_eq!(handshake(&server, &client).await.unwrap().certificate, second);
    std::fs::copy(ca.path("next.key"), ca.path("server.key")).unwrap();
    assert_ne!(handshake(&server, &client).await.unwrap().certificate, second);
}

#[tokio::test]
async fn client_of_a_changed_authority_is_turned_away() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.sign("server");
    ours.sign("client");
    let server = mutual(&ours, ClientAuth::RequireAndVerify);
    let client = ClientTls::load(ours.client_with("client")).unwrap();
    assert!(handshake(&server, &client).await.is_ok());
    std::fs::copy(other.path("ca.pem"), ours.path("ca.pem")).unwrap();
    let trusting = ClientTls::load(ClientTlsSettings {
        insecure_skip_verify: true,
        ..ours.client_with("client")
    })
    .unwrap();
    assert!(handshake(&server, &trusting).await.is_err());
}

#[tokio::test]
async fn lowest_version_turns_older_clients_away() {
    let ca = Authority::new("ca");
    ca.sign("server");
    let of = |min: &str, max: &str| ProtocolPolicy {
        min_version: min.to_owned(),
        max_version: max.to_owned(),
        cipher_suites: Vec::new(),
    };
    let old = ClientTlsSettings { policy: of("", "1.2"), ..ca.client() };
    let old = ClientTls::load(old).unwrap();
    let settings = ServerTlsSettings { policy: of("VersionTLS13", ""), ..ca.server("server") };
    assert!(handshake(&ServerTls::load(settings).unwrap(), &old).await.is_err());
    let server = ServerTls::load(ca.server("server")).unwrap();
    let version = handshake(&server, &old).await.unwrap().version;
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn protocol_is_chosen_by_the_server() {
    let ca = Authority::new("ca");
    ca.sign("server");
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let alpn = names(&crate::ALPN_HTTP);
    let server = ServerTls::load(ServerTlsSettings { alpn, ..ca.server("server") }).unwrap();
    for (offered, chosen) in [
        (names(&["http/1.1", "h2"]), Some("h2")),
        (names(&["http/1.1"]), Some("http/1.1")),
        (names(&[]), None),
    ] {
        let client = ClientTls::load(ClientTlsSettings { alpn: offered, ..ca.client() }).unwrap();
        let found = handshake(&server, &client).await.unwrap().alpn;
        assert_eq!(found.as_deref(), chosen.map(str::as_bytes));
    }
}

#[test]
fn settings_that_cannot_be_used_are_named_with_key_and_file() {
    let ca = Authority::new("ca");
    ca.sign("server");
    ca.sign("other");
    let error = |settings| ServerTls::load(settings).unwrap_err().to_string();
    let missing = error(ca.server("missing"));
    assert!(
        missing.starts_with("s.cert_file: /") && missing.contains("missing.pem: "),
        "{missing}"
    );
    let swapped = ServerTlsSettings { key: ca.server("other").key, ..ca.server("server") };
    assert!(error(swapped).starts_with("s: keys may not be consistent"));
    let swapped = ServerTlsSettings { key: ca.server("server").certificate, ..ca.server("server") };
    let text_of = error(swapped);
    assert!(text_of.starts_with("s.cert_file: ") && text_of.ends_with("no private key in it"));
    let no_policy = ServerTlsSettings { client_ca: Some(ca.ca()), ..ca.server("server") };
    let expected = "s: client CA's have been configured without a Client Auth Policy";
    assert_eq!(error(no_policy), expected);
    let client_auth = ClientAuth::RequireAndVerify;
    let no_ca = ServerTlsSettings { client_auth, ..ca.server("server") };
    assert!(error(no_ca).contains("without a client CA"));
}

#[test]
fn text_in_the_configuration_is_used_and_never_shown() {
    let ca = Authority::new("ca");
    ca.sign("server");
    let (certificate, key) = (text(&ca.path("server.pem")), text(&ca.path("server.key")));
    let pem = |key: &str, text: &str| Pem::text(key, text);
    let settings = ServerTlsSettings::new("s", pem("s.cert", &certificate), pem("s.key", &key));
    let body = key.lines().nth(1).unwrap();
    assert!(!format!("{settings:?}").contains(body));
    assert!(ServerTls::load(settings).is_ok());
    // Damaged in the middle: the error must not quote it.
    let damaged = key.replacen(body, &format!("{body}!"), 1);
    let settings = ServerTlsSettings::new("s", pem("s.cert", &certificate), pem("s.key", &damaged));
    let error = ServerTls::load(settings).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&body[..8]));
}

#[test]
fn client_auth_has_the_names_of_go() {
    for name in
        ["", "NoClientCert", "RequestClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven"]
    {
        assert!(ClientAuth::from_name(name).is_some(), "{name}");
    }
    assert_eq!(ClientAuth::from_name("RequireClientCert"), Some(ClientAuth::RequireAny));
    let verified = ClientAuth::from_name("RequireAndVerifyClientCert");
    assert_eq!(verified, Some(ClientAuth::RequireAndVerify));
    assert_eq!(ClientAuth::from_name("require"), None);
}

#[tokio::test]
async fn handshake_that_a_side_refuses_has_a_reason() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.sign("server");
    other.sign("client");
    let server = mutual(&ours, ClientAuth::RequireAndVerify);
    let policy = ProtocolPolicy { max_version: "1.2".to_owned(), ..ProtocolPolicy::default() };
    let old = ClientTlsSettings { policy, ..ours.client() };
    let stranger = ClientTlsSettings { ca: Some(ours.ca()), ..other.client_with("client") };
    let newest = ProtocolPolicy { min_version: "VersionTLS13".to_owned(), ..Default::default() };
    let newest = ServerTlsSettings { policy: newest, ..ours.server("server") };
    let newest = ServerTls::load(newest).unwrap();
    for (server, client, reason) in [
        (&server, ours.client(), "no_certificate"),
        (&server, stranger, "invalid_certificate"),
        (&server, other.client(), "client_refused"),
        (&newest, old, "incompatible"),
    ] {
        let (a, b) = tokio::io::duplex(64 << 10);
        let client = ClientTls::load(client).unwrap();
        let (accepted, _) = tokio::join!(server.accept(a), client.connect("localhost", b));
        assert_eq!(refusal_reason(&accepted.err().unwrap()), Some(reason));
    }
    let (a, b) = tokio::io::duplex(1);
    drop(b);
    assert_eq!(refusal_reason(&server.accept(a).await.err().unwrap()), None);
}
