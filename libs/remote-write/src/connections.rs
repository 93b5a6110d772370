//! Connections to one server: TLS, proxies, redirects, and which addresses a name has.

mod redirects;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{NoProxy, Proxy, Url, redirect};
use tactus_config::sections::remote_write::RemoteTls;
use tactus_config::{Secret, without_passwords};
use tactus_tls::{ClientTls, ClientTlsSettings};

pub(crate) use self::redirects::Answered;

/// A connection of HTTP/2 is asked for a sign of life after this time without one, also between requests: those time out on it, and
/// without an end of it the next ones would as well.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long that may stay unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// As configured.
    url: Url,
    /// What is asked for it, see [`address`].
    asked: (Url, Option<HeaderValue>),
    options: Options,
    tls: Option<Arc<ClientTls>>,
    current: Mutex<Option<(Option<Arc<rustls::ClientConfig>>, reqwest::Client)>>,
}

/// What is configured of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Duration,
    pub(crate) follow_redirects: bool,
    pub(crate) http2: bool,
    /// Key of `proxy_url` in the configuration.
    pub(crate) proxy_key: &'static str,
    pub(crate) proxy_url: String,
    pub(crate) no_proxy: String,
    pub(crate) proxy_from_environment: bool,
    pub(crate) proxy_headers: HeaderMap,
    pub(crate) round_robin: bool,
    /// A name in addresses, and the host to look up for it.
    pub(crate) lookup: Option<(String, String)>,
}

impl Options {
    /// Whether requests go through a proxy. Errors: settings of proxies that exclude each other; a proxy that cannot be used.
    fn has_proxy(&self) -> Result<bool, ClientError> {
        if !self.proxy_url.is_empty() && self.proxy_from_environment {
            let text = "if proxy_from_environment is configured, proxy_url must not be configured";
            return Err(ClientError::Setting(text.to_owned()));
        }
        if self.proxy_from_environment && !self.no_proxy.is_empty() {
            let text = "if proxy_from_environment is configured, no_proxy must not be configured";
            return Err(ClientError::Setting(text.to_owned()));
        }
        check_proxy(self.proxy_key, &self.proxy_url)?;
        if self.proxy_from_environment {
            // Those that the library takes.
            let set = |names: [&'static str; 2]| {
                let found = |name: &'static str| Some((name, std::env::var(name).ok()?));
                names.into_iter().find_map(found).filter(|(_, proxy)| !proxy.is_empty())
            };
            for names in [["HTTP_PROXY", "http_proxy"], ["HTTPS_PROXY", "https_proxy"]] {
                let proxy = set(names).or_else(|| set(["ALL_PROXY", "all_proxy"]));
                if let Some((name, proxy)) = proxy {
                    check_proxy(name, &proxy)?;
                }
            }
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
        let parsed = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        let secure = match parsed.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(invalid("must begin with http:// or https://")),
        };
        let host = parsed.host_str().ok_or_else(|| invalid("has no host"))?.to_owned();
        let proxied = options.has_proxy()?;
        if secure && !tls.server_name.is_empty() && tls.server_name != host {
            if proxied {
                let text = "tls_config.server_name does not go with a proxy";
                return Err(ClientError::Setting(text.to_owned()));
            }
            // The library takes the name to expect from the address.
            let mut renamed = parsed.clone();
            renamed
                .set_host(Some(&tls.server_name))
                .map_err(|error| invalid(&format!("tls_config.server_name: {error}")))?;
            let name = renamed.host_str().unwrap_or_default().to_owned();
            options.lookup = Some((name, host));
        }
        let asked = address(&parsed, options.lookup.as_ref())?;
        let tls = match secure || proxied || options.follow_redirects {
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
        let connections = Self { url: parsed, asked, options, tls, current: Mutex::new(None) };
        connections.client()?;
        Ok(connections)
    }

    /// Scheme, host and port, for the log: the rest of an address may hold secrets.
    pub(crate) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// A request, with the client to send it.
    pub(crate) fn post(&self) -> Result<reqwest::RequestBuilder, ClientError> {
        let (url, host) = &self.asked;
        let request = self.client()?.post(url.clone());
        Ok(match host {
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
            .redirect(redirect::Policy::none())
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .http2_keep_alive_while_idle(true)
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
                key: options.proxy_key,
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

/// Without this, the library would silently go past a proxy whose scheme it does not know, and speak HTTP to one of SOCKS. A
/// proxy without a scheme, `host:port`, is one of HTTP. `key`: of the proxy, for the error.
fn check_proxy(key: &'static str, proxy: &str) -> Result<(), ClientError> {
    let written = proxy.split_once("://").map_or("http", |(scheme, _)| scheme);
    let scheme = match Url::parse(proxy) {
        Ok(url) if url.has_host() => url.scheme().to_owned(),
        _ => written.to_owned(),
    };
    if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let reason = "must begin with http:// or https://: there are no other proxies here".to_owned();
    Err(ClientError::Url { key, url: without_passwords(proxy), reason })
}

/// What to ask for a URL: the address, and the `host` of the request where the address has another one.
fn address(
    url: &Url,
    lookup: Option<&(String, String)>,
) -> Result<(Url, Option<HeaderValue>), ClientError> {
    let mut asked = url.clone();
    let Some((name, host)) = lookup else { return Ok((asked, None)) };
    if url.scheme() != "https" || url.host_str() != Some(host.as_str()) {
        return Ok((asked, None));
    }
    let original = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.clone(),
    };
    let unusable = |_| ClientError::Setting(format!("host {original:?} is no header"));
    let header = HeaderValue::try_from(&original).map_err(unusable)?;
    asked
        .set_host(Some(name))
        .map_err(|error| ClientError::Setting(format!("tls_config.server_name: {error}")))?;
    Ok((asked, Some(header)))
}

/// An address without TLS of its own needs certificates only if a proxy or a redirect leads to TLS. So the system may have
/// none, but what is configured must be right.
fn load(
    settings: ClientTlsSettings,
    secure: bool,
) -> Result<Option<Arc<ClientTls>>, tactus_tls::Error> {
    let needs_system = settings.ca.is_none() && !settings.insecure_skip_verify;
    let without_system = ClientTlsSettings { insecure_skip_verify: true, ..settings.clone() };
    match ClientTls::load(settings) {
        Ok(tls) => Ok(Some(tls)),
        Err(_) if !secure && needs_system => ClientTls::load(without_system).map(|_| None),
        Err(error) => Err(error),
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
