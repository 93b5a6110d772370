//! TLS of a listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tactus_operator_files::Reloaded;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::Error;
use crate::pem::Pem;
use crate::policy::{ProtocolPolicy, Side};
use crate::verify::AnyCertificate;
use crate::{DEFAULT_RELOAD_INTERVAL, alpn_bytes};

/// What a listener wants of its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    None,
    /// One is asked for and, if given, not checked.
    Request,
    /// One must be given and is not checked.
    RequireAny,
    /// If the client sends a certificate, the authorities must have signed it.
    VerifyIfGiven,
    /// The client must send a certificate that the authorities have signed: mTLS.
    RequireAndVerify,
}

impl ClientAuth {
    /// From Go's name, such as `RequireAndVerifyClientCert`; empty is none. `None`: no such name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "" | "NoClientCert" => Some(Self::None),
            "RequestClientCert" => Some(Self::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Some(Self::RequireAny),
            "VerifyClientCertIfGiven" => Some(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Some(Self::RequireAndVerify),
            _ => None,
        }
    }

    /// True if certificates are checked against authorities.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// TLS of one listener.
#[derive(Clone, Debug)]
pub struct ServerTlsSettings {
    /// The section of the configuration, such as `server.http_tls_config`, for errors and metrics.
    pub section: String,
    /// Certificate chain.
    pub certificate: Pem,
    /// Its private key.
    pub key: Pem,
    /// Authorities that sign the certificates of clients.
    pub client_ca: Option<Pem>,
    /// What is wanted of clients.
    pub client_auth: ClientAuth,
    /// Versions and suites.
    pub policy: ProtocolPolicy,
    /// Protocols to offer, the preferred one first; see [`crate::ALPN_HTTP`]. Empty: no ALPN.
    pub alpn: Vec<String>,
    /// Files that were checked for changes longer ago than this are checked again.
    pub reload_interval: Duration,
}

impl ServerTlsSettings {
    /// With a certificate and a key, no client certificates, no ALPN and the usual interval.
    pub fn new(section: &str, certificate: Pem, key: Pem) -> Self {
        Self {
            section: section.to_owned(),
            certificate,
            key,
            client_ca: None,
            client_auth: ClientAuth::None,
            policy: ProtocolPolicy::default(),
            alpn: Vec::new(),
            reload_interval: DEFAULT_RELOAD_INTERVAL,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let pems = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        pems.into_iter().flatten().filter_map(Pem::path).map(PathBuf::from).collect()
    }

    fn load(&self) -> Result<ServerConfig, Error> {
        let provider = self.policy.provider(&self.section, Side::Server)?;
        let versions = self.policy.versions(&self.section, Side::Server)?;
        let invalid = |error: rustls::Error| Error::certificates(&self.section, error.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(invalid)?;
        let builder = match self.verifier(provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let (certificate, key) = (self.certificate.certificates()?, self.key.private_key()?);
        let mut config = builder.with_single_cert(certificate, key).map_err(invalid)?;
        config.alpn_protocols = alpn_bytes(&self.alpn);
        Ok(config)
    }

    fn verifier(
        &self,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        let setting = |text: &str| Err(Error::setting(&self.section, text));
        let authorities = match (self.client_auth, &self.client_ca) {
            (auth, Some(_)) if !auth.verifies() => {
                return setting("client CA's have been configured without a Client Auth Policy");
            }
            (ClientAuth::None, _) => return Ok(None),
            (ClientAuth::Request, _) => return Ok(Some(AnyCertificate::new(provider, false))),
            (ClientAuth::RequireAny, _) => return Ok(Some(AnyCertificate::new(provider, true))),
            (_, None) => {
                return setting("client certificates cannot be verified without a client CA");
            }
            (_, Some(authorities)) => Arc::new(authorities.authorities()?.0),
        };
        let mut builder = WebPkiClientVerifier::builder_with_provider(authorities, provider);
        if self.client_auth == ClientAuth::VerifyIfGiven {
            builder = builder.allow_unauthenticated();
        }
        let invalid = |error| Error::certificates(&self.section, format!("client CA: {error}"));
        Ok(Some(builder.build().map_err(invalid)?))
    }
}

/// TLS of a listener. Files are read again when they change; connections stay.
#[derive(Debug)]
pub struct ServerTls {
    config: Reloaded<ServerConfig, Error>,
    client_auth: ClientAuth,
}

impl ServerTls {
    /// Reads the files. Errors: what cannot be read, parsed or used, with key and file.
    pub fn load(settings: ServerTlsSettings) -> Result<Arc<Self>, Error> {
        let (section, files) = (settings.section.clone(), settings.files());
        let (interval, client_auth) = (settings.reload_interval, settings.client_auth);
        let config = Reloaded::new(&section, files, interval, move || settings.load())?;
        Ok(Arc::new(Self { config, client_auth }))
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.get()
    }

    /// What is wanted of clients.
    pub fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Performs the handshake of one connection. It has no time limit of its own.
    ///
    /// Errors: those of the connection, and a client that the settings reject.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.config()).accept(stream).await
    }

    /// True if the client of a connection has proved its identity with a certificate of the authorities.
    pub fn is_verified<S>(&self, stream: &TlsStream<S>) -> bool {
        let (_, connection) = stream.get_ref();
        self.client_auth.verifies() && connection.peer_certificates().is_some()
    }
}

/// Why a handshake failed, in a word for metrics. `None`: no side refused the other, the connection only ended.
pub fn refusal_reason(error: &std::io::Error) -> Option<&'static str> {
    use rustls::Error;
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(_) => "invalid_certificate",
        Error::AlertReceived(_) => "client_refused",
        Error::PeerIncompatible(_) => "incompatible",
        _ => "other",
    })
}

#[cfg(test)]
mod tests;
