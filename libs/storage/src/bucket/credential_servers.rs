//! Limits what credential servers may answer: a cloud's metadata and token services.
//!
//! The store's client treats their errors as errors of the store, where a 404 means that an object does not exist. It
//! reads their answers whatever their length, and panics on values that a header cannot have.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::Value;

use super::answers::read_first;

/// Longer than any answer with credentials.
const MAX_BYTES: usize = 64 << 10;
/// How much of a refusal is shown.
const MAX_SHOWN: usize = 300;
/// Time for one answer. Every request to the store waits for it when the credentials have expired.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// A server that did not answer is not asked again for this long, because all who wait would otherwise wait one after
/// the other.
const PAUSE: Duration = Duration::from_secs(5);
/// Seconds, or a time in seconds, that the client can add to its clock.
const LATEST: u64 = 1 << 50;

/// Why a credential server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialServerError {
    #[error("the credential server {server} does not answer in time")]
    Silent { server: String },
    #[error("the credential server {server} answers with status {status}: {text}")]
    Status { server: String, status: u16, text: String },
    #[error("the credential server {server} answers with more than {MAX_BYTES} bytes")]
    TooLong { server: String },
    #[error("the credential server {server} does not answer with credentials")]
    Odd { server: String },
}

impl CredentialServerError {
    /// The HTTP status of the refusal; 0 for other errors.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Status { status, .. } => *status,
            _ => 0,
        }
    }

    fn into_http(self) -> HttpError {
        let kind = match self.status() {
            // These are retried, as for a store.
            408 | 429 | 500..=599 => HttpErrorKind::Interrupted,
            _ => HttpErrorKind::Unknown,
        };
        HttpError::new(kind, self)
    }
}

/// The servers that are not the store.
#[derive(Debug)]
pub(super) struct CredentialServers {
    /// Host and port of the store.
    store: Option<(String, u16)>,
    /// When each server failed to answer. There are only as many as the environment names.
    silent: Mutex<HashMap<String, Instant>>,
}

impl CredentialServers {
    /// `store`: scheme and host of the store.
    pub(super) fn besides(store: &str) -> Self {
        Self { store: store.parse().ok().as_ref().map(place), silent: Mutex::default() }
    }

    /// The credential server that a request goes to; `None` if it goes to the store.
    pub(super) fn asked_by(&self, request: &HttpRequest) -> Option<String> {
        let uri = request.uri();
        let asked = place(uri);
        // A store may give credentials, too.
        let is_sts = uri.query().is_some_and(|query| query.contains("Action=AssumeRole"));
        let is_store = self.store.as_ref().is_none_or(|store| *store == asked);
        (!is_store || is_sts).then(|| format!("{}:{}", asked.0, asked.1))
    }

    /// The answer, if it contains credentials that the client can read, or a step on the way to them.
    pub(super) async fn ask(
        &self,
        server: String,
        client: &HttpClient,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let was_silent = self.silent.lock().get(&server).is_some_and(|at| at.elapsed() < PAUSE);
        if was_silent {
            return Err(CredentialServerError::Silent { server }.into_http());
        }
        let form = Form::of(request.uri().path());
        let answer = async {
            let (parts, body) = client.execute(request).await?.into_parts();
            let mut start = Vec::new();
            read_first(body, MAX_BYTES + 1, &mut start).await?;
            Ok::<_, HttpError>((parts, start))
        };
        let (parts, bytes) = match tokio::time::timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() != HttpErrorKind::Timeout => return Err(error),
            _ => {
                self.silent.lock().insert(server.clone(), Instant::now());
                return Err(CredentialServerError::Silent { server }.into_http());
            }
        };
        let status = parts.status;
        if !status.is_success() {
            let text = shown(&bytes);
            return Err(
                CredentialServerError::Status { server, status: status.as_u16(), text }.into_http()
            );
        }
        if bytes.len() > MAX_BYTES {
            return Err(CredentialServerError::TooLong { server }.into_http());
        }
        match form.checked(&bytes) {
            Some(bytes) => Ok(HttpResponse::from_parts(parts, bytes.into())),
            None => Err(CredentialServerError::Odd { server }.into_http()),
        }
    }
}

/// Host and port, as they are written: an address can be written in several ways.
fn place(uri: &Uri) -> (String, u16) {
    let known = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    (host, uri.port_u16().unwrap_or(known))
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SHOWN)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What an answer is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One word: the token of a session with the EC2 instance's metadata, the name of its role.
    Word,
    /// JSON or XML.
    Document,
}

impl Form {
    fn of(path: &str) -> Self {
        let is_word =
            path.ends_with("/latest/api/token") || path.ends_with("/security-credentials/");
        if is_word { Self::Word } else { Self::Document }
    }

    /// What the client may read; `None` where it would panic.
    fn checked(self, bytes: &[u8]) -> Option<Bytes> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let is_good = match self {
            // The client makes a path of it.
            Self::Word => is_name(text),
            Self::Document if text.starts_with('<') => is_plain_xml(text),
            Self::Document => is_plain_json(&serde_json::from_str(text).ok()?),
        };
        is_good.then(|| Bytes::copy_from_slice(text.as_bytes()))
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-/:~".contains(c);
    !text.is_empty() && text.chars().all(is_part)
}

/// True for what can be in a header.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// True if the text of every element can be in a header.
fn is_plain_xml(text: &str) -> bool {
    text.split('<').skip(1).all(|tag| {
        let Some((tag, after)) = tag.split_once('>') else { return false };
        // Entities and marked sections may hide what the text is.
        !tag.starts_with("![")
            && (after.trim().is_empty() || is_visible(after) && !after.contains("&#"))
    })
}

fn is_plain_json(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(|number| number < LATEST as f64),
        Value::String(text) => is_visible(text),
        Value::Array(values) => values.iter().all(is_plain_json),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            let time = value.as_str().filter(|_| name.starts_with("expires"));
            let is_late =
                time.is_some_and(|time| time.parse().is_ok_and(|time: u64| time >= LATEST));
            is_plain_json(value) && !is_late
        }),
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    fn asked(store: &str, url: &str) -> Option<String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().unwrap();
        CredentialServers::besides(store).asked_by(&request)
    }

    #[test]
    fn requests_to_the_store_and_to_others_are_told_apart() {
        for (store, url) in [
            ("http://minio:9000", "http://minio:9000/traces/x"),
            ("https://MinIO:443", "https://minio/traces/x"),
            ("http://127.0.0.1:1/acme", "http://127.0.0.1:1/acme/traces/x?Action=y"),
            ("http://[::1]:1", "http://[::1]:1/x"),
            ("http://127.1:1", "http://127.1:1/x"),
            ("http://[0::1]", "http://[0::1]:80/x"),
        ] {
            assert_eq!(asked(store, url), None, "{url}");
        }
        let sts = "https://minio/?Action=AssumeRoleWithWebIdentity&RoleArn=x";
        assert_eq!(asked("https://minio", sts).unwrap(), "minio:443");
        let instance = "http://169.254.169.254/latest/api/token";
        assert_eq!(asked("https://minio", instance).unwrap(), "169.254.169.254:80");
        assert_eq!(asked("http://minio:9000", "http://minio:9001/x").unwrap(), "minio:9001");
    }

    fn is_taken(path: &str, text: &str) -> bool {
        Form::of(path).checked(text.as_bytes()).is_some()
    }

    #[test]
    fn what_no_header_or_path_can_have_is_not_taken() {
        let role = "/latest/meta-data/iam/security-credentials/";
        assert!(is_taken(role, "team+a=b,c.d@e_f-g\n"));
        for text in ["", "a b", "a\nb", "<html>", "{}", "é", "a?b", "a#b"] {
            assert!(!is_taken(role, text), "{text:?}");
        }
        for text in [
            r#"{"Token": "a b", "Expiration": "2026-01-01T00:00:00Z", "n": [null, true]}"#,
            r#"{"access_token": "t", "expires_in": 3600, "expires_on": "1800000000"}"#,
            "<?xml version=\"1.0\"?>\n<R>\n <Token>a&amp;b</Token>\n</R>\n",
        ] {
            assert!(is_taken("/x", text), "{text:?}");
        }
        for text in [
            "",
            "x",
            r#"{"Token": "a\nb"}"#,
            r#"{"Token": ["é"]}"#,
            r#"{"expires_in": 18446744073709551615}"#,
            r#"{"expires_in": 1e300}"#,
            r#"{"expires_on": "18446744073709551615"}"#,
            "<Token>a&#10;b</Token>",
            "<Token>a\nb</Token>",
            "<Token><![CDATA[a\nb]]></Token>",
            "<Token",
        ] {
            assert!(!is_taken("/x", text), "{text:?}");
        }
    }
}
