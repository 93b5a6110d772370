//! The client of one remote: its connections, and the headers that say who we are.

use http::HeaderMap;
use tactus_config::sections::remote_write::RemoteWrite as Config;

use super::auth::{AuthError, Credentials};
use super::connections::{ClientError, Connections, Options, proxy_headers};

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

    /// Sends one request. Errors: no answer came. Neither error shows addresses or credentials.
    pub(crate) async fn send(
        &self,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<reqwest::Response, SendError> {
        let has_own = headers.contains_key(http::header::AUTHORIZATION);
        let request = self.connections.post()?.headers(headers);
        let request = self.credentials.add_to(request, has_own).await?;
        request.body(body).send().await.map_err(|error| {
            SendError::Connection(tactus_telemetry::error_text(&error.without_url()))
        })
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
