//! TLS towards cache servers.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

/// How to speak TLS to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Authorities to trust instead of the system's, a PEM file.
    pub ca_path: Option<PathBuf>,
    /// Our certificate and its key, PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, instead of the host's.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
}

impl TlsSettings {
    /// Reads the files. Errors: one that cannot be read or has nothing of what it should.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Invalid(format!("tls: {error}")))?;
        let builder = if self.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let invalid = |what, error: &dyn std::fmt::Display| {
                    Error::Invalid(format!("{what}: {error}"))
                };
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| invalid("tls_key_path", &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| invalid("tls_cert_path", &error))?
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let found = match &self.ca_path {
            Some(path) => certificates(path)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        roots.add_parsable_certificates(found);
        if roots.is_empty() {
            return Err(Error::Invalid("tls: no authority to trust".to_owned()));
        }
        Ok(roots)
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>> {
    let invalid = |error: &dyn std::fmt::Display| {
        Error::Invalid(format!("cannot read certificates of {}: {error}", path.display()))
    };
    let pem = fs::read(path).map_err(|error| invalid(&error))?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| invalid(&error))
}

/// Makes sure that the redis client finds an implementation of cryptography.
pub(crate) fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may be faster, with the same.
        let _ = ring::default_provider().install_default();
    }
}

/// For `tls_insecure_skip_verify`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_files_are_named() {
        let path = PathBuf::from("/nonexistent/ca.pem");
        let settings = TlsSettings { ca_path: Some(path.clone()), ..TlsSettings::default() };
        let text = settings.client_config().unwrap_err().to_string();
        assert!(text.contains("/nonexistent/ca.pem"), "{text}");
        let insecure = TlsSettings { insecure_skip_verify: true, ..settings };
        assert!(insecure.client_config().is_ok(), "nothing to check against");
        let identity = Some((path.clone(), path));
        assert!(TlsSettings { identity, ..insecure }.client_config().is_err());
    }
}
