//! Certificates for the tests of this crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::pem::Pem;
use crate::{ClientTls, ClientTlsSettings, ServerTls, ServerTlsSettings};

/// A directory with an authority and the certificates it signed.
pub(crate) struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { directory, issuer }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes `<name>.pem` and `<name>.key` for localhost.
    pub(crate) fn sign(&self, name: &str) {
        self.sign_until(name, 2100);
    }

    /// As [`sign`](Self::sign), valid until the first day of a year.
    pub(crate) fn sign_until(&self, name: &str, year: i32) {
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters(name, year).signed_by(&key, &self.issuer);
        self.write(name, &certificate.expect("a certificate"), &key);
    }

    /// Writes `<name>.pem` and `<name>.key` of a certificate for localhost that is its own authority.
    pub(crate) fn sign_itself_until(&self, name: &str, year: i32) {
        let mut parameters = parameters(name, year);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        self.write(name, &parameters.self_signed(&key).expect("a certificate"), &key);
    }

    fn write(&self, name: &str, certificate: &Certificate, key: &KeyPair) {
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("a file");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    pub(crate) fn ca(&self) -> Pem {
        Pem::file("ca", self.path("ca.pem"))
    }

    pub(crate) fn server(&self, name: &str) -> ServerTlsSettings {
        let certificate = Pem::file("s.cert_file", self.path(&format!("{name}.pem")));
        let key = Pem::file("s.key_file", self.path(&format!("{name}.key")));
        let settings = ServerTlsSettings::new("s", certificate, key);
        ServerTlsSettings { reload_interval: Duration::ZERO, ..settings }
    }

    pub(crate) fn client(&self) -> ClientTlsSettings {
        let settings = ClientTlsSettings::new("c");
        ClientTlsSettings { ca: Some(self.ca()), reload_interval: Duration::ZERO, ..settings }
    }

    pub(crate) fn client_with(&self, name: &str) -> ClientTlsSettings {
        ClientTlsSettings {
            certificate: Some(Pem::file("c.tls_cert_path", self.path(&format!("{name}.pem")))),
            key: Some(Pem::file("c.tls_key_path", self.path(&format!("{name}.key")))),
            ..self.client()
        }
    }
}

/// Of a certificate for localhost, valid until the first day of a year.
fn parameters(name: &str, year: i32) -> CertificateParams {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.not_after = date_time_ymd(year, 1, 1);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// A handshake in memory, and one byte in each direction, because TLS 1.3 clients learn late that they are rejected.
pub(crate) async fn handshake(
    server: &Arc<ServerTls>,
    client: &Arc<ClientTls>,
) -> std::io::Result<Handshake> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (a, b) = tokio::io::duplex(64 << 10);
    let accept = async {
        let mut stream = server.accept(a).await?;
        let verified = server.is_verified(&stream);
        let version = stream.get_ref().1.protocol_version();
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        stream.write_u8(1).await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>((verified, version, alpn))
    };
    let connect = async {
        let mut stream = client.connect("localhost", b).await?;
        stream.read_u8().await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or(&[]);
        Ok::<_, std::io::Error>(certificates[0].to_vec())
    };
    let ((verified, version, alpn), certificate) = tokio::try_join!(accept, connect)?;
    Ok(Handshake { verified, version, alpn, certificate })
}

#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) verified: bool,
    pub(crate) version: Option<rustls::ProtocolVersion>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) certificate: Vec<u8>,
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}
