//! The client of one remote: its connections, and the headers that say who we are. Credentials that lie in files are read
//! for each request, so that they can be replaced at any time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use reqwest::RequestBuilder;
use serde::Deserialize;
use tactus_config::Secret;
use tactus_config::sections::remote_write::{
    Authorization, BasicAuth, HttpHeader, OAuth2, RemoteWrite as Config,
};
use tokio::sync::Mutex;

use super::connections::{Answered, ClientError, Connections, Options, proxy_headers};

/// The client of one entry of `remote_write`.
#[derive(Debug)]
pub(crate) struct Client {
    connections: Connections,
    credentials: Credentials,
}

impl Client {
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        let options = Options {
            timeout: config.remote_timeout.as_std(),
            follow_redirects: config.follow_redirects,
            http2: config.enable_http2,
            proxy_key: "proxy_url",
            proxy_url: config.proxy_url.clone(),
            no_proxy: config.no_proxy.clone(),
            proxy_from_environment: config.proxy_from_environment,
            proxy_headers: proxy_headers(&config.proxy_connect_header)?,
            round_robin: config.round_robin_dns,
            lookup: None,
        };
        let section = "metrics_generator.storage.remote_write.tls_config";
        let connections =
            Connections::new("url", &config.url, section, &config.tls_config, options)?;
        Ok(Self { connections, credentials: Credentials::new(config)? })
    }

    /// Where requests go, without secrets.
    pub(crate) fn origin(&self) -> String {
        self.connections.origin()
    }

    /// Sends one request. Errors: no answer came. Neither error shows addresses or credentials.
    pub(crate) async fn send(
        &self,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<Answered, SendError> {
        let has_own = headers.contains_key(http::header::AUTHORIZATION);
        let request = self.connections.post()?.headers(headers);
        let request = self.credentials.add_to(request, has_own).await?;
        self.connections.send(request.body(body)).await.map_err(SendError::Connection)
    }
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credentials(#[from] AuthError),
    #[error("{0}")]
    Connection(String),
}

/// A token is replaced this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// Largest answer of a server of tokens, and largest file with a secret, in bytes.
const MAX_SECRET_BYTES: usize = 1 << 20;

/// Credentials cannot be had now; the next try may.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("cannot read {key} {path}")]
    File { key: &'static str, path: String, source: std::io::Error },
    #[error("{0} cannot be in a header")]
    Unusable(&'static str),
    #[error("oauth2: {0}")]
    Token(String),
}

/// How the requests of a remote are authenticated, and the headers whose values may lie in files.
#[derive(Debug)]
pub(crate) struct Credentials {
    scheme: Scheme,
    headers: BTreeMap<String, HttpHeader>,
}

#[derive(Debug)]
enum Scheme {
    None,
    Basic(BasicAuth),
    Header(Authorization),
    OAuth2(Box<Tokens>),
}

impl Credentials {
    pub(crate) fn new(config: &Config) -> Result<Self, ClientError> {
        let scheme = if let Some(basic) = &config.basic_auth {
            Scheme::Basic(basic.clone())
        } else if let Some(authorization) = &config.authorization {
            Scheme::Header(authorization.clone())
        } else if !config.bearer_token.is_empty() || !config.bearer_token_file.is_empty() {
            Scheme::Header(Authorization {
                credentials: config.bearer_token.clone(),
                credentials_file: config.bearer_token_file.clone(),
                ..Authorization::default()
            })
        } else if let Some(oauth2) = &config.oauth2 {
            Scheme::OAuth2(Box::new(Tokens::new(oauth2, config)?))
        } else {
            Scheme::None
        };
        Ok(Self { scheme, headers: config.http_headers.clone() })
    }

    /// `has_own`: the request has an authorization header already, which stays.
    pub(crate) async fn add_to(
        &self,
        mut request: RequestBuilder,
        has_own: bool,
    ) -> Result<RequestBuilder, AuthError> {
        for (name, header) in &self.headers {
            let secrets = header.secrets.iter().map(Secret::reveal);
            for value in header.values.iter().map(String::as_str).chain(secrets) {
                request = request.header(name, sensitive(value, "http_headers")?);
            }
            for path in &header.files {
                let value = read("http_headers.files", path).await?;
                request = request.header(name, sensitive(&value, "http_headers.files")?);
            }
        }
        Ok(match &self.scheme {
            _ if has_own => request,
            Scheme::None => request,
            Scheme::Basic(basic) => {
                let username = value("username_file", &basic.username, &basic.username_file);
                let password =
                    value("password_file", basic.password.reveal(), &basic.password_file);
                request.basic_auth(username.await?, Some(password.await?))
            }
            Scheme::Header(authorization) => {
                let credentials = value(
                    "credentials_file",
                    authorization.credentials.reveal(),
                    &authorization.credentials_file,
                );
                let header = format!("{} {}", authorization.type_, credentials.await?);
                request.header(AUTHORIZATION, sensitive(header.trim(), "authorization")?)
            }
            Scheme::OAuth2(tokens) => {
                let header = tokens.header().await?;
                request.header(AUTHORIZATION, sensitive(&header, "oauth2 access token")?)
            }
        })
    }
}

fn sensitive(value: &str, what: &'static str) -> Result<HeaderValue, AuthError> {
    let mut value = HeaderValue::try_from(value).map_err(|_| AuthError::Unusable(what))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text, or what is in the file if one is named.
async fn value(key: &'static str, text: &str, path: &str) -> Result<String, AuthError> {
    match path {
        "" => Ok(text.to_owned()),
        path => read(key, path).await,
    }
}

async fn read(key: &'static str, path: &str) -> Result<String, AuthError> {
    let failed = |source| AuthError::File { key, path: path.to_owned(), source };
    if tokio::fs::metadata(path).await.map_err(failed)?.len() > MAX_SECRET_BYTES as u64 {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
    Ok(text.trim().to_owned())
}

/// Tokens of OAuth 2, got with client credentials.
#[derive(Debug)]
struct Tokens {
    config: OAuth2,
    connections: Connections,
    current: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    header: String,
    ends: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    /// Seconds; some servers send a text.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl Tokens {
    fn new(oauth2: &OAuth2, config: &Config) -> Result<Self, ClientError> {
        let options = Options {
            timeout: config.remote_timeout.as_std(),
            follow_redirects: true,
            http2: false,
            proxy_key: "oauth2.proxy_url",
            proxy_url: oauth2.proxy_url.clone(),
            no_proxy: oauth2.no_proxy.clone(),
            proxy_from_environment: oauth2.proxy_from_environment,
            proxy_headers: proxy_headers(&oauth2.proxy_connect_header)?,
            ..Options::default()
        };
        let section = "metrics_generator.storage.remote_write.oauth2.tls_config";
        let connections = Connections::new(
            "oauth2.token_url",
            &oauth2.token_url,
            section,
            &oauth2.tls_config,
            options,
        )?;
        Ok(Self { config: oauth2.clone(), connections, current: Mutex::new(None) })
    }

    /// Content of the authorization header. Of several requests one asks for a token.
    async fn header(&self) -> Result<String, AuthError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current
            && token.ends.is_none_or(|ends| Instant::now() + TOKEN_MARGIN < ends)
        {
            return Ok(token.header.clone());
        }
        let secret = value(
            "client_secret_file",
            self.config.client_secret.reveal(),
            &self.config.client_secret_file,
        );
        let secret = secret.await?;
        // As Go's client: by header first, and for servers that do not know it in the body.
        let token = match self.request(&secret, true).await {
            Ok(token) => token,
            Err(_) => self.request(&secret, false).await.map_err(AuthError::Token)?,
        };
        Ok(current.insert(token).header.clone())
    }

    /// The body of a request for a token.
    fn form(&self, secret_in_body: Option<&str>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.config.scopes.is_empty() {
            form.append_pair("scope", &self.config.scopes.join(" "));
        }
        for (name, value) in &self.config.endpoint_params {
            form.append_pair(name, value.reveal());
        }
        if let Some(secret) = secret_in_body {
            form.append_pair("client_id", &self.config.client_id);
            form.append_pair("client_secret", secret);
        }
        form.finish()
    }

    async fn request(&self, secret: &str, in_header: bool) -> Result<Token, String> {
        let mut request = self.connections.post().map_err(|error| error.to_string())?;
        if in_header {
            let encoded = |text: &str| -> String {
                form_urlencoded::byte_serialize(text.as_bytes()).collect()
            };
            request = request.basic_auth(encoded(&self.config.client_id), Some(encoded(secret)));
        }
        let request = request
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form((!in_header).then_some(secret)));
        let mut response = self.connections.send(request).await?.response;
        let failed = |error: reqwest::Error| tactus_telemetry::error_text(&error.without_url());
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the token server answered {status}"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_SECRET_BYTES {
                return Err("the token server's answer is too long".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| "the token server's answer has no access_token".to_owned())?;
        let kind = match answer.token_type.as_str() {
            "" => "Bearer",
            other if other.eq_ignore_ascii_case("bearer") => "Bearer",
            other => other,
        };
        let text = answer.expires_in.as_str().and_then(|text| text.parse().ok());
        let seconds = answer.expires_in.as_f64().or(text).filter(|seconds| *seconds > 0.0);
        let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Token {
            header: format!("{kind} {}", answer.access_token),
            ends: lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime)),
        })
    }
}
