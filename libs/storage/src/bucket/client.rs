//! The HTTP client under a remote store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use rustls::ClientConfig;
use tactus_config::GoDuration;
use tactus_config::sections::client::ClientTls as ClientTlsSection;
use tactus_config::sections::object_store::S3;
use tactus_tls::{ClientTls, ClientTlsSettings};

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
pub(super) struct Client {
    /// Bounds on repeating a request that failed for a passing reason.
    pub(super) retry: RetryConfig,
    /// Plain HTTP is allowed.
    pub(super) insecure: bool,
    /// No request uses TLS, so the machine needs no root certificates.
    pub(super) never_tls: bool,
    pub(super) any_certificate: bool,
}

/// Fails unless TLS can be used: the HTTP client would panic while it is built.
pub(super) fn check_tls_provider() -> Result<()> {
    match rustls::crypto::CryptoProvider::get_default() {
        Some(_) => Ok(()),
        None => Err(Error::invalid("process", "no TLS crypto provider is installed")),
    }
}

impl Client {
    pub(super) fn options(&self) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(self.insecure)
            .with_no_system_certificates(self.never_tls)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT)
            .with_allow_invalid_certificates(self.any_certificate)
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

/// Makes clients that count their requests, for the store and for the servers that give credentials for it.
#[derive(Debug)]
pub(super) struct Connector {
    /// Scheme and host.
    store: String,
    /// `None`: the system's authorities, or no TLS.
    tls: Option<Arc<ClientTls>>,
    encryption: Option<Arc<EncryptionContext>>,
}

impl Connector {
    /// `store`: scheme and host.
    pub(super) fn new(store: &str) -> Self {
        Self { store: store.to_owned(), tls: None, encryption: None }
    }

    /// Reads the files of the TLS settings, if there are any.
    pub(super) fn of_s3(
        store: &str,
        settings: &S3,
        encryption: Option<Arc<EncryptionContext>>,
    ) -> Result<Self> {
        let tls = (!is_usual(&settings.tls)).then(|| {
            let section = tactus_tls::from_config::client("s3", &settings.tls);
            // The library takes the name from the address.
            let loaded =
                ClientTls::load(ClientTlsSettings { server_name: String::new(), ..section });
            loaded.map_err(|error| Error::invalid("certificates", error.to_string()))
        });
        Ok(Self { tls: tls.transpose()?, encryption, ..Self::new(store) })
    }
}

/// True if the library's own settings are enough. It has no client certificate, no suites, and no server that signed its
/// certificate itself.
fn is_usual(tls: &ClientTlsSection) -> bool {
    let files = [&tls.tls_ca_path, &tls.tls_cert_path, &tls.tls_key_path];
    files.iter().all(|file| file.is_empty())
        && !tls.tls_insecure_skip_verify
        && tls.tls_cipher_suites.is_empty()
        && tls.tls_min_version != "VersionTLS13"
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = match &self.tls {
            None => ReqwestConnector::default().connect(options)?,
            Some(tls) => HttpClient::new(client_with(tls).map_err(|error| {
                object_store::Error::Generic { store: "HTTP client", source: error.into() }
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

fn client_with(tls: &ClientTls) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .tls_backend_preconfigured(ClientConfig::clone(&tls.config()))
        .build()
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
