//! Certificates and keys as PEM, in a file or in the configuration itself.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// A larger file is not a certificate. The limit protects memory against a wrong path.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Names the curve P-521 in a key: the object identifier 1.3.132.0.35.
const P521: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// PEM text, and the configuration key that it comes from.
#[derive(Clone)]
pub struct Pem {
    key: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Text(String),
}

/// Never shows the text, which may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.place())
    }
}

impl Pem {
    /// PEM in a file. `key`: its configuration key, for errors.
    pub fn file(key: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { key: key.into(), source: Source::File(path.into()) }
    }

    /// PEM as text. `key`: its configuration key, for errors.
    pub fn text(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), source: Source::Text(text.into()) }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) => Some(path),
            Source::Text(_) => None,
        }
    }

    fn place(&self) -> String {
        match &self.source {
            Source::File(path) => format!("{}: {}", self.key, path.display()),
            Source::Text(_) => self.key.clone(),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Error> {
        match &self.source {
            Source::Text(text) => Ok(text.as_bytes().to_vec()),
            Source::File(path) => read(path).map_err(|source| Error::Read {
                key: self.key.clone(),
                path: path.display().to_string(),
                source,
            }),
        }
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::Pem { place: self.place(), reason: reason.into() }
    }

    /// All certificates, in their order; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes()?).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.invalid("no certificate in it")),
            Ok(found) => Ok(found),
            Err(_) => Err(self.invalid("the PEM text is damaged")),
        }
    }

    /// The first private key. Errors: also one of a kind that cannot be used.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let text = self.bytes()?;
        // The parser's error may contain parts of the text, which is secret.
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
            self.invalid(match has(&text, b"ENCRYPTED") {
                true => "the key is encrypted: write it without a passphrase",
                false => "no private key in it",
            })
        })?;
        if any_supported_type(&key).is_err() {
            return Err(self.invalid(match has(key.secret_der(), &P521) {
                true => "P-521 keys are not supported: use P-256 or P-384",
                false => "damaged, or none of RSA from 2048 bits, P-256, P-384 and Ed25519",
            }));
        }
        Ok(key)
    }

    /// Certificates of authorities, to check others by and as they are.
    pub(crate) fn authorities(
        &self,
    ) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Error> {
        let certificates = self.certificates()?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| self.invalid(error.to_string()))?;
        }
        Ok((roots, certificates))
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(std::io::Error::other("too large for a certificate or key"));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_key_that_cannot_be_used_is_named_with_what_it_is() {
        let damaged = "damaged, or none of RSA";
        for (label, body, expected) in [
            // A key without its number: the curve stands behind it.
            ("EC PRIVATE KEY", "MBICAQEEBAAAAACgBwYFK4EEACM=", "P-521 keys are not supported"),
            ("EC PRIVATE KEY", "MAAA", damaged),
            ("ENCRYPTED PRIVATE KEY", "MAAA", "the key is encrypted"),
            ("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMAAA", "the key is encrypted"),
            ("CERTIFICATE", "MAAA", "no private key in it"),
        ] {
            let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
            let error = Pem::text("s.key_file", pem).private_key().unwrap_err().to_string();
            assert!(error.starts_with(&format!("s.key_file: {expected}")), "{label}: {error}");
        }
    }
}
