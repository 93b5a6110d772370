//! The HTTP client under a remote store.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use reqwest::Identity;
use reqwest::tls::Version;

use super::kms::EncryptionContext;
use super::metrics;
use super::settings::{HttpSettings, S3Settings};
use crate::error::{Error, Result};

/// What the client of a store needs to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Client<'a> {
    pub(super) http: HttpSettings,
    /// Plain HTTP is fine.
    pub(super) insecure: bool,
    /// Nothing is asked over TLS, so that a machine without certificates will do.
    pub(super) never_tls: bool,
    pub(super) any_certificate: bool,
    pub(super) ca_path: Option<&'a Path>,
}

/// Fails unless TLS can be used: the HTTP client would panic while it is built.
pub(super) fn check_tls_provider() -> Result<()> {
    match rustls::crypto::CryptoProvider::get_default() {
        Some(_) => Ok(()),
        None => Err(Error::invalid("process", "no TLS crypto provider is installed")),
    }
}

impl Client<'_> {
    pub(super) fn options(&self) -> Result<ClientOptions> {
        let mut options = ClientOptions::new()
            .with_allow_http(self.insecure)
            .with_no_system_certificates(self.never_tls || self.ca_path.is_some())
            .with_connect_timeout(self.http.connect_timeout)
            .with_timeout(self.http.request_timeout)
            .with_allow_invalid_certificates(self.any_certificate);
        if let Some(path) = self.ca_path {
            let certificates = certificates(path)?;
            options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        Ok(options)
    }

    pub(super) fn retry(&self) -> RetryConfig {
        let retry = &self.http.retry;
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: retry.initial_backoff,
                max_backoff: retry.max_backoff,
                base: 2.0,
            },
            max_retries: retry.max_retries,
            retry_timeout: retry.total_timeout,
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let refuse =
        |reason: String| Error::invalid("tls_ca_path", format!("error loading ca cert: {reason}"));
    let pem = fs::read(path).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| refuse(error.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse(format!("{} holds no certificate", path.display())));
    }
    Ok(certificates)
}

/// Makes clients that count their requests.
#[derive(Debug, Default)]
pub(super) struct Connector {
    own: Option<OwnTls>,
    encryption: Option<Arc<EncryptionContext>>,
}

/// What the store's client has no setting for.
#[derive(Debug, Clone)]
struct OwnTls {
    identity: Option<Identity>,
    newest_only: bool,
    any_certificate: bool,
    roots: Option<PathBuf>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl Connector {
    /// Reads the client certificate, if there is one.
    pub(super) fn of_s3(
        settings: &S3Settings,
        encryption: Option<Arc<EncryptionContext>>,
    ) -> Result<Self> {
        let needed = settings.tls_client.is_some() || settings.tls_1_3_only;
        let own = if needed { Some(OwnTls::read(settings)?) } else { None };
        Ok(Self { own, encryption })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client =
            match &self.own {
                None => ReqwestConnector::default().connect(options)?,
                Some(own) => HttpClient::new(own.client().map_err(|source| {
                    object_store::Error::Generic { store: "HTTP client", source }
                })?),
            };
        Ok(HttpClient::new(Counted { client, encryption: self.encryption.clone() }))
    }
}

impl OwnTls {
    fn read(settings: &S3Settings) -> Result<Self> {
        let identity = settings.tls_client.as_ref().map(|(certificate, key)| {
            let mut pem = Vec::new();
            for path in [certificate, key] {
                let refuse = |error: std::io::Error| {
                    Error::invalid("tls_cert_path", format!("{}: {error}", path.display()))
                };
                pem.extend(fs::read(path).map_err(refuse)?);
                pem.push(b'\n');
            }
            Identity::from_pem(&pem).map_err(|error| {
                Error::invalid("tls_cert_path", format!("{}: {error}", certificate.display()))
            })
        });
        Ok(Self {
            identity: identity.transpose()?,
            newest_only: settings.tls_1_3_only,
            any_certificate: settings.tls_insecure_skip_verify,
            roots: settings.tls_ca_path.clone(),
            connect_timeout: settings.http.connect_timeout,
            request_timeout: settings.http.request_timeout,
        })
    }

    fn client(&self) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .danger_accept_invalid_certs(self.any_certificate);
        if let Some(path) = &self.roots {
            let pem = fs::read(path)?;
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if self.newest_only {
            builder = builder.tls_version_min(Version::TLS_1_3);
        }
        Ok(builder.build()?)
    }
}

#[derive(Debug)]
struct Counted {
    client: HttpClient,
    encryption: Option<Arc<EncryptionContext>>,
}

#[async_trait::async_trait]
impl HttpService for Counted {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(encryption) = &self.encryption {
            let done = encryption.apply(&mut request).await;
            done.map_err(|source| HttpError::new_boxed(HttpErrorKind::Unknown, source))?;
        }
        let (method, started) = (request.method().clone(), Instant::now());
        let answer = self.client.execute(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        metrics::request(method.as_str(), status, started.elapsed());
        answer
    }
}
