//! The HTTP client under a remote store.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use reqwest::Identity;
use reqwest::tls::Version;
use tactus_config::GoDuration;
use tactus_config::sections::client::ClientTls;
use tactus_config::sections::object_store::S3;

use super::answers::{self, Asked};
use super::credential_servers::CredentialServers;
use super::kms::EncryptionContext;
use super::metrics;
use crate::error::{Error, Result};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one attempt, from sending it to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// No repetition starts after this time since the first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Repetitions after the first attempt, and their pauses, where none are configured.
pub(super) const MAX_RETRIES: u32 = 10;
/// First pause; each further one is longer.
pub(super) const FIRST_PAUSE: GoDuration = GoDuration::millis(200);
/// Longest pause.
pub(super) const LONGEST_PAUSE: GoDuration = GoDuration::seconds(1);

/// What the client of a store needs to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Client<'a> {
    /// Bounds on repeating a request that failed for a passing reason.
    pub(super) retry: RetryConfig,
    /// Plain HTTP is allowed.
    pub(super) insecure: bool,
    /// No request uses TLS, so the machine needs no root certificates.
    pub(super) never_tls: bool,
    pub(super) any_certificate: bool,
    /// Empty: the system's certificates.
    pub(super) ca_path: &'a str,
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
            .with_no_system_certificates(self.never_tls || !self.ca_path.is_empty())
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT)
            .with_allow_invalid_certificates(self.any_certificate);
        if !self.ca_path.is_empty() {
            let certificates = certificates(self.ca_path.as_ref())?;
            options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
        }
        Ok(options)
    }
}

/// This many repetitions after the first attempt, with pauses from `first` up to `longest`.
pub(super) fn retry(max_retries: u32, first: GoDuration, longest: GoDuration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: first.as_std(),
            max_backoff: longest.as_std(),
            base: 2.0,
        },
        max_retries: max_retries as usize,
        retry_timeout: RETRY_TIMEOUT,
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

/// Makes clients that count their requests, for the store and for the servers that give credentials for it.
#[derive(Debug)]
pub(super) struct Connector {
    /// Scheme and host.
    store: String,
    own: Option<OwnTls>,
    encryption: Option<Arc<EncryptionContext>>,
}

/// TLS settings that the store's client does not have.
#[derive(Debug, Clone)]
struct OwnTls {
    identity: Option<Identity>,
    newest_only: bool,
    any_certificate: bool,
    roots: String,
}

impl Connector {
    /// `store`: scheme and host.
    pub(super) fn new(store: &str) -> Self {
        Self { store: store.to_owned(), own: None, encryption: None }
    }

    /// Reads the client certificate, if there is one.
    pub(super) fn of_s3(
        store: &str,
        settings: &S3,
        encryption: Option<Arc<EncryptionContext>>,
    ) -> Result<Self> {
        Ok(Self { own: OwnTls::read(&settings.tls)?, encryption, ..Self::new(store) })
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
        let credential_servers = CredentialServers::besides(&self.store);
        Ok(HttpClient::new(Counted {
            client,
            credential_servers,
            encryption: self.encryption.clone(),
        }))
    }
}

impl OwnTls {
    /// `None` if the settings of the store's client are enough.
    fn read(tls: &ClientTls) -> Result<Option<Self>> {
        let (certificate, key) = (&tls.tls_cert_path, &tls.tls_key_path);
        let newest_only = tls.tls_min_version == "VersionTLS13";
        let shown = !certificate.is_empty() && !key.is_empty();
        if !shown && !newest_only {
            return Ok(None);
        }
        let identity = shown.then(|| {
            let refuse = |path: &str, error: &dyn std::fmt::Display| {
                Error::invalid("tls_cert_path", format!("{path}: {error}"))
            };
            let mut pem = Vec::new();
            for path in [certificate, key] {
                pem.extend(fs::read(path).map_err(|error| refuse(path, &error))?);
                pem.push(b'\n');
            }
            Identity::from_pem(&pem).map_err(|error| refuse(certificate, &error))
        });
        Ok(Some(Self {
            identity: identity.transpose()?,
            newest_only,
            any_certificate: tls.tls_insecure_skip_verify,
            roots: tls.tls_ca_path.clone(),
        }))
    }

    fn client(&self) -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .danger_accept_invalid_certs(self.any_certificate);
        if !self.roots.is_empty() {
            let pem = fs::read(&self.roots)?;
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
    credential_servers: CredentialServers,
    encryption: Option<Arc<EncryptionContext>>,
}

#[async_trait::async_trait]
impl HttpService for Counted {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(server) = self.credential_servers.asked_by(&request) {
            return self.credential_servers.ask(server, &self.client, request).await;
        }
        if let Some(encryption) = &self.encryption {
            let done = encryption.apply(&mut request).await;
            done.map_err(|source| HttpError::new_boxed(HttpErrorKind::Unknown, source))?;
        }
        let (method, started) = (request.method().clone(), Instant::now());
        let asked = Asked::of(method.as_str(), request.uri().query().unwrap_or_default());
        let answer = self.client.execute(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        metrics::request(method.as_str(), status, started.elapsed());
        answers::bounded(asked, answer?).await
    }
}
