//! A client of the query API.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tactus_server::tenancy::TENANT_HEADER;

use crate::answers;
use crate::arguments::Server;
use crate::error::{Error, Result};

/// Header of a partial answer.
const PARTIAL: &str = "x-tactus-partial";
/// Bytes of an error's text that are shown.
const MAX_ERROR_BYTES: usize = 2_000;

/// An answer of the query API with status 200.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// JSON.
    pub(crate) body: Bytes,
    /// Why the answer lacks something.
    pub(crate) incomplete: Option<String>,
}

impl Answer {
    /// `unread`: why it lacks something if it does not say so itself. Errors: the answer says that the request failed.
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        unread: &str,
    ) -> Result<Self> {
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BYTES)]);
            return Err(Error::Answer { status, text: text.trim().to_owned() });
        }
        let incomplete = answers::incomplete(&body)
            .or_else(|| headers.contains_key(PARTIAL).then(|| unread.to_owned()));
        Ok(Self { body, incomplete })
    }
}

/// A header of the command line, `NAME: VALUE`. Errors: it is not of that form.
pub(crate) fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let wrong = || Error::Usage("--header: not of the form 'NAME: VALUE'".to_owned());
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
    let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the server that the arguments name. Makes no request.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(tenant) = &server.org_id {
            let tenant = HeaderValue::from_str(tenant)
                .map_err(|_| Error::Usage(format!("--org-id: {tenant:?} cannot be a tenant")))?;
            headers.insert(TENANT_HEADER, tenant);
        }
        for header in &server.headers {
            let (name, value) = self::header(header)?;
            headers.append(name, value);
        }
        let url = server.url.trim_end_matches('/').to_owned();
        if !reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            let text = format!("--url: {url:?} is not a URL: write http://127.0.0.1:3200");
            return Err(Error::Usage(text));
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(server.timeout)
            .build()
            .map_err(|source| Error::Request { url: url.clone(), source })?;
        Ok(Self { client, url })
    }

    /// The answer to a GET of a path with its parameters.
    pub(crate) async fn get(&self, path_and_query: &str) -> Result<Answer> {
        let url = format!("{}{path_and_query}", self.url);
        let failed = |source| Error::Request { url: url.clone(), source };
        let response = self.client.get(&url).send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Answer::new(status, &headers, body, "something could not be read")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn server_that_never_answers_is_given_up() {
        // As in `main`; only the first of these tests installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            url: format!("http://{}", silent.local_addr().unwrap()),
            org_id: None,
            headers: Vec::new(),
            timeout: Duration::from_millis(50),
        };
        let client = Client::new(&server).unwrap();
        let answer = timeout(Duration::from_secs(20), client.get("/api/search")).await;
        let error = answer.expect("it ends by itself").unwrap_err();
        assert!(matches!(error, Error::Request { source, .. } if source.is_timeout()));
    }
}
