//! The HTTP client under a remote store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Uri};
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
use tokio::time::timeout;

use super::answers::{self, Asked};
use super::credential_servers::{CredentialServers, is_metadata_server};
use super::kms::EncryptionContext;
use super::metrics;
use super::region::NamedRegion;
use crate::error::{Error, Result, Source};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one attempt, from sending it to the last byte of the answer. An upload has more, by its length.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes a second of the slowest upload that is waited for. A dozen of them may share a line.
const SLOWEST_UPLOAD: u64 = 64 << 10;
/// The library starts no repetition after this time since the first attempt.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than what is kept of an answer that reports an error.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// An attempt is not repeated with the same signature after this time: stores accept it for 15 minutes.
const SIGNATURE_TIME: Duration = Duration::from_secs(600);

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
            .with_allow_invalid_certificates(self.any_certificate)
    }
}

/// This many repetitions after the first attempt, with pauses from `first` up to `longest`.
pub(super) fn retry(max_retries: u32, first: GoDuration, longest: GoDuration) -> RetryConfig {
    // The library panics if the first pause is nothing, or more than twice the longest one.
    let first = first.as_std().max(Duration::from_millis(1));
    let longest = longest.as_std().max(first);
    RetryConfig {
        backoff: BackoffConfig { init_backoff: first, max_backoff: longest, base: 2.0 },
        max_retries: max_retries as usize,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// Refuses an address that the library would panic on.
pub(super) fn check_address(what: &'static str, address: &str) -> Result<()> {
    let refuse = |reason: String| {
        Error::invalid(what, format!("{address:?} is no address of a store: {reason}"))
    };
    // It reads the address as the one and then as the other.
    let uri = address.parse::<Uri>().map_err(|error| refuse(error.to_string()))?;
    let url = reqwest::Url::parse(&uri.to_string());
    url.map(drop).map_err(|error| refuse(error.to_string()))
}

pub(super) const NO_HEADER: &str =
    "it has a character that no HTTP header can have, such as a line break";

/// Refuses the value of a header that the library would panic on.
pub(super) fn check_header(what: &'static str, value: &str) -> Result<()> {
    let read = HeaderValue::from_str(value);
    read.map(drop).map_err(|_| Error::invalid(what, NO_HEADER))
}

/// Makes clients that count their requests, for the store and for the servers that give credentials for it.
#[derive(Debug)]
pub(super) struct Connector {
    /// Scheme and host.
    store: String,
    /// `None`: the system's authorities, or no TLS.
    tls: Option<Arc<ClientTls>>,
    encryption: Option<Arc<EncryptionContext>>,
    /// Of a store whose region is not known.
    region: Option<Arc<NamedRegion>>,
}

impl Connector {
    /// `store`: scheme and host.
    pub(super) fn new(store: &str) -> Self {
        Self { store: store.to_owned(), tls: None, encryption: None, region: None }
    }

    /// Reads the files of the TLS settings, if there are any.
    pub(super) fn of_s3(
        store: &str,
        settings: &S3,
        encryption: Option<Arc<EncryptionContext>>,
        region: Option<Arc<NamedRegion>>,
    ) -> Result<Self> {
        let tls = (!is_usual(&settings.tls)).then(|| {
            let section = tactus_tls::from_config::client("s3", &settings.tls);
            // The library takes the name from the address.
            let loaded =
                ClientTls::load(ClientTlsSettings { server_name: String::new(), ..section });
            loaded.map_err(|error| Error::invalid("certificates", error.to_string()))
        });
        Ok(Self { tls: tls.transpose()?, encryption, region, ..Self::new(store) })
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
        let credential_servers = CredentialServers::besides(&self.store);
        Ok(HttpClient::new(Counted {
            client: self.client(options, Some(REQUEST_TIMEOUT))?,
            uploads: self.client(options, None)?,
            metadata: HttpClient::new(client_of_metadata().map_err(not_built)?),
            credential_servers,
            encryption: self.encryption.clone(),
            region: self.region.clone(),
        }))
    }
}

impl Connector {
    /// `time`: for one attempt.
    fn client(
        &self,
        options: &ClientOptions,
        time: Option<Duration>,
    ) -> object_store::Result<HttpClient> {
        let Some(tls) = &self.tls else {
            let options = options.clone();
            let options = match time {
                Some(time) => options.with_timeout(time),
                None => options.with_timeout_disabled(),
            };
            return ReqwestConnector::default().connect(&options);
        };
        Ok(HttpClient::new(client_with(tls, time).map_err(not_built)?))
    }
}

fn not_built(error: reqwest::Error) -> object_store::Error {
    object_store::Error::Generic { store: "HTTP client", source: error.into() }
}

/// For the metadata servers of clouds. They know who asks by the way that the question takes, so that no proxy may be in
/// it; and they do without TLS.
fn client_of_metadata() -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().http1_only().no_proxy().tls_certs_only([]);
    builder.connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).build()
}

fn client_with(tls: &ClientTls, time: Option<Duration>) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .tls_backend_preconfigured(ClientConfig::clone(&tls.config()));
    match time {
        Some(time) => builder.timeout(time).build(),
        None => builder.build(),
    }
}

#[derive(Debug)]
struct Counted {
    client: HttpClient,
    /// Has no limit of time itself.
    uploads: HttpClient,
    /// Goes by no proxy.
    metadata: HttpClient,
    credential_servers: CredentialServers,
    encryption: Option<Arc<EncryptionContext>>,
    region: Option<Arc<NamedRegion>>,
}

#[async_trait::async_trait]
impl HttpService for Counted {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(server) = self.credential_servers.asked_by(&request) {
            let client =
                if is_metadata_server(request.uri()) { &self.metadata } else { &self.client };
            return self.credential_servers.ask(server, client, request).await;
        }
        if let Some(encryption) = &self.encryption {
            encryption.apply(&mut request).await.map_err(not_signed)?;
        }
        let started = Instant::now();
        let answer = match &self.region {
            Some(region) => self.attempt_in(region, &mut request).await,
            None => self.attempt(request.clone()).await,
        };
        // The library counts its time from the first attempt, which is over if that was a long upload.
        if upload_time(&request).is_none()
            || has_condition(&request)
            || !is_repeated(&answer, started.elapsed())
        {
            return answer;
        }
        self.attempt(request).await
    }
}

fn not_signed(source: Source) -> HttpError {
    HttpError::new_boxed(HttpErrorKind::Unknown, source)
}

impl Counted {
    /// Sends a request to a store whose region is not known. If it names its region, the request is signed for that one
    /// and sent again, once.
    async fn attempt_in(
        &self,
        region: &NamedRegion,
        request: &mut HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let is_known = region.sign(request).await.map_err(not_signed)?;
        let answer = self.attempt(request.clone()).await?;
        if is_known || !matches!(answer.status().as_u16(), 400 | 403) {
            return Ok(answer);
        }
        // Only the start of a refusal is there.
        let (parts, body) = answer.into_parts();
        let mut refusal = Vec::new();
        answers::read_first(body, MAX_REFUSAL_BYTES, &mut refusal).await?;
        if region.learn(&String::from_utf8_lossy(&refusal))
            && region.sign(request).await.map_err(not_signed)?
        {
            return self.attempt(request.clone()).await;
        }
        Ok(HttpResponse::from_parts(parts, refusal.into()))
    }

    async fn attempt(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (method, started) = (request.method().clone(), Instant::now());
        let asked = Asked::of(method.as_str(), request.uri().query().unwrap_or_default());
        let time = upload_time(&request);
        let late = |late| Err(HttpError::new(HttpErrorKind::Timeout, late));
        let answer = match time {
            None => self.client.execute(request).await,
            Some(time) => timeout(time, self.uploads.execute(request)).await.unwrap_or_else(late),
        };
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        metrics::request(method.as_str(), status, started.elapsed());
        let bounded = answers::bounded(asked, answer?);
        match time {
            None => bounded.await,
            // The client of uploads would wait for ever for the rest of an answer.
            Some(_) => timeout(REQUEST_TIMEOUT, bounded).await.unwrap_or_else(late),
        }
    }
}

/// Time for an upload, until the answer to it begins; `None` for all other requests.
fn upload_time(request: &HttpRequest) -> Option<Duration> {
    let seconds = request.body().content_length() as u64 / SLOWEST_UPLOAD;
    (request.method() == Method::PUT).then(|| REQUEST_TIMEOUT + Duration::from_secs(seconds))
}

/// True if the store writes the object only in the place of a certain version. Whoever asks for that must learn what
/// became of each attempt.
fn has_condition(request: &HttpRequest) -> bool {
    let conditions = ["if-match", "if-none-match", "x-goog-if-generation-match"];
    conditions.iter().any(|name| request.headers().contains_key(*name))
}

/// True if an upload that took so long is sent once more, because the library would not do it: not after more than
/// [`RETRY_TIMEOUT`].
fn is_repeated(answer: &Result<HttpResponse, HttpError>, took: Duration) -> bool {
    let may_pass = match answer {
        Ok(answer) => matches!(answer.status().as_u16(), 408 | 429 | 500..=599),
        Err(error) => matches!(
            error.kind(),
            HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Interrupted
                | HttpErrorKind::Timeout
        ),
    };
    may_pass && (RETRY_TIMEOUT..SIGNATURE_TIME).contains(&took)
}

#[cfg(test)]
mod tests;
