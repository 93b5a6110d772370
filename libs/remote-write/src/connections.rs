//! Connections to one server: TLS, proxies, redirects, and which addresses a name has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{NoProxy, Proxy, Url, redirect};
use tactus_config::sections::remote_write::RemoteTls;
use tactus_config::{Secret, without_passwords};
use tactus_tls::{ClientTls, ClientTlsSettings};

/// Redirects that are followed, as Go's client does.
const MAX_REDIRECTS: usize = 10;

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of HTTP.
    #[error("{key} {url:?}: {reason}")]
    Url {
        /// Key of the configuration.
        key: &'static str,
        /// As configured, without a password.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tactus_tls::Error),
    /// Keys that exclude each other or have unusable values.
    #[error("{0}")]
    Setting(String),
    /// The library's refusal.
    #[error("HTTP client: {0}")]
    Http(String),
}

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Connections {
    url: Url,
    /// `host` of a request, where the address has another one.
    host: Option<HeaderValue>,
    options: Options,
    tls: Option<Arc<ClientTls>>,
    current: Mutex<Option<(Option<Arc<rustls::ClientConfig>>, reqwest::Client)>>,
}

/// What is configured of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) timeout: std::time::Duration,
    pub(crate) follow_redirects: bool,
    pub(crate) http2: bool,
    pub(crate) proxy_url: String,
    pub(crate) no_proxy: String,
    pub(crate) proxy_from_environment: bool,
    pub(crate) proxy_headers: HeaderMap,
    pub(crate) round_robin: bool,
    /// Host to look up for the name in the address.
    pub(crate) lookup: Option<(String, String)>,
}

impl Options {
    /// Whether requests go through a proxy. Errors: settings of proxies that exclude each other.
    fn has_proxy(&self) -> Result<bool, ClientError> {
        if !self.proxy_url.is_empty() && self.proxy_from_environment {
            let text = "if proxy_from_environment is configured, proxy_url must not be configured";
            return Err(ClientError::Setting(text.to_owned()));
        }
        if self.proxy_from_environment && !self.no_proxy.is_empty() {
            let text = "if proxy_from_environment is configured, no_proxy must not be configured";
            return Err(ClientError::Setting(text.to_owned()));
        }
        Ok(!self.proxy_url.is_empty() || self.proxy_from_environment)
    }
}

impl Connections {
    /// `key`, `section`: of the address and of TLS in the configuration.
    pub(crate) fn new(
        key: &'static str,
        url: &str,
        section: &str,
        tls: &RemoteTls,
        mut options: Options,
    ) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::Url {
            key,
            url: without_passwords(url),
            reason: reason.to_owned(),
        };
        let mut parsed = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        let secure = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(invalid("must begin with http:// or https://")),
        };
        let host = parsed.host_str().ok_or_else(|| invalid("has no host"))?.to_owned();
        let proxied = options.has_proxy()?;
        let mut host_header = None;
        if secure && !tls.server_name.is_empty() && tls.server_name != host {
            if proxied {
                let text = "tls_config.server_name does not go with a proxy";
                return Err(ClientError::Setting(text.to_owned()));
            }
            // The library takes the name to expect from the address.
            let original = match parsed.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.clone(),
            };
            let unusable = |_| ClientError::Setting(format!("host {original:?} is no header"));
            host_header = Some(HeaderValue::try_from(&original).map_err(unusable)?);
            parsed
                .set_host(Some(&tls.server_name))
                .map_err(|error| invalid(&format!("tls_config.server_name: {error}")))?;
            let asked = parsed.host_str().unwrap_or_default().to_owned();
            options.lookup = Some((asked, host));
        }
        let tls = match secure || proxied {
            true => {
                let mut settings = tactus_tls::from_config::remote_write(section, tls);
                settings.alpn = match options.http2 {
                    true => vec!["h2".to_owned(), "http/1.1".to_owned()],
                    false => vec!["http/1.1".to_owned()],
                };
                load(settings, secure)?
            }
            false => None,
        };
        let connections =
            Self { url: parsed, host: host_header, options, tls, current: Mutex::new(None) };
        connections.client()?;
        Ok(connections)
    }

    /// A request, with the client to send it.
    pub(crate) fn post(&self) -> Result<reqwest::RequestBuilder, ClientError> {
        let request = self.client()?.post(self.url.clone());
        Ok(match &self.host {
            Some(host) => request.header(http::header::HOST, host.clone()),
            None => request,
        })
    }

    /// A client with the certificates that are in their files now.
    fn client(&self) -> Result<reqwest::Client, ClientError> {
        let config = self.tls.as_ref().map(|tls| tls.config());
        let mut current = self.current.lock();
        if let Some((of, client)) = &*current
            && match (of, &config) {
                (Some(of), Some(config)) => Arc::ptr_eq(of, config),
                (None, None) => true,
                _ => false,
            }
        {
            return Ok(client.clone());
        }
        let client = self.build(config.as_deref())?;
        *current = Some((config, client.clone()));
        Ok(client)
    }

    fn build(&self, tls: Option<&rustls::ClientConfig>) -> Result<reqwest::Client, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // The library wants one even without TLS. Somebody else may have been faster.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            .timeout(options.timeout)
            .redirect(match options.follow_redirects {
                true => redirect::Policy::custom(redirected),
                false => redirect::Policy::none(),
            })
            .dns_resolver(Lookup {
                round_robin: options.round_robin,
                next: AtomicUsize::new(0),
                renamed: options.lookup.clone(),
            });
        builder = match tls {
            Some(tls) => builder.tls_backend_preconfigured(tls.clone()),
            // A machine without certificates will do.
            None => builder.tls_certs_only([]),
        };
        if !options.http2 {
            builder = builder.http1_only();
        }
        if !options.proxy_url.is_empty() {
            let unusable = |error: reqwest::Error| ClientError::Url {
                key: "proxy_url",
                url: without_passwords(&options.proxy_url),
                reason: tactus_telemetry::error_text(&error.without_url()),
            };
            let proxy = Proxy::all(&options.proxy_url)
                .map_err(unusable)?
                .no_proxy(NoProxy::from_string(&options.no_proxy))
                .headers(options.proxy_headers.clone());
            builder = builder.proxy(proxy);
        } else if !options.proxy_from_environment {
            builder = builder.no_proxy();
        }
        builder
            .build()
            .map_err(|error| ClientError::Http(tactus_telemetry::error_text(&error.without_url())))
    }
}

/// Without TLS of its own an address behind a proxy needs certificates only if the proxy has one.
fn load(
    settings: ClientTlsSettings,
    secure: bool,
) -> Result<Option<Arc<ClientTls>>, tactus_tls::Error> {
    match ClientTls::load(settings) {
        Ok(tls) => Ok(Some(tls)),
        Err(error) if secure => Err(error),
        Err(_) => Ok(None),
    }
}

/// Follows to where the same request is wanted. After any other redirect a page would be asked for, without what was to
/// be sent, and its answer would look as if that had arrived.
fn redirected(attempt: redirect::Attempt<'_>) -> redirect::Action {
    match attempt.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
            match attempt.previous().len() > MAX_REDIRECTS {
                true => attempt.error("too many redirects"),
                false => attempt.follow(),
            }
        }
        _ => attempt.stop(),
    }
}

/// Looks hosts up, under another name and in turn where that is configured.
struct Lookup {
    round_robin: bool,
    next: AtomicUsize,
    renamed: Option<(String, String)>,
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let host = match &self.renamed {
            Some((asked, host)) if asked == name.as_str() => host.clone(),
            _ => name.as_str().to_owned(),
        };
        let turn = match self.round_robin {
            true => self.next.fetch_add(1, Ordering::Relaxed),
            false => 0,
        };
        Box::pin(async move {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let mut addresses: Vec<SocketAddr> =
                tokio::net::lookup_host((host, 0)).await?.collect();
            if !addresses.is_empty() {
                let turn = turn % addresses.len();
                addresses.rotate_left(turn);
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

pub(crate) fn proxy_headers(
    configured: &std::collections::BTreeMap<String, Vec<Secret>>,
) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, values) in configured {
        for value in values {
            let (name, value) = header(name, value.reveal())
                .map_err(|error| ClientError::Setting(format!("proxy_connect_header: {error}")))?;
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// A header cannot have this name or this value.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be a header")]
pub struct InvalidHeader(String);

impl InvalidHeader {
    pub(super) fn of(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// Never shows the value, which may be secret.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), InvalidHeader> {
    let key = HeaderName::try_from(name).map_err(|_| InvalidHeader::of(name))?;
    let mut value = HeaderValue::try_from(value).map_err(|_| InvalidHeader::of(name))?;
    value.set_sensitive(true);
    Ok((key, value))
}
