//! TLS of a client.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tactus_operator_files::Reloaded;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;
use crate::pem::Pem;
use crate::policy::{ProtocolPolicy, Side};
use crate::verify::{AnyCertificate, TrustedServer};
use crate::{DEFAULT_RELOAD_INTERVAL, alpn_bytes};

/// TLS of the connections of one client.
#[derive(Clone, Debug)]
pub struct ClientTlsSettings {
    /// The section of the configuration, such as `ingester_client.grpc_client_config`.
    pub section: String,
    /// Certificate chain to show.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// Authorities to trust instead of the system's.
    pub ca: Option<Pem>,
    /// The name to request and to expect in the server's certificate; empty: the host connected to.
    pub server_name: String,
    /// Do not check the server's certificate.
    pub insecure_skip_verify: bool,
    /// Versions and suites.
    pub policy: ProtocolPolicy,
    /// Protocols to offer (ALPN). Empty: the extension is not sent.
    pub alpn: Vec<String>,
    /// Files that were checked for changes longer ago than this are checked again.
    pub reload_interval: Duration,
}

impl ClientTlsSettings {
    /// Trusts the system's authorities, sends no certificate, and offers no ALPN.
    pub fn new(section: &str) -> Self {
        Self {
            section: section.to_owned(),
            certificate: None,
            key: None,
            ca: None,
            server_name: String::new(),
            insecure_skip_verify: false,
            policy: ProtocolPolicy::default(),
            alpn: Vec::new(),
            reload_interval: DEFAULT_RELOAD_INTERVAL,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let pems = [&self.certificate, &self.key, &self.ca];
        pems.into_iter().flatten().filter_map(Pem::path).map(PathBuf::from).collect()
    }

    fn load(&self) -> Result<ClientConfig, Error> {
        let provider = self.policy.provider(&self.section, Side::Client)?;
        let versions = self.policy.versions(&self.section, Side::Client)?;
        let invalid = |error: rustls::Error| Error::certificates(&self.section, error.to_string());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(invalid)?;
        let builder = if self.insecure_skip_verify {
            let verifier = AnyCertificate::new(provider, false);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else if let Some(authorities) = &self.ca {
            let (roots, trusted) = authorities.authorities()?;
            let verifier = TrustedServer::new(provider, roots, trusted)
                .map_err(|error| Error::certificates(&self.section, error.to_string()))?;
            builder.dangerous().with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(self.system_roots()?)
        };
        let mut config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.private_key()?)
                .map_err(invalid)?,
            (Some(_), None) => {
                let text = "certificate given but no key configured";
                return Err(Error::setting(&self.section, text));
            }
            (None, Some(_)) => {
                let text = "key given but no certificate configured";
                return Err(Error::setting(&self.section, text));
            }
        };
        config.alpn_protocols = alpn_bytes(&self.alpn);
        Ok(config)
    }

    fn system_roots(&self) -> Result<RootCertStore, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some systems have certificates that no library can use. They are ignored.
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let text =
                "the system has no authorities to trust; name a file with some (tls_ca_path)";
            return Err(Error::setting(&self.section, text));
        }
        Ok(roots)
    }
}

/// TLS of a client. Files are read again when they change; connections stay.
#[derive(Debug)]
pub struct ClientTls {
    config: Reloaded<ClientConfig, Error>,
    section: String,
    server_name: String,
}

impl ClientTls {
    /// Reads the files. Errors: what cannot be read, parsed or used, with key and file.
    pub fn load(settings: ClientTlsSettings) -> Result<Arc<Self>, Error> {
        let (section, server_name) = (settings.section.clone(), settings.server_name.clone());
        if !server_name.is_empty() && ServerName::try_from(server_name.as_str()).is_err() {
            let text = format!("tls_server_name: {server_name:?} is no host name or address");
            return Err(Error::setting(&section, text));
        }
        let (files, interval) = (settings.files(), settings.reload_interval);
        let config = Reloaded::new(&section, files, interval, move || settings.load())?;
        Ok(Arc::new(Self { config, section, server_name }))
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.get()
    }

    /// The name that the certificate of `host` must have: the configured one, or else the host itself, which may be an
    /// address (an IPv6 address with or without brackets).
    ///
    /// Errors: the host is neither a name nor an address.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let host = if self.server_name.is_empty() { host } else { &self.server_name };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::setting(&self.section, format!("{host:?} is no host name or address"))
        })
    }

    /// Performs the handshake with the server `host`. It has no time limit of its own.
    ///
    /// Errors: those of the connection, and a server that is not trusted.
    pub async fn connect<S>(&self, host: &str, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.server_name(host).map_err(std::io::Error::other)?;
        TlsConnector::from(self.config()).connect(name, stream).await
    }
}

#[cfg(test)]
mod tests;
