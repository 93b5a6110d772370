//! A client of the query API.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tactus_config::without_passwords;

use crate::answers;
use crate::arguments::Server;
use crate::credentials::Credentials;
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

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    url: String,
}

impl Client {
    /// A client of the server that the arguments name. Makes no request.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let tenant = server.org_id.as_ref().map(|tenant| {
            HeaderValue::from_str(tenant)
                .map_err(|_| Error::Usage(format!("--org-id: {tenant:?} cannot be a tenant")))
        });
        let tenant = tenant.transpose()?;
        let mut headers = Credentials::new(&server.headers)?.headers(tenant.as_ref());
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        let url = server.url.trim_end_matches('/').to_owned();
        if !reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            // Not quoted: it may hold a password.
            let text = "--url (or TACTUS_URL) is not a URL: write http://127.0.0.1:3200";
            return Err(Error::Usage(text.to_owned()));
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(server.timeout)
            .build()
            .map_err(|source| Error::Request { url: without_passwords(&url), source })?;
        Ok(Self { client, url })
    }

    /// The answer to a GET of a path with its parameters.
    pub(crate) async fn get(&self, path_and_query: &str) -> Result<Answer> {
        let url = format!("{}{path_and_query}", self.url);
        let failed = |source| Error::Request { url: without_passwords(&url), source };
        let response = self.client.get(&url).send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(failed)?;
        Answer::new(status, &headers, body, "something could not be read")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tactus_telemetry::error_text;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::arguments::Headers;

    /// A client of a server that has 50 ms to answer.
    fn client(url: String) -> Result<Client> {
        // As in `main`; only the first of these tests installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let timeout = Duration::from_millis(50);
        Client::new(&Server { url, org_id: None, headers: Headers::default(), timeout })
    }

    #[tokio::test]
    async fn server_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let answer = timeout(Duration::from_secs(20), client.get("/api/search")).await;
        let error = answer.expect("it ends by itself").unwrap_err();
        assert!(matches!(error, Error::Request { source, .. } if source.is_timeout()));
    }

    #[tokio::test]
    async fn errors_do_not_show_the_password_of_the_address() {
        for url in ["htp://u:secret@tempo", "u:secret@tempo", "http://u:secret/x@tempo"] {
            let error = client(url.to_owned()).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(format!("http://u:secret@{}", silent.local_addr().unwrap())).unwrap();
        let error = error_text(&client.get("/api/search").await.unwrap_err());
        assert!(error.contains("ask http://u:") && !error.contains("secret"), "{error}");
    }
}
