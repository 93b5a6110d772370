//! Certificates and keys as PEM, in a file or in the configuration itself.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// A larger file is not a certificate. The limit protects memory against a wrong path.
const MAX_FILE_BYTES: u64 = 4 << 20;

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

    /// The first private key.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        // The parser's error may contain parts of the text, which is secret.
        PrivateKeyDer::from_pem_slice(&self.bytes()?)
            .map_err(|_| self.invalid("no private key in it"))
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
